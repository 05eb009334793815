/*
 * dot256.cuh - one lane of the dot of a row of super-blocks of 256 values, for N activations at once.
 *
 * A lane has four values in each of the four chunks of 64. For a chunk c a type gives the lane's
 * codes as bytes and their scale; sums are of scale (code - bias) x. With minimums a lane also takes
 * the group of 16 values that has its number.
 */
#ifndef TR_CUDA_DOT256_CUH
#define TR_CUDA_DOT256_CUH

#include "cuda/dot32.cuh"

struct tr_codes {
	uint32_t q;
	int scale;
};

/* What all chunks of a super-block share. */
struct tr_super {
	float d, dmin;
	int min; /* of group number lane */
};

/* Byte i of three words. */
TR_DEV unsigned tr_byte_of(uint32_t w, unsigned i)
{
	return w >> 8 * i & 0xff;
}

/* --- Q2_K, Q3_K: two bits at 2 (2 (c mod 2) + lane / 8) of byte 32 (c / 2) + 4 (lane mod 8).. ---- */

TR_DEV uint32_t tr_two_bits(uint32_t word, unsigned c, unsigned lane)
{
	return word >> (4 * (c & 1) + 2 * (lane >> 3)) & 0x03030303u;
}

TR_DEV struct tr_codes tr_codes_q2_k(const uint8_t *b, unsigned c, unsigned lane)
{
	uint32_t word = tr_load4(b + 16 + 32 * (c >> 1) + 4 * (lane & 7));
	struct tr_codes o = { tr_two_bits(word, c, lane), b[4 * c + lane / 4] & 15 };

	return o;
}

TR_DEV struct tr_super tr_super_q2_k(const uint8_t *b, unsigned lane)
{
	struct tr_super o = { tr_load_half(b + 80), tr_load_half(b + 82), b[lane] >> 4 };

	return o;
}

TR_DEV struct tr_codes tr_codes_q3_k(const uint8_t *b, unsigned c, unsigned lane)
{
	uint32_t word = tr_load4_at2(b + 32 + 32 * (c >> 1) + 4 * (lane & 7));
	uint32_t high = tr_load4_at2(b + 4 * (lane & 7)) >> (2 * c + (lane >> 3)) & TR_ONES;
	struct tr_codes o = { tr_two_bits(word, c, lane) | high << 2,
		tr_q3_k_scale(b + 96, 4 * c + lane / 4) };

	return o;
}

TR_DEV struct tr_super tr_super_q3_k(const uint8_t *b, unsigned lane)
{
	struct tr_super o = { tr_load_half(b + 108), 0, 0 };

	(void)lane;
	return o;
}

/* --- Q4_K, Q5_K: sub-block 2 c + lane / 8 ------------------------------------------------------- */

/* Six-bit scales from words, as tr_q4_k_scale reads them from bytes: fewer loads. c is known when
 * this is compiled, and so is the half. */
TR_DEV int tr_scale_4_5(const uint8_t *b, unsigned c, unsigned lane)
{
	unsigned j = (2 * c + (lane >> 3)) & 3;
	uint32_t s0 = tr_load4(b + 4), s2 = tr_load4(b + 12);

	if (c < 2)
		return (int)(tr_byte_of(s0, j) & 63);
	return (int)((tr_byte_of(s2, j) & 15) | tr_byte_of(s0, j) >> 6 << 4);
}

TR_DEV struct tr_super tr_super_4_5(const uint8_t *b, unsigned lane)
{
	uint8_t scale, min;
	struct tr_super o = { tr_load_half(b), tr_load_half(b + 2), 0 };

	tr_q4_k_scale(b + 4, lane / 2, &scale, &min);
	o.min = min;
	return o;
}

TR_DEV struct tr_codes tr_codes_q4_k(const uint8_t *b, unsigned c, unsigned lane)
{
	uint32_t word = tr_load4(b + 16 + 32 * c + 4 * (lane & 7));
	struct tr_codes o = { word >> 4 * (lane >> 3) & 0x0f0f0f0fu, tr_scale_4_5(b, c, lane) };

	return o;
}

TR_DEV struct tr_codes tr_codes_q5_k(const uint8_t *b, unsigned c, unsigned lane)
{
	uint32_t word = tr_load4(b + 48 + 32 * c + 4 * (lane & 7));
	uint32_t high = tr_load4(b + 16 + 4 * (lane & 7)) >> (2 * c + (lane >> 3)) & TR_ONES;
	struct tr_codes o = { (word >> 4 * (lane >> 3) & 0x0f0f0f0fu) | high << 4,
		tr_scale_4_5(b, c, lane) };

	return o;
}

/* --- Q6_K --------------------------------------------------------------------------------------- */

TR_DEV struct tr_codes tr_codes_q6_k(const uint8_t *b, unsigned c, unsigned lane)
{
	unsigned half = c >> 1, g = 2 * (c & 1) + (lane >> 3), at = 4 * (lane & 7);
	uint32_t lo = tr_load4_at2(b + 64 * half + 32 * (g & 1) + at) >> 4 * (g >> 1);
	uint32_t hi = tr_load4_at2(b + 128 + 32 * half + at) >> 2 * g;
	struct tr_codes o = { (lo & 0x0f0f0f0fu) | (hi & 0x03030303u) << 4,
		(int8_t)b[192 + 4 * c + lane / 4] };

	return o;
}

TR_DEV struct tr_super tr_super_q6_k(const uint8_t *b, unsigned lane)
{
	struct tr_super o = { tr_load_half(b + 208), 0, 0 };

	(void)lane;
	return o;
}

/* --- IQ4_XS ------------------------------------------------------------------------------------- */

TR_DEV struct tr_codes tr_codes_iq4_xs(const uint8_t *b, unsigned c, unsigned lane)
{
	unsigned j = 2 * c + (lane >> 3);
	uint32_t word = tr_load4(b + 8 + 16 * j + 4 * (lane & 3)) >> (lane & 4);
	struct tr_codes o = { tr_table_iq4(word & 0x0f0f0f0fu),
		tr_iq4_xs_scale((const struct tr_block_iq4_xs *)b, j) };

	return o;
}

TR_DEV struct tr_super tr_super_iq4_xs(const uint8_t *b, unsigned lane)
{
	struct tr_super o = { tr_load_half(b), 0, 0 };

	(void)lane;
	return o;
}

typedef struct tr_codes tr_codes_fn(const uint8_t *block, unsigned c, unsigned lane);
typedef struct tr_super tr_super_fn(const uint8_t *block, unsigned lane);

TR_DEV void tr_dot256_lane(float *acc, const struct tr_dot_in *in, const int n_act,
	tr_codes_fn *codes, tr_super_fn *super, const unsigned block_bytes, const int bias,
	const bool has_min)
{
	unsigned lane = tr_thread % TR_LANES;
	uint32_t d_off = TR_ALIGN_UP(in->n, 64u), idx;
	uint32_t sum_off = TR_ALIGN_UP(d_off + in->n / 256 * 4, 64u);
	float accm[4] = { 0, 0, 0, 0 };

	for (idx = 0; idx < in->n / 256; idx++) {
		const uint8_t *b = in->row + (size_t)idx * block_bytes;
		struct tr_super s = super(b, lane);
		int sum[4] = { 0, 0, 0, 0 };

		TR_UNROLL
		for (unsigned c = 0; c < 4; c++) {
			struct tr_codes k = codes(b, c, lane);

			TR_UNROLL
			for (int t = 0; t < n_act; t++) {
				uint32_t x = tr_load4(in->act[t] + 256 * idx + 64 * c + 4 * lane);
				int part = tr_dp4a(k.q, x, 0);

				if (bias)
					part -= bias * tr_dp4a(TR_ONES, x, 0);
				sum[t] += k.scale * part;
			}
		}
		TR_UNROLL
		for (int t = 0; t < n_act; t++) {
			float d_x = *(const float *)(in->act[t] + d_off + 4 * idx);
			const int16_t *group = (const int16_t *)(in->act[t] + sum_off);

			acc[t] = tr_fmaf(s.d * d_x, (float)sum[t], acc[t]);
			if (has_min)
				accm[t] = tr_fmaf(-(s.dmin * d_x),
					(float)(s.min * group[16 * idx + lane]), accm[t]);
		}
	}
	TR_UNROLL
	for (int t = 0; t < n_act && has_min; t++)
		acc[t] += accm[t];
}

#endif
