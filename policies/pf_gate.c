/*
 * gate - the layer's own router, applied before its time.
 *
 * A router run on the hidden state one or two layers early ranks the experts nearly as it will rank
 * them later. Its scores are not probabilities of being chosen, so only the order is taken: how
 * often the expert at each rank was used is counted, per distance, and is the probability. Ranks
 * beyond four times n_used are counted together. Where no scores came since the layer's last visit,
 * and for later visits, it answers as `last` does.
 */
#include "base/mem.h"
#include "policies/predictor.h"
#include "policies/top.h"

#include <stdlib.h>
#include <string.h>

extern const struct tr_predictor_ops tr_predictor_last;

enum { MAX_AHEAD = 2 };

struct gate {
	struct tr_predictor_cfg cfg;
	void *last;	 /* state of the fallback */
	uint32_t n_rank; /* ranks told apart; the rest is rank n_rank */
	uint32_t *rank;	 /* [n_layer][n_expert] */
	uint8_t *ahead;	 /* [n_layer] distance of the scores that wait for the visit, 0: none */
	uint32_t *order; /* [n_rank] scratch: the best experts */
	double *asked;	 /* [MAX_AHEAD][n_rank + 1] */
	double *used;	 /* [MAX_AHEAD][n_rank + 1] */
};

static void gate_fini(void *state)
{
	struct gate *s = state;

	if (s->last)
		tr_predictor_last.fini(s->last);
	free(s->rank);
	free(s->ahead);
	free(s->order);
	free(s->asked);
	free(s->used);
	free(s);
}

/* As if each rank had been seen twice: the first n_used mostly used, then ever less. */
static void set_prior(struct gate *s)
{
	uint32_t n_rest = s->cfg.n_expert - s->n_rank;

	for (uint32_t i = 0; i < MAX_AHEAD * (s->n_rank + 1); i++) {
		uint32_t rank = i % (s->n_rank + 1);
		double p = rank < s->cfg.n_used ? 0.75 : rank < 2 * s->cfg.n_used ? 0.15 : 0.03;

		s->asked[i] = rank < s->n_rank ? 2 : 2 * (double)n_rest;
		s->used[i] = s->asked[i] * (rank < s->n_rank ? p : 0.002);
	}
}

static int gate_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	size_t n = (size_t)cfg->n_layer * cfg->n_expert;
	struct gate *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->cfg = *cfg;
	s->n_rank = TR_MIN(4 * cfg->n_used, cfg->n_expert);
	s->rank = tr_calloc(n, sizeof(*s->rank));
	s->ahead = tr_calloc(cfg->n_layer, sizeof(*s->ahead));
	s->order = tr_calloc(s->n_rank, sizeof(*s->order));
	s->asked = tr_calloc(MAX_AHEAD * (s->n_rank + 1), sizeof(*s->asked));
	s->used = tr_calloc(MAX_AHEAD * (s->n_rank + 1), sizeof(*s->used));
	if (!s->rank || !s->ahead || !s->order || !s->asked || !s->used ||
		tr_predictor_last.init(&s->last, cfg, err)) {
		gate_fini(s);
		goto nomem;
	}
	set_prior(s);
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "predictor gate: no memory for %u layers of %u experts",
		cfg->n_layer, cfg->n_expert);
}

static void learn(struct gate *s, uint32_t layer, const uint32_t *experts, uint32_t n)
{
	const uint32_t *rank = s->rank + (size_t)layer * s->cfg.n_expert;
	size_t row = (s->ahead[layer] - 1u) * (s->n_rank + 1);

	for (uint32_t i = 0; i < s->n_rank; i++)
		s->asked[row + i] += 1;
	s->asked[row + s->n_rank] += s->cfg.n_expert - s->n_rank;
	for (uint32_t i = 0; i < n; i++)
		s->used[row + rank[experts[i]]] += 1;
}

static void gate_observe(void *state, uint32_t layer, const uint32_t *experts, const float *weights,
	uint32_t n, const float *scores)
{
	struct gate *s = state;

	if (s->ahead[layer])
		learn(s, layer, experts, n);
	s->ahead[layer] = 0;
	tr_predictor_last.observe(s->last, layer, experts, weights, n, scores);
}

static void gate_lookahead(void *state, uint32_t layer, uint32_t ahead, const float *scores)
{
	struct gate *s = state;
	uint32_t *rank = s->rank + (size_t)layer * s->cfg.n_expert;

	if (!ahead || ahead > MAX_AHEAD || (s->ahead[layer] && s->ahead[layer] < ahead))
		return;
	tr_top(scores, s->cfg.n_expert, s->order, s->n_rank);
	for (uint32_t e = 0; e < s->cfg.n_expert; e++)
		rank[e] = s->n_rank;
	for (uint32_t i = 0; i < s->n_rank; i++)
		rank[s->order[i]] = i;
	s->ahead[layer] = (uint8_t)ahead;
}

static void gate_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct gate *s = state;
	const uint32_t *rank = s->rank + (size_t)layer * s->cfg.n_expert;
	size_t row;

	if (horizon > 1 || !s->ahead[layer]) {
		tr_predictor_last.predict(s->last, layer, horizon, p);
		return;
	}
	row = (s->ahead[layer] - 1u) * (s->n_rank + 1);
	for (uint32_t e = 0; e < s->cfg.n_expert; e++) {
		double asked = s->asked[row + rank[e]];

		p[e] = asked > 0 ? (float)(s->used[row + rank[e]] / asked) : 0;
	}
}

const struct tr_predictor_ops tr_predictor_gate = {
	.abi = TR_PREDICTOR_ABI,
	.name = "gate",
	.summary = "the layer's router applied one or two layers early",
	.options = "",
	.init = gate_init,
	.fini = gate_fini,
	.observe = gate_observe,
	.lookahead = gate_lookahead,
	.wants_lookahead = true,
	.predict = gate_predict,
};
