/*
 * avx512_vec.c - the functions on float vectors. A partial last chunk is masked.
 */
#include <math.h>

#include "compute/cpu/avx512.h"
#include "compute/cpu/avx512_vec.h"
#include "compute/exp.h"
#include "model/quants/blocks.h"

TR_INLINE __mmask16 left(size_t n, size_t i)
{
	return n - i >= 16 ? (__mmask16)0xffff : tr_avx512_first(n - i);
}

TR_INLINE __m512 load(const float *x, __mmask16 m)
{
	return _mm512_maskz_loadu_ps(m, x);
}

TR_INLINE __m512 load_half(const uint16_t *x, __mmask16 m)
{
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, x));
}

/* exp.h, line by line; scaling by a power of two is exact here, so one step does for two. */
TR_INLINE __m512 exponential(__m512 x)
{
	const __m512 magic = _mm512_set1_ps(TR_EXP_MAGIC), one = _mm512_set1_ps(1.0f);
	__m512 n, r, p;

	n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(TR_EXP_LOG2E), magic), magic);
	r = _mm512_fmadd_ps(n, _mm512_set1_ps(-TR_EXP_LN2_HI), x);
	r = _mm512_fmadd_ps(n, _mm512_set1_ps(-TR_EXP_LN2_LO), r);
	p = _mm512_fmadd_ps(_mm512_set1_ps(TR_EXP_C6), r, _mm512_set1_ps(TR_EXP_C5));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(TR_EXP_C4));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(TR_EXP_C3));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(TR_EXP_C2));
	p = _mm512_fmadd_ps(p, r, one);
	p = _mm512_fmadd_ps(p, r, one);
	p = _mm512_scalef_ps(p, n);
	p = _mm512_mask_mov_ps(p,
		_mm512_cmp_ps_mask(x, _mm512_set1_ps(TR_EXP_HI), _CMP_GT_OQ),
		_mm512_set1_ps(INFINITY));
	return _mm512_mask_mov_ps(p,
		_mm512_cmp_ps_mask(x, _mm512_set1_ps(TR_EXP_LO), _CMP_LT_OQ),
		_mm512_setzero_ps());
}

/* 1 + exp(-x) */
TR_INLINE __m512 logistic_divisor(__m512 x)
{
	__m512 minus = _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));

	return _mm512_add_ps(_mm512_set1_ps(1.0f), exponential(minus));
}

float tr_avx512_dot_vec_f32(const float *x, const float *y, size_t n)
{
	__m512 acc = _mm512_setzero_ps();

	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);

		acc = _mm512_mask3_fmadd_ps(load(x + i, m), load(y + i, m), acc, m);
	}
	return tr_avx512_tree(acc);
}

float tr_avx512_dot_vec_f16(const uint16_t *x, const float *y, size_t n)
{
	__m512 acc = _mm512_setzero_ps();

	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);

		acc = _mm512_mask3_fmadd_ps(load_half(x + i, m), load(y + i, m), acc, m);
	}
	return tr_avx512_tree(acc);
}

float tr_avx512_sum_squares(const float *x, size_t n)
{
	return tr_avx512_dot_vec_f32(x, x, n);
}

float tr_avx512_max(const float *x, size_t n)
{
	__m512 acc = _mm512_set1_ps(-INFINITY);

	for (size_t i = 0; i < n; i += 16)
		acc = _mm512_mask_max_ps(acc, left(n, i), load(x + i, left(n, i)), acc);
	return _mm512_reduce_max_ps(acc) + 0.0f;
}

void tr_avx512_axpy_f32(float *y, float a, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);

		_mm512_mask_storeu_ps(y + i, m, _mm512_fmadd_ps(_mm512_set1_ps(a), load(x + i, m),
			load(y + i, m)));
	}
}

void tr_avx512_axpy_f16(float *y, float a, const uint16_t *x, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);

		_mm512_mask_storeu_ps(y + i, m, _mm512_fmadd_ps(_mm512_set1_ps(a),
			load_half(x + i, m), load(y + i, m)));
	}
}

void tr_avx512_add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);

		_mm512_mask_storeu_ps(y + i, m, _mm512_add_ps(load(y + i, m), load(x + i, m)));
	}
}

void tr_avx512_scale(float *y, float a, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);

		_mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(load(y + i, m), _mm512_set1_ps(a)));
	}
}

void tr_avx512_mul_scaled(float *out, const float *x, float a, const float *w, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);
		__m512 v = _mm512_mul_ps(load(x + i, m), _mm512_set1_ps(a));

		_mm512_mask_storeu_ps(out + i, m, _mm512_mul_ps(v, load(w + i, m)));
	}
}

void tr_avx512_silu_mul(float *out, const float *gate, const float *up, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);
		__m512 g = load(gate + i, m);

		g = _mm512_div_ps(g, logistic_divisor(g));
		_mm512_mask_storeu_ps(out + i, m, _mm512_mul_ps(g, load(up + i, m)));
	}
}

void tr_avx512_sigmoid(float *out, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);
		__m512 d = logistic_divisor(load(x + i, m));

		_mm512_mask_storeu_ps(out + i, m, _mm512_div_ps(_mm512_set1_ps(1.0f), d));
	}
}

float tr_avx512_exp_sum(float *out, const float *x, float shift, size_t n)
{
	__m512 acc = _mm512_setzero_ps();

	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);
		__m512 e = exponential(_mm512_sub_ps(load(x + i, m), _mm512_set1_ps(shift)));

		_mm512_mask_storeu_ps(out + i, m, e);
		acc = _mm512_mask_add_ps(acc, m, acc, e);
	}
	return tr_avx512_tree(acc);
}

void tr_avx512_to_f16(uint16_t *out, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		__mmask16 m = left(n, i);

		_mm256_mask_storeu_epi16(out + i, m,
			_mm512_cvtps_ph(load(x + i, m), _MM_FROUND_TO_NEAREST_INT));
	}
}

void tr_avx512_from_q8_0(float *out, const void *blocks, size_t n)
{
	const struct tr_block_q8_0 *b = blocks;

	for (size_t i = 0; i < n; i += 16) {
		const struct tr_block_q8_0 *at = &b[i / 32];
		__m512 d = _mm512_set1_ps(_cvtsh_ss(at->d));
		__m128i q = _mm_loadu_si128((const __m128i *)(at->qs + i % 32));

		_mm512_storeu_ps(out + i, _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q))));
	}
}
