/*
 * dot256.cuh - the dot of a row of super-blocks of 256 values by half a warp, for one or four
 * activations at once.
 *
 * Threads share the work as in dot32.cuh. For each part of 32 values a type gives a thread's codes,
 * less its bias, and their scale. With minimums a thread also takes groups 4 l to 4 l + 3 of 16
 * values.
 */
#ifndef TR_CUDA_DOT256_CUH
#define TR_CUDA_DOT256_CUH

#include "cuda/dot32.cuh"

struct tr_codes {
	uint32_t q[2];
	int scale;
};

/* What all parts of a super-block share. */
struct tr_super {
	float d, dmin;
	uint32_t min; /* a byte for each of four groups */
};

/* Byte i of a word. */
TR_DEV uint32_t tr_byte_of(uint32_t w, unsigned i)
{
	return w >> 8 * i & 0xff;
}

/* Two words at 8 l of 32 bytes, shifted. */
TR_DEV void tr_words(uint32_t q[2], const uint8_t *p, unsigned l, unsigned shift, uint32_t mask)
{
	q[0] = tr_load4(p + 8 * l) >> shift & mask;
	q[1] = tr_load4(p + 8 * l + 4) >> shift & mask;
}

TR_DEV void tr_words_at2(uint32_t q[2], const uint8_t *p, unsigned l, unsigned shift, uint32_t mask)
{
	q[0] = tr_load4_at2(p + 8 * l) >> shift & mask;
	q[1] = tr_load4_at2(p + 8 * l + 4) >> shift & mask;
}

/* --- Q2_K, Q3_K: part p has two bits at 2 (p mod 4) of bytes 32 (p / 4).. ------------------------ */

TR_DEV struct tr_codes tr_codes_q2_k(const uint8_t *b, unsigned p, unsigned l)
{
	struct tr_codes o = { { 0, 0 }, b[2 * p + (l >> 1)] & 15 };

	tr_words(o.q, b + 16 + 32 * (p >> 2), l, 2 * (p & 3), 0x03030303u);
	return o;
}

TR_DEV struct tr_super tr_super_q2_k(const uint8_t *b, unsigned l)
{
	struct tr_super o = { tr_load_half(b + 80), tr_load_half(b + 82),
		tr_load4(b + 4 * l) >> 4 & 0x0f0f0f0fu };

	return o;
}

TR_DEV struct tr_codes tr_codes_q3_k(const uint8_t *b, unsigned p, unsigned l)
{
	struct tr_codes o = { { 0, 0 }, tr_q3_k_scale(b + 96, 2 * p + (l >> 1)) };
	uint32_t high[2];

	tr_words_at2(o.q, b + 32 + 32 * (p >> 2), l, 2 * (p & 3), 0x03030303u);
	tr_words_at2(high, b, l, p, TR_ONES);
	o.q[0] = tr_less(o.q[0] | high[0] << 2, 4);
	o.q[1] = tr_less(o.q[1] | high[1] << 2, 4);
	return o;
}

TR_DEV struct tr_super tr_super_q3_k(const uint8_t *b, unsigned l)
{
	struct tr_super o = { tr_load_half(b + 108), 0, 0 };

	(void)l;
	return o;
}

/* --- Q4_K, Q5_K: part p is a sub-block ---------------------------------------------------------- */

/* Six-bit scales from words, as tr_q4_k_scale reads them from bytes: fewer loads. p is known when
 * this is compiled. */
TR_DEV int tr_scale_4_5(const uint8_t *b, unsigned p)
{
	uint32_t s0 = tr_load4(b + 4), s2 = tr_load4(b + 12);

	if (p < 4)
		return (int)(tr_byte_of(s0, p) & 63);
	return (int)((tr_byte_of(s2, p - 4) & 15) | tr_byte_of(s0, p - 4) >> 6 << 4);
}

TR_DEV struct tr_super tr_super_4_5(const uint8_t *b, unsigned l)
{
	struct tr_super o = { tr_load_half(b), tr_load_half(b + 2), 0 };
	uint8_t scale, first, second;

	tr_q4_k_scale(b + 4, 2 * l, &scale, &first);
	tr_q4_k_scale(b + 4, 2 * l + 1, &scale, &second);
	o.min = 0x101u * first | 0x1010000u * second;
	return o;
}

TR_DEV struct tr_codes tr_codes_q4_k(const uint8_t *b, unsigned p, unsigned l)
{
	struct tr_codes o = { { 0, 0 }, tr_scale_4_5(b, p) };

	tr_words(o.q, b + 16 + 32 * (p >> 1), l, 4 * (p & 1), 0x0f0f0f0fu);
	return o;
}

TR_DEV struct tr_codes tr_codes_q5_k(const uint8_t *b, unsigned p, unsigned l)
{
	struct tr_codes o = { { 0, 0 }, tr_scale_4_5(b, p) };
	uint32_t high[2];

	tr_words(o.q, b + 48 + 32 * (p >> 1), l, 4 * (p & 1), 0x0f0f0f0fu);
	tr_words(high, b + 16, l, p, TR_ONES);
	o.q[0] |= high[0] << 4;
	o.q[1] |= high[1] << 4;
	return o;
}

/* --- Q6_K --------------------------------------------------------------------------------------- */

TR_DEV struct tr_codes tr_codes_q6_k(const uint8_t *b, unsigned p, unsigned l)
{
	unsigned half = p >> 2, g = p & 3;
	struct tr_codes o = { { 0, 0 }, (int8_t)b[192 + 2 * p + (l >> 1)] };
	uint32_t high[2];

	tr_words_at2(o.q, b + 64 * half + 32 * (g & 1), l, 4 * (g >> 1), 0x0f0f0f0fu);
	tr_words_at2(high, b + 128 + 32 * half, l, 2 * g, 0x03030303u);
	o.q[0] = tr_less(o.q[0] | high[0] << 4, 32);
	o.q[1] = tr_less(o.q[1] | high[1] << 4, 32);
	return o;
}

TR_DEV struct tr_super tr_super_q6_k(const uint8_t *b, unsigned l)
{
	struct tr_super o = { tr_load_half(b + 208), 0, 0 };

	(void)l;
	return o;
}

/* --- IQ4_XS ------------------------------------------------------------------------------------- */

TR_DEV struct tr_codes tr_codes_iq4_xs(const uint8_t *b, unsigned p, unsigned l)
{
	struct tr_codes o = { { 0, 0 }, tr_iq4_xs_scale((const struct tr_block_iq4_xs *)b, p) };

	tr_words(o.q, b + 8 + 16 * p, l & 1, 4 * (l >> 1), 0x0f0f0f0fu);
	o.q[0] = tr_table_iq4(o.q[0]);
	o.q[1] = tr_table_iq4(o.q[1]);
	return o;
}

TR_DEV struct tr_super tr_super_iq4_xs(const uint8_t *b, unsigned l)
{
	struct tr_super o = { tr_load_half(b), 0, 0 };

	(void)l;
	return o;
}

typedef struct tr_codes tr_codes_fn(const uint8_t *block, unsigned p, unsigned l);
typedef struct tr_super tr_super_fn(const uint8_t *block, unsigned l);

/* Sums of four groups of x by their minimums. */
TR_DEV int tr_sum_mins(uint32_t min, uint64_t groups)
{
	int sum = 0;

	TR_UNROLL
	for (int g = 0; g < 4; g++)
		sum += (int)tr_byte_of(min, (unsigned)g) * (int16_t)(groups >> 16 * g);
	return sum;
}

/* As tr_dot32. */
TR_DEV float tr_dot256(const struct tr_dot_in *in, const int n_act, tr_codes_fn *codes,
	tr_super_fn *super, const unsigned block_bytes, const bool has_min)
{
	unsigned group = tr_thread % TR_LANES / TR_GROUP, l = tr_thread % TR_GROUP;
	uint32_t d_off = TR_ALIGN_UP(in->n, 64u), n_block = in->n / 256, first;
	uint32_t sum_off = TR_ALIGN_UP(d_off + n_block * 4, 64u);
	float acc = 0;

	for (first = 0; first < n_block; first += TR_GROUP) {
		uint32_t idx = first + group, at = idx < n_block ? idx : n_block - 1;
		const uint8_t *b = in->row + (size_t)at * block_bytes;
		struct tr_super s = super(b, l);
		float d_x = *(const float *)(in->own + d_off + 4 * at), next;
		int sum[TR_GROUP] = { 0, 0, 0, 0 }, mins[TR_GROUP];

		TR_UNROLL
		for (unsigned p = 0; p < 8; p++) {
			struct tr_codes k = codes(b, p, l);

			TR_UNROLL
			for (int t = 0; t < n_act; t++) {
				uint64_t x = tr_load8(in->act[t] + 256 * at + 32 * p + 8 * l);

				sum[t] += k.scale * tr_dp4a(k.q[0], (uint32_t)x,
					tr_dp4a(k.q[1], (uint32_t)(x >> 32), 0));
			}
		}
		TR_UNROLL
		for (int t = 0; t < n_act && has_min; t++)
			mins[t] = tr_sum_mins(s.min,
				tr_load8(in->act[t] + sum_off + 32 * at + 8 * l));
		next = tr_fmaf(s.d * d_x, (float)tr_join_quarters(sum, n_act), acc);
		if (has_min)
			next = tr_fmaf(-(s.dmin * d_x), (float)tr_join_quarters(mins, n_act), next);
		acc = idx < n_block ? next : acc;
	}
	return tr_join_groups(acc);
}

#endif
