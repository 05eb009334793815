/*
 * avx512_b32.c - dot products of the types with 32 values a block.
 *
 * Two blocks fill a register with 64 unsigned codes, q + off, and meet 64 activations in one
 * vpdpbusd whose lanes start from -off * sum4(x). Eight blocks are one step: their scales are
 * collected, converted and multiplied by the activation's together, then spread over the lanes pair
 * by pair. The last blocks of a row, when fewer than eight, are copied to a step padded with zeros:
 * a product of zeros leaves the lanes as they are.
 */
#include "compute/cpu/avx512.h"
#include "compute/cpu/step32.h"

struct b32 {
	size_t bytes;			       /* of a block */
	int off;
	__m512i (*codes)(const uint8_t *pair); /* of two blocks */
	bool e8m0;    /* d is a power of two in a byte, not binary16 */
	bool has_min; /* m follows d */
};

TR_INLINE __m512i nibbles(const uint8_t *lo, const uint8_t *hi)
{
	__m512i v = _mm512_srlv_epi16(tr_avx512_pair(lo, hi), tr_avx512_counts(0, 4, 0, 4));

	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

TR_INLINE __m512i fifth_bits(__m512i v, const uint8_t *lo, const uint8_t *hi)
{
	uint32_t a, b;

	memcpy(&a, lo, 4);
	memcpy(&b, hi, 4);
	return _mm512_mask_add_epi8(v, (uint64_t)b << 32 | a, v, _mm512_set1_epi8(16));
}

TR_INLINE __m512i codes_q4_0(const uint8_t *p)
{
	return nibbles(p + 2, p + 20);
}

TR_INLINE __m512i codes_q4_1(const uint8_t *p)
{
	return nibbles(p + 4, p + 24);
}

TR_INLINE __m512i codes_q5_0(const uint8_t *p)
{
	return fifth_bits(nibbles(p + 6, p + 28), p + 2, p + 24);
}

TR_INLINE __m512i codes_q5_1(const uint8_t *p)
{
	return fifth_bits(nibbles(p + 8, p + 32), p + 4, p + 28);
}

TR_INLINE __m512i codes_q8_0(const uint8_t *p)
{
	__m256i lo = _mm256_loadu_si256((const __m256i *)(p + 2));
	__m256i hi = _mm256_loadu_si256((const __m256i *)(p + 36));

	return _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1),
		_mm512_set1_epi8((char)0x80));
}

TR_INLINE __m512i codes_iq4_nl(const uint8_t *p)
{
	__m512i table = _mm512_add_epi8(tr_avx512_table(tr_iq4_values),
		_mm512_set1_epi8((char)128));

	return _mm512_shuffle_epi8(table, nibbles(p + 2, p + 20));
}

TR_INLINE __m512i codes_mxfp4(const uint8_t *p)
{
	__m512i table = _mm512_add_epi8(tr_avx512_table(tr_fp4_values), _mm512_set1_epi8(12));

	return _mm512_shuffle_epi8(table, nibbles(p + 1, p + 18));
}

/* Lanes 0..7 take value 2 * pair of v, lanes 8..15 the next. */
TR_INLINE __m512 spread(__m256 v, int pair)
{
	__m512i idx = _mm512_inserti64x4(_mm512_set1_epi32(2 * pair),
		_mm256_set1_epi32(2 * pair + 1), 1);

	return _mm512_permutexvar_ps(idx, _mm512_castps256_ps512(v));
}

TR_INLINE void step(const struct b32 *ty, __m512 acc[TR_TILE_ROWS][TR_TILE_ACTS],
	const struct cursor *c, int nr, int nt)
{
	__m256 scale[TR_TILE_ROWS][TR_TILE_ACTS], min[TR_TILE_ROWS][TR_TILE_ACTS];
	__m512i codes[TR_TILE_ROWS];

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256 dx = _mm256_loadu_ps(c->d[t]);
			__m256 dw = ty->e8m0 ? powers(c->w[r], ty->bytes)
					       : halves(c->w[r], ty->bytes);

			scale[r][t] = _mm256_mul_ps(dw, dx);
			if (ty->has_min)
				min[r][t] = _mm256_mul_ps(halves(c->w[r] + 2, ty->bytes), dx);
		}
	}
	TR_UNROLL
	for (int pair = 0; pair < STEP_BLOCKS / 2; pair++) {
		TR_UNROLL
		for (int r = 0; r < nr; r++)
			codes[r] = ty->codes(c->w[r] + (size_t)pair * 2 * ty->bytes);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m512i x = _mm512_loadu_si512(c->q[t] + 64 * pair);
			__m512i start = tr_avx512_offset(ty->off, x);
			__m512 x4;

			if (ty->has_min)
				x4 = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(),
					_mm512_set1_epi8(1), x));
			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m512i sum = _mm512_dpbusd_epi32(start, codes[r], x);

				acc[r][t] = _mm512_fmadd_ps(spread(scale[r][t], pair),
					_mm512_cvtepi32_ps(sum), acc[r][t]);
				if (ty->has_min)
					acc[r][t] = _mm512_fmadd_ps(spread(min[r][t], pair), x4,
						acc[r][t]);
			}
		}
	}
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct b32 *ty = type;
	__m512 acc[TR_TILE_ROWS][TR_TILE_ACTS];
	struct cursor c;
	struct padding pad;

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		c.w[r] = tile->w[r];
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			acc[r][t] = _mm512_setzero_ps();
	}
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		c.q[t] = (const int8_t *)tile->act[t];
		c.d[t] = (const float *)(tile->act[t] + tile->d_off);
	}
	for (size_t i = 0, n_block = tile->n / 32; i < n_block; i += STEP_BLOCKS) {
		if (n_block - i < STEP_BLOCKS)
			pad_step(&c, &pad, n_block - i, ty->bytes, nr, nt);
		TR_UNROLL
		for (int r = 0; r < nr; r++)
			tr_tile_prefetch(tile, c.w[r], STEP_BLOCKS * ty->bytes);
		step(ty, acc, &c, nr, nt);
		TR_UNROLL
		for (int r = 0; r < nr; r++)
			c.w[r] += STEP_BLOCKS * ty->bytes;
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			c.q[t] += STEP_VALUES;
			c.d[t] += STEP_BLOCKS;
		}
	}
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			sum[r][t] = tr_avx512_tree(acc[r][t]);
	}
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .codes = codes_##type

static const struct b32 q4_0 = { BLOCK(q4_0), .off = 8 };
static const struct b32 q4_1 = { BLOCK(q4_1), .has_min = true };
static const struct b32 q5_0 = { BLOCK(q5_0), .off = 16 };
static const struct b32 q5_1 = { BLOCK(q5_1), .has_min = true };
static const struct b32 q8_0 = { BLOCK(q8_0), .off = 128 };
static const struct b32 iq4_nl = { BLOCK(iq4_nl), .off = 128 };
static const struct b32 mxfp4 = { BLOCK(mxfp4), .off = 12, .e8m0 = true };

TR_DEFINE_DOT(tr_avx512_dot_q4_0, tile, &q4_0, TR_ACT_Q8_32, 2, 4)
TR_DEFINE_DOT(tr_avx512_dot_q4_1, tile, &q4_1, TR_ACT_Q8_32, 2, 4)
TR_DEFINE_DOT(tr_avx512_dot_q5_0, tile, &q5_0, TR_ACT_Q8_32, 2, 4)
TR_DEFINE_DOT(tr_avx512_dot_q5_1, tile, &q5_1, TR_ACT_Q8_32, 2, 4)
TR_DEFINE_DOT(tr_avx512_dot_q8_0, tile, &q8_0, TR_ACT_Q8_32, 2, 4)
TR_DEFINE_DOT(tr_avx512_dot_iq4_nl, tile, &iq4_nl, TR_ACT_Q8_32, 2, 4)
TR_DEFINE_DOT(tr_avx512_dot_mxfp4, tile, &mxfp4, TR_ACT_Q8_32, 2, 4)
