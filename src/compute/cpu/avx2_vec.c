/*
 * avx2_vec.c - the functions on float vectors. The values behind the last whole chunk are taken one
 * by one, by the same operations.
 */
#include <math.h>

#include "compute/cpu/avx2.h"
#include "compute/cpu/avx2_vec.h"
#include "compute/exp.h"
#include "model/quants/blocks.h"

/* exp.h, line by line. */
TR_INLINE __m256 exponential(__m256 x)
{
	const __m256 magic = _mm256_set1_ps(TR_EXP_MAGIC), one = _mm256_set1_ps(1.0f);
	const __m256i bias = _mm256_set1_epi32(127);
	__m256 n, r, p;
	__m256i k, h;

	n = _mm256_sub_ps(_mm256_fmadd_ps(x, _mm256_set1_ps(TR_EXP_LOG2E), magic), magic);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-TR_EXP_LN2_HI), x);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-TR_EXP_LN2_LO), r);
	p = _mm256_fmadd_ps(_mm256_set1_ps(TR_EXP_C6), r, _mm256_set1_ps(TR_EXP_C5));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(TR_EXP_C4));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(TR_EXP_C3));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(TR_EXP_C2));
	p = _mm256_fmadd_ps(p, r, one);
	p = _mm256_fmadd_ps(p, r, one);
	k = _mm256_cvtps_epi32(n);
	h = _mm256_srai_epi32(k, 1);
	p = _mm256_mul_ps(p,
		_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(h, bias), 23)));
	k = _mm256_add_epi32(_mm256_sub_epi32(k, h), bias);
	p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(k, 23)));
	p = _mm256_blendv_ps(p, _mm256_set1_ps(INFINITY),
		_mm256_cmp_ps(x, _mm256_set1_ps(TR_EXP_HI), _CMP_GT_OQ));
	p = _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(TR_EXP_LO), _CMP_LT_OQ), p);
	return _mm256_blendv_ps(p, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* 1 + exp(-x) */
TR_INLINE __m256 logistic_divisor(__m256 x)
{
	__m256 minus = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));

	return _mm256_add_ps(_mm256_set1_ps(1.0f), exponential(minus));
}

TR_INLINE __m256 load_half(const uint16_t *x)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
}

float tr_avx2_dot_vec_f32(const float *x, const float *y, size_t n)
{
	__m256 lo = _mm256_setzero_ps(), hi = lo;
	float lane[16];
	size_t i = 0;

	for (; n - i >= 16; i += 16) {
		lo = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i), lo);
		hi = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 8), _mm256_loadu_ps(y + i + 8), hi);
	}
	if (i == n)
		return tr_avx2_tree(lo, hi);
	_mm256_storeu_ps(lane, lo);
	_mm256_storeu_ps(lane + 8, hi);
	for (; i < n; i++)
		lane[i % 16] = __builtin_fmaf(x[i], y[i], lane[i % 16]);
	return tr_avx2_tree(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + 8));
}

float tr_avx2_dot_vec_f16(const uint16_t *x, const float *y, size_t n)
{
	__m256 lo = _mm256_setzero_ps(), hi = lo;
	float lane[16];
	size_t i = 0;

	for (; n - i >= 16; i += 16) {
		lo = _mm256_fmadd_ps(load_half(x + i), _mm256_loadu_ps(y + i), lo);
		hi = _mm256_fmadd_ps(load_half(x + i + 8), _mm256_loadu_ps(y + i + 8), hi);
	}
	if (i == n)
		return tr_avx2_tree(lo, hi);
	_mm256_storeu_ps(lane, lo);
	_mm256_storeu_ps(lane + 8, hi);
	for (; i < n; i++)
		lane[i % 16] = __builtin_fmaf(_cvtsh_ss(x[i]), y[i], lane[i % 16]);
	return tr_avx2_tree(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + 8));
}

float tr_avx2_sum_squares(const float *x, size_t n)
{
	return tr_avx2_dot_vec_f32(x, x, n);
}

float tr_avx2_max(const float *x, size_t n)
{
	__m256 acc = _mm256_set1_ps(-INFINITY);
	float lane[8], m = -INFINITY;
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		acc = _mm256_max_ps(_mm256_loadu_ps(x + i), acc);
	_mm256_storeu_ps(lane, acc);
	for (; i < n; i++)
		m = x[i] > m ? x[i] : m;
	for (int k = 0; k < 8; k++)
		m = lane[k] > m ? lane[k] : m;
	return m + 0.0f;
}

void tr_avx2_axpy_f32(float *y, float a, const float *x, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		_mm256_storeu_ps(y + i, _mm256_fmadd_ps(_mm256_set1_ps(a), _mm256_loadu_ps(x + i),
			_mm256_loadu_ps(y + i)));
	for (; i < n; i++)
		y[i] = __builtin_fmaf(a, x[i], y[i]);
}

void tr_avx2_axpy_f16(float *y, float a, const uint16_t *x, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		_mm256_storeu_ps(y + i, _mm256_fmadd_ps(_mm256_set1_ps(a), load_half(x + i),
			_mm256_loadu_ps(y + i)));
	for (; i < n; i++)
		y[i] = __builtin_fmaf(a, _cvtsh_ss(x[i]), y[i]);
}

void tr_avx2_add(float *y, const float *x, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		_mm256_storeu_ps(y + i,
			_mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
	for (; i < n; i++)
		y[i] += x[i];
}

void tr_avx2_scale(float *y, float a, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		_mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(y + i), _mm256_set1_ps(a)));
	for (; i < n; i++)
		y[i] *= a;
}

void tr_avx2_mul_scaled(float *out, const float *x, float a, const float *w, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		__m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(a));

		_mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
	}
	for (; i < n; i++)
		out[i] = x[i] * a * w[i];
}

void tr_avx2_silu_mul(float *out, const float *gate, const float *up, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		__m256 g = _mm256_loadu_ps(gate + i);

		g = _mm256_div_ps(g, logistic_divisor(g));
		_mm256_storeu_ps(out + i, _mm256_mul_ps(g, _mm256_loadu_ps(up + i)));
	}
	for (; i < n; i++)
		out[i] = tr_silu_canonical(gate[i]) * up[i];
}

void tr_avx2_sigmoid(float *out, const float *x, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		__m256 d = logistic_divisor(_mm256_loadu_ps(x + i));

		_mm256_storeu_ps(out + i, _mm256_div_ps(_mm256_set1_ps(1.0f), d));
	}
	for (; i < n; i++)
		out[i] = tr_sigmoid_canonical(x[i]);
}

float tr_avx2_exp_sum(float *out, const float *x, float shift, size_t n)
{
	__m256 lo = _mm256_setzero_ps(), hi = lo, s = _mm256_set1_ps(shift);
	float lane[16];
	size_t i = 0;

	for (; n - i >= 16; i += 16) {
		__m256 a = exponential(_mm256_sub_ps(_mm256_loadu_ps(x + i), s));
		__m256 b = exponential(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8), s));

		_mm256_storeu_ps(out + i, a);
		_mm256_storeu_ps(out + i + 8, b);
		lo = _mm256_add_ps(lo, a);
		hi = _mm256_add_ps(hi, b);
	}
	_mm256_storeu_ps(lane, lo);
	_mm256_storeu_ps(lane + 8, hi);
	for (; i < n; i++) {
		out[i] = tr_exp_canonical(x[i] - shift);
		lane[i % 16] += out[i];
	}
	return tr_avx2_tree(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + 8));
}

void tr_avx2_to_f16(uint16_t *out, const float *x, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8)
		_mm_storeu_si128((__m128i *)(out + i),
			_mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
	for (; i < n; i++)
		out[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

void tr_avx2_from_q8_0(float *out, const void *blocks, size_t n)
{
	const struct tr_block_q8_0 *b = blocks;

	for (size_t i = 0; i < n; i += 8) {
		const struct tr_block_q8_0 *at = &b[i / 32];
		__m256 d = _mm256_set1_ps(_cvtsh_ss(at->d));
		__m128i q = _mm_loadl_epi64((const __m128i *)(at->qs + i % 32));

		_mm256_storeu_ps(out + i, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q))));
	}
}
