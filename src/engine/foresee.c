#include "engine/foresee.h"
#include "base/mem.h"
#include "cache/guide.h"
#include "cache/place.h"
#include "policies/top.h"

#include <stdlib.h>
#include <string.h>

/* Candidates are the likeliest 1.5 n_used experts of a layer, if they are at least this likely. */
#define WIDE(n_used) ((n_used) + (n_used) / 2)
#define MIN_P 0.05f

struct tr_foresee {
	struct tr_foresee_cfg cfg;
	struct tr_guide *guide;
	/* What routers say is wanted, by the predictor or the trace: at their layer, ahead of it. */
	bool hears, looks;
	bool records; /* what they say goes to the trace */
	uint32_t n_expert, n_used, n_wide;
	uint32_t *layer_of; /* [MoE layers] layer of the model */
	float *scores;	    /* [n_expert] aligned */
	struct tr_sketch sketch;
	uint32_t *top; /* [larger of sketch.n and n_wide] experts, likeliest first */
	uint32_t *ids; /* [n_wide] candidates as units */
	float *ids_p;
	uint64_t ahead_ns, token_ns;

	/* The pass in work. */
	struct tr_run *run;
	const struct tr_routed *routed;
	uint32_t reach;
};

/* --- what the guide asks ---------------------------------------------------------------------- */

static const struct tr_sketch *say_scores(void *ctx, uint32_t m, uint32_t ahead)
{
	struct tr_foresee *f = ctx;
	const float *scores = f->scores;

	if (ahead ? !f->looks || !f->cfg.arch->route_ahead : !f->hears)
		return NULL;
	if (ahead)
		f->cfg.arch->route_ahead(f->cfg.am, f->run, f->layer_of[m], f->scores);
	else
		scores = f->routed->scores;
	tr_sketch_draw(&f->sketch, scores, f->n_expert, f->top);
	if (f->records)
		tr_trace_write_scores(f->run->trace, m, ahead, &f->sketch);
	return &f->sketch;
}

static void hint(void *ctx, uint32_t m, const float *p, uint32_t ahead)
{
	struct tr_foresee *f = ctx;

	tr_cache_hint(f->cfg.cache, f->cfg.catalog->moe_layers[m].first_unit, p, f->n_expert,
		ahead);
}

/* Units of a layer that are likely and not better used where they are go to the cache. */
static void read_ahead(void *ctx, uint32_t m, const float *p)
{
	struct tr_foresee *f = ctx;
	uint32_t first = f->cfg.catalog->moe_layers[m].first_unit, i, n = 0;

	if (!f->reach)
		return;
	tr_top(p, f->n_expert, f->top, f->n_wide);
	for (i = 0; i < f->n_wide && p[f->top[i]] >= MIN_P; i++) {
		if (f->cfg.home[first + f->top[i]] != TR_HOME_FILE ||
			(f->cfg.vram && tr_vram_tier_has(f->cfg.vram, first + f->top[i])))
			continue;
		f->ids[n] = first + f->top[i];
		f->ids_p[n++] = p[f->top[i]];
	}
	tr_cache_prefetch(f->cfg.cache, f->ids, f->ids_p, n);
}

/* --- open and close --------------------------------------------------------------------------- */

static bool alloc(struct tr_foresee *f)
{
	f->layer_of = tr_calloc(f->cfg.catalog->n_moe_layer, sizeof(*f->layer_of));
	f->scores = tr_alloc(tr_ops_stride(f->n_expert), sizeof(*f->scores));
	f->sketch.expert = tr_calloc(f->sketch.n, sizeof(*f->sketch.expert));
	f->sketch.score = tr_calloc(f->sketch.n, sizeof(*f->sketch.score));
	f->top = tr_calloc(TR_MAX(f->sketch.n, f->n_wide), sizeof(*f->top));
	f->ids = tr_calloc(f->n_wide, sizeof(*f->ids));
	f->ids_p = tr_calloc(f->n_wide, sizeof(*f->ids_p));
	return f->layer_of && f->scores && f->sketch.expert && f->sketch.score && f->top &&
		f->ids && f->ids_p;
}

static int open_guide(struct tr_foresee *f, struct tr_err *err)
{
	const struct tr_catalog *c = f->cfg.catalog;
	struct tr_guide_cfg cfg = {
		.predictor = f->cfg.predictor,
		.n_layer = (uint32_t)c->n_moe_layer,
		.n_expert = c->n_expert,
		.n_used = c->n_used,
		.ops = { say_scores, hint, read_ahead },
		.ctx = f,
	};
	uint32_t l;

	for (l = 0; l < c->n_layer; l++)
		if (c->moe_of_layer[l] >= 0)
			f->layer_of[c->moe_of_layer[l]] = l;
	return tr_guide_new(&f->guide, &cfg, f->layer_of, err);
}

int tr_foresee_new(struct tr_foresee **out, const struct tr_foresee_cfg *cfg, struct tr_err *err)
{
	const struct tr_catalog *c = cfg->catalog;
	struct tr_foresee *f = tr_calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return tr_err_set(err, TR_E_NOMEM, "predictor: out of memory");
	f->cfg = *cfg;
	f->n_expert = c->n_expert;
	f->n_used = c->n_used;
	f->n_wide = TR_MIN(WIDE(f->n_used), f->n_expert);
	f->sketch.n = tr_sketch_size(f->n_expert, f->n_used);
	rc = alloc(f) ? open_guide(f, err)
		      : tr_err_set(err, TR_E_NOMEM, "predictor: out of memory");
	if (rc) {
		tr_foresee_free(f);
		return rc;
	}
	f->records = cfg->record_scores;
	f->hears = f->records || tr_guide_wants_scores(f->guide, false);
	f->looks = f->records || tr_guide_wants_scores(f->guide, true);
	*out = f;
	return 0;
}

void tr_foresee_free(struct tr_foresee *f)
{
	if (!f)
		return;
	tr_guide_free(f->guide);
	free(f->layer_of);
	free(f->scores);
	free(f->sketch.expert);
	free(f->sketch.score);
	free(f->top);
	free(f->ids);
	free(f->ids_p);
	free(f);
}

/* --- a layer ---------------------------------------------------------------------------------- */

/* The second layer is looked at where there is room to read for it, or the trace is to have it: for
 * a policy that listens it changes nothing that can be measured (policies/README.md). Where reading
 * ahead is wanted and now impossible or switched off, nothing is looked at: times without it are
 * compared with times with all that belongs to it. */
static uint32_t n_ahead(const struct tr_foresee *f)
{
	if (f->records || f->reach > f->n_used)
		return TR_GUIDE_AHEAD;
	return f->reach || !f->cfg.prefetch ? 1 : 0;
}

void tr_foresee_look(struct tr_foresee *f, struct tr_run *run, uint32_t layer,
	const struct tr_routed *routed)
{
	uint64_t start = tr_now_ns(f->cfg.clock);
	bool hints = tr_cache_takes_hints(f->cfg.cache);
	struct tr_guide_used used = { f->n_used, routed ? routed->ids : NULL,
		routed ? routed->weights : NULL };

	f->run = run;
	f->routed = routed;
	f->reach = tr_cache_reach(f->cfg.cache);
	tr_guide_pass(f->guide, layer, routed ? &used : NULL, n_ahead(f), hints);
	tr_cache_poll(f->cfg.cache, NULL, 0);
	f->ahead_ns += tr_now_ns(f->cfg.clock) - start;
}

void tr_foresee_token(struct tr_foresee *f, uint64_t ns)
{
	f->token_ns += ns;
	tr_cache_note_token(f->cfg.cache, ns);
}

void tr_foresee_stats(const struct tr_foresee *f, struct tr_predictor_stats *out)
{
	tr_guide_stats(f->guide, out);
	out->ahead_ns = f->ahead_ns;
	out->token_ns = f->token_ns;
}
