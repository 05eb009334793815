/*
 * avx512_tile.h - one activation: four rows by four blocks, what the quantised types share.
 *
 * The partial sums of a block lie across a register. Those of four rows are added up side by side,
 * then those of four blocks, until one register has the sums of all 16, block i of row r in lane
 * 4 i + r. There they become floats and meet the 16 products of scales in one multiply-add: the
 * four sums of a row are the lanes of its four blocks. Adding two registers up into one costs
 * three instructions of the simplest kind, 15 times for 16 sums.
 */
#ifndef TR_COMPUTE_CPU_AVX512_TILE_H
#define TR_COMPUTE_CPU_AVX512_TILE_H

#include "compute/cpu/avx512.h"

/* Within each 128 bits, dword i of the result is the sum of the four of v[i]. */
TR_INLINE __m512i tr_fold_rows(const __m512i v[4])
{
	__m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]),
		_mm512_unpackhi_epi32(v[0], v[1]));
	__m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]),
		_mm512_unpackhi_epi32(v[2], v[3]));

	return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* Quarter i of the result is the sum of the four quarters of v[i]. */
TR_INLINE __m512i tr_fold_blocks(const __m512i v[4])
{
	__m512i a = _mm512_add_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x44),
		_mm512_shuffle_i32x4(v[0], v[1], 0xee));
	__m512i b = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2], v[3], 0x44),
		_mm512_shuffle_i32x4(v[2], v[3], 0xee));

	return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88),
		_mm512_shuffle_i32x4(a, b, 0xdd));
}

/* Value i of four in quarter i. */
TR_INLINE __m512 tr_by_block(__m128 v)
{
	return _mm512_permutexvar_ps(
		_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
		_mm512_castps128_ps512(v));
}

/* The ends of four rows: (s0 + s2) + (s1 + s3). */
TR_INLINE void tr_tile_join(float sum[TR_TILE_ROWS][TR_TILE_ACTS], __m512 acc)
{
	__m256 a = _mm256_add_ps(_mm512_castps512_ps256(acc), _mm512_extractf32x8_ps(acc, 1));
	float v[TR_TILE_ROWS];

	_mm_storeu_ps(v, _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
	TR_UNROLL
	for (int r = 0; r < TR_TILE_ROWS; r++)
		sum[r][0] = v[r];
}

#endif
