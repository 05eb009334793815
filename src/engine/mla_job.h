/* mla_job.h - one call of tr_mla_attend, and the steps that its two ways to split the work share. */
#ifndef TR_ENGINE_MLA_JOB_H
#define TR_ENGINE_MLA_JOB_H

#include "base/mem.h"
#include "engine/mla.h"

#define TR_MLA_CHUNK 256 /* positions; part of the canonical order */

/* Positions that one call of a kernel takes: with as many queries as there are they fit a
 * second-level cache of 256 KiB. */
#define TR_MLA_BLOCK 64

/* Queries that meet a row at once: what the kernels like best. */
#define TR_MLA_HEADS 8

struct tr_mla_job {
	const struct tr_mla *mla;
	const struct tr_ops *ops;
	const struct tr_kv *kv;
	uint32_t layer, pos;
	size_t n_tok;
	const float *q;
	size_t q_stride;
	const float *rope;
	const struct tr_weight *k_b, *v_b;
	float *out;
	size_t out_stride;
	uint8_t *scratch;
};

/* Floats of a block that starts on a cache line. */
static inline size_t tr_mla_floats(size_t n)
{
	return TR_ALIGN_UP(n, TR_CACHE_LINE / sizeof(float));
}

/* From one row of scores to the next. One line more than a power of two: rows of several queries
 * are read side by side and must not meet in the same sets of the cache. */
static inline size_t tr_mla_score_stride(uint32_t n_ctx)
{
	return tr_mla_floats(n_ctx) + TR_CACHE_LINE / sizeof(float);
}

/* Bytes of n_tok quantised inputs of k_b or v_b. */
size_t tr_mla_act_bytes(const struct tr_mla *m, size_t n_tok);

/* Queries of head h in the latent space, of n_tok tokens from t on, out_stride floats apart.
 * next_h: what the caller takes afterwards, n_head if nothing. */
void tr_mla_queries(const struct tr_mla_job *job, uint32_t h, uint32_t next_h, size_t t,
	size_t n_tok, uint8_t *act, float *out, size_t out_stride);

/* Outputs of head h from latent sums ctx, ctx_stride floats apart, of n_tok tokens from t on. */
void tr_mla_outputs(const struct tr_mla_job *job, uint32_t h, uint32_t next_h, size_t t,
	size_t n_tok, uint8_t *act, const float *ctx, size_t ctx_stride);

/* Floats of the rows that scores and mix unpack, where the cache is of type Q8_0. */
size_t tr_mla_rows_floats(const struct tr_mla *m);

/* score[q * stride + p] of positions p in begin..end, not scaled yet, for n_query queries one after
 * another. */
void tr_mla_scores(const struct tr_mla_job *job, const float *query, size_t n_query, size_t begin,
	size_t end, float *score, size_t stride, float *rows);

/* part[q * n_lat + i] += weight[q * stride + p] * latent of p, positions p in begin..end ascending. */
void tr_mla_mix(const struct tr_mla_job *job, const float *weight, size_t stride, size_t n_query,
	size_t begin, size_t end, float *part, float *rows);

/* The two ways: tokens and heads in tiles (mla_tiles.c), or one token's positions (mla_chunks.c). */
size_t tr_mla_tiles_bytes(const struct tr_mla *m, uint32_t n_ctx, unsigned n_worker);
size_t tr_mla_tiles_n(const struct tr_mla_job *job);
void tr_mla_by_tiles(const struct tr_mla_job *job);
size_t tr_mla_chunks_bytes(const struct tr_mla *m, uint32_t n_ctx, unsigned n_worker);
void tr_mla_by_chunks(const struct tr_mla_job *job, size_t t);

#endif
