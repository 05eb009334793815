/*
 * scalar.c - the portable table: what every other instruction set must equal bit for bit.
 *
 * Plain C for any machine. Where the target has no fma instruction the library's fmaf rounds once
 * as well, only slower.
 */
#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"
#include "compute/exp.h"
#include "model/quants/blocks.h"

static float sum_squares(const float *x, size_t n)
{
	return tr_scalar_vec_dot_f32(x, x, n);
}

static float max(const float *x, size_t n)
{
	float m = -INFINITY;

	for (size_t i = 0; i < n; i++)
		m = x[i] > m ? x[i] : m;
	return m + 0.0f;
}

static void axpy_f32(float *y, float a, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = __builtin_fmaf(a, x[i], y[i]);
}

static void axpy_f16(float *y, float a, const uint16_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = __builtin_fmaf(a, tr_f16_to_f32(x[i]), y[i]);
}

static void add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void scale(float *y, float a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] *= a;
}

static void mul_scaled(float *out, const float *x, float a, const float *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (x[i] * a) * w[i];
}

static void silu_mul(float *out, const float *gate, const float *up, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = tr_silu_canonical(gate[i]) * up[i];
}

static void sigmoid(float *out, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = tr_sigmoid_canonical(x[i]);
}

static float exp_sum(float *out, const float *x, float shift, size_t n)
{
	float lane[16] = { 0 };

	for (size_t i = 0; i < n; i++) {
		out[i] = tr_exp_canonical(x[i] - shift);
		lane[i % 16] += out[i];
	}
	return tr_scalar_tree(lane);
}

static void to_f16(uint16_t *out, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = tr_f32_to_f16(x[i]);
}

static void from_q8_0(float *out, const void *blocks, size_t n)
{
	const struct tr_block_q8_0 *b = blocks;

	for (size_t i = 0; i < n; i++)
		out[i] = tr_f16_to_f32(b[i / 32].d) * (float)b[i / 32].qs[i % 32];
}

static const void *row_of(const struct tr_panel *p, size_t r)
{
	return (const uint8_t *)p->x + r * p->stride * (p->half ? 2 : 4);
}

static void dots(float *out, size_t out_stride, const struct tr_panel *rows,
	const struct tr_panel *queries, size_t n, struct tr_ahead ahead)
{
	(void)ahead;
	for (size_t q = 0; q < queries->n; q++)
		for (size_t r = 0; r < rows->n; r++)
			out[q * out_stride + r] = rows->half ?
				tr_scalar_vec_dot_f16(row_of(rows, r), row_of(queries, q), n) :
				tr_scalar_vec_dot_f32(row_of(rows, r), row_of(queries, q), n);
}

static void mix(float *out, size_t out_stride, const struct tr_panel *rows,
	const struct tr_panel *weights, size_t n, struct tr_ahead ahead)
{
	(void)ahead;
	for (size_t q = 0; q < weights->n; q++) {
		const float *weight = row_of(weights, q);

		for (size_t r = 0; r < rows->n; r++) {
			if (rows->half)
				axpy_f16(out + q * out_stride, weight[r], row_of(rows, r), n);
			else
				axpy_f32(out + q * out_stride, weight[r], row_of(rows, r), n);
		}
	}
}

const struct tr_kernels tr_kernels_scalar = {
	.isa = TR_ISA_SCALAR,
	.name = "scalar",
	.dot = {
		[TR_QUANT_F32] = tr_scalar_dot_f32,
		[TR_QUANT_F16] = tr_scalar_dot_f16,
		[TR_QUANT_BF16] = tr_scalar_dot_bf16,
		[TR_QUANT_Q4_0] = tr_scalar_dot_q4_0,
		[TR_QUANT_Q4_1] = tr_scalar_dot_q4_1,
		[TR_QUANT_Q5_0] = tr_scalar_dot_q5_0,
		[TR_QUANT_Q5_1] = tr_scalar_dot_q5_1,
		[TR_QUANT_Q8_0] = tr_scalar_dot_q8_0,
		[TR_QUANT_Q2_K] = tr_scalar_dot_q2_k,
		[TR_QUANT_Q3_K] = tr_scalar_dot_q3_k,
		[TR_QUANT_Q4_K] = tr_scalar_dot_q4_k,
		[TR_QUANT_Q5_K] = tr_scalar_dot_q5_k,
		[TR_QUANT_Q6_K] = tr_scalar_dot_q6_k,
		[TR_QUANT_IQ1_S] = tr_scalar_dot_iq1_s,
		[TR_QUANT_IQ1_M] = tr_scalar_dot_iq1_m,
		[TR_QUANT_IQ2_XXS] = tr_scalar_dot_iq2_xxs,
		[TR_QUANT_IQ2_XS] = tr_scalar_dot_iq2_xs,
		[TR_QUANT_IQ2_S] = tr_scalar_dot_iq2_s,
		[TR_QUANT_IQ3_XXS] = tr_scalar_dot_iq3_xxs,
		[TR_QUANT_IQ3_S] = tr_scalar_dot_iq3_s,
		[TR_QUANT_IQ4_NL] = tr_scalar_dot_iq4_nl,
		[TR_QUANT_IQ4_XS] = tr_scalar_dot_iq4_xs,
		[TR_QUANT_MXFP4] = tr_scalar_dot_mxfp4,
	},
	.quantise = tr_scalar_quantise,
	.dot_f32 = tr_scalar_vec_dot_f32,
	.dot_f16 = tr_scalar_vec_dot_f16,
	.sum_squares = sum_squares,
	.max = max,
	.axpy_f32 = axpy_f32,
	.axpy_f16 = axpy_f16,
	.add = add,
	.scale = scale,
	.mul_scaled = mul_scaled,
	.silu_mul = silu_mul,
	.sigmoid = sigmoid,
	.exp_sum = exp_sum,
	.to_f16 = to_f16,
	.from_q8_0 = from_q8_0,
	.dots = dots,
	.mix = mix,
};
