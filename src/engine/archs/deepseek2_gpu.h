/* deepseek2_gpu.h - what of the architecture lies on a device: weights, and room to work in. */
#ifndef TR_ENGINE_ARCHS_DEEPSEEK2_GPU_H
#define TR_ENGINE_ARCHS_DEEPSEEK2_GPU_H

#include "engine/archs/deepseek2.h"

/* Addresses of the device. */
struct ds2_gpu_layer {
	const float *attn_norm, *q_a_norm, *kv_a_norm, *ffn_norm, *bias;
	struct tr_weight q_a, q, kv_a, k_b, v_b, out, router;
	struct tr_weight gate, up, down;
};

/* Rows of n_tok_max tokens on the device, of n_group where said. Floats lie stride(width) apart. */
struct ds2_gpu_room {
	uint8_t *in;   /* what a chunk begins with: table of rotations, residual stream */
	uint8_t *back; /* what the host gets of a layer: ids, weights, normalised input, and for who
			* foresees logits of the router and residual stream */
	float *branch, *shared, *qa, *q, *kv, *o, *gate, *up, *router, *logits;
	uint8_t *act[TR_N_ACT_KIND];
	float *query, *ctx; /* [n_group][n_head][..] */
	float *mla;
	uint64_t bytes; /* of all */
};

/* The same of pinned memory. */
struct ds2_gpu_pinned {
	uint8_t *in, *back;
	float *branch; /* what experts or a network on the CPU gave */
	float *logits;
};

struct ds2_gpu {
	const struct ds2 *d;
	struct tr_arch_gpu_cfg cfg;
	uint32_t n_group; /* tokens that attend at a time */
	struct tr_buffer *weights, *scratch;
	struct ds2_gpu_layer *layers;
	struct ds2_gpu_layer head; /* attn_norm and out */
	struct ds2_gpu_room room;
	struct ds2_gpu_pinned pinned;
	struct tr_event *ready; /* the block for the host is there */

	/* The chunk in work. */
	bool has_h; /* the residual stream is on the device */
	float *h;
	const float *rope;
	const float *acts_x; /* what room.act was made of */
	size_t acts_n;
	bool acts_made[TR_N_ACT_KIND];
};

/* Where things lie in the blocks of a chunk of n tokens. */
struct ds2_gpu_in {
	size_t rope, h, bytes;
};

struct ds2_gpu_back {
	size_t ids, weights, x, end; /* what the experts need ends here */
	size_t router, h, bytes;     /* of one token */
};

struct ds2_gpu_in ds2_gpu_in(const struct ds2 *d, size_t n_tok);
struct ds2_gpu_back ds2_gpu_back(const struct ds2 *d, size_t n_tok);

#endif
