/*
 * avx512_k.h - dot products of super-blocks of 256 values.
 *
 * A super-block is four chunks of 64 values. A chunk becomes 64 unsigned codes, q + off; vpdpbusd
 * with the activations, starting from -off * sum4(x), gives the sums of the 16 lanes. They fit 16
 * bits (63 * 4 * 127 is the most), so that one vpdpwssd multiplies them by the scales, which have
 * zero in their upper halves, and adds to the lanes of the super-block. IQ4_XS alone needs a 32-bit
 * multiplication. Scales and minimums are unpacked once a super-block to one per 32-bit lane.
 */
#ifndef TR_COMPUTE_CPU_AVX512_K_H
#define TR_COMPUTE_CPU_AVX512_K_H

#include "compute/cpu/avx512.h"
#include "compute/cpu/grid256.h"
#include "compute/cpu/step256.h"

struct k {
	size_t bytes;
	size_t d_at;
	int off;
	int per_scale;	/* values under one scale: 16 or 32 */
	bool wide;	/* lane sums pass 16 bits */
	bool large;	/* codes pass 32: lane sums do with activations up to 255 */
	bool has_min;
	__m512i (*codes)(const uint8_t *block, int chunk);
	/* Optional: bit set where a code is negative, which is then a magnitude. */
	__mmask64 (*signs)(const uint8_t *block, int chunk);
	/* 256 / per_scale scales; with minimums, those of the 16 groups of 16 values in *min. */
	__m512i (*scales)(const uint8_t *block, __m512i *min);
	/* Optional: puts a block into a form that the functions above and d_at are about. */
	void (*unpack)(const uint8_t *block, struct grid256 *to);
	float unit; /* d times this counts; 0: d itself */
};

/* 16 signed bytes to lanes whose upper halves are zero. */
TR_INLINE __m512i low_halves(__m128i v)
{
	return _mm512_cvtepu16_epi32(_mm256_cvtepi8_epi16(v));
}

/* The scale of each lane of a chunk. */
TR_INLINE __m512i spread(__m512i scales, int chunk, int per_scale)
{
	const int a = chunk * 64 / per_scale, half = 32 / per_scale, step = half - 1;
	const __m512i idx = _mm512_setr_epi32(a, a, a, a, a + step, a + step, a + step, a + step,
		a + half, a + half, a + half, a + half, a + half + step, a + half + step,
		a + half + step, a + half + step);

	return _mm512_permutexvar_epi32(idx, scales);
}

/* Exact sums of the lanes of one super-block at w[r] with the activations at q[t]. */
TR_INLINE void sum_lanes(const struct k *ty, __m512i sum[TR_TILE_ROWS][TR_TILE_ACTS],
	const uint8_t *const w[TR_TILE_ROWS], const __m512i scales[TR_TILE_ROWS],
	const int8_t *const q[TR_TILE_ACTS], int nr, int nt)
{
	__m512i codes[TR_TILE_ROWS], scale[TR_TILE_ROWS];
	__mmask64 signs[TR_TILE_ROWS];

	TR_UNROLL
	for (int chunk = 0; chunk < 4; chunk++) {
		TR_UNROLL
		for (int r = 0; r < nr; r++) {
			codes[r] = ty->codes(w[r], chunk);
			signs[r] = ty->signs ? ty->signs(w[r], chunk) : 0;
			scale[r] = spread(scales[r], chunk, ty->per_scale);
		}
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m512i x = _mm512_loadu_si512(q[t] + 64 * chunk);
			__m512i start = tr_avx512_offset(ty->off, x);

			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m512i sx = !ty->signs ? x : _mm512_mask_sub_epi8(x, signs[r],
					_mm512_setzero_si512(), x);
				__m512i s = _mm512_dpbusd_epi32(start, codes[r], sx);

				if (!chunk)
					sum[r][t] = _mm512_setzero_si512();
				if (ty->wide)
					sum[r][t] = _mm512_add_epi32(sum[r][t],
						_mm512_mullo_epi32(s, scale[r]));
				else
					sum[r][t] = _mm512_dpwssd_epi32(sum[r][t], s, scale[r]);
			}
		}
	}
}

/* accm - d * (minimums times sums of groups) */
TR_INLINE __m512 add_mins(__m512 accm, float d, __m512i min, const uint8_t *x16)
{
	__m512i x = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)x16));

	return _mm512_fnmadd_ps(_mm512_cvtepi32_ps(_mm512_madd_epi16(min, x)), _mm512_set1_ps(d),
		accm);
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct k *ty = type;
	__m512 acc[TR_TILE_ROWS][TR_TILE_ACTS], accm[TR_TILE_ROWS][TR_TILE_ACTS];
	__m512i scales[TR_TILE_ROWS], mins[TR_TILE_ROWS], lanes[TR_TILE_ROWS][TR_TILE_ACTS];
	const uint8_t *w[TR_TILE_ROWS];
	const int8_t *q[TR_TILE_ACTS];
	struct grid256 unpacked[TR_TILE_ROWS];
	struct scales256 d;

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			acc[r][t] = accm[r][t] = _mm512_setzero_ps();
	}
	for (size_t i = 0, n_block = tile->n / 256; i < n_block; i++) {
		tr_tile_prefetch(tile, i * ty->bytes, ty->bytes, nr);
		TR_UNROLL
		for (int r = 0; r < nr; r++) {
			w[r] = tile->w[r] + i * ty->bytes;
			if (ty->unpack) {
				ty->unpack(w[r], &unpacked[r]);
				by_memory(&unpacked[r]);
				w[r] = (const uint8_t *)&unpacked[r];
			}
			scales[r] = ty->scales(w[r], &mins[r]);
		}
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			q[t] = (const int8_t *)tile->act[t] + 256 * i;
		sum_lanes(ty, lanes, w, scales, q, nr, nt);
		multiply_scales(&d, w, ty->d_at, ty->has_min, ty->unit, tile, i, nr, nt);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			const uint8_t *x16 = tile->act[t] + tile->sum_off + 32 * i;

			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m512 dd = _mm512_set1_ps(
					product_d(&d, ty->d_at, ty->has_min, r, t));

				acc[r][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(lanes[r][t]), dd,
					acc[r][t]);
				if (ty->has_min)
					accm[r][t] = add_mins(accm[r][t], product_dmin(&d, r, t),
						mins[r], x16);
			}
		}
	}
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			sum[r][t] = tr_avx512_tree(ty->has_min
				? _mm512_add_ps(acc[r][t], accm[r][t]) : acc[r][t]);
	}
}

#endif
