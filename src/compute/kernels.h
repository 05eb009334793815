/*
 * kernels.h - the arithmetic of one instruction set, as a table of functions.
 *
 * Every table computes bit-identical results. That is possible because each function follows one
 * canonical order of operations:
 *
 *  - A float sum over n values has 16 lanes: value i belongs to lane i mod 16. A lane takes its
 *    values in ascending order, one fma each, starting from +0. At the end the lanes are added in a
 *    tree: l += l+8, l += l+4, l += l+2, l += l+1. A partial last chunk leaves the lanes it has no
 *    value for untouched.
 *  - Quantised weights meet int8 activations. The sum of a block (or K super-block), sub-block
 *    scales and offsets included, is an exact int32. A row has four float sums, from +0: block i
 *    belongs to sum i mod 4, blocks in ascending order, acc = fma(d_w * d_x, (float)sum, acc). At
 *    the end the row is (s0 + s2) + (s1 + s3). d_w is the block's binary16 (or E8M0) scale
 *    converted exactly; d_w * d_x is rounded once, and so is (float)sum, to nearest even, where
 *    the sum passes 2^24.
 *    What a sum adds up, x being the int8 activation and q the stored code:
 *      Q4_0 (q - 8) x    Q5_0 (q - 16) x    Q8_0 q x    Q4_1, Q5_1 q x
 *      IQ4_NL, MXFP4 table[q] x, for MXFP4 with d_w = 2^(e - 128)
 *      Q2_K, Q4_K, Q5_K scale q x    Q3_K scale (q - (bit ? 0 : 4)) x    Q6_K scale (q - 32) x
 *      IQ4_XS (scale - 32) table[q] x
 *      IQ2, IQ3 (2 scale + 1) sign grid[q] x with d_w = d / 8; IQ3_XXS d / 4; IQ3_S d
 *      IQ1 (2 scale + 1) (8 grid[q] +- 1) x with d_w = d / 8
 *  - Minimums, after the product and into the same sum. 32-value types (Q4_1, Q5_1):
 *    acc = fma(m_w * d_x, (float)sum of the block's x, acc). K types:
 *    acc = fma(-(dmin_w * d_x), (float)sum over groups g of min_g * sum_g, acc), an exact int32,
 *    where sum_g adds up group g of 16 values and min_g is the minimum of the sub-block that holds
 *    it (Q2_K: number g; Q4_K, Q5_K: number g / 2).
 *  - F32, F16, BF16 weights: activations stay float and the first rule holds, acc = fma(w, x, acc).
 *  - exp, silu and sigmoid: exp.h.
 *
 * Which NaN comes out where one is due (its sign and payload) is not part of the promise.
 *
 * No function allocates; pointers need no alignment unless said. An output of the functions that
 * work element by element may be one of their inputs, but must not overlap one otherwise.
 */
#ifndef TR_COMPUTE_KERNELS_H
#define TR_COMPUTE_KERNELS_H

#include "model/quant.h"

enum tr_isa { TR_ISA_SCALAR, TR_ISA_AVX2, TR_ISA_AVX512, TR_N_ISA };

/*
 * One row of activations, as quantised once per matrix input. Base is 64-byte aligned.
 *   F32:    float x[n]
 *   Q8_32:  int8 q[n], then float d[n / 32]
 *   Q8_256: int8 q[n], then float d[n / 256], then int16 sum[n / 16]
 * Sections start at multiples of 64. d = max|x| / 127 of the block, q = round_to_even(x * (127 /
 * max|x|)), each operation rounded once (max|x| / 127, 127 / max|x|, the product). A block whose
 * max|x| is below TR_ACT_TINY (there 127 / max|x| may overflow) counts as zeros: q = 0, d = 0. A
 * block with a value that is not finite gets d = NaN, q = 0. q is never -128. sum[g] adds up q of
 * group g of 16 values. Bytes between sections are not written.
 */
#define TR_ACT_TINY 0x1p-120f

size_t tr_act_bytes(enum tr_act_kind kind, size_t n); /* a multiple of 64 */
size_t tr_act_d_off(enum tr_act_kind kind, size_t n); /* of the Q8 kinds */
size_t tr_act_sum_off(size_t n);		      /* of TR_ACT_Q8_256 */

struct tr_kernels;

/* Quantises values [off, off + n_part) of a row of n values: what the quantise member of k would put
 * there. off and n_part are multiples of the block, n_part at most TR_ACT_RANGE_MAX. Ranges of one row
 * may be written by different threads. */
#define TR_ACT_RANGE_MAX 256
void tr_act_quantise_range(const struct tr_kernels *k, enum tr_act_kind kind, const float *x,
	size_t off, size_t n_part, void *act, size_t n);

/*
 * out[t * out_stride + r] = dot(row r of w, activation t), r < n_row, t < n_act.
 * Rows are row_bytes apart, activations act_bytes apart; n is the number of values, a multiple of
 * the type's block. next is what this thread reads afterwards, or NULL: with one activation its
 * beginning is asked for while the last rows are multiplied. Only a hint.
 */
typedef void tr_dot_fn(float *out, size_t out_stride, const void *w, size_t row_bytes, size_t n_row,
	const void *act, size_t act_bytes, size_t n_act, size_t n, const void *next);

/* n rows of values, stride values apart. */
struct tr_panel {
	const void *x;
	bool half; /* values are binary16, not float */
	size_t stride;
	size_t n;
};

/* Memory that is read next: a function that takes one asks for its lines bit by bit while it
 * computes. Only a hint; bytes may be 0. */
struct tr_ahead {
	const void *p;
	size_t bytes;
};

struct tr_kernels {
	enum tr_isa isa;
	const char *name;
	tr_dot_fn *dot[TR_QUANT_ID_END]; /* by quant id; NULL where the type is not supported */

	/* Makes one activation row of kind from n floats. n is a multiple of the block. */
	void (*quantise)(enum tr_act_kind kind, const float *x, size_t n, void *act);

	/* Canonical float sums. */
	float (*dot_f32)(const float *x, const float *y, size_t n);
	float (*dot_f16)(const uint16_t *x, const float *y, size_t n);
	float (*sum_squares)(const float *x, size_t n);
	/* The greatest value; NaNs are passed over (-inf when there is nothing else), and a zero
	 * maximum is +0: every m starts at -inf, m = x > m ? x : m, at the end m + 0. */
	float (*max)(const float *x, size_t n);

	/* Element by element, so order does not matter. */
	void (*axpy_f32)(float *y, float a, const float *x, size_t n);	/* y = fma(a, x, y) */
	void (*axpy_f16)(float *y, float a, const uint16_t *x, size_t n);
	void (*add)(float *y, const float *x, size_t n);		/* y += x */
	void (*scale)(float *y, float a, size_t n);			/* y *= a */
	void (*mul_scaled)(float *out, const float *x, float a, const float *w,
		size_t n);						/* out = (x * a) * w */
	void (*silu_mul)(float *out, const float *gate, const float *up,
		size_t n);			/* (gate / (1 + exp(-gate))) * up */
	void (*sigmoid)(float *out, const float *x, size_t n);
	/* out = exp(x - shift); returns the canonical sum (lanes add, no fma). */
	float (*exp_sum)(float *out, const float *x, float shift, size_t n);
	void (*to_f16)(uint16_t *out, const float *x, size_t n); /* round to nearest even */
	/* Values of blocks of Q8_0, d * q, which are exact; n is a multiple of 32. */
	void (*from_q8_0)(float *out, const void *blocks, size_t n);

	/* Many rows of either type with several rows of floats at once. n is the width of a row. An
	 * output must not overlap an input.
	 * dots: out[q * out_stride + r] = dot(row r, query q)
	 * mix: axpy(out + q * out_stride, weight q[r], row r, n) for all rows in ascending order;
	 * a row of weights has as many values as there are rows. */
	void (*dots)(float *out, size_t out_stride, const struct tr_panel *rows,
		const struct tr_panel *queries, size_t n, struct tr_ahead ahead);
	void (*mix)(float *out, size_t out_stride, const struct tr_panel *rows,
		const struct tr_panel *weights, size_t n, struct tr_ahead ahead);
};

/* NULL when the build or this processor lacks the set. */
const struct tr_kernels *tr_kernels_get(enum tr_isa isa);
const struct tr_kernels *tr_kernels_best(void);
/* By name ("scalar", "avx2", "avx512"); NULL or "auto" is the best. Fails with a message that lists
 * what this machine can do. */
int tr_kernels_by_name(const struct tr_kernels **out, const char *name, struct tr_err *err);

/* The exponential that all of the above use (exp.h). 0 below -87.33654, +inf above 88.72283, NaN
 * for NaN. */
float tr_expf(float x);

#endif
