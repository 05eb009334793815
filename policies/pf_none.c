/* none - expects nothing. The baseline: eviction and prefetch get no help. */
#include "base/mem.h"
#include "policies/predictor.h"

#include <stdlib.h>
#include <string.h>

struct none {
	uint32_t n_expert;
};

static int none_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	struct none *s = tr_calloc(1, sizeof(*s));

	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "predictor none: no memory");
	s->n_expert = cfg->n_expert;
	*state = s;
	return 0;
}

static void none_observe(void *state, uint32_t layer, const uint32_t *experts, const float *weights,
	uint32_t n, const float *scores)
{
	(void)state;
	(void)layer;
	(void)experts;
	(void)weights;
	(void)n;
	(void)scores;
}

static void none_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct none *s = state;

	(void)layer;
	(void)horizon;
	memset(p, 0, s->n_expert * sizeof(*p));
}

const struct tr_predictor_ops tr_predictor_none = {
	.abi = TR_PREDICTOR_ABI,
	.name = "none",
	.summary = "expects nothing",
	.options = "",
	.init = none_init,
	.fini = free,
	.observe = none_observe,
	.predict = none_predict,
};
