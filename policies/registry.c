/* registry.c - finds a policy by name (policies.def) or path and opens it from its spec. */
#include "base/mem.h"
#include "base/opt.h"
#include "policies/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TR_POLICY(name) extern const struct tr_policy_ops tr_policy_##name;
#include "policies/policies.def"
#undef TR_POLICY

static const struct tr_policy_ops *const policies[] = {
#define TR_POLICY(name) &tr_policy_##name,
#include "policies/policies.def"
#undef TR_POLICY
};

size_t tr_policy_count(void)
{
	return TR_ARRAY_LEN(policies);
}

const struct tr_policy_ops *tr_policy_at(size_t i)
{
	tr_assert(i < TR_ARRAY_LEN(policies));
	return policies[i];
}

static const struct tr_policy_ops *find(const char *name, size_t n)
{
	for (size_t i = 0; i < TR_ARRAY_LEN(policies); i++)
		if (strlen(policies[i]->name) == n && !memcmp(policies[i]->name, name, n))
			return policies[i];
	return NULL;
}

const struct tr_policy_ops *tr_policy_by_name(const char *name)
{
	return find(name, strlen(name));
}

size_t tr_n_policy(void)
{
	return tr_policy_count();
}

void tr_policy_info(size_t i, struct tr_policy_info *out)
{
	const struct tr_policy_ops *ops = tr_policy_at(i);

	*out = (struct tr_policy_info){ ops->name, ops->summary, ops->options };
}

static int refuse_name(const char *spec, size_t n, struct tr_err *err)
{
	char list[TR_ERR_MSG_BYTES / 2] = "";
	size_t at = 0;

	for (size_t i = 0; i < TR_ARRAY_LEN(policies) && at < sizeof(list); i++)
		at += (size_t)snprintf(
			list + at, sizeof(list) - at, "%s%s", i ? ", " : "", policies[i]->name);
	return tr_err_set(err, TR_E_NOENT,
		"policy '%.*s' is not known; there are %s, or a path with a slash", (int)n, spec,
		list);
}

int tr_policy_known(const char *spec, struct tr_err *err)
{
	size_t n = strcspn(spec, ",");

	return memchr(spec, '/', n) || find(spec, n) ? 0 : refuse_name(spec, n, err);
}

static int set_option(void *ctx, const char *key, const char *value, struct tr_err *err)
{
	struct tr_policy *policy = ctx;
	const struct tr_policy_ops *ops = policy->ops;
	int rc = ops->option ? ops->option(policy->state, key, value, err) : TR_E_NOENT;

	if (rc != TR_E_NOENT)
		return rc;
	if (!*ops->options)
		return tr_err_set(
			err, TR_E_NOENT, "policy %s has no options, so not '%s'", ops->name, key);
	return tr_err_set(err, TR_E_NOENT, "policy %s has no option '%s'; it has %s", ops->name,
		key, ops->options);
}

/* text is the spec; its name ends at n. */
static int find_ops(struct tr_policy *policy, char *text, size_t n, struct tr_err *err)
{
	char end = text[n];
	int rc;

	if (!memchr(text, '/', n)) {
		policy->ops = find(text, n);
		return policy->ops ? 0 : refuse_name(text, n, err);
	}
	text[n] = '\0';
	rc = tr_policy_load(&policy->ops, &policy->plugin, text, err);
	text[n] = end;
	return rc;
}

int tr_policy_open(struct tr_policy *policy, const char *spec, const struct tr_policy_cfg *cfg,
	struct tr_err *err)
{
	char *text = strdup(spec);
	int rc;

	*policy = (struct tr_policy){ 0 };
	if (!text)
		return tr_err_set(err, TR_E_NOMEM, "policy %.40s: no memory", spec);
	rc = find_ops(policy, text, strcspn(text, ","), err);
	if (!rc && !policy->ops->uncached)
		rc = policy->ops->init(&policy->state, cfg, err);
	if (!rc)
		rc = tr_opt_pairs(text, set_option, policy, err);
	if (rc)
		tr_policy_close(policy);
	free(text);
	return rc;
}

void tr_policy_close(struct tr_policy *policy)
{
	if (policy->state)
		policy->ops->fini(policy->state);
	tr_policy_unload(policy->plugin);
	*policy = (struct tr_policy){ 0 };
}
