/*
 * echo - what followed when the routing last looked like this.
 *
 * The estimates of outlook.h as a predictor: the votes of the best matching lags of the stream with
 * itself, two averages and the last visit, combined by logistic regression learned online. Needs
 * ids only; the strongest of the predictors that do not look at hidden states.
 */
#include "base/mem.h"
#include "base/opt.h"
#include "policies/outlook.h"
#include "policies/predictor.h"

#include <stdlib.h>
#include <string.h>

_Static_assert((int)TR_MAX_HORIZON == (int)TR_OUTLOOK_HORIZON, "an outlook serves all horizons");

static void echo_fini(void *state)
{
	tr_outlook_fini(state);
	free(state);
}

static int echo_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	struct tr_outlook *o = tr_calloc(1, sizeof(*o));

	if (!o || tr_outlook_init(o, cfg->n_layer, cfg->n_expert, 256)) {
		free(o);
		return tr_err_set(err, TR_E_NOMEM,
			"predictor echo: no memory for %u layers of %u experts", cfg->n_layer,
			cfg->n_expert);
	}
	*state = o;
	return 0;
}

static int echo_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct tr_outlook *o = state;
	uint64_t tokens;
	int rc;

	if (strcmp(key, "memory"))
		return TR_E_NOENT;
	rc = tr_opt_u64(key, value, 2, 1 << 16, &tokens, err);
	if (rc)
		return rc;
	tr_echo_fini(&o->echo);
	if (!tr_echo_init(&o->echo, o->n_layer, o->n_expert, (uint32_t)tokens))
		return 0;
	return tr_err_set(err, TR_E_NOMEM, "predictor echo: no memory for %s tokens", value);
}

static void echo_observe(void *state, uint32_t layer, const uint32_t *experts, const float *weights,
	uint32_t n, const float *scores)
{
	struct tr_outlook *o = state;

	(void)weights;
	(void)scores;
	tr_outlook_visit(o, layer, experts, n);
	/* All horizons at once are learned from after every fourth visit only; predict asks for the
	 * one that is wanted. */
	if (o->n_visit[layer] % TR_OUTLOOK_HORIZON == 1)
		tr_outlook_estimate(o, layer);
}

static void echo_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct tr_outlook *o = state;

	memcpy(p, tr_outlook_glance(o, layer, horizon), o->n_expert * sizeof(*p));
}

const struct tr_predictor_ops tr_predictor_echo = {
	.abi = TR_PREDICTOR_ABI,
	.name = "echo",
	.summary = "what followed when the routing last looked like this, learned online",
	.options = "memory=256 tokens whose routing is remembered",
	.init = echo_init,
	.fini = echo_fini,
	.option = echo_option,
	.observe = echo_observe,
	.predict = echo_predict,
};
