/*
 * deepseek2.h - the architecture of DeepSeek V2/V3, Kimi K2 and their kin, as bound and loaded.
 *
 * Shared by a_deepseek2.c (bind, attach) and deepseek2_forward.c. See the DeepSeek-V3 report,
 * arXiv:2412.19437.
 */
#ifndef TR_ENGINE_ARCHS_DEEPSEEK2_H
#define TR_ENGINE_ARCHS_DEEPSEEK2_H

#include "compute/rope.h"
#include "compute/router.h"
#include "engine/arch.h"
#include "engine/mla.h"

/* A gated feed-forward network: down(silu(gate x) * up x). */
struct ds2_ffn {
	const struct tr_tensor *gate_t, *up_t, *down_t;
	struct tr_weight gate, up, down;
};

struct ds2_layer {
	/* Bound: tensors. */
	const struct tr_tensor *attn_norm_t, *q_a_t, *q_a_norm_t, *q_t, *kv_a_t, *kv_a_norm_t;
	const struct tr_tensor *k_b_t, *v_b_t, *kv_b_t, *out_t, *ffn_norm_t, *router_t, *bias_t;
	/* Attached: memory. Float vectors are owned. */
	float *attn_norm, *q_a_norm, *kv_a_norm, *ffn_norm, *bias;
	struct tr_weight q_a;	 /* absent without query LoRA */
	struct tr_weight q;	 /* q_b, or the whole query projection */
	struct tr_weight kv_a, k_b, v_b, out, router;
	struct ds2_ffn ffn;	 /* dense network, or the shared expert */
	uint8_t *k_b_made, *v_b_made; /* owned; converted from the legacy attn_kv_b */
	bool moe;
};

struct ds2 {
	struct tr_arch_info info;
	struct tr_mla mla;
	struct tr_rope rope;
	struct tr_router router;
	uint32_t q_lora;	 /* 0: none */
	uint32_t n_ff;		 /* of dense layers */
	uint32_t n_ff_shared;	 /* 0: no shared expert */
	uint32_t n_dense;	 /* leading layers without experts */
	float eps;
	const struct tr_tensor *embd_t, *out_norm_t, *head_t;
	struct tr_weight embd, head;
	float *out_norm;
	struct ds2_layer *layers;
};

int ds2_scratch_new(void **scratch, const void *am, const struct tr_run *run,
	struct tr_err *err);
void ds2_scratch_free(void *scratch);
int ds2_forward(const void *am, struct tr_run *run, const int32_t *ids, size_t n, uint32_t pos,
	bool want_logits, struct tr_err *err);
void ds2_route_ahead(const void *am, struct tr_run *run, uint32_t layer, float *scores);

extern const struct tr_arch_gpu_ops ds2_gpu_ops; /* deepseek2_gpu.c */

#endif
