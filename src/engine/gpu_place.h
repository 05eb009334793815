/*
 * gpu_place.h - which parts of a model lie on the device, and run there. Pure.
 *
 * Parts go in this order, layers ascending, as far as the room goes: attention and router of all
 * layers, each with its KV cache; shared experts and dense networks; the head. A kind begins only
 * when the one before it is there whole, and a part that does not fit ends its kind, so more room
 * never moves anything away. What devices have no kernel for stays with the CPU and keeps nothing
 * else from being placed. Before all that there must be room for scratch.
 */
#ifndef TR_ENGINE_GPU_PLACE_H
#define TR_ENGINE_GPU_PLACE_H

#include "base/err.h"

enum tr_gpu_part {
	TR_GPU_ATTENTION, /* and what routes: all of a layer between two feed-forward networks */
	TR_GPU_FFN,	  /* shared expert or dense network */
	TR_GPU_HEAD,
	TR_N_GPU_PART,
};

/* What could lie there. */
struct tr_gpu_wish {
	uint32_t n_layer;
	uint64_t scratch_bytes;
	uint64_t kv_bytes; /* of a layer */
	/* Weights of a part of a layer (of the head: layer 0), as they lie on the device. 0: there
	 * are none, or the device cannot compute them. */
	uint64_t (*weights)(const void *ctx, enum tr_gpu_part part, uint32_t layer);
	const void *ctx;
};

struct tr_gpu_place {
	uint32_t n_layer;
	bool *on[TR_N_GPU_PART];   /* [n_layer]; of the head [1] */
	uint32_t n[TR_N_GPU_PART]; /* parts that lie there */
	uint32_t n_wanted[TR_N_GPU_PART];
	uint64_t weight_bytes, kv_bytes,
		scratch_bytes;	       /* what they take; all 0 when nothing fits */
	uint64_t room;		       /* that there was */
	uint64_t wanted_bytes;	       /* for all that could lie there */
	uint64_t wanted_scratch_bytes; /* of these */
};

int tr_gpu_place_new(struct tr_gpu_place *place, const struct tr_gpu_wish *wish, uint64_t room,
	struct tr_err *err);
void tr_gpu_place_free(struct tr_gpu_place *place);

static inline uint64_t tr_gpu_place_bytes(const struct tr_gpu_place *p)
{
	return p->weight_bytes + p->kv_bytes + p->scratch_bytes;
}

#endif
