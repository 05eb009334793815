/*
 * avx512_k_tile.h - super-blocks of 256 values with one activation (the tile: avx512_tile.h).
 *
 * A super-block is four chunks of 64 codes: sub-blocks k and k + 4 in the halves of chunk k, which
 * is how the types pack their bits. Each quarter of a chunk lies within one group of 16 values. So
 * the lanes of vpdpbusd are first added up, those of four rows side by side, to the sum of each
 * quarter and row; then scales count, four multiplications for four rows, and not one for each row
 * and chunk. Zen 5 adds and unpacks four registers a cycle, but multiplies, packs and permutes two.
 */
#ifndef TR_COMPUTE_CPU_AVX512_K_TILE_H
#define TR_COMPUTE_CPU_AVX512_K_TILE_H

#include "compute/cpu/avx512_k.h"
#include "compute/cpu/avx512_tile.h"

/* A super-block of the activation. */
struct x256 {
	__m512i q[4];     /* by chunk */
	__m512i start[4]; /* what codes that are too large add, less than nothing */
	__m512i sum[2];   /* of groups 0 to 7 and 8 to 15, in all quarters */
};

TR_INLINE void load_x(const struct k *ty, struct x256 *x, const struct tr_tile *tile, size_t i)
{
	const uint8_t *q = tile->act[0] + 256 * i;

	const __m128i *sum = (const __m128i *)(tile->act[0] + tile->sum_off + 32 * i);

	x->sum[0] = _mm512_broadcast_i32x4(_mm_loadu_si128(sum));
	x->sum[1] = _mm512_broadcast_i32x4(_mm_loadu_si128(sum + 1));
	TR_UNROLL
	for (int k = 0; k < 4; k++) {
		__m512i a = _mm512_loadu_si512(q + 128 * (k / 2));

		if (!ty->by_halves)
			x->q[k] = two_halves(q + 32 * k, q + 128 + 32 * k);
		else if (k % 2)
			x->q[k] = _mm512_shuffle_i32x4(a,
				_mm512_loadu_si512(q + 128 * (k / 2) + 64), 0xdd);
		else
			x->q[k] = _mm512_shuffle_i32x4(a,
				_mm512_loadu_si512(q + 128 * (k / 2) + 64), 0x88);
		x->start[k] = tr_avx512_offset(ty->signs ? 0 : ty->off, x->q[k]);
	}
	if (ty->by_halves) {
		x->start[0] = _mm512_add_epi32(x->start[0], x->start[1]);
		x->start[2] = _mm512_add_epi32(x->start[2], x->start[3]);
	}
}

/* Chunk k of a row: lanes that add up to the sums of its quarters. By halves, chunk k and k + 1. */
TR_INLINE __m512i lanes_of(const struct k *ty, const uint8_t *w, const __m512i codes[4],
	const struct x256 *x, int k)
{
	__m512i q = x->q[k], v;

	if (ty->signs)
		q = _mm512_mask_sub_epi8(q, ty->signs(w, k), _mm512_setzero_si512(), q);
	v = _mm512_dpbusd_epi32(x->start[k], codes[k], q);
	return ty->by_halves ? _mm512_dpbusd_epi32(v, codes[k + 1], x->q[k + 1]) : v;
}

/* Four blocks of four rows. */
struct step256 {
	__m512i sum[4]; /* by block; dwords of a quarter by row, quarters to be added */
	__m512i min[4]; /* by block; quarters by row, dwords to be added */
	uint32_t d[4][TR_TILE_ROWS]; /* d and dmin, or what d_pair_at reads with d */
};

TR_INLINE void step_block(const struct k *ty, struct step256 *to, int b,
	const struct tr_tile *tile, size_t i)
{
	__m512i codes[TR_TILE_ROWS][4], v[TR_TILE_ROWS], sum = _mm512_setzero_si512();
	const uint8_t *w[TR_TILE_ROWS];
	struct grid256 grid[TR_TILE_ROWS];
	struct tile_scales scales;
	struct x256 x;

	tr_tile_prefetch(tile, i * ty->bytes, ty->bytes, TR_TILE_ROWS);
	load_x(ty, &x, tile, i);
	TR_UNROLL
	for (int r = 0; r < TR_TILE_ROWS; r++) {
		w[r] = tile->w[r] + i * ty->bytes;
		if (ty->unpack) {
			ty->unpack(w[r], &grid[r]);
			by_memory(&grid[r]);
			w[r] = (const uint8_t *)&grid[r];
		}
		memcpy(&to->d[b][r], w[r] + d_pair_at(ty->d_at, ty->has_min), sizeof(to->d[b][r]));
		ty->codes(w[r], codes[r]);
	}
	ty->scales(w, &scales);
	TR_UNROLL
	for (int k = 0; k < 4; k += ty->by_halves ? 2 : 1) {
		TR_UNROLL
		for (int r = 0; r < TR_TILE_ROWS; r++)
			v[r] = lanes_of(ty, w[r], codes[r], &x, k);
		sum = _mm512_add_epi32(sum,
			_mm512_mullo_epi32(tr_fold_rows(v), scales.scale[k]));
	}
	to->sum[b] = sum;
	if (ty->has_min)
		to->min[b] = _mm512_dpwssd_epi32(_mm512_madd_epi16(scales.min[0], x.sum[0]),
			scales.min[1], x.sum[1]);
}

/* The minimums' part of each block and row, as sums have it. */
TR_INLINE __m512i min_sums(const __m512i min[4])
{
	return _mm512_permutexvar_epi32(
		_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
		tr_fold_rows(min));
}

/* Blocks i on, n of them: those that are missing leave their sums alone. */
TR_INLINE __m512 step_end(const struct k *ty, const struct step256 *step,
	const struct tr_tile *tile, size_t i, int n, __m512 acc)
{
	const float *dx = (const float *)(tile->act[0] + tile->d_off) + i;
	__mmask16 in = (__mmask16)((1u << 4 * n) - 1);
	__m512 x = tr_by_block(_mm_maskz_loadu_ps((__mmask8)((1u << n) - 1), dx)), d;
	__m512i h = _mm512_loadu_si512(step->d);

	d = tr_half_floats(h, !ty->has_min && ty->d_at);
	if (ty->unit != 0)
		d = _mm512_mul_ps(d, _mm512_set1_ps(ty->unit));
	acc = _mm512_mask3_fmadd_ps(_mm512_mul_ps(d, x),
		_mm512_cvtepi32_ps(tr_fold_blocks(step->sum)), acc, in);
	if (ty->has_min)
		acc = _mm512_mask3_fnmadd_ps(_mm512_mul_ps(tr_half_floats(h, true), x),
			_mm512_cvtepi32_ps(min_sums(step->min)), acc, in);
	return acc;
}

TR_INLINE void tile256(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct k *ty = type;
	__m512 acc = _mm512_setzero_ps();
	struct step256 step;

	(void)nr;
	(void)nt;
	memset(&step, 0, sizeof(step));
	for (size_t i = 0, n_block = tile->n / 256; i < n_block; i += 4) {
		int n = (int)TR_MIN(n_block - i, (size_t)4);

		for (int b = 0; b < n; b++)
			step_block(ty, &step, b, tile, i + (size_t)b);
		acc = step_end(ty, &step, tile, i, n, acc);
	}
	tr_tile_join(sum, acc);
}

#endif
