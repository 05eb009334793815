/*
 * ops.h - the parallel operations that layers are made of, on the CPU.
 *
 * Each output element is computed whole by one worker, so results do not depend on the number of
 * threads, and each token on its own, so they do not depend on how tokens are batched.
 *
 * Rows of floats that meet weights start on a cache line: strides come from tr_ops_stride.
 */
#ifndef TR_COMPUTE_OPS_H
#define TR_COMPUTE_OPS_H

#include "base/pool.h"
#include "compute/kernels.h"

struct tr_ops {
	struct tr_pool *pool;
	const struct tr_kernels *k;
};

/* A matrix in memory: y[r] = sum over i of W[r][i] * x[i]. */
struct tr_weight {
	const struct tr_quant *quant; /* NULL: no such weight */
	const uint8_t *data;
	uint64_t rows; /* output width */
	uint64_t cols; /* input width */
	uint64_t row_bytes;
};

/* Floats from one row to the next for rows of n values. */
size_t tr_ops_stride(size_t n);

/* The inputs of matrices: n_tok rows of n floats, each quantised at most once per kind however many
 * matrices read them. */
struct tr_acts {
	const float *x;
	size_t n;
	size_t n_tok;
	size_t stride;
	bool made[TR_N_ACT_KIND];
	uint8_t *buf[TR_N_ACT_KIND];
};

/* Room for n_tok rows of up to n_max values. */
int tr_acts_init(struct tr_acts *acts, size_t n_max, size_t n_tok_max);
void tr_acts_fini(struct tr_acts *acts);

/* Points acts at new rows; x stays the caller's and must not change while acts is used. */
void tr_acts_set(struct tr_acts *acts, const float *x, size_t n, size_t n_tok);

/* The rows in the given form, tr_act_bytes(kind, n) apart. */
const uint8_t *tr_acts_get(struct tr_acts *acts, const struct tr_ops *ops, enum tr_act_kind kind);

/* out[t * out_stride + r] = W[r] . x[t] for all rows and tokens. */
void tr_op_matmul(const struct tr_ops *ops, float *out, size_t out_stride,
	const struct tr_weight *w, struct tr_acts *x);

/* Rows that one task takes when n_row rows of row_bytes each meet n_tok tokens: enough bytes to be
 * worth handing out, enough tasks to share; a multiple of 4. */
size_t tr_ops_row_grain(const struct tr_ops *ops, uint64_t row_bytes, uint64_t n_row, size_t n_tok);

/* out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * w, element by element. out may be x. */
void tr_op_rms_norm(const struct tr_ops *ops, float *out, size_t out_stride, const float *x,
	size_t x_stride, const float *w, size_t n, size_t n_tok, float eps);

/* y[t] += x[t]. */
void tr_op_add(const struct tr_ops *ops, float *y, const float *x, size_t n, size_t stride,
	size_t n_tok);

/* out[t] = silu(gate[t]) * up[t]. out may be gate. */
void tr_op_silu_mul(const struct tr_ops *ops, float *out, const float *gate, const float *up,
	size_t n, size_t stride, size_t n_tok);

#endif
