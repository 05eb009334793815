#include "engine/foresee.h"
#include "base/mem.h"
#include "cache/place.h"
#include "policies/predictor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Layers ahead that routers are applied to. */
#define MAX_AHEAD 2
/* Candidates are the likeliest 1.5 n_used experts of a layer, if they are at least this likely. */
#define WIDE(n_used) ((n_used) + (n_used) / 2)
#define MIN_P 0.05f

/* Sums over visits. */
struct quality {
	uint64_t n_visit, n_used, n_top, n_wide;
	uint64_t n_likely, n_likely_used;
	double squared; /* mean over experts, summed over visits */
};

struct tr_foresee {
	struct tr_foresee_cfg cfg;
	struct tr_predictor predictor;
	char name[sizeof(((struct tr_predictor_stats *)0)->name)];
	uint32_t n_layer, n_expert, n_used, n_wide; /* MoE layers, experts a layer */
	size_t stride;
	uint32_t *layer_of; /* [n_layer] layer of the model */
	float *p;	    /* [n_layer][stride] the newest prediction of each layer's next visit */
	bool *has_p;	    /* [n_layer] */
	float *scores;	    /* [stride] */
	uint8_t *used;	    /* [n_expert] */
	uint32_t *top;	    /* [n_wide] experts, likeliest first */
	uint32_t *ids;	    /* [n_wide] candidates as units */
	float *ids_p;
	struct quality quality;
	uint64_t ahead_ns, token_ns;
};

/* --- open and close --------------------------------------------------------------------------- */

static bool alloc(struct tr_foresee *f)
{
	f->layer_of = tr_calloc(f->n_layer, sizeof(*f->layer_of));
	f->p = tr_calloc(f->n_layer * f->stride, sizeof(*f->p));
	f->has_p = tr_calloc(f->n_layer, sizeof(*f->has_p));
	f->scores = tr_calloc(f->stride, sizeof(*f->scores));
	f->used = tr_calloc(f->n_expert, sizeof(*f->used));
	f->top = tr_calloc(f->n_wide, sizeof(*f->top));
	f->ids = tr_calloc(f->n_wide, sizeof(*f->ids));
	f->ids_p = tr_calloc(f->n_wide, sizeof(*f->ids_p));
	return f->layer_of && f->p && f->has_p && f->scores && f->used && f->top &&
		f->ids && f->ids_p;
}

int tr_foresee_new(struct tr_foresee **out, const struct tr_foresee_cfg *cfg, struct tr_err *err)
{
	const struct tr_catalog *c = cfg->catalog;
	struct tr_predictor_cfg predictor = { (uint32_t)c->n_moe_layer, c->n_expert, c->n_used };
	struct tr_foresee *f = tr_calloc(1, sizeof(*f));
	uint32_t l;
	int rc;

	if (!f)
		return tr_err_set(err, TR_E_NOMEM, "predictor: out of memory");
	f->cfg = *cfg;
	f->n_layer = predictor.n_layer;
	f->n_expert = predictor.n_expert;
	f->n_used = predictor.n_used;
	f->n_wide = TR_MIN(WIDE(f->n_used), f->n_expert);
	f->stride = tr_ops_stride(f->n_expert);
	snprintf(f->name, sizeof(f->name), "%s", cfg->predictor);
	if (!alloc(f)) {
		tr_foresee_free(f);
		return tr_err_set(err, TR_E_NOMEM, "predictor: out of memory");
	}
	for (l = 0; l < c->n_layer; l++)
		if (c->moe_of_layer[l] >= 0)
			f->layer_of[c->moe_of_layer[l]] = l;
	rc = tr_predictor_open(&f->predictor, cfg->predictor, &predictor, err);
	if (rc) {
		tr_foresee_free(f);
		return rc;
	}
	*out = f;
	return 0;
}

void tr_foresee_free(struct tr_foresee *f)
{
	if (!f)
		return;
	if (f->predictor.ops)
		tr_predictor_close(&f->predictor);
	free(f->layer_of);
	free(f->p);
	free(f->has_p);
	free(f->scores);
	free(f->used);
	free(f->top);
	free(f->ids);
	free(f->ids_p);
	free(f);
}

/* --- what a prediction was worth -------------------------------------------------------------- */

/* The likeliest first, the lower number first among equals. */
static void find_top(struct tr_foresee *f, const float *p)
{
	uint32_t n = 0, e, i;

	for (e = 0; e < f->n_expert; e++) {
		if (n == f->n_wide && p[e] <= p[f->top[n - 1]])
			continue;
		for (i = n < f->n_wide ? n++ : n - 1; i && p[f->top[i - 1]] < p[e]; i--)
			f->top[i] = f->top[i - 1];
		f->top[i] = e;
	}
}

static void grade(struct tr_foresee *f, const float *p, const uint32_t *ids)
{
	struct quality *q = &f->quality;
	double squared = 0, miss;
	uint32_t i;

	memset(f->used, 0, f->n_expert);
	for (i = 0; i < f->n_used; i++)
		f->used[ids[i]] = 1;
	find_top(f, p);
	for (i = 0; i < f->n_wide; i++) {
		q->n_wide += f->used[f->top[i]];
		q->n_top += i < f->n_used && f->used[f->top[i]];
	}
	for (i = 0; i < f->n_expert; i++) {
		miss = (double)p[i] - f->used[i];
		squared += miss * miss;
		q->n_likely += p[i] >= 0.5f;
		q->n_likely_used += p[i] >= 0.5f && f->used[i];
	}
	q->squared += squared / f->n_expert;
	q->n_used += f->n_used;
	q->n_visit++;
}

/* --- looking ahead ---------------------------------------------------------------------------- */

static void observe(struct tr_foresee *f, uint32_t m, const struct tr_routed *r)
{
	if (f->has_p[m])
		grade(f, f->p + m * f->stride, r->ids);
	f->has_p[m] = false;
	f->predictor.ops->observe(f->predictor.state, m, r->ids, r->weights, f->n_used, r->scores);
}

/* Units of a layer that are likely and not better used where they are go to the cache. */
static void read_ahead(struct tr_foresee *f, uint32_t m, const float *p)
{
	uint32_t first = f->cfg.catalog->moe_layers[m].first_unit, i, n = 0;

	find_top(f, p);
	for (i = 0; i < f->n_wide && p[f->top[i]] >= MIN_P; i++) {
		if (f->cfg.home[first + f->top[i]] != TR_HOME_FILE)
			continue;
		f->ids[n] = first + f->top[i];
		f->ids_p[n++] = p[f->top[i]];
	}
	tr_cache_prefetch(f->cfg.cache, f->ids, f->ids_p, n);
}

static void predict(struct tr_foresee *f, uint32_t m, uint32_t ahead, bool hints)
{
	float *p = f->p + m * f->stride;

	f->predictor.ops->predict(f->predictor.state, m, 1, p);
	f->has_p[m] = true;
	if (hints)
		tr_cache_hint(f->cfg.cache, f->cfg.catalog->moe_layers[m].first_unit, p,
			f->n_expert, ahead);
}

/* Layer m comes `ahead` MoE layers later in this token: its router can be asked already. */
static void look_at(struct tr_foresee *f, struct tr_run *run, uint32_t m, uint32_t ahead)
{
	f->cfg.arch->route_ahead(f->cfg.am, run, f->layer_of[m], f->scores);
	f->predictor.ops->lookahead(f->predictor.state, m, ahead, f->scores);
}

/* The first MoE layer behind `layer`; n_layer when there is none. */
static uint32_t next_moe(const struct tr_foresee *f, uint32_t layer)
{
	uint32_t m = 0;

	while (m < f->n_layer && f->layer_of[m] <= layer)
		m++;
	return m;
}

static void look(struct tr_foresee *f, struct tr_run *run, uint32_t layer, uint32_t reach,
	bool hints)
{
	bool wants = f->predictor.ops->wants_lookahead && f->cfg.arch->route_ahead;
	uint32_t first = next_moe(f, layer), ahead, m;

	for (ahead = 1; ahead <= MAX_AHEAD; ahead++) {
		if (ahead > 1 && reach <= f->n_used && !hints)
			break;
		m = first + ahead - 1;
		if (wants && m < f->n_layer)
			look_at(f, run, m, ahead);
		m %= f->n_layer;
		predict(f, m, ahead, hints);
		if (reach)
			read_ahead(f, m, f->p + m * f->stride);
	}
}

void tr_foresee_look(struct tr_foresee *f, struct tr_run *run, uint32_t layer,
	const struct tr_routed *routed)
{
	uint64_t start = tr_now_ns(f->cfg.clock);
	int moe = f->cfg.catalog->moe_of_layer[layer];
	bool hints = tr_cache_takes_hints(f->cfg.cache);
	uint32_t reach = tr_cache_reach(f->cfg.cache);

	if (routed) {
		observe(f, (uint32_t)moe, routed);
		if (hints)
			predict(f, (uint32_t)moe, f->n_layer, hints);
	}
	/* Times without reading ahead are compared with times with all that belongs to it. */
	if (reach || hints || !f->cfg.prefetch)
		look(f, run, layer, reach, hints);
	tr_cache_poll(f->cfg.cache, NULL, 0);
	f->ahead_ns += tr_now_ns(f->cfg.clock) - start;
}

void tr_foresee_token(struct tr_foresee *f, uint64_t ns)
{
	f->token_ns += ns;
	tr_cache_note_token(f->cfg.cache, ns);
}

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

void tr_foresee_stats(const struct tr_foresee *f, struct tr_predictor_stats *out)
{
	const struct quality *q = &f->quality;

	snprintf(out->name, sizeof(out->name), "%s", f->name);
	out->visits = q->n_visit;
	out->recall = share(q->n_top, q->n_used);
	out->recall_wide = share(q->n_wide, q->n_used);
	out->precision = share(q->n_likely_used, q->n_likely);
	out->brier = q->n_visit ? q->squared / (double)q->n_visit : 0;
	out->ahead_ns = f->ahead_ns;
	out->token_ns = f->token_ns;
}
