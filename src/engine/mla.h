/*
 * mla.h - multi-head latent attention on the CPU, in the absorbed form (DeepSeek-V2,
 * arXiv:2405.04434): queries are carried into the latent space, so that all heads attend over one
 * cached row of n_lat + n_rot values per position.
 */
#ifndef TR_ENGINE_MLA_H
#define TR_ENGINE_MLA_H

#include "compute/ops.h"
#include "engine/kv.h"

struct tr_mla {
	uint32_t n_head;
	uint32_t n_nope; /* values of a query head that do not rotate; they come first */
	uint32_t n_rot;	 /* those that do */
	uint32_t n_lat;	 /* width of the latent */
	uint32_t n_v;	 /* output values of a head */
	float scale;	 /* of the scores */
};

/* Room that tr_mla_attend works in, for sessions of n_ctx positions and n_worker threads. It starts
 * on a cache line, and what it holds does not matter. */
size_t tr_mla_scratch_bytes(const struct tr_mla *mla, uint32_t n_ctx, unsigned n_worker);

/*
 * Attends n_tok tokens at positions pos.. over rows [0, pos + t] of the layer's cache, which holds
 * their own rows already.
 *   q    [n_tok][q_stride]: n_head * (n_nope + n_rot) values, not rotated yet
 *   rope [n_tok][n_rot]: tr_rope_table
 *   k_b  n_head matrices {n_nope -> n_lat} one after another
 *   v_b  n_head matrices {n_lat -> n_v}
 *   out  [n_tok][out_stride]: n_head * n_v values
 * Sums over positions run in ascending order in chunks of 256, whatever the number of threads.
 */
void tr_mla_attend(const struct tr_mla *mla, const struct tr_ops *ops, const struct tr_kv *kv,
	uint32_t layer, uint32_t pos, size_t n_tok, const float *q, size_t q_stride,
	const float *rope, const struct tr_weight *k_b, const struct tr_weight *v_b, float *out,
	size_t out_stride, void *scratch);

#endif
