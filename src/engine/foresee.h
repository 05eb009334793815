/*
 * foresee.h - sees which experts the next layers will use, and acts on it.
 *
 * While one token at a time is decoded, each MoE layer calls tr_foresee_look once its reads have been
 * submitted. The predictor is told what was routed and, if it wants, what the routers of the next two
 * MoE layers say of the present hidden state (after this layer's attention, before its experts): that
 * costs two small matrix products, done while reads are in flight. Its probabilities go to the cache,
 * which reads ahead, and to the cache policy, if it listens (cache/guide.h). Every prediction is held
 * against what is then used.
 *
 * Nothing here changes what is computed. One per engine; calls come from the thread that runs it.
 */
#ifndef TR_ENGINE_FORESEE_H
#define TR_ENGINE_FORESEE_H

#include "engine/arch.h"

struct tr_foresee;

struct tr_foresee_cfg {
	const char *predictor; /* "NAME[,option=value...]" */
	const struct tr_catalog *catalog;
	const uint32_t *home;  /* [n_unit] units in persistent memory are not read ahead */
	struct tr_vram_tier *vram; /* nor are those that are here; NULL: none */
	const struct tr_arch_ops *arch;
	const void *am;
	struct tr_cache *cache;
	bool prefetch; /* else predictions are only graded and handed to the policy */
	bool record_scores; /* what routers say goes to the trace of the run, which is there */
	const struct tr_clock *clock;
};

int tr_foresee_new(struct tr_foresee **foresee, const struct tr_foresee_cfg *cfg,
	struct tr_err *err);
void tr_foresee_free(struct tr_foresee *foresee);

/* What the router of a layer chose; scores are its probabilities of all experts. */
struct tr_routed {
	const uint32_t *ids;
	const float *weights;
	const float *scores;
};

/* Layer `layer` of the token has submitted its reads. routed is NULL for a dense layer. */
void tr_foresee_look(struct tr_foresee *foresee, struct tr_run *run, uint32_t layer,
	const struct tr_routed *routed);

/* A token was decoded in so many ns. */
void tr_foresee_token(struct tr_foresee *foresee, uint64_t ns);

void tr_foresee_stats(const struct tr_foresee *foresee, struct tr_predictor_stats *out);

#endif
