/*
 * step256.h - the scales of one super-block of every row of a tile, common to all vector
 * instruction sets: converted together, multiplied by the activations' together and left in memory,
 * from where a broadcast costs no more than a load.
 */
#ifndef TR_COMPUTE_CPU_STEP256_H
#define TR_COMPUTE_CPU_STEP256_H

#include "compute/cpu/rows.h"
#include "model/quants/blocks.h"

/* d_w * d_x and dmin_w * d_x of each row, by activation. */
struct scales256 {
	float by_act[TR_TILE_ACTS][2 * TR_TILE_ROWS];
};

/* d_at is where d lies in a block. dmin, if there is one, follows d; without it the two bytes that
 * are read with d lie before it, unless the block starts there. */
TR_INLINE int d_pair_at(size_t d_at, bool has_min)
{
	return (int)d_at - (has_min || !d_at ? 0 : 2);
}

TR_INLINE float product_d(const struct scales256 *s, size_t d_at, bool has_min, int r, int t)
{
	return s->by_act[t][2 * r + (has_min || !d_at ? 0 : 1)];
}

TR_INLINE float product_dmin(const struct scales256 *s, int r, int t)
{
	return s->by_act[t][2 * r + 1];
}

/* d and dmin of each row, as product_d and product_dmin index them. */
TR_INLINE __m256 row_scales(const uint8_t *const w[TR_TILE_ROWS], size_t d_at, bool has_min,
	float unit, int nr)
{
	int h[TR_TILE_ROWS] = { 0 };
	__m256 d;

	TR_UNROLL
	for (int r = 0; r < nr; r++)
		memcpy(&h[r], w[r] + d_pair_at(d_at, has_min), sizeof(h[r]));
	d = _mm256_cvtph_ps(_mm_setr_epi32(h[0], h[1], h[2], h[3]));
	return unit != 0 ? _mm256_mul_ps(d, _mm256_set1_ps(unit)) : d;
}

TR_INLINE void multiply_scales(struct scales256 *s, const uint8_t *const w[TR_TILE_ROWS],
	size_t d_at, bool has_min, float unit, const struct tr_tile *tile, size_t block_idx,
	int nr, int nt)
{
	__m256 d = row_scales(w, d_at, has_min, unit, nr);

	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		const float *dx = (const float *)(tile->act[t] + tile->d_off) + block_idx;

		_mm256_storeu_ps(s->by_act[t], _mm256_mul_ps(d, _mm256_broadcast_ss(dx)));
	}
}

#endif
