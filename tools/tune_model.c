/* tune_model.c - the model of a forecast, from a header or from constants, and routing for it. */
#include "tools/tool.h"
#include "tools/stats.h"
#include "tools/tune.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAWN_TOKENS 256 /* the first half warms the caches */

static int fail(struct tr_err *err, int code, const char *what, const char *name)
{
	err->code = code;
	snprintf(err->msg, sizeof(err->msg), "%s: %s", name, what);
	return code;
}

/* --- from a header ---------------------------------------------------------------------------- */

static double values_of(const struct tr_tensor_info *t)
{
	return (double)t->ne[0] * (double)t->ne[1] * (double)t->ne[2] * (double)t->ne[3];
}

static void add_tensor(struct tr_tune_model *m, const struct tr_tensor_info *t, double *beside,
	uint64_t *most)
{
	if (strstr(t->name, "_exps")) {
		m->work.unit_macs += values_of(t) / (double)m->n_unit;
		if (t->bytes > *most)
			snprintf(m->quant, sizeof(m->quant), "%s", t->type);
		*most = t->bytes > *most ? t->bytes : *most;
		return;
	}
	if (!strcmp(t->name, "token_embd.weight")) /* one row of it */
		return;
	m->work.resident_bytes += (double)t->bytes;
	m->work.resident_macs += values_of(t);
	*beside += strstr(t->name, "_shexp") ? (double)t->bytes : 0;
}

static int from_file(struct tr_tune_model *m, const struct tr_tune_args *a, struct tr_err *err)
{
	struct tr_engine_opts opts = { .model_path = a->model, .n_ctx = a->n_ctx, .dram = "0" };
	const char *slash = strrchr(a->model, '/');
	struct tr_model *model;
	struct tr_plan plan;
	double beside = 0;
	uint64_t most = 0;
	int rc = tr_engine_plan(&opts, &plan, err);

	if (rc)
		return rc;
	if (!plan.n_unit)
		return fail(err, TR_E_UNSUPPORTED, "the model has no routed experts", a->model);
	rc = tr_model_open(&model, a->model, err);
	if (rc)
		return rc;
	*m = (struct tr_tune_model){ .n_unit = plan.n_unit,
		.unit_bytes = plan.unit_bytes_max,
		.floor_bytes = plan.floor_bytes,
		.resident_bytes = plan.resident_bytes,
		.kv_bytes = plan.kv_bytes,
		.n_ctx = plan.n_ctx,
		.work = { .n_layer = plan.n_layer,
			.n_moe_layer = plan.n_moe_layer,
			.n_expert = plan.n_expert,
			.n_used = plan.n_expert_used,
			.unit_bytes = (double)plan.expert_bytes / (double)plan.n_unit,
			.kv_bytes = (double)plan.kv_bytes / 2 } };
	snprintf(m->name, sizeof(m->name), "%s", slash ? slash + 1 : a->model);
	for (size_t i = 0; i < tr_model_n_tensor(model); i++) {
		struct tr_tensor_info t;

		tr_model_tensor_info(model, i, &t);
		add_tensor(m, &t, &beside, &most);
	}
	m->work.beside_bytes = beside / plan.n_moe_layer;
	tr_model_close(model);
	return 0;
}

/* --- from constants --------------------------------------------------------------------------- */

/* Kimi K2.5: 61 layers, the first dense; 384 experts of 3 x 7168 x 2048, 8 used. What every token uses is
 * 10.5 G weights, taken to have 5.5 bits whatever the experts have (quantised files keep them finer). */
#define K25_UNIT (3.0 * 7168 * 2048)
#define K25_RESIDENT 10.5e9
#define K25_RESIDENT_BITS 5.5
#define K25_KV (61.0 * (512 + 64) * 2) /* bytes a token, binary16 */

static void from_shape(struct tr_tune_model *m, const struct tr_tune_args *a)
{
	unsigned n_ctx = a->n_ctx ? a->n_ctx : 4096;
	double bits = a->shape_bits;

	*m = (struct tr_tune_model){ .n_unit = 60 * 384,
		.unit_bytes = (uint64_t)(K25_UNIT * bits / 8),
		.floor_bytes = (uint64_t)(60 * 8 * K25_UNIT * bits / 8),
		.resident_bytes = (uint64_t)(K25_RESIDENT * K25_RESIDENT_BITS / 8),
		.kv_bytes = (uint64_t)(K25_KV * n_ctx),
		.n_ctx = n_ctx,
		.work = { .n_layer = 61,
			.n_moe_layer = 60,
			.n_expert = 384,
			.n_used = 8,
			.unit_bytes = K25_UNIT * bits / 8,
			.unit_macs = K25_UNIT,
			.resident_bytes = K25_RESIDENT * K25_RESIDENT_BITS / 8,
			.resident_macs = K25_RESIDENT,
			.beside_bytes = K25_UNIT * K25_RESIDENT_BITS / 8,
			.kv_bytes = K25_KV * n_ctx / 2 } };
	snprintf(m->name, sizeof(m->name), "%s", a->shape);
}

int tr_tune_model(struct tr_tune_model *m, const struct tr_tune_args *a, struct tr_err *err)
{
	if (!a->shape)
		return from_file(m, a, err);
	from_shape(m, a);
	return 0;
}

/* --- routing ---------------------------------------------------------------------------------- */

/* Of n weights (i + 1)^-s, the share of the first quarter. */
static double top_share(double s, unsigned n)
{
	double sum = 0, top = 0;

	for (unsigned i = 0; i < n; i++) {
		sum += pow(i + 1, -s);
		top += i < n / 4 ? pow(i + 1, -s) : 0;
	}
	return top / sum;
}

/* The same skew in each layer; which experts are the hot ones does not matter to a cache. */
static void skewed(double *rate, const struct tr_workload *w, double share)
{
	double lo = 0, hi = 8;

	for (int i = 0; i < 60; i++) {
		double s = (lo + hi) / 2;

		if (top_share(s, w->n_expert) < share)
			lo = s;
		else
			hi = s;
	}
	for (size_t i = 0; i < (size_t)w->n_moe_layer * w->n_expert; i++)
		rate[i] = pow((double)(i % w->n_expert) + 1, -lo);
}

static int profiled(double *rate, const struct tr_tune_model *m, const char *path,
	struct tr_err *err)
{
	struct tr_stats_file file;
	int rc = tr_stats_read(&file, path, 0, err);

	if (rc)
		return rc;
	if (file.stats->n_moe_layer != m->work.n_moe_layer ||
		file.stats->n_expert != m->work.n_expert)
		rc = fail(err, TR_E_INVALID, "it is of a model of another shape", path);
	for (size_t i = 0; !rc && i < m->n_unit; i++) /* one use more: none is impossible */
		rate[i] = (double)file.stats->uses[i] + (double)file.stats->prefill_uses[i] + 1e-3;
	tr_stats_file_fini(&file);
	return rc;
}

static double random_unit(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return (double)(*x >> 11) * 0x1p-53;
}

/* n_used different experts of a layer: the largest of log(random) / rate are such a draw. */
static void draw_layer(FILE *f, unsigned token, unsigned layer, const double *rate,
	const struct tr_workload *w, uint64_t *x, double *key)
{
	for (unsigned e = 0; e < w->n_expert; e++)
		key[e] = log(random_unit(x) + 0x1p-60) / rate[e];
	for (unsigned k = 0; k < w->n_used; k++) {
		unsigned best = 0;

		for (unsigned e = 1; e < w->n_expert; e++)
			best = key[e] > key[best] ? e : best;
		key[best] = -HUGE_VAL;
		fprintf(f, "%u,%u,%u\n", token, layer, best);
	}
}

static void draw(FILE *f, const double *rate, const struct tr_workload *w)
{
	double *key = tr_tool_calloc(w->n_expert, sizeof(*key));
	uint64_t x = 88172645463325252u;

	for (unsigned t = 0; t < DRAWN_TOKENS; t++)
		for (unsigned l = 0; l < w->n_moe_layer; l++)
			draw_layer(f, t, l, rate + (size_t)l * w->n_expert, w, &x, key);
	free(key);
}

int tr_tune_routing(struct tr_trace **trace, const struct tr_tune_model *m,
	const struct tr_tune_args *a, struct tr_err *err)
{
	char path[] = "/tmp/tierra-tune-XXXXXX";
	double *rate;
	FILE *f;
	int fd, rc = 0;

	if (a->trace)
		return tr_trace_open(trace, a->trace, m->work.n_expert, err);
	rate = tr_tool_calloc(m->n_unit, sizeof(*rate));
	if (a->profile)
		rc = profiled(rate, m, a->profile, err);
	else
		skewed(rate, &m->work, a->skew > 0 ? a->skew : 0.5);
	fd = rc ? -1 : mkstemp(path);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (f) {
		draw(f, rate, &m->work);
		rc = fclose(f) ? fail(err, TR_E_IO, strerror(errno), path) :
				 tr_trace_open(trace, path, m->work.n_expert, err);
		unlink(path);
	} else if (!rc) {
		rc = fail(err, TR_E_IO, strerror(errno), path);
	}
	free(rate);
	return rc;
}
