#include "cache/guide.h"
#include "base/mem.h"
#include "model/quant.h"
#include "policies/predictor.h"
#include "policies/quality.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tr_guide {
	struct tr_guide_cfg cfg;
	struct tr_predictor predictor;
	char name[sizeof(((struct tr_predictor_stats *)0)->name)];
	uint32_t *layer_of; /* [n_layer] layer of the model */
	float *p;	    /* [n_layer][n_expert] the newest prediction of each layer's next visit */
	bool *has_p;	    /* [n_layer] */
	float *scores;	    /* [n_expert] */
	float *weights;	    /* [n_expert] */
	struct tr_quality quality;
};

/* --- open and close --------------------------------------------------------------------------- */

static bool alloc(struct tr_guide *g)
{
	g->layer_of = tr_calloc(g->cfg.n_layer, sizeof(*g->layer_of));
	g->p = tr_calloc((size_t)g->cfg.n_layer * g->cfg.n_expert, sizeof(*g->p));
	g->has_p = tr_calloc(g->cfg.n_layer, sizeof(*g->has_p));
	g->scores = tr_calloc(g->cfg.n_expert, sizeof(*g->scores));
	g->weights = tr_calloc(g->cfg.n_expert, sizeof(*g->weights));
	return g->layer_of && g->p && g->has_p && g->scores && g->weights;
}

int tr_guide_new(struct tr_guide **out, const struct tr_guide_cfg *cfg, const uint32_t *layer_of,
	struct tr_err *err)
{
	struct tr_predictor_cfg predictor = { cfg->n_layer, cfg->n_expert, cfg->n_used, 1 };
	struct tr_guide *g = tr_calloc(1, sizeof(*g));
	int rc = 0;

	if (g)
		g->cfg = *cfg;
	if (!g || !alloc(g))
		rc = tr_err_set(err, TR_E_NOMEM, "predictor %s: out of memory", cfg->predictor);
	if (!rc)
		rc = tr_predictor_open(&g->predictor, cfg->predictor, &predictor, err);
	if (rc) {
		tr_guide_free(g);
		return rc;
	}
	snprintf(g->name, sizeof(g->name), "%s", cfg->predictor);
	memcpy(g->layer_of, layer_of, cfg->n_layer * sizeof(*layer_of));
	*out = g;
	return 0;
}

void tr_guide_free(struct tr_guide *g)
{
	if (!g)
		return;
	if (g->predictor.ops)
		tr_predictor_close(&g->predictor);
	free(g->layer_of);
	free(g->p);
	free(g->has_p);
	free(g->scores);
	free(g->weights);
	free(g);
}

bool tr_guide_wants_scores(const struct tr_guide *g, bool early)
{
	return early ? g->predictor.ops->wants_lookahead : g->predictor.ops->wants_scores;
}

/* --- a pass ----------------------------------------------------------------------------------- */

static float *p_of(const struct tr_guide *g, uint32_t m)
{
	return g->p + (size_t)m * g->cfg.n_expert;
}

/* NULL when nothing is said. */
static const float *scores_of(struct tr_guide *g, uint32_t m, uint32_t ahead)
{
	const struct tr_sketch *s =
		g->cfg.ops.scores ? g->cfg.ops.scores(g->cfg.ctx, m, ahead) : NULL;

	if (s)
		tr_sketch_fill(s, g->scores, g->cfg.n_expert);
	return s ? g->scores : NULL;
}

/* Weights of the precision that a trace has. */
static const float *weights_of(struct tr_guide *g, const struct tr_guide_used *used)
{
	for (uint32_t i = 0; used->weights && i < used->n; i++)
		g->weights[i] = tr_f16_to_f32(tr_f32_to_f16(used->weights[i]));
	return used->weights ? g->weights : NULL;
}

static void observe(struct tr_guide *g, uint32_t m, const struct tr_guide_used *used)
{
	if (g->has_p[m])
		tr_quality_add(&g->quality, p_of(g, m), g->cfg.n_expert, used->ids, used->n);
	g->has_p[m] = false;
	g->predictor.ops->observe(g->predictor.state, m, used->ids, weights_of(g, used), used->n,
		scores_of(g, m, 0));
}

/* MoE layer m comes `ahead` such layers later; behind the last of them the next token begins. */
static void look_at(struct tr_guide *g, uint32_t m, uint32_t ahead, bool hints)
{
	const float *scores = m < g->cfg.n_layer ? scores_of(g, m, ahead) : NULL;
	float *p;

	m %= g->cfg.n_layer;
	p = p_of(g, m);
	if (scores && g->predictor.ops->lookahead)
		g->predictor.ops->lookahead(g->predictor.state, m, ahead, scores);
	g->predictor.ops->predict(g->predictor.state, m, 1, p);
	g->has_p[m] = true;
	if (hints)
		g->cfg.ops.hint(g->cfg.ctx, m, p, ahead);
	if (g->cfg.ops.expect)
		g->cfg.ops.expect(g->cfg.ctx, m, p);
}

/* The first MoE layer behind `layer`; n_layer when there is none. */
static uint32_t next_moe(const struct tr_guide *g, uint32_t layer)
{
	uint32_t m = 0;

	while (m < g->cfg.n_layer && g->layer_of[m] <= layer)
		m++;
	return m;
}

void tr_guide_pass(struct tr_guide *g, uint32_t layer, const struct tr_guide_used *used,
	uint32_t n_ahead, bool hints)
{
	uint32_t next = next_moe(g, layer);

	tr_assert(n_ahead <= TR_GUIDE_AHEAD && (!hints || g->cfg.ops.hint));
	if (used) {
		tr_assert(next && g->layer_of[next - 1] == layer);
		observe(g, next - 1, used);
	}
	for (uint32_t ahead = 1; ahead <= n_ahead; ahead++)
		look_at(g, next + ahead - 1, ahead, hints);
}

/* --- statistics ------------------------------------------------------------------------------- */

void tr_guide_stats(const struct tr_guide *g, struct tr_predictor_stats *out)
{
	snprintf(out->name, sizeof(out->name), "%s", g->name);
	out->visits = g->quality.n_visit;
	out->recall = tr_quality_recall(&g->quality);
	out->recall_wide = tr_quality_recall_wide(&g->quality);
	out->precision = tr_quality_precision(&g->quality);
	out->brier = tr_quality_brier(&g->quality);
}

void tr_guide_restart_stats(struct tr_guide *g)
{
	g->quality = (struct tr_quality){ 0 };
}
