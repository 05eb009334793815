/*
 * plugin.c - policies from shared objects: what must be there before one is used.
 *
 * The object needs nothing of ours but policy.h. It is trusted as any code in the process: the
 * checks find mistakes, not malice. The ABI number stands first in the ops, so it can be read
 * before the rest is known to fit.
 */
#include "base/mem.h"
#include "policies/policy.h"

#include <dlfcn.h>
#include <string.h>

void tr_policy_unload(void *plugin)
{
	if (plugin)
		dlclose(plugin);
}

static const char *missing_member(const struct tr_policy_ops *ops)
{
	const struct {
		const char *name;
		bool there;
	} members[] = {
		{ "name", ops->name && *ops->name },
		{ "summary", ops->summary },
		{ "options", ops->options },
		{ "init", ops->init || ops->uncached },
		{ "fini", ops->fini || ops->uncached },
		{ "hit", ops->hit || ops->uncached },
		{ "insert", ops->insert || ops->uncached },
		{ "victim", ops->victim || ops->uncached },
		{ "evict", ops->evict || ops->uncached },
		{ "remove", ops->remove || ops->uncached },
	};

	for (size_t i = 0; i < TR_ARRAY_LEN(members); i++)
		if (!members[i].there)
			return members[i].name;
	return NULL;
}

static int check(const struct tr_policy_ops *ops, const char *path, struct tr_err *err)
{
	const char *missing;

	if (ops->abi != TR_POLICY_ABI)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"policy %s: built for ABI %u of policies, this is %u", path, ops->abi,
			TR_POLICY_ABI);
	missing = missing_member(ops);
	if (missing)
		return tr_err_set(err, TR_E_INVALID, "policy %s: %s has no %s", path,
			TR_POLICY_PLUGIN, missing);
	return 0;
}

int tr_policy_load(const struct tr_policy_ops **ops, void **plugin, const char *path,
	struct tr_err *err)
{
	const char *why;
	int rc;

	*ops = NULL;
	*plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!*plugin) {
		why = dlerror();
		return tr_err_set(err, TR_E_NOENT, "policy %s: cannot be loaded: %s", path,
			why ? why : "unknown reason");
	}
	*ops = dlsym(*plugin, TR_POLICY_PLUGIN);
	rc = *ops ? check(*ops, path, err)
		  : tr_err_set(err, TR_E_FORMAT, "policy %s: has no symbol %s", path,
			    TR_POLICY_PLUGIN);
	if (rc) {
		tr_policy_unload(*plugin);
		*plugin = NULL;
		*ops = NULL;
	}
	return rc;
}
