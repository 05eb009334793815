/*
 * curves.c - misses against cache size, policy by policy, by replaying requests.
 *
 * Every point is a replay of its own, exact as any other; so the number of requests is cut to what
 * the time is likely to allow, and when it is over the rest of the points stay unknown. Every
 * fourth size comes first, then those between, all policies of a size together: what is cut short
 * is a coarse picture, not half of one.
 */
#include "engine/engine.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One replay, a request: 0.1 us of lru, 3 us of foresight with 60 layers of 384 experts (2-core
 * virtual machine). */
#define REQUEST_NS 600u

static const char *const policies[] = { "lru", "lfu", "s3fifo", "foresight" };

/* Percent of all experts: closer together where curves bend. */
static const unsigned sizes[] = { 2, 4, 7, 12, 20, 30, 45, 60, 80, 100 };

#define N_CURVE (TR_ARRAY_LEN(policies) + 1) /* and the optimum */

_Static_assert(N_CURVE + 1 <= TR_MAX_CURVE, "no room for the policy of the run");
_Static_assert(TR_ARRAY_LEN(sizes) + 1 <= TR_MAX_CURVE_POINT, "no room for the size of the run");

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void add_capacity(struct tr_miss_curves *c, uint64_t n)
{
	for (size_t i = 0; i < c->n_point; i++)
		if (c->capacity[i] == n)
			return;
	if (n)
		c->capacity[c->n_point++] = n;
}

static void add_curve(struct tr_miss_curves *c, const char *policy)
{
	struct tr_miss_curve *curve = &c->curve[c->n_curve];

	if (!policy || strlen(policy) >= sizeof(curve->policy))
		return;
	for (size_t i = 0; i < c->n_curve; i++)
		if (!strcmp(c->curve[i].policy, policy))
			return;
	snprintf(curve->policy, sizeof(curve->policy), "%s", policy);
	for (size_t i = 0; i < TR_MAX_CURVE_POINT; i++)
		curve->n_miss[i] = TR_MISS_UNKNOWN;
	c->n_curve++;
}

/* own: policy of the run; own_capacity 0: none. */
static void outline(
	struct tr_miss_curves *c, uint64_t n_unit, const char *own, uint64_t own_capacity)
{
	*c = (struct tr_miss_curves){ .n_unit = n_unit };
	for (size_t i = 0; i < TR_ARRAY_LEN(sizes); i++)
		add_capacity(c, n_unit * sizes[i] / 100);
	add_capacity(c, TR_MIN(own_capacity, n_unit));
	qsort(c->capacity, c->n_point, sizeof(c->capacity[0]), by_value);
	for (size_t i = 0; i < TR_ARRAY_LEN(policies); i++)
		add_curve(c, policies[i]);
	add_curve(c, own);
	add_curve(c, TR_CURVE_OPTIMUM);
}

static int add_point(const struct tr_trace *t, struct tr_miss_curves *c, size_t curve, size_t point,
	struct tr_err *err)
{
	struct tr_miss_curve *to = &c->curve[curve];
	char cache[24];
	struct tr_replay_opts opts = { .policy = to->policy, .cache = cache, .decode_only = true };
	struct tr_replay_stats stats;
	uint64_t n_hit = 0;
	int rc;

	snprintf(cache, sizeof(cache), "%" PRIu64, c->capacity[point]);
	if (!strcmp(to->policy, TR_CURVE_OPTIMUM)) {
		rc = tr_replay_optimum(t, &opts, &n_hit, err);
	} else {
		rc = tr_replay(t, &opts, &stats, err);
		n_hit = rc ? 0 : stats.n_hit;
	}
	if (!rc)
		to->n_miss[point] = c->n_request - n_hit;
	return rc;
}

static int fill(const struct tr_trace *t, struct tr_miss_curves *c, uint64_t ns, struct tr_err *err)
{
	uint64_t end = tr_now_ns(&tr_clock_real) + ns;
	int rc = 0;

	for (size_t pass = 4; pass; pass /= 2)
		for (size_t i = 0; i < c->n_point; i += pass)
			for (size_t k = 0; !rc && k < c->n_curve; k++)
				if (c->curve[k].n_miss[i] == TR_MISS_UNKNOWN &&
					(!ns || tr_now_ns(&tr_clock_real) < end))
					rc = add_point(t, c, k, i, err);
	return rc;
}

int tr_trace_miss_curves(
	const struct tr_trace *t, uint64_t ns, struct tr_miss_curves *out, struct tr_err *err)
{
	outline(out, (uint64_t)t->head.n_moe_layer * t->head.n_expert, NULL, 0);
	for (size_t i = 0; i < t->n_set; i++)
		out->n_request += t->set[i].scan ? 0 : t->set[i].n_unit;
	out->n_request_run = out->n_request;
	if (!out->n_request)
		return tr_err_set(err, TR_E_NOENT, "nothing was decoded");
	return fill(t, out, ns, err);
}

int tr_engine_miss_curves(
	const struct tr_engine *e, uint64_t ns, struct tr_miss_curves *out, struct tr_err *err)
{
	struct tr_trace t;
	int rc = 0;

	*out = (struct tr_miss_curves){ 0 };
	if (!e->counter || !e->counter->log.n_request)
		return tr_err_set(err, TR_E_NOENT, "nothing was decoded with the DRAM cache");
	outline(out, e->setup.catalog->n_unit, e->setup.policies.spec[TR_POLICY_DRAM],
		tr_engine_n_keep(e));
	rc = tr_engine_routes(e, ns / (REQUEST_NS * out->n_point * out->n_curve), &t,
		&out->n_request, &out->n_hit, err);
	if (rc)
		return rc;
	out->n_request_run = e->counter->log.n_request_run;
	out->n_kept = tr_engine_n_keep(e);
	rc = fill(&t, out, ns, err);
	tr_trace_fini(&t);
	return rc;
}
