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

/* Where a step reads. */
struct cursor {
	const uint8_t *w[TR_TILE_ROWS];
	const int8_t *q[TR_TILE_ACTS];
	const float *d[TR_TILE_ACTS];
};

struct padding {
	uint8_t w[TR_TILE_ROWS][STEP_BLOCKS * sizeof(struct tr_block_q8_0)];
	int8_t q[TR_TILE_ACTS][STEP_VALUES];
	float d[TR_TILE_ACTS][STEP_BLOCKS];
};

/* Makes a whole step of the last n_block blocks. */
static void pad_step(struct cursor *c, struct padding *pad, size_t n_block, size_t bytes, int nr,
	int nt)
{
	memset(pad, 0, sizeof(*pad));
	for (int r = 0; r < nr; r++)
		c->w[r] = memcpy(pad->w[r], c->w[r], n_block * bytes);
	for (int t = 0; t < nt; t++) {
		c->q[t] = memcpy(pad->q[t], c->q[t], n_block * 32);
		c->d[t] = memcpy(pad->d[t], c->d[t], n_block * sizeof(float));
	}
}

/* Eight binary16, stride bytes apart. */
TR_INLINE __m256 halves(const uint8_t *p, size_t stride)
{
	short h[STEP_BLOCKS];

	TR_UNROLL
	for (int i = 0; i < STEP_BLOCKS; i++)
		memcpy(&h[i], p + (size_t)i * stride, 2);
	return _mm256_cvtph_ps(_mm_setr_epi16(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]));
}

/* tr_e8m0_half of eight bytes, b apart. */
TR_INLINE __m256 powers(const uint8_t *p, size_t b)
{
	__m256i e = _mm256_cvtepu8_epi32(_mm_setr_epi8((char)p[0], (char)p[b], (char)p[2 * b],
		(char)p[3 * b], (char)p[4 * b], (char)p[5 * b], (char)p[6 * b], (char)p[7 * b], 0,
		0, 0, 0, 0, 0, 0, 0));
	__m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
	__m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
	__m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);

	return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
}

#endif
