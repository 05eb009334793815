/*
 * guide.h - runs a predictor beside the layers of a token: what it is told, what it is asked, and
 * who hears the answer.
 *
 * At each layer of the model, once its set has slots and before any of it leaves: the predictor is
 * told what the layer used; and the next one or two MoE layers are looked at, with what their routers
 * say of the present state if that is to be had. Every prediction is held against what is then used.
 *
 * The engine does this on hidden states (engine/foresee.c), a replay on a trace (replay.c). Both
 * give the predictor numbers of the precision that a trace has, so a run comes out again in a
 * replay.
 *
 * No lock: one thread calls. Only decoding is told, one token at a time.
 */
#ifndef TR_CACHE_GUIDE_H
#define TR_CACHE_GUIDE_H

#include "cache/sketch.h"
#include "tierra.h"

#define TR_GUIDE_AHEAD 2 /* layers that are looked at, at most */

struct tr_guide;

/* Layers are counted among the MoE layers. All calls are optional. */
struct tr_guide_ops {
	/* What the router of `layer` says now, `ahead` layers early; 0: what it has just said.
	 * NULL: nothing. Valid until the next call. Asked in the order in which it is recorded. */
	const struct tr_sketch *(*scores)(void *ctx, uint32_t layer, uint32_t ahead);
	/* The layer's next visit, `ahead` layers from now, uses its experts with p[n_expert]. */
	void (*hint)(void *ctx, uint32_t layer, const float *p, uint32_t ahead);
	/* The same, for layers that were looked at. */
	void (*expect)(void *ctx, uint32_t layer, const float *p);
};

struct tr_guide_cfg {
	const char *predictor; /* "NAME[,option=value...]" */
	uint32_t n_layer;      /* MoE layers */
	uint32_t n_expert;     /* of each */
	uint32_t n_used;       /* of these per token */
	struct tr_guide_ops ops;
	void *ctx;
};

/* Who calls gives every layer its place in the model: layer_of[n_layer], ascending, copied. */
int tr_guide_new(struct tr_guide **guide, const struct tr_guide_cfg *cfg, const uint32_t *layer_of,
	struct tr_err *err);
void tr_guide_free(struct tr_guide *guide);

/* Does the predictor make use of what routers say, early or at the layer itself? */
bool tr_guide_wants_scores(const struct tr_guide *guide, bool early);

/* Experts that the token used in a MoE layer, in router rank. */
struct tr_guide_used {
	uint32_t n;
	const uint32_t *ids;  /* of the layer, from 0 */
	const float *weights; /* NULL: not known */
};

/* The token is in a layer of the model, 0 the first; used is NULL in a dense one. n_ahead MoE
 * layers are looked at; hints: ops.hint is called. */
void tr_guide_pass(struct tr_guide *guide, uint32_t layer, const struct tr_guide_used *used,
	uint32_t n_ahead, bool hints);

/* Fills all but the times. */
void tr_guide_stats(const struct tr_guide *guide, struct tr_predictor_stats *out);
/* Predictions count from here on. */
void tr_guide_restart_stats(struct tr_guide *guide);

#endif
