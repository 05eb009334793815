/*
 * avx2.h - what the AVX2 files share: the dot functions by type and a few idioms.
 *
 * The 16 lanes of a canonical sum of floats are two registers, lanes 0..7 and lanes 8..15.
 *
 * Quantised blocks are taken by two: 16 bytes of each in the halves of a register, which are added
 * up within the halves. The sums of four rows by two blocks are one register, lane 4 b + r for row
 * r, block b, in which the scales are multiplied. The four float sums of four rows are two
 * registers, and which of them comes first is the same at the end.
 */
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

/* The sums of four rows with activation t: (s0 + s2) + (s1 + s3). */
TR_INLINE void tr_avx2_join(float sum[TR_TILE_ROWS][TR_TILE_ACTS], int t, __m256 even, __m256 odd)
{
	__m256 a = _mm256_add_ps(even, odd);
	float rows[4];

	_mm_storeu_ps(rows, _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
	TR_UNROLL
	for (int r = 0; r < 4; r++)
		sum[r][t] = rows[r];
}

/* Eight words, of row r and block b at w[b][r]. */
TR_INLINE __m256i tr_avx2_words(const uint8_t *const w[2][4], int at)
{
	int v[8];

	TR_UNROLL
	for (int i = 0; i < 8; i++)
		memcpy(&v[i], w[i / 4][i % 4] + at, sizeof(v[i]));
	return _mm256_setr_epi32(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]);
}

/* The binary16 in the low or the high half of each word. */
TR_INLINE __m256 tr_avx2_halves(__m256i words, bool high)
{
	__m256i v = high ? _mm256_srli_epi32(words, 16) :
			   _mm256_and_si256(words, _mm256_set1_epi32(0xffff));

	return _mm256_cvtph_ps(_mm_packus_epi32(
		_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

/* Two floats, each for the four rows of a block. */
TR_INLINE __m256 tr_avx2_by_block(const float x[2])
{
	__m256d both = _mm256_broadcast_sd((const double *)(const void *)x);

	return _mm256_permutevar_ps(
		_mm256_castpd_ps(both), _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

TR_INLINE __m256i tr_avx2_plus(__m256i a, __m256i b, bool words)
{
	return words ? _mm256_add_epi32(a, b) : _mm256_add_epi16(a, b);
}

/* The sums of each half of v[r], which are those of row r of two blocks. If pairs, four words are
 * eight numbers of 16 bits, of which sums of fit have no more than 16. */
TR_INLINE __m256i tr_avx2_sums(const __m256i v[4], bool pairs, int fit)
{
	const __m256i one = _mm256_set1_epi16(1);
	__m256i a[4], b[2], c[2], s;

	TR_UNROLL
	for (int i = 0; i < 4; i++)
		a[i] = pairs && fit < 2 ? _mm256_madd_epi16(v[i], one) : v[i];
	pairs &= fit >= 2;
	TR_UNROLL
	for (int i = 0; i < 2; i++) {
		__m256d lo = _mm256_castsi256_pd(a[2 * i]), hi = _mm256_castsi256_pd(a[2 * i + 1]);

		b[i] = tr_avx2_plus(_mm256_blend_epi32(a[2 * i], a[2 * i + 1], 0xcc),
			_mm256_castpd_si256(_mm256_shuffle_pd(lo, hi, 5)), !pairs);
		if (pairs && fit < 4)
			b[i] = _mm256_madd_epi16(b[i], one);
	}
	pairs &= fit >= 4;
	TR_UNROLL
	for (int i = 0; i < 2; i++)
		c[i] = _mm256_castps_si256(i ? _mm256_shuffle_ps(_mm256_castsi256_ps(b[0]),
						       _mm256_castsi256_ps(b[1]), 0xdd) :
					       _mm256_shuffle_ps(_mm256_castsi256_ps(b[0]),
						       _mm256_castsi256_ps(b[1]), 0x88));
	s = tr_avx2_plus(c[0], c[1], !pairs);
	return pairs ? _mm256_madd_epi16(s, one) : s;
}

/* 16 bytes of each of two blocks. */
TR_INLINE __m256i tr_avx2_two(const void *first, const void *second)
{
	return _mm256_inserti128_si256(
		_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)first)),
		_mm_loadu_si128((const __m128i *)second), 1);
}

/* Adds now: left to itself the compiler first makes all summands of a long sum, to add them up as a
 * tree, and has to put them into memory meanwhile. */
TR_INLINE __m256i tr_avx2_now(__m256i sum)
{
	__asm__("" : "+x"(sum));
	return sum;
}

TR_INLINE __m256i tr_avx2_load(const void *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

/* The same 16 bytes in both lanes. */
TR_INLINE __m256i tr_avx2_table(const int8_t table[16])
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
}

#endif
