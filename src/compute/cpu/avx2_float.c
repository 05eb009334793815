/*
 * avx2_float.c - dot products of F32, F16 and BF16 weights with float activations.
 *
 * Sixteen values are a step; the last values of a row, when fewer, touch only their lanes.
 */
#include "compute/cpu/avx2.h"

struct wide {
	size_t bytes; /* of a value */
	__m256 (*load)(const uint8_t *p);
};

TR_INLINE __m256 load_f32(const uint8_t *p)
{
	return _mm256_loadu_ps((const float *)p);
}

TR_INLINE __m256 load_f16(const uint8_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

TR_INLINE __m256 load_bf16(const uint8_t *p)
{
	__m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));

	return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

/* One step with the n < 16 values at w and x; the other lanes keep what they have. */
TR_INLINE void last_step(const struct wide *ty, __m256 *lo, __m256 *hi, const uint8_t *w,
	const uint8_t *x, size_t n)
{
	uint8_t pad[16 * sizeof(float)] = { 0 };
	float lane[16], value[16], other[16];

	memcpy(pad, w, n * ty->bytes);
	_mm256_storeu_ps(value, ty->load(pad));
	_mm256_storeu_ps(value + 8, ty->load(pad + 8 * ty->bytes));
	memcpy(other, x, n * sizeof(float));
	_mm256_storeu_ps(lane, *lo);
	_mm256_storeu_ps(lane + 8, *hi);
	for (size_t i = 0; i < n; i++)
		lane[i] = __builtin_fmaf(value[i], other[i], lane[i]);
	*lo = _mm256_loadu_ps(lane);
	*hi = _mm256_loadu_ps(lane + 8);
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct wide *ty = type;
	__m256 acc[2][TR_TILE_ROWS][TR_TILE_ACTS];
	size_t i = 0, n = tile->n;

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			acc[0][r][t] = acc[1][r][t] = _mm256_setzero_ps();
	}
	for (; n - i >= 16; i += 16) {
		tr_tile_prefetch(tile, i * ty->bytes, 16 * ty->bytes, nr);
		TR_UNROLL
		for (int h = 0; h < 2; h++) {
			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m256 w = ty->load(tile->w[r] + (i + 8 * (size_t)h) * ty->bytes);

				TR_UNROLL
				for (int t = 0; t < nt; t++) {
					const float *x = (const float *)tile->act[t] + i + 8 * h;

					acc[h][r][t] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x),
						acc[h][r][t]);
				}
			}
		}
	}
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			if (i < n)
				last_step(ty, &acc[0][r][t], &acc[1][r][t],
					tile->w[r] + i * ty->bytes,
					tile->act[t] + i * sizeof(float), n - i);
			sum[r][t] = tr_avx2_tree(acc[0][r][t], acc[1][r][t]);
		}
	}
}

static const struct wide f32 = { 4, load_f32 };
static const struct wide f16 = { 2, load_f16 };
static const struct wide bf16 = { 2, load_bf16 };

TR_DEFINE_DOT(tr_avx2_dot_f32, tile, &f32, TR_ACT_F32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_f16, tile, &f16, TR_ACT_F32, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_bf16, tile, &bf16, TR_ACT_F32, 2, 2)
