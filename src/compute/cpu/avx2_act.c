/* avx2_act.c - activations to int8. */
#include <math.h>

#include "compute/cpu/avx2.h"
#include "compute/cpu/avx2_vec.h"

/* The bits of max|x| of a block: as integers they order like the values, NaN above all. */
TR_INLINE uint32_t max_bits(const float *x, int n_value)
{
	__m256i top = _mm256_setzero_si256();
	__m128i t;

	for (int i = 0; i < n_value; i += 8)
		top = _mm256_max_epu32(top, _mm256_and_si256(tr_avx2_load(x + i),
			_mm256_set1_epi32(0x7fffffff)));
	t = _mm_max_epu32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
	t = _mm_max_epu32(t, _mm_shuffle_epi32(t, _MM_SHUFFLE(1, 0, 3, 2)));
	t = _mm_max_epu32(t, _mm_shuffle_epi32(t, _MM_SHUFFLE(2, 3, 0, 1)));
	return (uint32_t)_mm_cvtsi128_si32(t);
}

TR_INLINE __m256i rounded(const float *x, __m256 id)
{
	return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), id));
}

/* Returns the scale of the block. */
TR_INLINE float quantise_block(const float *x, int8_t *q, int n_value)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	union {
		uint32_t u;
		float f;
	} top = { .u = max_bits(x, n_value) };
	bool finite = top.u < 0x7f800000;
	__m256 id;

	if (!finite || top.f < TR_ACT_TINY) {
		memset(q, 0, (size_t)n_value);
		return finite ? 0.0f : NAN;
	}
	id = _mm256_set1_ps(127.0f / top.f);
	for (int i = 0; i < n_value; i += 32) {
		__m256i a = _mm256_packs_epi32(rounded(x + i, id), rounded(x + i + 8, id));
		__m256i b = _mm256_packs_epi32(rounded(x + i + 16, id), rounded(x + i + 24, id));

		a = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
		_mm256_storeu_si256((__m256i *)(q + i), a);
	}
	return top.f / 127.0f;
}

/* Sums of the two groups of 16 in 32 values. */
TR_INLINE void sum_groups(const int8_t *q, int16_t *sum)
{
	__m256i v = _mm256_maddubs_epi16(_mm256_set1_epi8(1), tr_avx2_load(q));

	v = _mm256_madd_epi16(v, _mm256_set1_epi16(1));
	v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, _MM_SHUFFLE(1, 0, 3, 2)));
	v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, _MM_SHUFFLE(2, 3, 0, 1)));
	sum[0] = (int16_t)_mm256_extract_epi32(v, 0);
	sum[1] = (int16_t)_mm256_extract_epi32(v, 4);
}

void tr_avx2_quantise(enum tr_act_kind kind, const float *x, size_t n, void *act)
{
	int8_t *q = act;
	float *d;

	if (kind == TR_ACT_F32) {
		memcpy(act, x, n * sizeof(*x));
		return;
	}
	d = (float *)((uint8_t *)act + tr_act_d_off(kind, n));
	if (kind == TR_ACT_Q8_32) {
		for (size_t i = 0; i < n / 32; i++)
			d[i] = quantise_block(x + 32 * i, q + 32 * i, 32);
		return;
	}
	for (size_t i = 0; i < n / 256; i++)
		d[i] = quantise_block(x + 256 * i, q + 256 * i, 256);
	for (size_t i = 0; i < n / 32; i++)
		sum_groups(q + 32 * i, (int16_t *)((uint8_t *)act + tr_act_sum_off(n)) + 2 * i);
}
