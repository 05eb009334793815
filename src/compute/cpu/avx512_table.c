/* avx512_table.c - the kernels of AVX-512 (F, BW, DQ, VL, VNNI). */
#include "compute/cpu/avx512.h"
#include "compute/cpu/avx512_vec.h"
#include "compute/cpu/cpu.h"

const struct tr_kernels tr_kernels_avx512 = {
	.isa = TR_ISA_AVX512,
	.name = "avx512",
	.dot = {
		[TR_QUANT_F32] = tr_avx512_dot_f32,
		[TR_QUANT_F16] = tr_avx512_dot_f16,
		[TR_QUANT_Q4_0] = tr_avx512_dot_q4_0,
		[TR_QUANT_Q4_1] = tr_avx512_dot_q4_1,
		[TR_QUANT_Q5_0] = tr_avx512_dot_q5_0,
		[TR_QUANT_Q5_1] = tr_avx512_dot_q5_1,
		[TR_QUANT_Q8_0] = tr_avx512_dot_q8_0,
		[TR_QUANT_Q2_K] = tr_avx512_dot_q2_k,
		[TR_QUANT_Q3_K] = tr_avx512_dot_q3_k,
		[TR_QUANT_Q4_K] = tr_avx512_dot_q4_k,
		[TR_QUANT_Q5_K] = tr_avx512_dot_q5_k,
		[TR_QUANT_Q6_K] = tr_avx512_dot_q6_k,
		[TR_QUANT_IQ4_NL] = tr_avx512_dot_iq4_nl,
		[TR_QUANT_IQ4_XS] = tr_avx512_dot_iq4_xs,
		[TR_QUANT_BF16] = tr_avx512_dot_bf16,
		[TR_QUANT_MXFP4] = tr_avx512_dot_mxfp4,
	},
	.quantise = tr_avx512_quantise,
	.dot_f32 = tr_avx512_dot_vec_f32,
	.dot_f16 = tr_avx512_dot_vec_f16,
	.sum_squares = tr_avx512_sum_squares,
	.max = tr_avx512_max,
	.axpy_f32 = tr_avx512_axpy_f32,
	.axpy_f16 = tr_avx512_axpy_f16,
	.add = tr_avx512_add,
	.scale = tr_avx512_scale,
	.mul_scaled = tr_avx512_mul_scaled,
	.silu_mul = tr_avx512_silu_mul,
	.sigmoid = tr_avx512_sigmoid,
	.exp_sum = tr_avx512_exp_sum,
	.to_f16 = tr_avx512_to_f16,
	.dots = tr_avx512_dots,
	.mix = tr_avx512_mix,
};
