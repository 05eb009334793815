/* avx2.h - what the AVX2 files share: the dot functions by type and a few idioms. The 16 lanes of
 * canonical order are two registers, lanes 0..7 and lanes 8..15. */
#ifndef TR_COMPUTE_CPU_AVX2_H
#define TR_COMPUTE_CPU_AVX2_H

#include "compute/cpu/rows.h"
#include "model/quants/blocks.h"

tr_dot_fn tr_avx2_dot_f32, tr_avx2_dot_f16, tr_avx2_dot_bf16;
tr_dot_fn tr_avx2_dot_q4_0, tr_avx2_dot_q4_1, tr_avx2_dot_q5_0, tr_avx2_dot_q5_1;
tr_dot_fn tr_avx2_dot_q8_0, tr_avx2_dot_iq4_nl, tr_avx2_dot_mxfp4;
tr_dot_fn tr_avx2_dot_q2_k, tr_avx2_dot_q3_k, tr_avx2_dot_q4_k, tr_avx2_dot_q5_k;
tr_dot_fn tr_avx2_dot_q6_k, tr_avx2_dot_iq4_xs;
tr_dot_fn tr_avx2_dot_iq1_s, tr_avx2_dot_iq1_m, tr_avx2_dot_iq2_xxs, tr_avx2_dot_iq2_xs;
tr_dot_fn tr_avx2_dot_iq2_s, tr_avx2_dot_iq3_xxs, tr_avx2_dot_iq3_s;

/* The tree that ends a canonical sum. */
TR_INLINE float tr_avx2_tree(__m256 lo, __m256 hi)
{
	__m256 a = _mm256_add_ps(lo, hi);
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

TR_INLINE __m256i tr_avx2_load(const void *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

/* The 32 four-bit codes of 16 bytes, low nibbles first. */
TR_INLINE __m256i tr_avx2_nibbles(const uint8_t *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)p);

	return _mm256_and_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(v),
					_mm_srli_epi16(v, 4), 1), _mm256_set1_epi8(15));
}

/* The same 16 bytes in both lanes. */
TR_INLINE __m256i tr_avx2_table(const int8_t table[16])
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
}

/*
 * 32 codes by 32 activations: the sums of neighbouring pairs, in 16 bits. Signed codes go by their
 * magnitude, the sign moved to x. Unsigned codes are q + off, and start is the pairs of off alone.
 */
TR_INLINE __m256i tr_avx2_pairs(bool is_signed, int off, __m256i codes, __m256i x, __m256i start)
{
	if (is_signed)
		return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
	if (!off)
		return _mm256_maddubs_epi16(codes, x);
	return _mm256_sub_epi16(_mm256_maddubs_epi16(codes, x), start);
}

TR_INLINE __m256i tr_avx2_start(int off, __m256i x)
{
	if (!off)
		return _mm256_setzero_si256();
	return _mm256_maddubs_epi16(_mm256_set1_epi8((char)off), x);
}

#endif
