/*
 * freq - what has been used much is used again.
 *
 * A decayed mean of each expert's gate mass: its share of the router's probability where the router
 * tells all of them, so that an expert that is nearly chosen counts; else its share of the selected
 * weights. Probabilities are n_used times the share; what exceeds 1 is given to the others.
 */
#include "base/mem.h"
#include "base/opt.h"
#include "policies/predictor.h"

#include <stdlib.h>
#include <string.h>

struct freq {
	struct tr_predictor_cfg cfg;
	float step;
	float *mass; /* [n_layer][n_expert] sums to 1 in a layer */
};

static void freq_fini(void *state)
{
	struct freq *s = state;

	free(s->mass);
	free(s);
}

static int freq_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	size_t n = (size_t)cfg->n_layer * cfg->n_expert;
	struct freq *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->cfg = *cfg;
	s->step = 0.05f;
	s->mass = tr_calloc(n, sizeof(*s->mass));
	if (!s->mass) {
		freq_fini(s);
		goto nomem;
	}
	for (size_t i = 0; i < n; i++)
		s->mass[i] = 1 / (float)cfg->n_expert;
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "predictor freq: no memory for %u layers of %u experts",
		cfg->n_layer, cfg->n_expert);
}

static int freq_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct freq *s = state;
	double step;
	int rc;

	if (strcmp(key, "step"))
		return TR_E_NOENT;
	rc = tr_opt_f64(key, value, 1e-5, 1, &step, err);
	if (!rc)
		s->step = (float)step;
	return rc;
}

static float sum_of(const float *v, uint32_t n)
{
	float sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += v[i];
	return sum;
}

static void freq_observe(void *state, uint32_t layer, const uint32_t *experts, const float *weights,
	uint32_t n, const float *scores)
{
	struct freq *s = state;
	float *mass = s->mass + (size_t)layer * s->cfg.n_expert;
	float sum;

	if (scores) {
		sum = sum_of(scores, s->cfg.n_expert);
		for (uint32_t e = 0; sum > 0 && e < s->cfg.n_expert; e++)
			mass[e] += s->step * (scores[e] / sum - mass[e]);
		return;
	}
	sum = weights ? sum_of(weights, n) : 0;
	for (uint32_t e = 0; n && e < s->cfg.n_expert; e++)
		mass[e] -= s->step * mass[e];
	for (uint32_t i = 0; i < n; i++)
		mass[experts[i]] += s->step * (sum > 0 ? weights[i] / sum : 1 / (float)n);
}

/* Fills up to 1 those that get more, and shares the rest among the others until all fit. */
static void freq_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct freq *s = state;
	const float *mass = s->mass + (size_t)layer * s->cfg.n_expert;
	float left = (float)s->cfg.n_used, open = 1, factor;
	bool full = true;

	(void)horizon;
	memset(p, 0, s->cfg.n_expert * sizeof(*p));
	for (factor = left; full && open > 0; factor = left / open) {
		full = false;
		for (uint32_t e = 0; e < s->cfg.n_expert; e++) {
			if (p[e] >= 1 || mass[e] * factor < 1)
				continue;
			p[e] = 1;
			left -= 1;
			open -= mass[e];
			full = true;
		}
		if (left <= 0 || open < 1e-6f)
			break;
	}
	factor = left > 0 && open > 1e-6f ? left / open : 0;
	for (uint32_t e = 0; e < s->cfg.n_expert; e++)
		if (p[e] < 1)
			p[e] = TR_MIN(mass[e] * factor, 1);
}

const struct tr_predictor_ops tr_predictor_freq = {
	.abi = TR_PREDICTOR_ABI,
	.name = "freq",
	.summary = "decayed mean of each expert's share of the gate",
	.options = "step=0.05 weight of the newest token",
	.init = freq_init,
	.fini = freq_fini,
	.option = freq_option,
	.observe = freq_observe,
	.wants_scores = true,
	.predict = freq_predict,
};
