/*
 * gate - what the routers say when they are applied early.
 *
 * Of each layer's next visit the newest early scores are kept. The expert that they rank r-th is
 * given the share of visits in which an expert ranked r-th was used, counted apart for one and two
 * layers ahead and forgotten slowly. Without early scores every expert is equally likely.
 */
#include "base/mem.h"
#include "policies/predictor.h"

#include <stdlib.h>
#include <string.h>

#define MAX_AHEAD 2
/* Ranks told apart; those behind share what is left. */
#define N_RANK 64
#define KEEP_PER_VISIT 0.998

struct rank_counts {
	double seen, used;
};

struct gate {
	struct tr_predictor_cfg cfg;
	uint32_t n_rank;
	float *scores;	 /* [n_layer][MAX_AHEAD][n_expert] */
	bool *has;	 /* [n_layer][MAX_AHEAD] */
	uint32_t *top;	 /* [n_rank] experts by descending score */
	bool *used;	 /* [n_expert] */
	struct rank_counts counts[MAX_AHEAD][N_RANK];
};

static void gate_fini(void *state)
{
	struct gate *g = state;

	free(g->scores);
	free(g->has);
	free(g->top);
	free(g->used);
	free(g);
}

static int gate_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	struct gate *g = tr_calloc(1, sizeof(*g));

	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "predictor gate: no memory");
	g->cfg = *cfg;
	g->n_rank = TR_MIN(cfg->n_expert, (uint32_t)N_RANK);
	g->scores = tr_calloc((size_t)cfg->n_layer * MAX_AHEAD * cfg->n_expert, sizeof(float));
	g->has = tr_calloc((size_t)cfg->n_layer * MAX_AHEAD, sizeof(*g->has));
	g->top = tr_calloc(g->n_rank, sizeof(*g->top));
	g->used = tr_calloc(cfg->n_expert, sizeof(*g->used));
	if (!g->scores || !g->has || !g->top || !g->used) {
		gate_fini(g);
		return tr_err_set(err, TR_E_NOMEM, "predictor gate: no memory for %u layers of %u",
			cfg->n_layer, cfg->n_expert);
	}
	for (uint32_t a = 0; a < MAX_AHEAD; a++)
		for (uint32_t r = 0; r < g->n_rank; r++)
			g->counts[a][r] = (struct rank_counts){ 1, r < cfg->n_used ? 0.6 : 0.05 };
	*state = g;
	return 0;
}

static float *scores_of(struct gate *g, uint32_t layer, uint32_t a)
{
	return g->scores + ((size_t)layer * MAX_AHEAD + a) * g->cfg.n_expert;
}

/* The lower number first among equals. */
static void rank(struct gate *g, const float *scores)
{
	uint32_t n = 0, e, i;

	for (e = 0; e < g->cfg.n_expert; e++) {
		if (n == g->n_rank && scores[e] <= scores[g->top[n - 1]])
			continue;
		for (i = n < g->n_rank ? n++ : n - 1; i && scores[g->top[i - 1]] < scores[e]; i--)
			g->top[i] = g->top[i - 1];
		g->top[i] = e;
	}
}

static void count(struct gate *g, uint32_t layer, uint32_t a)
{
	struct rank_counts *c = g->counts[a];

	rank(g, scores_of(g, layer, a));
	for (uint32_t r = 0; r < g->n_rank; r++) {
		c[r].seen = c[r].seen * KEEP_PER_VISIT + 1;
		c[r].used = c[r].used * KEEP_PER_VISIT + g->used[g->top[r]];
	}
}

static void gate_observe(void *state, uint32_t layer, const uint32_t *experts, const float *weights,
	uint32_t n, const float *scores)
{
	struct gate *g = state;

	(void)weights;
	(void)scores;
	memset(g->used, 0, g->cfg.n_expert * sizeof(*g->used));
	for (uint32_t i = 0; i < n; i++)
		g->used[experts[i]] = true;
	for (uint32_t a = 0; a < MAX_AHEAD; a++) {
		if (g->has[layer * MAX_AHEAD + a])
			count(g, layer, a);
		g->has[layer * MAX_AHEAD + a] = false;
	}
}

static void gate_lookahead(void *state, uint32_t layer, uint32_t ahead, const float *scores)
{
	struct gate *g = state;

	memcpy(scores_of(g, layer, ahead - 1), scores, g->cfg.n_expert * sizeof(*scores));
	g->has[layer * MAX_AHEAD + ahead - 1] = true;
}

static void gate_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct gate *g = state;
	const struct tr_predictor_cfg *c = &g->cfg;
	float rest = (float)c->n_used / (float)c->n_expert;
	uint32_t a = 0, e, r;
	double sum = 0;

	while (a < MAX_AHEAD && !g->has[layer * MAX_AHEAD + a])
		a++;
	if (horizon > 1 || a == MAX_AHEAD) {
		for (e = 0; e < c->n_expert; e++)
			p[e] = rest;
		return;
	}
	for (r = 0; r < g->n_rank; r++)
		sum += g->counts[a][r].used / g->counts[a][r].seen;
	rest = c->n_expert > g->n_rank && sum < c->n_used ?
		(float)((c->n_used - sum) / (c->n_expert - g->n_rank)) :
		0;
	for (e = 0; e < c->n_expert; e++)
		p[e] = rest;
	rank(g, scores_of(g, layer, a));
	for (r = 0; r < g->n_rank; r++)
		p[g->top[r]] = (float)(g->counts[a][r].used / g->counts[a][r].seen);
}

const struct tr_predictor_ops tr_predictor_gate = {
	.abi = TR_PREDICTOR_ABI,
	.name = "gate",
	.summary = "routers of the next layers applied early",
	.options = "",
	.init = gate_init,
	.fini = gate_fini,
	.observe = gate_observe,
	.lookahead = gate_lookahead,
	.wants_lookahead = true,
	.predict = gate_predict,
};
