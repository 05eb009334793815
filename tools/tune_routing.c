/* tune_routing.c - routing for a forecast: recorded, or drawn from statistics or a skew. */
#include "tools/stats.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAWN_TOKENS 256 /* the first half warms the caches */

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

static int profiled(
	double *rate, const struct tr_tune_model *m, const char *path, struct tr_err *err)
{
	struct tr_stats_file file;
	int rc = tr_stats_read(&file, path, 0, err);

	if (rc)
		return rc;
	if (file.stats->n_moe_layer != m->work.n_moe_layer ||
		file.stats->n_expert != m->work.n_expert)
		rc = tr_tune_fail(err, TR_E_INVALID, path, "it is of a model of another shape");
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

/* Where TMPDIR says; its name is gone at once. Returns a descriptor or -1, with err filled in. */
static int scratch_file(char *path, size_t cap, struct tr_err *err)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	snprintf(path, cap, "%s/tierra-tune-XXXXXX", dir && *dir ? dir : "/tmp");
	fd = mkstemp(path);
	if (fd < 0)
		tr_tune_fail(err, TR_E_IO, path, strerror(errno));
	return fd;
}

static int drawn(struct tr_trace **trace, const double *rate, const struct tr_tune_model *m,
	struct tr_err *err)
{
	char path[512];
	int fd = scratch_file(path, sizeof(path), err), rc;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (!f)
		return TR_E_IO;
	draw(f, rate, &m->work);
	rc = fclose(f) ? tr_tune_fail(err, TR_E_IO, path, strerror(errno))
		       : tr_trace_open(trace, path, m->work.n_expert, err);
	unlink(path);
	return rc;
}

static int recorded(struct tr_trace **trace, const struct tr_tune_model *m, const char *path,
	struct tr_err *err)
{
	struct tr_trace_info info;
	int rc = tr_trace_open(trace, path, m->work.n_expert, err);

	if (rc)
		return rc;
	tr_trace_info(*trace, &info);
	if (info.n_moe_layer != m->work.n_moe_layer || info.n_expert != m->work.n_expert)
		return tr_tune_fail(err, TR_E_INVALID, path, "it is of a model of another shape");
	return 0;
}

int tr_tune_routing(struct tr_trace **trace, const struct tr_tune_model *m,
	const struct tr_tune_args *a, struct tr_err *err)
{
	double *rate;
	int rc = 0;

	if (a->trace)
		return recorded(trace, m, a->trace, err);
	rate = tr_tool_calloc(m->n_unit, sizeof(*rate));
	if (a->profile)
		rc = profiled(rate, m, a->profile, err);
	else
		skewed(rate, &m->work, a->skew > 0 ? a->skew : 0.5);
	if (!rc)
		rc = drawn(trace, rate, m, err);
	free(rate);
	return rc;
}
