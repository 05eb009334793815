/*
 * stats_json.c - expert statistics to JSON and back.
 *
 * Written compactly: a model has tens of thousands of experts. Read with care, since files come from
 * elsewhere: arrays must have the sizes that the head says before memory is taken for them.
 */
#include "tools/stats.h"
#include "tools/tool.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* --- to JSON ---------------------------------------------------------------------------------- */

static json_t *text_value(const char *text)
{
	return tr_json_text(text, strlen(text));
}

static json_t *counts(const uint64_t *v, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_integer((json_int_t)v[i]));
	return array;
}

static json_t *masses(const double *v, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_real(v[i]));
	return array;
}

static json_t *by_tier(const struct tr_expert_stats *s, uint64_t *const *hits, size_t first)
{
	json_t *object = json_object();

	for (size_t t = 0; t < s->n_tier; t++)
		json_object_set_new(object, s->tier[t].name, counts(hits[t] + first, s->n_expert));
	return object;
}

static json_t *layer_json(const struct tr_expert_stats *s, uint32_t l)
{
	const struct tr_expert_layer *layer = &s->layer[l];
	size_t first = (size_t)l * s->n_expert;

	return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "layer",
		(json_int_t)layer->layer, "unit_bytes", (json_int_t)layer->unit_bytes, "uses",
		counts(s->uses + first, s->n_expert), "prefill_uses",
		counts(s->prefill_uses + first, s->n_expert), "mass",
		masses(s->mass + first, s->n_expert), "hits", by_tier(s, s->hits, first),
		"prefill_hits", by_tier(s, s->prefill_hits, first), "loads",
		counts(s->loads + first, s->n_expert), "evictions",
		counts(s->evictions + first, s->n_expert), "followed",
		(json_int_t)layer->followed, "reuse", counts(layer->reuse, TR_N_REUSE));
}

static json_t *tier_json(const struct tr_tier_stats *t)
{
	json_t *tier = tr_report_json_tier(t);

	json_object_set_new(tier, "wait_ns", json_integer((json_int_t)t->wait_ns));
	return tier;
}

json_t *tr_stats_json(const struct tr_stats_file *file)
{
	const struct tr_expert_stats *s = file->stats;
	json_t *tiers = json_array(), *layers = json_array();

	for (size_t t = 0; t < s->n_tier; t++)
		json_array_append_new(tiers, tier_json(&s->tier[t]));
	for (uint32_t l = 0; l < s->n_moe_layer; l++)
		json_array_append_new(layers, layer_json(s, l));
	return json_pack("{s:s, s:i, s:{s:o, s:o, s:I, s:I, s:I, s:I, s:b}, s:{s:I, s:I}, s:O*, s:o, "
			 "s:o}",
		"format", TR_STATS_FORMAT, "version", TR_STATS_VERSION, "model", "name",
		text_value(s->model), "fingerprint", text_value(s->fingerprint), "n_layer",
		(json_int_t)s->n_layer, "n_moe_layer", (json_int_t)s->n_moe_layer, "n_expert",
		(json_int_t)s->n_expert, "n_expert_used", (json_int_t)s->n_used, "has_mass",
		(int)s->has_mass, "tokens", "prefill", (json_int_t)s->n_prefill, "decode",
		(json_int_t)s->n_decode, "run", file->run, "tiers", tiers, "layers", layers);
}

/* --- from JSON -------------------------------------------------------------------------------- */

/* The file, what was read of it, and the first thing that is wrong with it. */
struct reader {
	const char *path;
	struct tr_err *err;
	int rc;
};

static void __attribute__((format(printf, 2, 3))) refuse(struct reader *r, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (r->rc)
		return;
	r->rc = r->err->code = TR_E_FORMAT;
	n = snprintf(r->err->msg, sizeof(r->err->msg), "%s: ", r->path);
	va_start(ap, fmt);
	if (n >= 0 && (size_t)n < sizeof(r->err->msg))
		vsnprintf(r->err->msg + n, sizeof(r->err->msg) - (size_t)n, fmt, ap);
	va_end(ap);
}

/* A count from 0 to max; fallback when it is absent and that is not negative. */
static uint64_t get_count(struct reader *r, const json_t *from, const char *where, const char *key,
	uint64_t max, int64_t fallback)
{
	const json_t *v = json_object_get(from, key);

	if (!v && fallback >= 0)
		return (uint64_t)fallback;
	if (!json_is_integer(v))
		refuse(r, "%s.%s is not a whole number", where, key);
	else if (json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
		refuse(r, "%s.%s is %" JSON_INTEGER_FORMAT ": at most %llu", where, key,
			json_integer_value(v), (unsigned long long)max);
	else
		return (uint64_t)json_integer_value(v);
	return 0;
}

/* An array of n; false when it is absent, which only what is required may not be. */
static bool has_array(struct reader *r, const json_t *v, size_t layer, const char *key, size_t n,
	bool required)
{
	if (!v && !required)
		return false;
	if (!json_is_array(v))
		refuse(r, "layers[%zu].%s is not an array", layer, key);
	else if (json_array_size(v) != n)
		refuse(r, "layers[%zu].%s has %zu numbers, not %zu", layer, key,
			json_array_size(v), n);
	return !r->rc;
}

static void get_counts(struct reader *r, const json_t *from, size_t layer, const char *key, size_t n,
	uint64_t *to)
{
	const json_t *array = json_object_get(from, key), *v;
	size_t i;

	if (!has_array(r, array, layer, key, n, false))
		return;
	json_array_foreach(array, i, v) {
		if (!json_is_integer(v) || json_integer_value(v) < 0)
			refuse(r, "layers[%zu].%s[%zu] is not a count", layer, key, i);
		else
			to[i] = (uint64_t)json_integer_value(v);
	}
}

static void get_masses(struct reader *r, const json_t *from, size_t layer, size_t n, double *to)
{
	const json_t *array = json_object_get(from, "mass"), *v;
	size_t i;

	if (!has_array(r, array, layer, "mass", n, false))
		return;
	json_array_foreach(array, i, v) {
		to[i] = json_number_value(v);
		if (!json_is_number(v) || !isfinite(to[i]))
			refuse(r, "layers[%zu].mass[%zu] is not a number", layer, i);
	}
}

static void get_hits(struct reader *r, const json_t *from, size_t layer, const char *key,
	const struct tr_expert_stats *s, uint64_t *const *to)
{
	const json_t *hits = json_object_get(from, key);

	for (size_t t = 0; t < s->n_tier; t++)
		get_counts(r, hits, layer, s->tier[t].name, s->n_expert,
			to[t] + layer * s->n_expert);
}

static void get_layer(struct reader *r, const json_t *from, size_t l, struct tr_expert_stats *s)
{
	struct tr_expert_layer *layer = &s->layer[l];
	size_t first = l * s->n_expert, n = s->n_expert;
	uint64_t uses = 0, again = 0;

	layer->layer = (uint32_t)get_count(r, from, "layers[]", "layer", UINT32_MAX - 1, -1);
	if (l && layer->layer <= s->layer[l - 1].layer)
		refuse(r, "layers[%zu].layer is %u after %u: they must ascend", l, layer->layer,
			s->layer[l - 1].layer);
	layer->unit_bytes = get_count(r, from, "layers[]", "unit_bytes", INT64_MAX, 0);
	layer->followed = get_count(r, from, "layers[]", "followed", INT64_MAX, 0);
	get_counts(r, from, l, "reuse", TR_N_REUSE, layer->reuse);
	get_counts(r, from, l, "uses", n, s->uses + first);
	get_counts(r, from, l, "prefill_uses", n, s->prefill_uses + first);
	get_counts(r, from, l, "loads", n, s->loads + first);
	get_counts(r, from, l, "evictions", n, s->evictions + first);
	get_masses(r, from, l, n, s->mass + first);
	get_hits(r, from, l, "hits", s, s->hits);
	get_hits(r, from, l, "prefill_hits", s, s->prefill_hits);
	for (size_t i = 0; i < n; i++)
		uses += s->uses[first + i];
	for (size_t b = 0; b < TR_N_REUSE; b++)
		again += layer->reuse[b];
	if (again > uses)
		refuse(r, "layers[%zu].reuse counts %llu uses of %llu", l,
			(unsigned long long)again, (unsigned long long)uses);
}

static void get_tiers(struct reader *r, const json_t *tiers, struct tr_expert_stats *shape)
{
	const json_t *v;
	size_t i;

	if (json_array_size(tiers) > TR_MAX_TIER) {
		refuse(r, "%zu tiers: at most %d", json_array_size(tiers), TR_MAX_TIER);
		return;
	}
	json_array_foreach(tiers, i, v) {
		struct tr_tier_stats *t = &shape->tier[shape->n_tier++];

		tr_json_get_text(v, "name", t->name, sizeof(t->name));
		tr_json_get_text(v, "policy", t->policy, sizeof(t->policy));
		t->capacity_bytes = get_count(r, v, "tiers[]", "capacity_bytes", INT64_MAX, 0);
		t->used_bytes = get_count(r, v, "tiers[]", "used_bytes", INT64_MAX, 0);
		t->hits = get_count(r, v, "tiers[]", "hits", INT64_MAX, 0);
		t->misses = get_count(r, v, "tiers[]", "misses", INT64_MAX, 0);
		t->joins = get_count(r, v, "tiers[]", "joins", INT64_MAX, 0);
		t->bytes = get_count(r, v, "tiers[]", "bytes", INT64_MAX, 0);
		t->wait_ns = tr_json_get_u64(v, "wait_ns");
	}
}

/* What comes before the layers, and that these have the size it says. */
static void get_shape(struct reader *r, const json_t *root, struct tr_expert_stats *shape)
{
	const json_t *model = json_object_get(root, "model"), *tokens = json_object_get(root, "tokens"),
		     *layers = json_object_get(root, "layers"), *v;
	const char *format = json_string_value(json_object_get(root, "format"));
	json_int_t version = json_integer_value(json_object_get(root, "version"));
	size_t i;

	if (!format || strcmp(format, TR_STATS_FORMAT) != 0)
		refuse(r, "not a file of expert statistics (format \"%s\")", TR_STATS_FORMAT);
	else if (version < 1 || version > TR_STATS_VERSION)
		refuse(r, "version %" JSON_INTEGER_FORMAT ": at most %d is understood", version,
			TR_STATS_VERSION);
	tr_json_get_text(model, "name", shape->model, sizeof(shape->model));
	tr_json_get_text(model, "fingerprint", shape->fingerprint, sizeof(shape->fingerprint));
	shape->n_layer = (uint32_t)get_count(r, model, "model", "n_layer", UINT32_MAX - 1, 0);
	shape->n_moe_layer = (uint32_t)get_count(r, model, "model", "n_moe_layer", 65536, -1);
	shape->n_expert = (uint32_t)get_count(r, model, "model", "n_expert", 65535, -1);
	shape->n_used = (uint32_t)get_count(r, model, "model", "n_expert_used", 65535, 0);
	shape->n_prefill = get_count(r, tokens, "tokens", "prefill", INT64_MAX, 0);
	shape->n_decode = get_count(r, tokens, "tokens", "decode", INT64_MAX, 0);
	shape->has_mass = json_is_true(json_object_get(model, "has_mass"));
	get_tiers(r, json_object_get(root, "tiers"), shape);
	if (!r->rc && (!shape->n_moe_layer || !shape->n_expert))
		refuse(r, "model: %u layers of %u experts", shape->n_moe_layer, shape->n_expert);
	if (!r->rc && json_array_size(layers) != shape->n_moe_layer)
		refuse(r, "layers has %zu entries, model.n_moe_layer is %u",
			json_array_size(layers), shape->n_moe_layer);
	json_array_foreach(layers, i, v)
		has_array(r, json_object_get(v, "uses"), i, "uses", shape->n_expert, true);
}

int tr_stats_from_json(struct tr_stats_file *file, const json_t *root, struct tr_err *err)
{
	struct reader r = { file->path, err, 0 };
	struct tr_expert_stats shape = { 0 };
	const json_t *v;
	size_t l;

	get_shape(&r, root, &shape);
	if (r.rc || (r.rc = tr_expert_stats_new(&file->stats, &shape, err)))
		return r.rc;
	memcpy(file->stats->tier, shape.tier, sizeof(shape.tier));
	file->stats->n_decode = shape.n_decode;
	file->stats->n_prefill = shape.n_prefill;
	file->stats->has_mass = shape.has_mass || json_object_get(
		json_array_get(json_object_get(root, "layers"), 0), "mass");
	json_array_foreach(json_object_get(root, "layers"), l, v)
		get_layer(&r, v, l, file->stats);
	file->run = json_incref(json_object_get(root, "run"));
	return r.rc;
}
