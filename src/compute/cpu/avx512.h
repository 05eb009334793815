/* avx512.h - what the AVX-512 files share: the dot functions by type and a few idioms. */
#ifndef TR_COMPUTE_CPU_AVX512_H
#define TR_COMPUTE_CPU_AVX512_H

#include "compute/cpu/rows.h"
#include "model/quants/blocks.h"

tr_dot_fn tr_avx512_dot_f32, tr_avx512_dot_f16, tr_avx512_dot_bf16;
tr_dot_fn tr_avx512_dot_q4_0, tr_avx512_dot_q4_1, tr_avx512_dot_q5_0, tr_avx512_dot_q5_1;
tr_dot_fn tr_avx512_dot_q8_0, tr_avx512_dot_iq4_nl, tr_avx512_dot_mxfp4;
tr_dot_fn tr_avx512_dot_q2_k, tr_avx512_dot_q3_k, tr_avx512_dot_q4_k, tr_avx512_dot_q5_k;
tr_dot_fn tr_avx512_dot_q6_k, tr_avx512_dot_iq4_xs;
tr_dot_fn tr_avx512_dot_iq1_s, tr_avx512_dot_iq1_m, tr_avx512_dot_iq2_xxs, tr_avx512_dot_iq2_xs;
tr_dot_fn tr_avx512_dot_iq2_s, tr_avx512_dot_iq3_xxs, tr_avx512_dot_iq3_s;

/* The tree that ends a canonical sum. */
TR_INLINE float tr_avx512_tree(__m512 v)
{
	__m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* Four sums, each of 16 lanes folded to 4: quarter k is of sum k. */
TR_INLINE __m512 tr_avx512_fold_to_4(__m512 a, __m512 b, __m512 c, __m512 d)
{
	__m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
	__m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));

	return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}

/* The tree of 16 sums: value k of the result is of acc[k]. */
TR_INLINE __m512 tr_avx512_trees(const __m512 acc[16])
{
	__m512 a = tr_avx512_fold_to_4(acc[0], acc[4], acc[8], acc[12]);
	__m512 b = tr_avx512_fold_to_4(acc[1], acc[5], acc[9], acc[13]);
	__m512 c = tr_avx512_fold_to_4(acc[2], acc[6], acc[10], acc[14]);
	__m512 d = tr_avx512_fold_to_4(acc[3], acc[7], acc[11], acc[15]);

	a = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
	c = _mm512_add_ps(_mm512_shuffle_ps(c, d, 0x44), _mm512_shuffle_ps(c, d, 0xee));
	return _mm512_add_ps(_mm512_shuffle_ps(a, c, 0x88), _mm512_shuffle_ps(a, c, 0xdd));
}

/* The low n of 16 lanes. */
TR_INLINE __mmask16 tr_avx512_first(size_t n)
{
	return (__mmask16)((1u << n) - 1);
}

/* The same 16 bytes in all four lanes. */
TR_INLINE __m512i tr_avx512_table(const int8_t table[16])
{
	return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
}

/* 16-bit shift counts by quarter. */
TR_INLINE __m512i tr_avx512_counts(int a, int b, int c, int d)
{
	__m256i lo = _mm256_inserti128_si256(_mm256_set1_epi16((short)a),
		_mm_set1_epi16((short)b), 1);
	__m256i hi = _mm256_inserti128_si256(_mm256_set1_epi16((short)c),
		_mm_set1_epi16((short)d), 1);

	return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

/* -off * (sum of the lane's four x): what the lanes of a product with codes q + off start from. */
TR_INLINE __m512i tr_avx512_offset(int off, __m512i x)
{
	__m512i zero = _mm512_setzero_si512();

	if (!off)
		return zero;
	return _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8((char)off), x));
}

#endif
