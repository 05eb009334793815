/*
 * usage.c - counters of experts: made, copied, merged, summed up, compared. Pure.
 *
 * A layer's sums are those of its experts; the sums of all layers rank the experts of all layers
 * together, so that "the top 1%" are the hottest of the whole model.
 */
#include "engine/expert_stats.h"
#include "base/mem.h"
#include "model/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The shares of experts that skew and likeness are told for. */
static const double top_shares[3] = { 0.01, 0.05, 0.25 };

/* --- made and copied -------------------------------------------------------------------------- */

static size_t n_unit_of(const struct tr_expert_stats *s)
{
	return (size_t)s->n_moe_layer * s->n_expert;
}

static bool alloc_arrays(struct tr_expert_stats *s)
{
	size_t n = n_unit_of(s);
	bool ok = true;

	s->layer = tr_calloc(s->n_moe_layer, sizeof(*s->layer));
	s->uses = tr_calloc(n, sizeof(*s->uses));
	s->prefill_uses = tr_calloc(n, sizeof(*s->prefill_uses));
	s->mass = tr_calloc(n, sizeof(*s->mass));
	s->loads = tr_calloc(n, sizeof(*s->loads));
	s->evictions = tr_calloc(n, sizeof(*s->evictions));
	for (size_t t = 0; t < s->n_tier; t++) {
		s->hits[t] = tr_calloc(n, sizeof(**s->hits));
		s->prefill_hits[t] = tr_calloc(n, sizeof(**s->prefill_hits));
		ok = ok && s->hits[t] && s->prefill_hits[t];
	}
	return ok && s->layer && s->uses && s->prefill_uses && s->mass && s->loads && s->evictions;
}

int tr_expert_stats_new(struct tr_expert_stats **out, const struct tr_expert_stats *shape,
	struct tr_err *err)
{
	struct tr_expert_stats *s;

	if (shape->n_tier > TR_MAX_TIER)
		return tr_err_set(err, TR_E_LIMIT, "expert statistics: %zu tiers, at most %d",
			shape->n_tier, TR_MAX_TIER);
	s = tr_calloc(1, sizeof(*s));
	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "expert statistics: out of memory");
	memcpy(s->model, shape->model, sizeof(s->model));
	memcpy(s->fingerprint, shape->fingerprint, sizeof(s->fingerprint));
	s->n_layer = shape->n_layer;
	s->n_moe_layer = shape->n_moe_layer;
	s->n_expert = shape->n_expert;
	s->n_used = shape->n_used;
	s->n_tier = shape->n_tier;
	for (size_t t = 0; t < s->n_tier; t++)
		memcpy(s->tier[t].name, shape->tier[t].name, sizeof(s->tier[t].name));
	if (!alloc_arrays(s)) {
		tr_expert_stats_free(s);
		return tr_err_set(err, TR_E_NOMEM,
			"expert statistics: no memory for %u layers of %u experts",
			shape->n_moe_layer, shape->n_expert);
	}
	*out = s;
	return 0;
}

void tr_expert_stats_free(struct tr_expert_stats *s)
{
	if (!s)
		return;
	free(s->layer);
	free(s->uses);
	free(s->prefill_uses);
	free(s->mass);
	free(s->loads);
	free(s->evictions);
	for (size_t t = 0; t < TR_MAX_TIER; t++) {
		free(s->hits[t]);
		free(s->prefill_hits[t]);
	}
	free(s);
}

int tr_usage_copy(struct tr_expert_stats **out, const struct tr_expert_stats *from,
	struct tr_err *err)
{
	int rc = tr_expert_stats_new(out, from, err);

	if (rc)
		return rc;
	for (uint32_t l = 0; l < from->n_moe_layer; l++)
		(*out)->layer[l].layer = from->layer[l].layer;
	return tr_expert_stats_merge(*out, from, err);
}

/* --- counting --------------------------------------------------------------------------------- */

/* 1, 2, 3 to 4, 5 to 8 and so on. */
static size_t reuse_bucket(uint64_t distance)
{
	size_t b = 0;

	while (b + 1 < TR_N_REUSE && distance > (uint64_t)1 << b)
		b++;
	return b;
}

void tr_usage_note(struct tr_expert_layer *layer, uint64_t token, uint64_t last)
{
	layer->followed += token > 1;
	if (last)
		layer->reuse[reuse_bucket(token - last)]++;
}

struct trace_count {
	const struct tr_trace *t;
	struct tr_expert_stats *s;
	uint64_t *last_use; /* [n_unit] */
	uint64_t *n_token;  /* [n_moe_layer] */
};

static void count_set(struct trace_count *c, const struct tr_trace_set *set)
{
	const uint16_t *pick = c->t->pick + set->first_pick, *weight = c->t->weight + set->first_pick;
	size_t first = (size_t)set->layer * c->s->n_expert;
	uint64_t token = set->scan ? 0 : ++c->n_token[set->layer];

	for (uint32_t i = 0; i < set->n_pick; i++) {
		size_t unit = first + pick[i];

		c->s->mass[unit] += (double)tr_f16_to_f32(weight[i]);
		if (set->scan) {
			c->s->prefill_uses[unit]++;
			continue;
		}
		c->s->uses[unit]++;
		tr_usage_note(&c->s->layer[set->layer], token, c->last_use[unit]);
		c->last_use[unit] = token;
	}
}

static void shape_of_trace(const struct tr_trace *t, struct tr_expert_stats *shape)
{
	const struct tr_trace_head *h = &t->head;

	*shape = (struct tr_expert_stats){ .n_layer = h->n_layer,
		.n_moe_layer = h->n_moe_layer,
		.n_expert = h->n_expert,
		.n_used = h->n_used };
	memcpy(shape->model, h->model, sizeof(shape->model));
	memcpy(shape->fingerprint, h->fingerprint, sizeof(shape->fingerprint));
}

int tr_trace_expert_stats(const struct tr_trace *t, struct tr_expert_stats **out,
	struct tr_err *err)
{
	struct trace_count c = { .t = t };
	struct tr_expert_stats shape;
	int rc;

	shape_of_trace(t, &shape);
	rc = tr_expert_stats_new(&c.s, &shape, err);
	if (rc)
		return rc;
	c.last_use = tr_calloc(n_unit_of(c.s), sizeof(*c.last_use));
	c.n_token = tr_calloc(c.s->n_moe_layer, sizeof(*c.n_token));
	if (!c.last_use || !c.n_token)
		rc = tr_err_set(err, TR_E_NOMEM, "expert statistics: out of memory");
	for (size_t i = 0; !rc && i < t->n_set; i++)
		count_set(&c, &t->set[i]);
	for (uint32_t l = 0; l < c.s->n_moe_layer; l++) {
		c.s->layer[l].layer = t->head.layers[l].layer;
		c.s->layer[l].unit_bytes = t->head.layers[l].unit_bytes;
	}
	c.s->n_decode = t->n_tok - t->n_scan_tok;
	c.s->n_prefill = t->n_scan_tok;
	c.s->has_mass = t->has_weights;
	free(c.last_use);
	free(c.n_token);
	if (rc)
		tr_expert_stats_free(c.s);
	else
		*out = c.s;
	return rc;
}

/* --- merged ----------------------------------------------------------------------------------- */

static int check_shape(const struct tr_expert_stats *a, const struct tr_expert_stats *b,
	struct tr_err *err)
{
	if (a->n_moe_layer != b->n_moe_layer || a->n_expert != b->n_expert)
		return tr_err_set(err, TR_E_INVALID,
			"%u layers of %u experts, and %u of %u: not of the same model",
			a->n_moe_layer, a->n_expert, b->n_moe_layer, b->n_expert);
	return 0;
}

/* Index of the tier of that name; n_tier when there is none. */
static size_t find_tier(const struct tr_expert_stats *s, const char *name)
{
	size_t t = 0;

	while (t < s->n_tier && strcmp(s->tier[t].name, name) != 0)
		t++;
	return t;
}

/* The last tier stays the last: it is the one that has to be read. */
static int add_tier(struct tr_expert_stats *s, const struct tr_tier_stats *tier, size_t *at,
	struct tr_err *err)
{
	size_t n = n_unit_of(s);

	if (s->n_tier == TR_MAX_TIER)
		return tr_err_set(err, TR_E_LIMIT, "tier %s would be number %d: at most %d",
			tier->name, TR_MAX_TIER + 1, TR_MAX_TIER);
	*at = s->n_tier ? s->n_tier - 1 : 0;
	memmove(s->tier + *at + 1, s->tier + *at, (s->n_tier - *at) * sizeof(*s->tier));
	memmove(s->hits + *at + 1, s->hits + *at, (s->n_tier - *at) * sizeof(*s->hits));
	memmove(s->prefill_hits + *at + 1, s->prefill_hits + *at,
		(s->n_tier - *at) * sizeof(*s->hits));
	s->tier[*at] = (struct tr_tier_stats){ 0 };
	memcpy(s->tier[*at].name, tier->name, sizeof(tier->name));
	s->n_tier++;
	s->hits[*at] = tr_calloc(n, sizeof(**s->hits));
	s->prefill_hits[*at] = tr_calloc(n, sizeof(**s->hits));
	if (!s->hits[*at] || !s->prefill_hits[*at])
		return tr_err_set(err, TR_E_NOMEM, "expert statistics: out of memory");
	return 0;
}

static void add_counts(uint64_t *to, const uint64_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] += from[i];
}

static int merge_tier(struct tr_expert_stats *s, const struct tr_expert_stats *from, size_t t,
	struct tr_err *err)
{
	const struct tr_tier_stats *more = &from->tier[t];
	size_t at = find_tier(s, more->name);
	struct tr_tier_stats *sum;
	int rc = at == s->n_tier ? add_tier(s, more, &at, err) : 0;

	if (rc)
		return rc;
	sum = &s->tier[at];
	if (strcmp(sum->policy, more->policy) != 0)
		sum->policy[0] = 0; /* none that holds for both */
	sum->capacity_bytes = TR_MAX(sum->capacity_bytes, more->capacity_bytes);
	sum->used_bytes = TR_MAX(sum->used_bytes, more->used_bytes);
	sum->hits += more->hits;
	sum->misses += more->misses;
	sum->joins += more->joins;
	sum->bytes += more->bytes;
	sum->wait_ns += more->wait_ns;
	add_counts(s->hits[at], from->hits[t], n_unit_of(s));
	add_counts(s->prefill_hits[at], from->prefill_hits[t], n_unit_of(s));
	return 0;
}

int tr_expert_stats_merge(struct tr_expert_stats *s, const struct tr_expert_stats *from,
	struct tr_err *err)
{
	size_t n = n_unit_of(s);
	int rc = check_shape(s, from, err);

	if (rc)
		return rc;
	if (*s->fingerprint && *from->fingerprint && strcmp(s->fingerprint, from->fingerprint) != 0)
		return tr_err_set(err, TR_E_INVALID,
			"models %s and %s differ: fingerprints %s and %s", s->model, from->model,
			s->fingerprint, from->fingerprint);
	for (size_t t = 0; !rc && t < from->n_tier; t++)
		rc = merge_tier(s, from, t, err);
	if (rc)
		return rc;
	add_counts(s->uses, from->uses, n);
	add_counts(s->prefill_uses, from->prefill_uses, n);
	add_counts(s->loads, from->loads, n);
	add_counts(s->evictions, from->evictions, n);
	for (size_t i = 0; i < n; i++)
		s->mass[i] += from->mass[i];
	for (uint32_t l = 0; l < s->n_moe_layer; l++) {
		if (!s->layer[l].unit_bytes)
			s->layer[l].unit_bytes = from->layer[l].unit_bytes;
		s->layer[l].followed += from->layer[l].followed;
		add_counts(s->layer[l].reuse, from->layer[l].reuse, TR_N_REUSE);
	}
	s->n_decode += from->n_decode;
	s->n_prefill += from->n_prefill;
	s->has_mass = s->has_mass || from->has_mass;
	return 0;
}

/* --- summed up -------------------------------------------------------------------------------- */

struct range {
	size_t first, n;	  /* units */
	uint32_t layer, layer_end; /* MoE layers */
};

static struct range range_of(const struct tr_expert_stats *s, uint32_t moe_layer)
{
	if (moe_layer < s->n_moe_layer)
		return (struct range){ (size_t)moe_layer * s->n_expert, s->n_expert, moe_layer,
			moe_layer + 1 };
	return (struct range){ 0, n_unit_of(s), 0, s->n_moe_layer };
}

static uint64_t sum_counts(const uint64_t *v, const struct range *r)
{
	uint64_t sum = 0;

	for (size_t i = r->first; i < r->first + r->n; i++)
		sum += v[i];
	return sum;
}

struct rank {
	uint64_t uses;
	size_t unit;
};

/* Most used first, the lower number first among equals. */
static int by_uses(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->uses != y->uses)
		return x->uses > y->uses ? -1 : 1;
	return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* The units of the range in order of use; NULL when out of memory. */
static struct rank *rank_units(const struct tr_expert_stats *s, const struct range *r)
{
	struct rank *rank = tr_calloc(r->n, sizeof(*rank));

	for (size_t i = 0; rank && i < r->n; i++)
		rank[i] = (struct rank){ s->uses[r->first + i], r->first + i };
	if (rank)
		qsort(rank, r->n, sizeof(*rank), by_uses);
	return rank;
}

/* Experts in the top share: at least one. */
static size_t top_n(double share, size_t n)
{
	return (size_t)ceil(share * (double)n);
}

static double share_of(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : -1;
}

static void find_skew(const struct tr_expert_stats *s, const struct range *r, uint64_t uses,
	double skew[3])
{
	struct rank *rank = rank_units(s, r);

	for (size_t k = 0; k < TR_ARRAY_LEN(top_shares); k++) {
		uint64_t sum = 0;

		for (size_t i = 0; rank && i < top_n(top_shares[k], r->n); i++)
			sum += rank[i].uses;
		skew[k] = rank ? share_of(sum, uses) : -1;
	}
	free(rank);
}

void tr_expert_stats_sum(const struct tr_expert_stats *s, uint32_t moe_layer,
	struct tr_expert_summary *out)
{
	struct range r = range_of(s, moe_layer);
	uint64_t followed = 0, again = 0;

	*out = (struct tr_expert_summary){ .uses = sum_counts(s->uses, &r),
		.prefill_uses = sum_counts(s->prefill_uses, &r),
		.loads = sum_counts(s->loads, &r),
		.evictions = sum_counts(s->evictions, &r) };
	for (size_t i = r.first; i < r.first + r.n; i++) {
		out->mass += s->mass[i];
		out->n_touched += s->uses[i] || s->prefill_uses[i];
		out->load_bytes += s->loads[i] * s->layer[i / s->n_expert].unit_bytes;
	}
	for (uint32_t l = r.layer; l < r.layer_end; l++) {
		followed += s->layer[l].followed;
		add_counts(out->reuse, s->layer[l].reuse, TR_N_REUSE);
	}
	for (size_t b = 0; b < TR_N_REUSE; b++)
		again += out->reuse[b];
	out->first = out->uses - again;
	out->overlap = share_of(out->reuse[0], followed);
	find_skew(s, &r, out->uses, out->skew);
	for (size_t t = 0; t < s->n_tier; t++)
		out->hit_rate[t] = share_of(sum_counts(s->hits[t], &r), out->uses);
}

/* --- compared --------------------------------------------------------------------------------- */

static int compare_tops(const struct tr_expert_stats *a, const struct tr_expert_stats *b,
	const struct range *r, double overlap[3], struct tr_err *err)
{
	struct rank *top_a = rank_units(a, r), *top_b = rank_units(b, r);
	uint8_t *in_a = tr_calloc(r->n, 1);
	int rc = 0;

	if (!top_a || !top_b || !in_a)
		rc = tr_err_set(err, TR_E_NOMEM, "expert statistics: out of memory");
	for (size_t k = 0, n = 0; !rc && k < TR_ARRAY_LEN(top_shares); k++) {
		size_t want = top_n(top_shares[k], r->n), both = 0;

		for (; n < want; n++)
			in_a[top_a[n].unit - r->first] = 1;
		for (size_t i = 0; i < want; i++)
			both += in_a[top_b[i].unit - r->first];
		overlap[k] = (double)both / (double)want;
	}
	free(top_a);
	free(top_b);
	free(in_a);
	return rc;
}

int tr_expert_stats_compare(const struct tr_expert_stats *a, const struct tr_expert_stats *b,
	uint32_t moe_layer, struct tr_expert_likeness *out, struct tr_err *err)
{
	struct range r = range_of(a, moe_layer);
	uint64_t n_a, n_b;
	int rc = check_shape(a, b, err);

	if (rc)
		return rc;
	*out = (struct tr_expert_likeness){ 0 };
	n_a = TR_MAX(sum_counts(a->uses, &r), (uint64_t)1);
	n_b = TR_MAX(sum_counts(b->uses, &r), (uint64_t)1);
	for (size_t i = r.first; i < r.first + r.n; i++)
		out->distance += fabs((double)a->uses[i] / (double)n_a -
			(double)b->uses[i] / (double)n_b) / 2;
	for (size_t t = 0; t < TR_MAX_TIER; t++) {
		size_t at = t < a->n_tier ? find_tier(b, a->tier[t].name) : b->n_tier;

		out->hit_rate[t] = at == b->n_tier ? (double)NAN :
			(double)sum_counts(b->hits[at], &r) / (double)n_b -
			(double)sum_counts(a->hits[t], &r) / (double)n_a;
	}
	return compare_tops(a, b, &r, out->overlap, err);
}
