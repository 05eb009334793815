/* predictor_registry.c - finds predictors by name and opens one from its spec. predictors.def
 * lists them. */
#include "base/mem.h"
#include "base/opt.h"
#include "policies/predictor.h"
#include "tierra.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TR_PREDICTOR(name) extern const struct tr_predictor_ops tr_predictor_##name;
#include "policies/predictors.def"
#undef TR_PREDICTOR

static const struct tr_predictor_ops *const predictors[] = {
#define TR_PREDICTOR(name) &tr_predictor_##name,
#include "policies/predictors.def"
#undef TR_PREDICTOR
};

size_t tr_predictor_count(void)
{
	return TR_ARRAY_LEN(predictors);
}

const struct tr_predictor_ops *tr_predictor_at(size_t i)
{
	tr_assert(i < TR_ARRAY_LEN(predictors));
	return predictors[i];
}

size_t tr_n_predictor(void)
{
	return tr_predictor_count();
}

void tr_predictor_info(size_t i, struct tr_predictor_info *out)
{
	const struct tr_predictor_ops *ops = tr_predictor_at(i);

	*out = (struct tr_predictor_info){ ops->name, ops->summary, ops->options,
		ops->wants_lookahead || ops->wants_scores };
}

static const struct tr_predictor_ops *find(const char *name, size_t n)
{
	for (size_t i = 0; i < TR_ARRAY_LEN(predictors); i++)
		if (strlen(predictors[i]->name) == n && !memcmp(predictors[i]->name, name, n))
			return predictors[i];
	return NULL;
}

const struct tr_predictor_ops *tr_predictor_by_name(const char *name)
{
	return find(name, strlen(name));
}

static int refuse_name(const char *spec, size_t n, struct tr_err *err)
{
	char list[TR_ERR_MSG_BYTES / 2] = "";
	size_t at = 0;

	for (size_t i = 0; i < TR_ARRAY_LEN(predictors) && at < sizeof(list); i++)
		at += (size_t)snprintf(
			list + at, sizeof(list) - at, "%s%s", i ? ", " : "", predictors[i]->name);
	return tr_err_set(
		err, TR_E_NOENT, "predictor '%.*s' is not known; there are %s", (int)n, spec, list);
}

static int set_option(void *ctx, const char *key, const char *value, struct tr_err *err)
{
	struct tr_predictor *predictor = ctx;
	const struct tr_predictor_ops *ops = predictor->ops;
	int rc = ops->option ? ops->option(predictor->state, key, value, err) : TR_E_NOENT;

	if (rc != TR_E_NOENT)
		return rc;
	if (!*ops->options)
		return tr_err_set(err, TR_E_NOENT, "predictor %s has no options, so not '%s'",
			ops->name, key);
	return tr_err_set(err, TR_E_NOENT, "predictor %s has no option '%s'; it has %s", ops->name,
		key, ops->options);
}

static int check_cfg(const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	if (cfg->n_layer && cfg->n_expert && cfg->n_used && cfg->n_used <= cfg->n_expert)
		return 0;
	return tr_err_set(err, TR_E_INVALID,
		"predictor: %u layers, %u of %u experts used make no sense", cfg->n_layer,
		cfg->n_used, cfg->n_expert);
}

int tr_predictor_open(struct tr_predictor *predictor, const char *spec,
	const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	size_t n = strcspn(spec, ",");
	char *text;
	int rc;

	*predictor = (struct tr_predictor){ .ops = find(spec, n) };
	if (!predictor->ops)
		return refuse_name(spec, n, err);
	text = strdup(spec);
	if (!text)
		return tr_err_set(err, TR_E_NOMEM, "predictor %s: no memory", predictor->ops->name);
	rc = check_cfg(cfg, err);
	if (!rc)
		rc = predictor->ops->init(&predictor->state, cfg, err);
	if (!rc)
		rc = tr_opt_pairs(text, set_option, predictor, err);
	if (rc)
		tr_predictor_close(predictor);
	free(text);
	return rc;
}

void tr_predictor_close(struct tr_predictor *predictor)
{
	if (predictor->state)
		predictor->ops->fini(predictor->state);
	*predictor = (struct tr_predictor){ 0 };
}
