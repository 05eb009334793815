/*
 * last - what the last token used comes again.
 *
 * How often it does is counted per horizon over all layers, so that the experts of the layer's last
 * visit get the measured probability and the others share what is left. Before a layer's first
 * visit all are alike.
 */
#include "base/mem.h"
#include "policies/predictor.h"

#include <stdlib.h>
#include <string.h>

struct last {
	struct tr_predictor_cfg cfg;
	uint32_t *n_visit;	      /* [n_layer] */
	bool *used;		      /* [n_layer][TR_MAX_HORIZON][n_expert] ring of visits */
	uint32_t *n_used;	      /* [n_layer][TR_MAX_HORIZON] */
	double asked[TR_MAX_HORIZON]; /* experts used, by visits since */
	double again[TR_MAX_HORIZON]; /* of these, used again */
};

static void last_fini(void *state)
{
	struct last *s = state;

	free(s->n_visit);
	free(s->used);
	free(s->n_used);
	free(s);
}

static int last_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	size_t n_set = (size_t)cfg->n_layer * TR_MAX_HORIZON;
	struct last *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->cfg = *cfg;
	s->n_visit = tr_calloc(cfg->n_layer, sizeof(*s->n_visit));
	s->used = tr_calloc(n_set, cfg->n_expert * sizeof(*s->used));
	s->n_used = tr_calloc(n_set, sizeof(*s->n_used));
	if (!s->n_visit || !s->used || !s->n_used) {
		last_fini(s);
		goto nomem;
	}
	/* A third comes again in published measurements; as if seen in one layer's visit. */
	for (uint32_t h = 0; h < TR_MAX_HORIZON; h++) {
		s->asked[h] = cfg->n_used;
		s->again[h] = cfg->n_used / 3.0;
	}
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "predictor last: no memory for %u layers of %u experts",
		cfg->n_layer, cfg->n_expert);
}

static size_t slot_of(uint32_t layer, uint32_t visit)
{
	return (size_t)layer * TR_MAX_HORIZON + visit % TR_MAX_HORIZON;
}

static void last_observe(void *state, uint32_t layer, const uint32_t *experts, const float *weights,
	uint32_t n, const float *scores)
{
	struct last *s = state;
	uint32_t visit = s->n_visit[layer]++;
	bool *used;

	(void)weights;
	(void)scores;
	for (uint32_t h = 1; h <= TR_MIN(visit, TR_MAX_HORIZON); h++) {
		size_t slot = slot_of(layer, visit - h);

		s->asked[h - 1] += s->n_used[slot];
		for (uint32_t i = 0; i < n; i++)
			s->again[h - 1] += s->used[slot * s->cfg.n_expert + experts[i]];
	}
	used = s->used + slot_of(layer, visit) * s->cfg.n_expert;
	memset(used, 0, s->cfg.n_expert * sizeof(*used));
	for (uint32_t i = 0; i < n; i++)
		used[experts[i]] = true;
	s->n_used[slot_of(layer, visit)] = n;
}

static void last_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct last *s = state;
	uint32_t n_expert = s->cfg.n_expert, visit = s->n_visit[layer];
	size_t slot = slot_of(layer, visit - 1);
	double again = s->again[horizon - 1] / s->asked[horizon - 1], other;
	uint32_t n = visit ? s->n_used[slot] : 0;

	other = n < n_expert ? (s->cfg.n_used - n * again) / (n_expert - n) : 0;
	other = TR_MAX(other, 0);
	other = TR_MIN(other, 1);
	for (uint32_t e = 0; e < n_expert; e++)
		p[e] = (float)(n && s->used[slot * n_expert + e] ? again : other);
}

const struct tr_predictor_ops tr_predictor_last = {
	.abi = TR_PREDICTOR_ABI,
	.name = "last",
	.summary = "what the last token used comes again, as often as it did so far",
	.options = "",
	.init = last_init,
	.fini = last_fini,
	.observe = last_observe,
	.predict = last_predict,
};
