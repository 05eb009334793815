/*
 * profile.c - counts of uses, from JSON or a trace, to uses a token.
 *
 * Every token uses n_used experts of every layer, so the counts of a layer tell the number of tokens
 * themselves: its rates are the counts scaled to a sum of n_used. A layer that was never visited is
 * taken to be even. Decoded tokens and those of prefills count alike.
 */
#include "engine/profile.h"
#include "base/mem.h"
#include "cache/trace.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "tierra-stats"
#define NEWEST 1

/* What is being read, and into what. */
struct reader {
	const char *path;
	const struct tr_model *model;
	const struct tr_catalog *catalog;
	double *uses; /* [n_unit] */
	struct tr_err *err;
};

/* --- what must fit ---------------------------------------------------------------------------- */

static int want_same(const struct reader *r, const char *what, uint64_t found, uint64_t want)
{
	if (found == want)
		return 0;
	return tr_err_set(r->err, TR_E_INVALID,
		"--profile %s: it is of another model: %s is %llu there, %llu here", r->path, what,
		(unsigned long long)found, (unsigned long long)want);
}

static int want_shape(const struct reader *r, uint64_t n_moe_layer, uint64_t n_expert)
{
	int rc = want_same(r, "n_moe_layer", n_moe_layer, r->catalog->n_moe_layer);

	return rc ? rc : want_same(r, "n_expert", n_expert, r->catalog->n_expert);
}

static bool is_of_other_weights(const struct reader *r, const char *fingerprint)
{
	char own[TR_FINGERPRINT_BYTES];

	tr_model_fingerprint(r->model, own);
	return fingerprint && *fingerprint && strcmp(fingerprint, own) != 0;
}

/* --- statistics ------------------------------------------------------------------------------- */

static int bad(const struct reader *r, const char *what)
{
	return tr_err_set(r->err, TR_E_FORMAT, "--profile %s: %s", r->path, what);
}

/* The counts of one layer join uses[]. */
static int add_counts(const struct reader *r, json_t *counts, const char *what, size_t at)
{
	size_t n_expert = r->catalog->n_expert;
	int rc;

	if (!json_is_array(counts))
		return tr_err_set(r->err, TR_E_FORMAT,
			"--profile %s: layers[%zu].%s is no array", r->path, at, what);
	rc = want_same(r, "the length of layers[].uses", json_array_size(counts), n_expert);
	for (size_t e = 0; !rc && e < n_expert; e++) {
		json_t *v = json_array_get(counts, e);

		if (!json_is_number(v) || !(json_number_value(v) >= 0))
			rc = tr_err_set(r->err, TR_E_FORMAT,
				"--profile %s: layers[%zu].%s[%zu] is no count", r->path, at, what,
				e);
		else
			r->uses[at * n_expert + e] += json_number_value(v);
	}
	return rc;
}

static int read_layer(const struct reader *r, json_t *layer, size_t at)
{
	json_t *number = json_object_get(layer, "layer");
	json_t *prefill = json_object_get(layer, "prefill_uses");
	int rc;

	if (!json_is_integer(number))
		return bad(r, "layers[].layer is missing");
	rc = want_same(r, "layers[].layer", (uint64_t)json_integer_value(number),
		r->catalog->moe_layers[at].layer);
	if (!rc)
		rc = add_counts(r, json_object_get(layer, "uses"), "uses", at);
	if (!rc && prefill)
		rc = add_counts(r, prefill, "prefill_uses", at);
	return rc;
}

static int read_head(const struct reader *r, json_t *root)
{
	json_t *version = json_object_get(root, "version"), *model = json_object_get(root, "model");
	const char *format = json_string_value(json_object_get(root, "format"));

	if (!format || strcmp(format, FORMAT) != 0)
		return bad(r, "not tierra-stats JSON: its format is something else");
	if (!json_is_integer(version) || json_integer_value(version) < 1)
		return bad(r, "the version is missing");
	if (json_integer_value(version) > NEWEST)
		return tr_err_set(r->err, TR_E_UNSUPPORTED,
			"--profile %s: tierra-stats version %lld: at most %d can be read", r->path,
			(long long)json_integer_value(version), NEWEST);
	if (!json_is_integer(json_object_get(model, "n_moe_layer")) ||
		!json_is_integer(json_object_get(model, "n_expert")))
		return bad(r, "model.n_moe_layer or model.n_expert is missing");
	return 0;
}

static int read_stats(const struct reader *r, json_t *root, bool *foreign)
{
	json_t *model = json_object_get(root, "model"), *layers = json_object_get(root, "layers");
	int rc = read_head(r, root);

	if (!rc)
		rc = want_shape(r,
			(uint64_t)json_integer_value(json_object_get(model, "n_moe_layer")),
			(uint64_t)json_integer_value(json_object_get(model, "n_expert")));
	if (!rc)
		rc = want_same(r, "the number of layers[]", json_array_size(layers),
			r->catalog->n_moe_layer);
	for (size_t i = 0; !rc && i < r->catalog->n_moe_layer; i++)
		rc = read_layer(r, json_array_get(layers, i), i);
	if (!rc)
		*foreign = is_of_other_weights(
			r, json_string_value(json_object_get(model, "fingerprint")));
	return rc;
}

/* --- traces ----------------------------------------------------------------------------------- */

static int read_trace(const struct reader *r, bool *foreign)
{
	uint32_t n_expert = r->catalog->n_expert;
	struct tr_trace *t;
	int rc = tr_trace_open(&t, r->path, n_expert, r->err);

	if (rc) {
		if (r->err)
			tr_err_prefix(r->err, "--profile, neither tierra-stats JSON nor a trace");
		return rc;
	}
	rc = want_shape(r, t->head.n_moe_layer, t->head.n_expert);
	for (size_t i = 0; !rc && i < r->catalog->n_moe_layer; i++)
		rc = want_same(r, "the number of a layer", t->head.layers[i].layer,
			r->catalog->moe_layers[i].layer);
	for (size_t s = 0; !rc && s < t->n_set; s++)
		for (uint32_t k = 0; k < t->set[s].n_pick; k++)
			r->uses[t->set[s].layer * n_expert + t->pick[t->set[s].first_pick + k]]++;
	if (!rc)
		*foreign = is_of_other_weights(r, t->head.fingerprint);
	tr_trace_close(t);
	return rc;
}

/* --- both ------------------------------------------------------------------------------------- */

/* JSON begins with a brace. 0, or an errno value. */
static int begins_with_brace(const char *path, bool *yes)
{
	FILE *f = fopen(path, "rb");
	int c;

	if (!f)
		return errno;
	do
		c = getc(f);
	while (c == ' ' || c == '\t' || c == '\n' || c == '\r');
	*yes = c == '{';
	c = ferror(f) ? EIO : 0;
	fclose(f);
	return c;
}

static int read_any(const struct reader *r, bool *foreign)
{
	json_error_t why;
	json_t *root;
	bool is_json = false;
	int rc = begins_with_brace(r->path, &is_json);

	if (rc)
		return tr_err_sys(r->err, rc, "--profile %s", r->path);
	if (!is_json)
		return read_trace(r, foreign);
	root = json_load_file(r->path, 0, &why);
	if (!root)
		return tr_err_set(r->err, TR_E_FORMAT, "--profile %s: line %d: %s", r->path,
			why.line, why.text);
	rc = read_stats(r, root, foreign);
	json_decref(root);
	return rc;
}

static void scale_layer(float *rate, const double *uses, uint32_t n_expert, uint32_t n_used)
{
	double sum = 0;

	for (uint32_t e = 0; e < n_expert; e++)
		sum += uses[e];
	for (uint32_t e = 0; e < n_expert; e++)
		rate[e] = (float)(sum > 0 ? uses[e] * n_used / sum : (double)n_used / n_expert);
}

int tr_profile_open(struct tr_profile *p, const char *path, const struct tr_model *model,
	const struct tr_catalog *c, struct tr_err *err)
{
	struct reader r = { path, model, c, tr_calloc(c->n_unit, sizeof(double)), err };
	int rc = 0;

	*p = (struct tr_profile){ 0 };
	p->rate = tr_calloc(c->n_unit, sizeof(*p->rate));
	if (!r.uses || !p->rate)
		rc = tr_err_set(err, TR_E_NOMEM, "--profile %s: out of memory", path);
	if (!rc)
		rc = read_any(&r, &p->of_other_weights);
	for (size_t i = 0; !rc && i < c->n_unit; i += c->n_expert)
		scale_layer(p->rate + i, r.uses + i, c->n_expert, c->n_used);
	free(r.uses);
	if (rc)
		tr_profile_close(p);
	return rc;
}

void tr_profile_close(struct tr_profile *p)
{
	free(p->rate);
	p->rate = NULL;
}

/* --- order ------------------------------------------------------------------------------------ */

struct ranked {
	float benefit;
	uint32_t id;
};

static int compare(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->benefit != y->benefit)
		return x->benefit > y->benefit ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

int tr_profile_sort(uint32_t *hot, uint32_t *n_hot, const struct tr_profile *p, const float *worth,
	size_t n_unit, struct tr_err *err)
{
	struct ranked *r = tr_calloc(n_unit, sizeof(*r));

	*n_hot = 0;
	if (!r)
		return tr_err_set(err, TR_E_NOMEM, "profile: out of memory");
	for (size_t i = 0; i < n_unit; i++)
		if (p->rate[i] > 0)
			r[(*n_hot)++] = (struct ranked){ p->rate[i] * worth[i], (uint32_t)i };
	qsort(r, *n_hot, sizeof(*r), compare);
	for (uint32_t i = 0; i < *n_hot; i++)
		hot[i] = r[i].id;
	free(r);
	return 0;
}
