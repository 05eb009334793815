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

/* (token, head) pairs from which on blocks of threads that have whole pairs keep a device busy
 * (tr_dop_mla_prefill). Of fewer, each is split by positions. An RTX 3060 has room for 56 such
 * blocks at a time, of 8 pairs; not measured. */
#define DS2_GPU_PREFILL_PAIRS 512

/*
 * How the tokens of a chunk are taken. Only what must outlive a step has rows for all of them; the
 * rest is for a slice, which goes through all steps between two waits of the host before the next
 * one begins. Within it tokens attend in groups, the fewer the larger queries are.
 */
struct ds2_gpu_cut {
	uint32_t n_slice, n_group;
	uint32_t n_once; /* tokens whose scores have room, where these are kept (tr_dop_mla) */
};

/* Room on the device. Floats lie stride(width) apart. */
struct ds2_gpu_room {
	/* Of n_tok_max tokens. */
	uint8_t *in;   /* what a chunk begins with: table of rotations, position, residual stream */
	uint8_t *back; /* what the host gets of a layer: ids, weights, normalised input, and for who
			* foresees logits of the router and residual stream */
	float *shared;
	/* Of n_slice. */
	float *branch, *qa, *q, *kv, *o, *gate, *up, *router;
	uint8_t *act[TR_N_ACT_KIND];
	/* Of n_group. */
	float *query, *ctx; /* [n_group][n_head][..] */
	/* Of one. */
	float *logits;
	float *mla;	/* of n_once */
	uint64_t bytes; /* of all */
};

/*
 * The steps of a single token are the same every time but for its position, which lies in memory,
 * so they are queued as graphs: one for all between a layer's beginning and the wait of the host,
 * one for what the device computes beside the host.
 */
enum ds2_gpu_steps {
	DS2_GPU_FRONT,	 /* of a layer; of the one behind the last, the head */
	DS2_GPU_NETWORK, /* shared expert, dense network */
	DS2_GPU_N_STEPS,
};

/* Attention is launched for as many positions as a graph may meet, so a front has one for up to
 * 256, 1024, and so on. */
#define DS2_GPU_REACH	256
#define DS2_GPU_N_REACH 12

struct ds2_gpu_graph {
	struct tr_graph *graph; /* NULL: not made yet */
	unsigned state;		/* of the chunk as its steps begin; the same every time */
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
	struct ds2_gpu_cut cut;
	struct tr_buffer *weights, *scratch;
	struct ds2_gpu_layer *layers;
	struct ds2_gpu_layer head; /* attn_norm and out */
	struct ds2_gpu_room room;
	struct ds2_gpu_pinned pinned;
	struct tr_event *ready; /* the block for the host is there */
	struct ds2_gpu_graph (*graphs)[DS2_GPU_N_STEPS][DS2_GPU_N_REACH]; /* [n_layer + 1] */

	/* The chunk in work. */
	bool has_h;	 /* the residual stream is on the device, but for what is to be joined: */
	bool has_branch; /* pinned.branch, where the host left it; */
	bool has_shared; /* room.shared besides */
	bool is_idle;	 /* all that was queued has been waited for */
	float *h;
	const float *rope;
	const uint32_t *pos;
	uint32_t pos_end;    /* of a single token: its steps are for positions before it */
	const float *acts_x; /* what room.act was made of */
	size_t acts_n;
	bool acts_made[TR_N_ACT_KIND];
};

/* Where things lie in the blocks of a chunk of n tokens. */
struct ds2_gpu_in {
	size_t rope, pos, h, bytes;
};

struct ds2_gpu_back {
	size_t ids, weights, x, end; /* what the experts need ends here */
	size_t router, h, bytes;     /* of one token */
};

struct ds2_gpu_in ds2_gpu_in(const struct ds2 *d, size_t n_tok);
struct ds2_gpu_back ds2_gpu_back(const struct ds2 *d, size_t n_tok);

#endif
