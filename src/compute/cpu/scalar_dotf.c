/* scalar_dotf.c - dots of float weights, portable: lane i mod 16, one fma a value. */
#include "compute/cpu/scalar.h"

#include <string.h>

static float load_f32(const uint8_t *at)
{
	float f;

	memcpy(&f, at, sizeof(f));
	return f;
}

static float load_f16(const uint8_t *at)
{
	uint16_t h;

	memcpy(&h, at, sizeof(h));
	return tr_f16_to_f32(h);
}

static float load_bf16(const uint8_t *at)
{
	uint16_t h;

	memcpy(&h, at, sizeof(h));
	return tr_bf16_to_f32(h);
}

static inline __attribute__((always_inline)) float dot(const uint8_t *w, size_t w_bytes,
	float (*load)(const uint8_t *), const float *x, size_t n)
{
	float lane[16] = { 0 };

	for (size_t i = 0; i < n; i++)
		lane[i % 16] = __builtin_fmaf(load(w + i * w_bytes), x[i], lane[i % 16]);
	return tr_scalar_tree(lane);
}

static inline __attribute__((always_inline)) void rows(float *out, size_t out_stride,
	const void *w, size_t row_bytes, size_t n_row, const void *act, size_t act_bytes,
	size_t n_act, size_t n, size_t w_bytes, float (*load)(const uint8_t *))
{
	for (size_t r = 0; r < n_row; r++) {
		const uint8_t *row = (const uint8_t *)w + r * row_bytes;

		for (size_t t = 0; t < n_act; t++) {
			const float *x = (const float *)((const char *)act + t * act_bytes);

			out[t * out_stride + r] = dot(row, w_bytes, load, x, n);
		}
	}
}

#define ROWS(name, w_bytes, load)                                                                  \
	void tr_scalar_dot_##name(float *out, size_t out_stride, const void *w, size_t row_bytes,  \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n,           \
		const void *next)                                                                  \
	{                                                                                          \
		(void)next;                                                                        \
		rows(out, out_stride, w, row_bytes, n_row, act, act_bytes, n_act, n, w_bytes,      \
			load);                                                                     \
	}

ROWS(f32, 4, load_f32)
ROWS(f16, 2, load_f16)
ROWS(bf16, 2, load_bf16)

float tr_scalar_vec_dot_f32(const float *x, const float *y, size_t n)
{
	return dot((const uint8_t *)x, 4, load_f32, y, n);
}

float tr_scalar_vec_dot_f16(const uint16_t *x, const float *y, size_t n)
{
	return dot((const uint8_t *)x, 2, load_f16, y, n);
}
