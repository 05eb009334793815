/*
 * stats_run.c - to JSON: how a run went over time, what tokens spent it on, misses by cache size.
 *
 * Members of the object that file.run is; what an engine did not keep is left out.
 */
#include "tools/stats.h"

#include <string.h>

static const char *const kind_names[TR_N_SPAN_KIND] = {
	[TR_SPAN_ATTENTION] = "attention",
	[TR_SPAN_DENSE] = "dense",
	[TR_SPAN_ROUTER] = "router",
	[TR_SPAN_LOOKUP] = "lookup",
	[TR_SPAN_PREDICT] = "predict",
	[TR_SPAN_SHARED] = "shared",
	[TR_SPAN_EXPERTS] = "experts",
	[TR_SPAN_WAIT] = "wait",
	[TR_SPAN_COMBINE] = "combine",
	[TR_SPAN_HEAD] = "head",
	[TR_SPAN_COPY] = "copy",
	[TR_SPAN_OTHER] = "other",
	[TR_SPAN_READ] = "read",
	[TR_SPAN_DEVICE_IDS] = "device_ids",
	[TR_SPAN_DEVICE_OUTPUTS] = "device_outputs",
	[TR_SPAN_DEVICE_LAYER] = "device_layer",
	[TR_SPAN_DEVICE_EXPERTS] = "device_experts",
	[TR_SPAN_DEVICE_COPY] = "device_copy",
};

/* Not beside others. */
static bool is_stretch(size_t kind)
{
	return kind < TR_SPAN_READ || kind == TR_SPAN_DEVICE_IDS || kind == TR_SPAN_DEVICE_OUTPUTS;
}

/* --- over time -------------------------------------------------------------------------------- */

static json_t *history_json(const struct tr_history *h, const struct tr_expert_stats *s)
{
	json_t *tokens = json_array(), *ms = json_array(), *hits = json_object();

	for (size_t i = 0; i < h->n_point; i++) {
		json_array_append_new(tokens, json_integer((json_int_t)h->point[i].n_token));
		json_array_append_new(ms, json_real((double)h->point[i].ns / 1e6));
	}
	for (size_t t = 0; t < s->n_tier; t++) {
		json_t *of_tier = json_array();

		for (size_t i = 0; i < h->n_point; i++)
			json_array_append_new(
				of_tier, json_integer((json_int_t)h->point[i].hits[t]));
		json_object_set_new(hits, s->tier[t].name, of_tier);
	}
	return json_pack("{s:I, s:o, s:o, s:o}", "tokens_per_point", (json_int_t)h->per_point,
		"tokens", tokens, "ms", ms, "hits", hits);
}

/* Of a token, in the mean of the run. */
static json_t *seconds_json(const struct tr_history *h)
{
	json_t *seconds = json_object();
	double n_token = 0;

	for (size_t i = 0; i < h->n_point; i++)
		n_token += (double)h->point[i].n_token;
	for (size_t k = 0; k < TR_N_SPAN_KIND; k++)
		if (is_stretch(k))
			json_object_set_new(seconds, kind_names[k],
				json_real((double)h->kind_ns[k] * 1e-9 / n_token));
	return seconds;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static json_t *token_json(const struct tr_token_spans *t, const char *which)
{
	json_t *spans = json_array();

	for (size_t i = 0; i < t->n_span; i++) {
		const struct tr_span *s = &t->span[i];
		const json_int_t v[] = { (json_int_t)s->kind, s->layer, s->tier, s->n, s->begin_ns,
			(json_int_t)s->ns };

		for (size_t k = 0; k < sizeof(v) / sizeof(v[0]); k++)
			json_array_append_new(spans, json_integer(v[k]));
	}
	return json_pack("{s:s, s:I, s:I, s:I, s:o}", "which", which, "token", (json_int_t)t->token,
		"ns", (json_int_t)t->ns, "lost", (json_int_t)t->n_lost, "spans", spans);
}

/* NULL when no token was kept. */
static json_t *timeline_json(const struct tr_engine *e)
{
	static const struct {
		enum tr_token_kind kind;
		const char *name;
	} which[] = { { TR_TOKEN_MEDIAN, "median" }, { TR_TOKEN_SLOWEST, "slowest" },
		{ TR_TOKEN_LAST, "last" } };
	json_t *kinds = json_array(), *tokens = json_array();

	for (size_t i = 0; i < TR_N_SPAN_KIND; i++)
		json_array_append_new(kinds, json_string(kind_names[i]));
	for (size_t i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
		const struct tr_token_spans *t = tr_engine_token(e, which[i].kind);

		if (t)
			json_array_append_new(tokens, token_json(t, which[i].name));
	}
	return json_pack("{s:o, s:o}", "kinds", kinds, "tokens", tokens);
}

/* --- misses by size --------------------------------------------------------------------------- */

json_t *tr_stats_curves_json(const struct tr_miss_curves *c)
{
	json_t *capacities = json_array(), *misses = json_object();

	for (size_t i = 0; i < c->n_point; i++)
		json_array_append_new(capacities, json_integer((json_int_t)c->capacity[i]));
	for (size_t k = 0; k < c->n_curve; k++) {
		const struct tr_miss_curve *curve = &c->curve[k];
		json_t *of_policy = json_array();

		for (size_t i = 0; i < c->n_point; i++)
			json_array_append_new(
				of_policy, curve->n_miss[i] == TR_MISS_UNKNOWN
						   ? json_null()
						   : json_integer((json_int_t)curve->n_miss[i]));
		json_object_set_new(misses, curve->policy, of_policy);
	}
	return json_pack("{s:I, s:I, s:I, s:o, s:I, s:o, s:o}", "experts", (json_int_t)c->n_unit,
		"requests", (json_int_t)c->n_request, "requests_of_run",
		(json_int_t)c->n_request_run, "kept_experts",
		c->n_kept ? json_integer((json_int_t)c->n_kept) : json_null(), "hits",
		(json_int_t)c->n_hit, "capacities", capacities, "misses", misses);
}

int tr_stats_add_run(json_t *run, const struct tr_engine *engine, const struct tr_expert_stats *s,
	uint64_t curve_ns, struct tr_err *err)
{
	struct tr_miss_curves curves;
	struct tr_history history;
	int rc = tr_engine_miss_curves(engine, curve_ns, &curves, err);

	if (rc && rc != TR_E_NOENT)
		return rc;
	tr_engine_history(engine, &history);
	if (!rc)
		json_object_set_new(run, "miss_curves", tr_stats_curves_json(&curves));
	if (!history.n_point)
		return 0;
	json_object_set_new(run, "history", history_json(&history, s));
	json_object_set_new(run, "token_seconds", seconds_json(&history));
	json_object_set_new(run, "timeline", timeline_json(engine));
	return 0;
}
