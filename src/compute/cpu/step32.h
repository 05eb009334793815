/*
 * step32.h - a step through rows of the types with 32 values a block, common to all vector
 * instruction sets: eight blocks of a row, their scales, and the padding of a last step that has
 * fewer.
 */
#ifndef TR_COMPUTE_CPU_STEP32_H
#define TR_COMPUTE_CPU_STEP32_H

#include "compute/cpu/rows.h"
#include "model/quants/blocks.h"

#define STEP_BLOCKS 8
#define STEP_VALUES (32 * STEP_BLOCKS)

/* The start of what a tile reads: its rows and activations, or copies of their ends. */
struct source {
	const uint8_t *w[TR_TILE_ROWS];
	const int8_t *q[TR_TILE_ACTS];
	const float *d[TR_TILE_ACTS];
};

struct padding {
	uint8_t w[TR_TILE_ROWS][STEP_BLOCKS * sizeof(struct tr_block_q8_0)];
	int8_t q[TR_TILE_ACTS][STEP_VALUES];
	float d[TR_TILE_ACTS][STEP_BLOCKS];
};

TR_INLINE void source_of(struct source *from, const struct tr_tile *tile, int nr, int nt)
{
	TR_UNROLL
	for (int r = 0; r < nr; r++)
		from->w[r] = tile->w[r];
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		from->q[t] = (const int8_t *)tile->act[t];
		from->d[t] = (const float *)(tile->act[t] + tile->d_off);
	}
}

/* Goes on by n_block blocks. */
TR_INLINE void source_skip(struct source *from, size_t n_block, size_t bytes, int nr, int nt)
{
	TR_UNROLL
	for (int r = 0; r < nr; r++)
		from->w[r] += n_block * bytes;
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		from->q[t] += n_block * 32;
		from->d[t] += n_block;
	}
}

/* Copies the last blocks, from block `first` on. */
static __attribute__((noinline)) void copy_last(struct padding *pad, const struct tr_tile *tile,
	size_t first, size_t bytes, int nr, int nt)
{
	size_t n_block = tile->n / 32 - first;

	memset(pad, 0, sizeof(*pad));
	for (int r = 0; r < nr; r++)
		memcpy(pad->w[r], tile->w[r] + first * bytes, n_block * bytes);
	for (int t = 0; t < nt; t++) {
		memcpy(pad->q[t], tile->act[t] + first * 32, n_block * 32);
		memcpy(pad->d[t], tile->act[t] + tile->d_off + first * sizeof(float),
			n_block * sizeof(float));
	}
}

TR_INLINE void source_padded(struct source *from, const struct padding *pad, int nr, int nt)
{
	TR_UNROLL
	for (int r = 0; r < nr; r++)
		from->w[r] = pad->w[r];
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		from->q[t] = pad->q[t];
		from->d[t] = pad->d[t];
	}
}

/* As tr_e8m0_half: (e - 1) << 23 but for e < 2, where the other side is greater. */
TR_INLINE __m256 powers(__m256i e)
{
	__m256i one = _mm256_set1_epi32(1);
	__m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
	__m256i small = _mm256_slli_epi32(_mm256_add_epi32(e, one), 21);

	return _mm256_castsi256_ps(_mm256_max_epi32(normal, small));
}

#endif
