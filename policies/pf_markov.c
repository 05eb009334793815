/*
 * markov - experts of one layer call those of the next.
 *
 * For each layer, how often expert j was used after expert i of the layer before (of the previous
 * token's last layer for the first). The next visit takes the mean over the experts that the layer
 * before has just used, each row filled up with how often j is used at all; when the layer before
 * has not been routed since, and for later visits, that rate is all there is.
 *
 * Counts are 16 bits and halve in a row when one is full, which also lets it forget. Memory: 2
 * bytes x layers x experts squared, 18 MB for 60 x 384.
 */
#include "base/mem.h"
#include "policies/predictor.h"

#include <stdlib.h>
#include <string.h>

enum { FULL = UINT16_MAX };
/* Uses of an expert that the rate at large weighs in its row. */
#define FILL 8.0f

struct markov {
	struct tr_predictor_cfg cfg;
	uint16_t *pair;	 /* [n_layer][n_expert before][n_expert] */
	uint16_t *row;	 /* [n_layer][n_expert before] times the row was counted in */
	float *rate;	 /* [n_layer][n_expert] uses per visit */
	uint32_t *set;	 /* [n_layer][n_expert] what the last visit used */
	uint32_t *n_set; /* [n_layer] */
	uint64_t *seen;	 /* [n_layer] clock of the last visit, 0: never */
	uint64_t clock;
};

static void markov_fini(void *state)
{
	struct markov *s = state;

	free(s->pair);
	free(s->row);
	free(s->rate);
	free(s->set);
	free(s->n_set);
	free(s->seen);
	free(s);
}

static int markov_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	size_t n = (size_t)cfg->n_layer * cfg->n_expert;
	struct markov *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->cfg = *cfg;
	s->pair = tr_calloc(n, cfg->n_expert * sizeof(*s->pair));
	s->row = tr_calloc(n, sizeof(*s->row));
	s->rate = tr_calloc(n, sizeof(*s->rate));
	s->set = tr_calloc(n, sizeof(*s->set));
	s->n_set = tr_calloc(cfg->n_layer, sizeof(*s->n_set));
	s->seen = tr_calloc(cfg->n_layer, sizeof(*s->seen));
	if (!s->pair || !s->row || !s->rate || !s->set || !s->n_set || !s->seen) {
		markov_fini(s);
		goto nomem;
	}
	for (size_t i = 0; i < n; i++)
		s->rate[i] = (float)cfg->n_used / (float)cfg->n_expert;
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM,
		"predictor markov: no memory for %u layers of %u experts squared", cfg->n_layer,
		cfg->n_expert);
}

static uint32_t before(const struct markov *s, uint32_t layer)
{
	return layer ? layer - 1 : s->cfg.n_layer - 1;
}

/* The layer before has been routed since this one was. */
static bool is_called(const struct markov *s, uint32_t layer)
{
	uint32_t b = before(s, layer);

	return s->seen[b] && (s->seen[b] > s->seen[layer] || b == layer);
}

static void count_row(
	struct markov *s, uint32_t layer, uint32_t i, const uint32_t *experts, uint32_t n)
{
	size_t row = (size_t)layer * s->cfg.n_expert + i;
	uint16_t *pair = s->pair + row * s->cfg.n_expert;

	if (s->row[row] == FULL) {
		s->row[row] /= 2;
		for (uint32_t e = 0; e < s->cfg.n_expert; e++)
			pair[e] /= 2;
	}
	s->row[row]++;
	for (uint32_t j = 0; j < n; j++)
		pair[experts[j]]++;
}

static void markov_observe(void *state, uint32_t layer, const uint32_t *experts,
	const float *weights, uint32_t n, const float *scores)
{
	struct markov *s = state;
	size_t first = (size_t)layer * s->cfg.n_expert;
	uint32_t b = before(s, layer);
	float step = 0.02f;

	(void)weights;
	(void)scores;
	if (is_called(s, layer))
		for (uint32_t i = 0; i < s->n_set[b]; i++)
			count_row(s, layer, s->set[(size_t)b * s->cfg.n_expert + i], experts, n);
	for (uint32_t e = 0; e < s->cfg.n_expert; e++)
		s->rate[first + e] -= step * s->rate[first + e];
	for (uint32_t i = 0; i < n; i++)
		s->rate[first + experts[i]] += step;
	memcpy(s->set + first, experts, n * sizeof(*experts));
	s->n_set[layer] = n;
	s->seen[layer] = ++s->clock;
}

static void add_row(const struct markov *s, uint32_t layer, uint32_t i, float share, float *p)
{
	size_t row = (size_t)layer * s->cfg.n_expert + i;
	const float *rate = s->rate + (size_t)layer * s->cfg.n_expert;
	const uint16_t *pair = s->pair + row * s->cfg.n_expert;
	float scale = share / ((float)s->row[row] + FILL);

	for (uint32_t e = 0; e < s->cfg.n_expert; e++)
		p[e] += scale * ((float)pair[e] + FILL * rate[e]);
}

static void markov_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct markov *s = state;
	uint32_t b = before(s, layer), n = s->n_set[b];

	if (horizon > 1 || !n || !is_called(s, layer)) {
		memcpy(p, s->rate + (size_t)layer * s->cfg.n_expert, s->cfg.n_expert * sizeof(*p));
		return;
	}
	memset(p, 0, s->cfg.n_expert * sizeof(*p));
	for (uint32_t i = 0; i < n; i++)
		add_row(s, layer, s->set[(size_t)b * s->cfg.n_expert + i], 1 / (float)n, p);
	for (uint32_t e = 0; e < s->cfg.n_expert; e++)
		p[e] = TR_MIN(p[e], 1);
}

const struct tr_predictor_ops tr_predictor_markov = {
	.abi = TR_PREDICTOR_ABI,
	.name = "markov",
	.summary = "counts of which experts follow those of the layer before",
	.options = "",
	.init = markov_init,
	.fini = markov_fini,
	.observe = markov_observe,
	.predict = markov_predict,
};
