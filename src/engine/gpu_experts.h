/*
 * gpu_experts.h - the experts of a layer that lie on the device, computed there while the CPU
 * computes the others.
 *
 * Where the layer ran on the device its input is there, and is quantised there. Else activations
 * come from the host, as one packed block with the list of experts and the rows of slots. Then the
 * list is computed and the outputs come back into pinned memory, each expert's by itself: whoever
 * combines them does so in the order that it would have anyway, so no bit depends on where an
 * expert was computed. Nothing is allocated and nothing waited for but in finish, once.
 *
 * Scratch on the device is for a window of slots; a prefill's list is taken in windows.
 */
#ifndef TR_ENGINE_GPU_EXPERTS_H
#define TR_ENGINE_GPU_EXPERTS_H

#include "engine/gpu.h"
#include "model/catalog.h"

struct tr_gpu_experts;

struct tr_gpu_experts_cfg {
	const struct tr_catalog *catalog;
	const bool *takes; /* [n_moe_layer] see tr_gpu_takes */
	uint32_t n_embd;
	uint32_t n_tok_max;
};

/* The device has kernels for the layer's weights. */
bool tr_gpu_takes(const struct tr_moe_layer *layer);

/* Of the device's memory. */
uint64_t tr_gpu_experts_bytes(const struct tr_gpu_experts_cfg *cfg);

int tr_gpu_experts_new(struct tr_gpu_experts **x, struct tr_gpu *gpu,
	const struct tr_gpu_experts_cfg *cfg, struct tr_err *err);
void tr_gpu_experts_free(struct tr_gpu_experts *x);

/* Memory of the device that holds nothing between a finish and the next begin. Returns its bytes. */
size_t tr_gpu_experts_scratch(const struct tr_gpu_experts *x, void **at);

struct tr_gpu_work {
	const struct tr_moe_layer *layer;
	/* Rows of floats on the device, tr_ops_stride(n_embd) apart; or NULL. */
	const float *x;
	/* Else rows for gate and up, of the kinds that these want; the same if equal. */
	const uint8_t *act[2];
	size_t n_tok;	       /* rows */
	const struct tr_dop_expert *list; /* slots ascend without a gap, from 0 */
	size_t n_expert;
	const uint32_t *token_of; /* [n_slot] row of a slot */
	uint32_t n_slot;
	float *y; /* [n_slot][y_stride] in pinned memory; there when finish has returned */
	size_t y_stride;
};

/* Queues it. All that work points to but x and y may be used again at once. */
int tr_gpu_experts_begin(struct tr_gpu_experts *x, const struct tr_gpu_work *work, struct tr_err *err);
int tr_gpu_experts_finish(struct tr_gpu_experts *x, struct tr_err *err);

#endif
