/* avx2_table.c - the kernels of AVX2 (with FMA and F16C). */
#include "compute/cpu/avx2.h"
#include "compute/cpu/avx2_vec.h"
#include "compute/cpu/cpu.h"

const struct tr_kernels tr_kernels_avx2 = {
	.isa = TR_ISA_AVX2,
	.name = "avx2",
	.dot = {
		[TR_QUANT_F32] = tr_avx2_dot_f32,
		[TR_QUANT_F16] = tr_avx2_dot_f16,
		[TR_QUANT_Q4_0] = tr_avx2_dot_q4_0,
		[TR_QUANT_Q4_1] = tr_avx2_dot_q4_1,
		[TR_QUANT_Q5_0] = tr_avx2_dot_q5_0,
		[TR_QUANT_Q5_1] = tr_avx2_dot_q5_1,
		[TR_QUANT_Q8_0] = tr_avx2_dot_q8_0,
		[TR_QUANT_Q2_K] = tr_avx2_dot_q2_k,
		[TR_QUANT_Q3_K] = tr_avx2_dot_q3_k,
		[TR_QUANT_Q4_K] = tr_avx2_dot_q4_k,
		[TR_QUANT_Q5_K] = tr_avx2_dot_q5_k,
		[TR_QUANT_Q6_K] = tr_avx2_dot_q6_k,
		[TR_QUANT_IQ4_NL] = tr_avx2_dot_iq4_nl,
		[TR_QUANT_IQ4_XS] = tr_avx2_dot_iq4_xs,
		[TR_QUANT_BF16] = tr_avx2_dot_bf16,
		[TR_QUANT_MXFP4] = tr_avx2_dot_mxfp4,
	},
	.quantise = tr_avx2_quantise,
	.dot_f32 = tr_avx2_dot_vec_f32,
	.dot_f16 = tr_avx2_dot_vec_f16,
	.sum_squares = tr_avx2_sum_squares,
	.max = tr_avx2_max,
	.axpy_f32 = tr_avx2_axpy_f32,
	.axpy_f16 = tr_avx2_axpy_f16,
	.add = tr_avx2_add,
	.scale = tr_avx2_scale,
	.mul_scaled = tr_avx2_mul_scaled,
	.silu_mul = tr_avx2_silu_mul,
	.sigmoid = tr_avx2_sigmoid,
	.exp_sum = tr_avx2_exp_sum,
	.to_f16 = tr_avx2_to_f16,
	.dots = tr_avx2_dots,
	.mix = tr_avx2_mix,
};
