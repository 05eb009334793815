/*
 * avx512_k.h - a type with super-blocks of 256 values: how it is unpacked. How it is multiplied is
 * in avx512_k_tile.h for one activation, in avx512_k_sheet.h for several.
 */
#ifndef TR_COMPUTE_CPU_AVX512_K_H
#define TR_COMPUTE_CPU_AVX512_K_H

#include "compute/cpu/avx512_sheet.h"
#include "compute/cpu/grid256.h"
#include "compute/cpu/step256.h"

/* A super-block of 16 rows. */
struct sheet256 {
	__m512i raw[2][8]; /* of the type's own use, from one part to the next */
	uint8_t rows[TR_SHEET_ROWS][256]; /* likewise */
	__m512i scale[16]; /* of group g of 16 values; per 32, of sub-block s */
	/* As pairs of 16 bits, what multiplies the sums of x of groups 2 j and 2 j + 1: the
	 * minimums, or the scales times -off. */
	__m512i pair[8];
	__m512 d, dmin;
};

/* Scales of four rows. */
struct tile_scales {
	/* For each chunk and its quarters: row r in dword r. By halves, of sub-blocks 0 to 3 in 0
	 * and of the others in 2. */
	__m512i scale[4];
	__m512i min[2]; /* of groups 0 to 7 and 8 to 15, 16 bits each; row r in quarter r */
};

struct k {
	size_t bytes;
	size_t d_at;    /* of binary16 d, which dmin follows */
	int off;        /* codes are that much too large */
	int per_scale;  /* values under one scale: 16 or 32 */
	bool by_halves; /* see codes */
	bool has_min;
	float unit; /* d times this counts; 0: d itself */
	/* One row. Chunk k has sub-blocks k and k + 4; by halves, chunks 0 and 1 have the first and
	 * the last 16 values of sub-blocks 0 to 3, chunks 2 and 3 those of the others. */
	void (*codes)(const uint8_t *block, __m512i codes[4]);
	/* Optional: bit set where a code of chunk k is negative. It is a magnitude then, without
	 * offset. */
	__mmask64 (*signs)(const uint8_t *block, int k);
	void (*scales)(const uint8_t *const w[TR_TILE_ROWS], struct tile_scales *to);
	/* Optional: puts a row's block into a form that codes, signs, scales and d_at are about. */
	void (*unpack)(const uint8_t *block, struct grid256 *to);
	/* Sixteen rows: first scales and pairs, then by parts 0 to 3 the codes of two sub-blocks,
	 * signs applied: 2 part and the next, or crosswise 0 and 2, 1 and 3, 4 and 6, 5 and 7. */
	void (*sheet)(const struct tr_sheet_rows *w, struct sheet256 *to);
	void (*part)(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
		__m512i codes[2][8]);
	bool crosswise;
};

/* 16 bytes of four rows, a row to a quarter. */
TR_INLINE __m512i four_rows(const uint8_t *const w[TR_TILE_ROWS], size_t at)
{
	return four_quarters(w[0] + at, w[1] + at, w[2] + at, w[3] + at);
}

/* In quarter q of the result, dword r is dword[q] of quarter r. */
TR_INLINE __m512i quarters_to_dwords(__m512i v, int a, int b, int c, int d)
{
	return _mm512_permutexvar_epi32(_mm512_setr_epi32(a, a + 4, a + 8, a + 12, b, b + 4, b + 8,
		b + 12, c, c + 4, c + 8, c + 12, d, d + 4, d + 8, d + 12), v);
}

/* Scales of 16 groups of four rows, bytes with signs. */
TR_INLINE void put_scales_16(struct tile_scales *to, __m512i v)
{
	__m512i even = quarters_to_dwords(v, 0, 0, 2, 2), odd = quarters_to_dwords(v, 1, 1, 3, 3);
	const __m512i low = _mm512_setr_epi32(24, 24, 24, 24, 16, 16, 16, 16, 24, 24, 24, 24, 16,
		16, 16, 16);
	const __m512i high = _mm512_setr_epi32(8, 8, 8, 8, 0, 0, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0);

	to->scale[0] = _mm512_srai_epi32(_mm512_sllv_epi32(even, low), 24);
	to->scale[1] = _mm512_srai_epi32(_mm512_sllv_epi32(even, high), 24);
	to->scale[2] = _mm512_srai_epi32(_mm512_sllv_epi32(odd, low), 24);
	to->scale[3] = _mm512_srai_epi32(_mm512_sllv_epi32(odd, high), 24);
}

#endif
