/*
 * avx2_b32.c - dot products of the types with 32 values a block.
 *
 * A block is one register of codes and eight lanes: blocks of even index add to lanes 0..7, of odd
 * index to lanes 8..15. Eight blocks are one step: their scales are collected, converted and
 * multiplied by the activation's together. The last blocks of a row, when fewer than eight, are
 * copied to a step padded with zeros: a product of zeros leaves the lanes as they are.
 */
#include "compute/cpu/avx2.h"
#include "compute/cpu/step32.h"

struct b32 {
	size_t bytes;	/* of a block */
	bool is_signed; /* the codes are signed; off is 0 */
	int off;
	bool e8m0;	/* d is a power of two in a byte, not binary16 */
	bool has_min;	/* m follows d */
	__m256i (*codes)(const uint8_t *block);
};

/* Bit i of 32 to 16 or 0 in byte i. */
TR_INLINE __m256i fifth_bits(const uint8_t *p)
{
	const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2,
		2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
	const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
	int h;
	__m256i v;

	memcpy(&h, p, sizeof(h));
	v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(h), spread), bit);
	return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(16));
}

TR_INLINE __m256i codes_q4_0(const uint8_t *p)
{
	return tr_avx2_nibbles(p + 2);
}

TR_INLINE __m256i codes_q4_1(const uint8_t *p)
{
	return tr_avx2_nibbles(p + 4);
}

TR_INLINE __m256i codes_q5_0(const uint8_t *p)
{
	return _mm256_or_si256(tr_avx2_nibbles(p + 6), fifth_bits(p + 2));
}

TR_INLINE __m256i codes_q5_1(const uint8_t *p)
{
	return _mm256_or_si256(tr_avx2_nibbles(p + 8), fifth_bits(p + 4));
}

TR_INLINE __m256i codes_q8_0(const uint8_t *p)
{
	return tr_avx2_load(p + 2);
}

TR_INLINE __m256i codes_iq4_nl(const uint8_t *p)
{
	return _mm256_shuffle_epi8(tr_avx2_table(tr_iq4_values), tr_avx2_nibbles(p + 2));
}

TR_INLINE __m256i codes_mxfp4(const uint8_t *p)
{
	__m256i table = _mm256_add_epi8(tr_avx2_table(tr_fp4_values), _mm256_set1_epi8(12));

	return _mm256_shuffle_epi8(table, tr_avx2_nibbles(p + 1));
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

/* d of eight blocks */
TR_INLINE __m256 scales(const struct b32 *ty, const uint8_t *p)
{
	const size_t b = ty->bytes;

	if (!ty->e8m0)
		return halves(p, b);
	return powers(_mm256_cvtepu8_epi32(_mm_setr_epi8((char)p[0], (char)p[b], (char)p[2 * b],
		(char)p[3 * b], (char)p[4 * b], (char)p[5 * b], (char)p[6 * b], (char)p[7 * b], 0,
		0, 0, 0, 0, 0, 0, 0)));
}

/* Step i of a tile. */
TR_INLINE void step(const struct b32 *ty, __m256 acc[2][TR_TILE_ROWS][TR_TILE_ACTS],
	const struct tr_tile *tile, const struct source *from, size_t i, int nr, int nt)
{
	float scale[TR_TILE_ROWS][TR_TILE_ACTS][STEP_BLOCKS];
	float min[TR_TILE_ROWS][TR_TILE_ACTS][STEP_BLOCKS];
	const __m256i one = _mm256_set1_epi16(1);

	tr_tile_prefetch(tile, i * STEP_BLOCKS * ty->bytes, STEP_BLOCKS * ty->bytes, nr);
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		const uint8_t *w = from->w[r] + i * STEP_BLOCKS * ty->bytes;

		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256 dx = _mm256_loadu_ps(from->d[t] + i * STEP_BLOCKS);

			_mm256_storeu_ps(scale[r][t], _mm256_mul_ps(scales(ty, w), dx));
			if (ty->has_min)
				_mm256_storeu_ps(min[r][t],
					_mm256_mul_ps(halves(w + 2, ty->bytes), dx));
		}
	}
	TR_UNROLL
	for (int b = 0; b < STEP_BLOCKS; b++) {
		__m256i codes[TR_TILE_ROWS];

		TR_UNROLL
		for (int r = 0; r < nr; r++)
			codes[r] = ty->codes(from->w[r] +
				(i * STEP_BLOCKS + (size_t)b) * ty->bytes);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256i x = tr_avx2_load(from->q[t] + i * STEP_VALUES + 32 * b);
			__m256i start = tr_avx2_start(ty->off, x);
			__m256 x4;

			if (ty->has_min)
				x4 = _mm256_cvtepi32_ps(_mm256_madd_epi16(
					_mm256_maddubs_epi16(_mm256_set1_epi8(1), x), one));
			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m256i sum = _mm256_madd_epi16(tr_avx2_pairs(ty->is_signed, ty->off,
					codes[r], x, start), one);
				__m256 *a = &acc[b % 2][r][t];

				*a = _mm256_fmadd_ps(_mm256_broadcast_ss(&scale[r][t][b]),
					_mm256_cvtepi32_ps(sum), *a);
				if (ty->has_min)
					*a = _mm256_fmadd_ps(_mm256_broadcast_ss(&min[r][t][b]), x4,
						*a);
			}
		}
	}
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct b32 *ty = type;
	__m256 acc[2][TR_TILE_ROWS][TR_TILE_ACTS];
	struct source from;
	struct padding pad;
	size_t n_block = tile->n / 32, n_step = n_block / STEP_BLOCKS;
	bool more = n_block % STEP_BLOCKS;

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			acc[0][r][t] = acc[1][r][t] = _mm256_setzero_ps();
	}
	source_of(&from, tile, nr, nt);
	for (;;) {
		for (size_t i = 0; i < n_step; i++)
			step(ty, acc, tile, &from, i, nr, nt);
		if (!more)
			break;
		copy_last(&pad, tile, n_step * STEP_BLOCKS, ty->bytes, nr, nt);
		source_padded(&from, &pad, nr, nt);
		n_step = 1;
		more = false;
	}
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			sum[r][t] = tr_avx2_tree(acc[0][r][t], acc[1][r][t]);
	}
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .codes = codes_##type

static const struct b32 q4_0 = { BLOCK(q4_0), .off = 8 };
static const struct b32 q4_1 = { BLOCK(q4_1), .has_min = true };
static const struct b32 q5_0 = { BLOCK(q5_0), .off = 16 };
static const struct b32 q5_1 = { BLOCK(q5_1), .has_min = true };
static const struct b32 q8_0 = { BLOCK(q8_0), .is_signed = true };
static const struct b32 iq4_nl = { BLOCK(iq4_nl), .is_signed = true };
static const struct b32 mxfp4 = { BLOCK(mxfp4), .off = 12, .e8m0 = true };

TR_DEFINE_DOT(tr_avx2_dot_q4_0, tile, &q4_0, TR_ACT_Q8_32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q4_1, tile, &q4_1, TR_ACT_Q8_32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q5_0, tile, &q5_0, TR_ACT_Q8_32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q5_1, tile, &q5_1, TR_ACT_Q8_32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q8_0, tile, &q8_0, TR_ACT_Q8_32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq4_nl, tile, &iq4_nl, TR_ACT_Q8_32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_mxfp4, tile, &mxfp4, TR_ACT_Q8_32, 2, 2)
