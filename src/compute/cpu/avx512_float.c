/*
 * avx512_float.c - dot products of F32, F16 and BF16 weights with float activations.
 *
 * Sixteen values are a step; the last values of a row, when fewer, touch only their lanes.
 */
#include "compute/cpu/avx512.h"

struct wide {
	size_t bytes; /* of a value */
	__m512 (*load)(const uint8_t *p);
	__m512 (*load_first)(const uint8_t *p, __mmask16 first);
};

TR_INLINE __m512 load_f32(const uint8_t *p)
{
	return _mm512_loadu_ps(p);
}

TR_INLINE __m512 load_first_f32(const uint8_t *p, __mmask16 first)
{
	return _mm512_maskz_loadu_ps(first, p);
}

TR_INLINE __m512 load_f16(const uint8_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

TR_INLINE __m512 load_first_f16(const uint8_t *p, __mmask16 first)
{
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first, p));
}

TR_INLINE __m512 from_bf16(__m256i v)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

TR_INLINE __m512 load_bf16(const uint8_t *p)
{
	return from_bf16(_mm256_loadu_si256((const __m256i *)p));
}

TR_INLINE __m512 load_first_bf16(const uint8_t *p, __mmask16 first)
{
	return from_bf16(_mm256_maskz_loadu_epi16(first, p));
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct wide *ty = type;
	__m512 acc[TR_TILE_ROWS][TR_TILE_ACTS];
	size_t i = 0, n = tile->n;

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			acc[r][t] = _mm512_setzero_ps();
	}
	for (; n - i >= 16; i += 16) {
		__m512 w[TR_TILE_ROWS];

		tr_tile_prefetch(tile, i * ty->bytes, 16 * ty->bytes, nr);
		TR_UNROLL
		for (int r = 0; r < nr; r++)
			w[r] = ty->load(tile->w[r] + i * ty->bytes);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m512 x = _mm512_loadu_ps((const float *)tile->act[t] + i);

			TR_UNROLL
			for (int r = 0; r < nr; r++)
				acc[r][t] = _mm512_fmadd_ps(w[r], x, acc[r][t]);
		}
	}
	if (i < n) {
		__mmask16 first = tr_avx512_first(n - i);

		TR_UNROLL
		for (int r = 0; r < nr; r++) {
			__m512 w = ty->load_first(tile->w[r] + i * ty->bytes, first);

			TR_UNROLL
			for (int t = 0; t < nt; t++)
				acc[r][t] = _mm512_mask3_fmadd_ps(w,
					_mm512_maskz_loadu_ps(first, (const float *)tile->act[t] + i),
					acc[r][t], first);
		}
	}
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			sum[r][t] = tr_avx512_tree(acc[r][t]);
	}
}

static const struct wide f32 = { 4, load_f32, load_first_f32 };
static const struct wide f16 = { 2, load_f16, load_first_f16 };
static const struct wide bf16 = { 2, load_bf16, load_first_bf16 };

TR_DEFINE_DOT(tr_avx512_dot_f32, tile, &f32, TR_ACT_F32, 4, 4)
TR_DEFINE_DOT(tr_avx512_dot_f16, tile, &f16, TR_ACT_F32, 4, 4)
TR_DEFINE_DOT(tr_avx512_dot_bf16, tile, &bf16, TR_ACT_F32, 4, 4)
