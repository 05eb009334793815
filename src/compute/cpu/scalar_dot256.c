/*
 * scalar_dot256.c - dots of types with super-blocks of 256 values, portable.
 *
 * A type is a function that unpacks one super-block to integers with the sub-block scales
 * multiplied in, and the minimum of each group of 16. Tiling as in scalar_dot32.c.
 */
#include "compute/cpu/scalar.h"
#include "model/quants/blocks.h"
#include "model/quants/grids.h"

#define N_TILE 8

struct block256 {
	float d;
	float dmin; /* with min: only of types that have minimums */
	int16_t w[256];
	uint8_t min[16];
};

typedef void unpack_fn(const void *row, size_t idx, struct block256 *out);

static inline void unpack_q2_k(const void *row, size_t idx, struct block256 *out)
{
	const struct tr_block_q2_k *b = (const struct tr_block_q2_k *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	out->dmin = tr_f16_to_f32(b->dmin);
	for (int i = 0; i < 256; i++) {
		int q = b->qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3;

		out->w[i] = (int16_t)((b->scales[i / 16] & 15) * q);
	}
	for (int g = 0; g < 16; g++)
		out->min[g] = b->scales[g] >> 4;
}

static inline void unpack_q3_k(const void *row, size_t idx, struct block256 *out)
{
	const struct tr_block_q3_k *b = (const struct tr_block_q3_k *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	for (unsigned g = 0; g < 16; g++) {
		int scale = tr_q3_k_scale(b->scales, g);

		for (unsigned i = 16 * g; i < 16 * g + 16; i++) {
			int q = b->qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3;
			int bit = b->hmask[i % 32] >> i / 32 & 1;

			out->w[i] = (int16_t)(scale * (q - (bit ? 0 : 4)));
		}
	}
}

/* Q4_K and Q5_K; qh is NULL for the first. */
static inline void unpack_4_5(const uint8_t *scales, const uint8_t *qh, const uint8_t *qs,
	struct block256 *out)
{
	for (unsigned j = 0; j < 8; j++) {
		uint8_t scale, min;

		tr_q4_k_scale(scales, j, &scale, &min);
		out->min[2 * j] = min;
		out->min[2 * j + 1] = min;
		for (int i = 0; i < 32; i++) {
			int q = qs[32 * (j / 2) + i] >> 4 * (j % 2) & 15;

			if (qh)
				q |= (qh[i] >> j & 1) << 4;
			out->w[32 * j + i] = (int16_t)(scale * q);
		}
	}
}

static inline void unpack_q4_k(const void *row, size_t idx, struct block256 *out)
{
	const struct tr_block_q4_k *b = (const struct tr_block_q4_k *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	out->dmin = tr_f16_to_f32(b->dmin);
	unpack_4_5(b->scales, NULL, b->qs, out);
}

static inline void unpack_q5_k(const void *row, size_t idx, struct block256 *out)
{
	const struct tr_block_q5_k *b = (const struct tr_block_q5_k *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	out->dmin = tr_f16_to_f32(b->dmin);
	unpack_4_5(b->scales, b->qh, b->qs, out);
}

static inline void unpack_q6_k(const void *row, size_t idx, struct block256 *out)
{
	const struct tr_block_q6_k *b = (const struct tr_block_q6_k *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	for (int i = 0; i < 256; i++) {
		int half = i / 128, g = i % 128 / 32, at = i % 32;
		int lo = b->ql[64 * half + 32 * (g & 1) + at] >> 4 * (g / 2) & 15;
		int hi = b->qh[32 * half + at] >> 2 * g & 3;

		out->w[i] = (int16_t)(b->scales[i / 16] * ((lo | hi << 4) - 32));
	}
}

static inline void unpack_iq4_xs(const void *row, size_t idx, struct block256 *out)
{
	const struct tr_block_iq4_xs *b = (const struct tr_block_iq4_xs *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	for (unsigned j = 0; j < 8; j++) {
		int scale = tr_iq4_xs_scale(b, j);

		for (int i = 0; i < 16; i++) {
			uint8_t n = b->qs[16 * j + i];

			out->w[32 * j + i] = (int16_t)(scale * tr_iq4_values[n & 15]);
			out->w[32 * j + i + 16] = (int16_t)(scale * tr_iq4_values[n >> 4]);
		}
	}
}

/* A grid type takes its integers from where its decoder does. */
#define UNPACK_GRID(name)                                                                          \
	static inline void unpack_##name(const void *row, size_t idx, struct block256 *out)        \
	{                                                                                          \
		out->d = tr_##name##_unpack((const struct tr_block_##name *)row + idx, out->w);    \
	}

UNPACK_GRID(iq1_s)
UNPACK_GRID(iq1_m)
UNPACK_GRID(iq2_xxs)
UNPACK_GRID(iq2_xs)
UNPACK_GRID(iq2_s)
UNPACK_GRID(iq3_xxs)
UNPACK_GRID(iq3_s)

static inline float add_block(float acc, const struct block256 *b, const int8_t *x, float d_x)
{
	int32_t sum = 0;

	for (int i = 0; i < 256; i++)
		sum += b->w[i] * x[i];
	return __builtin_fmaf(b->d * d_x, (float)sum, acc);
}

static inline float add_mins(float acc, const struct block256 *b, const int16_t *group_sum,
	float d_x)
{
	int32_t sum = 0;

	for (int g = 0; g < 16; g++)
		sum += b->min[g] * group_sum[g];
	return __builtin_fmaf(-(b->dmin * d_x), (float)sum, acc);
}

static inline __attribute__((always_inline)) void rows(float *out, size_t out_stride,
	const void *w, size_t row_bytes, size_t n_row, const void *act, size_t act_bytes,
	size_t n_act, size_t n, unpack_fn *unpack, bool has_min)
{
	size_t d_off = tr_act_d_off(TR_ACT_Q8_256, n), sum_off = tr_act_sum_off(n);

	for (size_t first = 0; first < n_act; first += N_TILE) {
		size_t n_tile = n_act - first < N_TILE ? n_act - first : N_TILE;
		const char *tile = (const char *)act + first * act_bytes;

		for (size_t r = 0; r < n_row; r++) {
			const void *row = (const char *)w + r * row_bytes;
			float sum[N_TILE][TR_N_SUM] = { 0 };
			struct block256 b;

			for (size_t idx = 0; idx < n / 256; idx++) {
				unpack(row, idx, &b);
				for (size_t t = 0; t < n_tile; t++) {
					const char *x = tile + t * act_bytes;
					const int16_t *group = (const int16_t *)(x + sum_off);
					float d_x = ((const float *)(x + d_off))[idx];
					float *to = &sum[t][idx % TR_N_SUM];

					*to = add_block(*to, &b, (const int8_t *)x + 256 * idx,
						d_x);
					if (has_min)
						*to = add_mins(*to, &b, group + 16 * idx, d_x);
				}
			}
			for (size_t t = 0; t < n_tile; t++)
				out[(first + t) * out_stride + r] = tr_scalar_join(sum[t]);
		}
	}
}

#define ROWS(name, has_min)                                                                        \
	void tr_scalar_dot_##name(float *out, size_t out_stride, const void *w, size_t row_bytes,  \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n,           \
		const void *next)                                                                  \
	{                                                                                          \
		(void)next;                                                                        \
		rows(out, out_stride, w, row_bytes, n_row, act, act_bytes, n_act, n,               \
			unpack_##name, has_min);                                                   \
	}

ROWS(q2_k, true)
ROWS(q3_k, false)
ROWS(q4_k, true)
ROWS(q5_k, true)
ROWS(q6_k, false)
ROWS(iq4_xs, false)
ROWS(iq1_s, false)
ROWS(iq1_m, false)
ROWS(iq2_xxs, false)
ROWS(iq2_xs, false)
ROWS(iq2_s, false)
ROWS(iq3_xxs, false)
ROWS(iq3_s, false)
