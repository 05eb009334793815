/*
 * scalar_dot32.c - dots of types with blocks of 32 values, portable.
 *
 * A type is a function that unpacks one block to integers. A block is unpacked once and met with
 * up to N_TILE activations; each (row, activation) has sums of its own, so tiling changes none.
 */
#include "compute/cpu/scalar.h"
#include "model/quants/blocks.h"

#define N_TILE 8

struct block32 {
	float d;
	float m; /* only of types with a minimum */
	int8_t w[32];
};

typedef void unpack_fn(const void *rows, size_t idx, struct block32 *out);

/* Codes of 4 bits, less bias. */
static inline void unpack_nibbles(const uint8_t qs[16], int bias, int8_t w[32])
{
	for (int i = 0; i < 16; i++) {
		w[i] = (int8_t)((qs[i] & 15) - bias);
		w[i + 16] = (int8_t)((qs[i] >> 4) - bias);
	}
}

static inline void unpack_5_bits(const uint8_t qs[16], uint32_t qh, int bias, int8_t w[32])
{
	for (int i = 0; i < 16; i++) {
		w[i] = (int8_t)(((qs[i] & 15) | (qh >> i & 1) << 4) - (unsigned)bias);
		w[i + 16] = (int8_t)(((qs[i] >> 4) | (qh >> (i + 16) & 1) << 4) - (unsigned)bias);
	}
}

static inline void unpack_table(const uint8_t qs[16], const int8_t table[16], int8_t w[32])
{
	for (int i = 0; i < 16; i++) {
		w[i] = table[qs[i] & 15];
		w[i + 16] = table[qs[i] >> 4];
	}
}

static inline void unpack_q4_0(const void *row, size_t idx, struct block32 *out)
{
	const struct tr_block_q4_0 *b = (const struct tr_block_q4_0 *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	unpack_nibbles(b->qs, 8, out->w);
}

static inline void unpack_q4_1(const void *row, size_t idx, struct block32 *out)
{
	const struct tr_block_q4_1 *b = (const struct tr_block_q4_1 *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	out->m = tr_f16_to_f32(b->m);
	unpack_nibbles(b->qs, 0, out->w);
}

static inline void unpack_q5_0(const void *row, size_t idx, struct block32 *out)
{
	const struct tr_block_q5_0 *b = (const struct tr_block_q5_0 *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	unpack_5_bits(b->qs, b->qh, 16, out->w);
}

static inline void unpack_q5_1(const void *row, size_t idx, struct block32 *out)
{
	const struct tr_block_q5_1 *b = (const struct tr_block_q5_1 *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	out->m = tr_f16_to_f32(b->m);
	unpack_5_bits(b->qs, b->qh, 0, out->w);
}

static inline void unpack_q8_0(const void *row, size_t idx, struct block32 *out)
{
	const struct tr_block_q8_0 *b = (const struct tr_block_q8_0 *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	for (int i = 0; i < 32; i++)
		out->w[i] = b->qs[i];
}

static inline void unpack_iq4_nl(const void *row, size_t idx, struct block32 *out)
{
	const struct tr_block_iq4_nl *b = (const struct tr_block_iq4_nl *)row + idx;

	out->d = tr_f16_to_f32(b->d);
	unpack_table(b->qs, tr_iq4_values, out->w);
}

static inline void unpack_mxfp4(const void *row, size_t idx, struct block32 *out)
{
	const struct tr_block_mxfp4 *b = (const struct tr_block_mxfp4 *)row + idx;

	out->d = tr_e8m0_half(b->e);
	unpack_table(b->qs, tr_fp4_values, out->w);
}

static inline float add_block(float acc, const struct block32 *b, bool has_min, const int8_t *x,
	float d_x)
{
	int32_t sum = 0, sum_x = 0;

	for (int i = 0; i < 32; i++) {
		sum += b->w[i] * x[i];
		sum_x += x[i];
	}
	acc = __builtin_fmaf(b->d * d_x, (float)sum, acc);
	return has_min ? __builtin_fmaf(b->m * d_x, (float)sum_x, acc) : acc;
}

static inline __attribute__((always_inline)) void rows(float *out, size_t out_stride,
	const void *w, size_t row_bytes, size_t n_row, const void *act, size_t act_bytes,
	size_t n_act, size_t n, unpack_fn *unpack, bool has_min)
{
	size_t d_off = tr_act_d_off(TR_ACT_Q8_32, n);

	for (size_t first = 0; first < n_act; first += N_TILE) {
		size_t n_tile = n_act - first < N_TILE ? n_act - first : N_TILE;
		const char *tile = (const char *)act + first * act_bytes;

		for (size_t r = 0; r < n_row; r++) {
			const void *row = (const char *)w + r * row_bytes;
			float sum[N_TILE][TR_N_SUM] = { 0 };
			struct block32 b;

			for (size_t idx = 0; idx < n / 32; idx++) {
				unpack(row, idx, &b);
				for (size_t t = 0; t < n_tile; t++) {
					const char *x = tile + t * act_bytes;
					const float *d = (const float *)(x + d_off);

					float *to = &sum[t][idx % TR_N_SUM];

					*to = add_block(*to, &b, has_min,
						(const int8_t *)x + 32 * idx, d[idx]);
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

ROWS(q4_0, false)
ROWS(q4_1, true)
ROWS(q5_0, false)
ROWS(q5_1, true)
ROWS(q8_0, false)
ROWS(iq4_nl, false)
ROWS(mxfp4, false)
