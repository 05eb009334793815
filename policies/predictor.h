/*
 * predictor.h - which experts will be used soon.
 *
 * A predictor sees router activity while tokens are decoded and gives, for any MoE layer, the
 * probability that each of its experts is used at that layer's next visit (horizon 1), and at visits
 * 2, 3, 4 from now (horizon h: probability of use in that one visit). Probabilities are calibrated:
 * among experts given p, a share p is used. Experts are counted from 0 within their layer; layers are
 * indices of MoE layers. State is flat arrays allocated in init; nothing is allocated afterwards.
 */
#ifndef TR_POLICIES_PREDICTOR_H
#define TR_POLICIES_PREDICTOR_H

#include "base/err.h"

#include <stddef.h>

#define TR_PREDICTOR_ABI 1
#define TR_MAX_HORIZON 4

struct tr_predictor_cfg {
	uint32_t n_layer;  /* MoE layers */
	uint32_t n_expert; /* per layer */
	uint32_t n_used;   /* per token and layer */
	uint32_t n_horizon; /* the farthest that is asked for; 0: TR_MAX_HORIZON */
};

struct tr_predictor_ops {
	uint32_t abi; /* TR_PREDICTOR_ABI */
	const char *name;
	const char *summary; /* one line */
	const char *options; /* "key=default meaning; ..." or "" */

	/* Required. As in policy.h; option is optional. */
	int (*init)(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err);
	void (*fini)(void *state);
	int (*option)(void *state, const char *key, const char *value, struct tr_err *err);

	/* Required. The layer was routed for a token: n experts in router rank, their weights, and the
	 * router's probability of every expert ([n_expert], NULL when unknown, as in a trace). */
	void (*observe)(void *state, uint32_t layer, const uint32_t *experts, const float *weights,
		uint32_t n, const float *scores);

	/* Optional. The router of `layer` was applied early, to the hidden state `ahead` layers before
	 * it (1 or 2): its probability of every expert. Belongs to the layer's next visit. */
	void (*lookahead)(void *state, uint32_t layer, uint32_t ahead, const float *scores);
	/* True: the engine should compute look-ahead scores (they cost a matrix product each). */
	bool wants_lookahead;
	/* True: the scores of observe are made use of. */
	bool wants_scores;

	/* Required. p[n_expert] of the layer's visit `horizon` from now, 1 to TR_MAX_HORIZON. */
	void (*predict)(void *state, uint32_t layer, uint32_t horizon, float *p);
};

/* --- registry --------------------------------------------------------------------------------- */

size_t tr_predictor_count(void);
const struct tr_predictor_ops *tr_predictor_at(size_t i);
const struct tr_predictor_ops *tr_predictor_by_name(const char *name);

struct tr_predictor {
	const struct tr_predictor_ops *ops;
	void *state;
};

/* spec is "NAME[,option=value...]". Unknown names and options fail with what there is. */
int tr_predictor_open(struct tr_predictor *predictor, const char *spec,
	const struct tr_predictor_cfg *cfg, struct tr_err *err);
void tr_predictor_close(struct tr_predictor *predictor);

#endif
