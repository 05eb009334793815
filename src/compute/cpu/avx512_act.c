/* avx512_act.c - activations to int8. */
#include <math.h>

#include "compute/cpu/avx512.h"
#include "compute/cpu/avx512_vec.h"

/* The bits of max|x| of a block: as integers they order like the values, NaN above all. */
TR_INLINE uint32_t max_bits(const float *x, int n_value)
{
	__m512i top = _mm512_setzero_si512();

	for (int i = 0; i < n_value; i += 16)
		top = _mm512_max_epu32(top, _mm512_and_si512(_mm512_loadu_si512(x + i),
			_mm512_set1_epi32(0x7fffffff)));
	return _mm512_reduce_max_epu32(top);
}

/* Returns the scale of the block. */
TR_INLINE float quantise_block(const float *x, int8_t *q, int n_value)
{
	union {
		uint32_t u;
		float f;
	} top = { .u = max_bits(x, n_value) };
	bool finite = top.u < 0x7f800000;
	__m512 id;

	if (!finite || top.f < TR_ACT_TINY) {
		memset(q, 0, (size_t)n_value);
		return finite ? 0.0f : NAN;
	}
	id = _mm512_set1_ps(127.0f / top.f);
	for (int i = 0; i < n_value; i += 16) {
		__m512i v = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), id));

		_mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(v));
	}
	return top.f / 127.0f;
}

/* Sums of the four groups of 16 in 64 values. */
TR_INLINE void sum_groups(const int8_t *q, int16_t *sum)
{
	__m512i v = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1),
		_mm512_loadu_si512(q));
	__m128i s;

	v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_BADC));
	v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB));
	s = _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, v));
	_mm_storel_epi64((__m128i *)sum, _mm_packs_epi32(s, s));
}

void tr_avx512_quantise(enum tr_act_kind kind, const float *x, size_t n, void *act)
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
	for (size_t i = 0; i < n / 64; i++)
		sum_groups(q + 64 * i, (int16_t *)((uint8_t *)act + tr_act_sum_off(n)) + 4 * i);
}
