/*
 * dot32.cuh - one lane of the dot of a row of 32-value blocks, for N activations at once.
 *
 * Eight lanes a block: lanes 0..7 take even blocks, 8..15 odd ones. A type gives, for lane l of a
 * block, its four codes as bytes and the factors; sums are of (code - bias) x.
 */
#ifndef TR_CUDA_DOT32_CUH
#define TR_CUDA_DOT32_CUH

#include "cuda/lang.cuh"

#define TR_ONES 0x01010101u

struct tr_quad {
	uint32_t q; /* codes of the lane */
	float d, m; /* m only of types with a minimum */
};

/* Codes 4 l.. of 16 bytes of nibbles: the low ones first. Only 2-byte aligned. */
TR_DEV uint32_t tr_nibbles(const uint8_t *qs, unsigned l)
{
	return tr_load4_at2(qs + 4 * (l & 3)) >> (l & 4) & 0x0f0f0f0fu;
}

/* Four bits, the lowest of b on, as the fifth bit of four codes. */
TR_DEV uint32_t tr_fifth_bits(uint32_t b)
{
	return (b & 1) << 4 | (b & 2) << 11 | (b & 4) << 18 | (b & 8) << 25;
}

/* Bytes of a table of 16 that the nibbles of v name; v are four bytes with codes below 16. */
TR_DEV uint32_t tr_table16(uint32_t v, uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3)
{
	uint32_t s = (v & 0xf) | (v >> 4 & 0xf0) | (v >> 8 & 0xf00) | (v >> 12 & 0xf000);
	uint32_t lo, hi;

	lo = tr_byte_perm(t0, t1, s & 0x7777);
	hi = tr_byte_perm(t2, t3, s & 0x7777);
	return tr_byte_perm(lo, hi, 0x3210 + (s >> 1 & 0x4444));
}

TR_DEV struct tr_quad tr_quad_q4_0(const uint8_t *b, unsigned l)
{
	struct tr_quad o = { tr_nibbles(b + 2, l), tr_load_half(b), 0 };

	return o;
}

TR_DEV struct tr_quad tr_quad_q4_1(const uint8_t *b, unsigned l)
{
	struct tr_quad o = { tr_nibbles(b + 4, l), tr_load_half(b), tr_load_half(b + 2) };

	return o;
}

TR_DEV struct tr_quad tr_quad_q5_0(const uint8_t *b, unsigned l)
{
	uint32_t high = tr_fifth_bits(tr_load4_at2(b + 2) >> 4 * l);
	struct tr_quad o = { tr_nibbles(b + 6, l) | high, tr_load_half(b), 0 };

	return o;
}

TR_DEV struct tr_quad tr_quad_q5_1(const uint8_t *b, unsigned l)
{
	uint32_t high = tr_fifth_bits(tr_load4(b + 4) >> 4 * l);
	struct tr_quad o = { tr_nibbles(b + 8, l) | high, tr_load_half(b), tr_load_half(b + 2) };

	return o;
}

TR_DEV struct tr_quad tr_quad_q8_0(const uint8_t *b, unsigned l)
{
	struct tr_quad o = { tr_load4_at2(b + 2 + 4 * l), tr_load_half(b), 0 };

	return o;
}

/* tr_iq4_values and tr_fp4_values (model/quants), four bytes a word. */
TR_DEV uint32_t tr_table_iq4(uint32_t v)
{
	return tr_table16(v, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
}

TR_DEV uint32_t tr_table_fp4(uint32_t v)
{
	return tr_table16(v, 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);
}

TR_DEV struct tr_quad tr_quad_iq4_nl(const uint8_t *b, unsigned l)
{
	struct tr_quad o = { tr_table_iq4(tr_nibbles(b + 2, l)), tr_load_half(b), 0 };

	return o;
}

/* A block has 17 bytes, so nothing in it is aligned. */
TR_DEV struct tr_quad tr_quad_mxfp4(const uint8_t *b, unsigned l)
{
	uint32_t v = tr_load4_at1(b + 1 + 4 * (l & 3)) >> (l & 4) & 0x0f0f0f0fu;
	struct tr_quad o = { tr_table_fp4(v), tr_e8m0_half(b[0]), 0 };

	return o;
}

/* A row and the activations that meet it. */
struct tr_dot_in {
	const uint8_t *row;
	const uint8_t *act[4];
	uint32_t n;
};

typedef struct tr_quad tr_quad_fn(const uint8_t *block, unsigned l);

TR_DEV void tr_dot32_lane(float *acc, const struct tr_dot_in *in, const int n_act,
	tr_quad_fn *quad, const unsigned block_bytes, const int bias, const bool has_min)
{
	unsigned lane = tr_thread % TR_LANES, l = lane % 8;
	uint32_t d_off = TR_ALIGN_UP(in->n, 64u), idx;

	for (idx = lane / 8; idx < in->n / 32; idx += 2) {
		struct tr_quad q = quad(in->row + (size_t)idx * block_bytes, l);

		TR_UNROLL
		for (int t = 0; t < n_act; t++) {
			uint32_t x = tr_load4(in->act[t] + 32 * idx + 4 * l);
			float d_x = *(const float *)(in->act[t] + d_off + 4 * idx);
			int sum = tr_dp4a(q.q, x, 0), sum_x = tr_dp4a(TR_ONES, x, 0);

			acc[t] = tr_fmaf(q.d * d_x, (float)(sum - bias * sum_x), acc[t]);
			if (has_min)
				acc[t] = tr_fmaf(q.m * d_x, (float)sum_x, acc[t]);
		}
	}
}

#endif
