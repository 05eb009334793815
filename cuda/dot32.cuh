/*
 * dot32.cuh - the dot of a row of 32-value blocks by half a warp, for one or four activations at once.
 *
 * Four groups of four threads: group j takes the blocks whose number mod 4 is j, and so has one of
 * the four float sums of a row. A thread adds up a quarter of the block, values 8 l to 8 l + 7 of
 * every 32: exact integers, so who adds what does not matter. Shuffles join the quarters, and of
 * four activations each thread is left with the sum of one, which it alone brings to float.
 */
#ifndef TR_CUDA_DOT32_CUH
#define TR_CUDA_DOT32_CUH

#include "cuda/lang.cuh"

#define TR_ONES 0x01010101u
#define TR_GROUP 4 /* threads of a group, groups of half a warp, activations at once */

/* A row and the activations that meet it. */
struct tr_dot_in {
	const uint8_t *row;
	const uint8_t *act[TR_GROUP];
	const uint8_t *own; /* the activation whose sum this thread gets */
	uint32_t n;
};

/* --- what both kinds of blocks need ------------------------------------------------------------- */

/* Codes less bias, in each byte. Codes are below 128. */
TR_DEV uint32_t tr_less(uint32_t q, uint32_t bias)
{
	return ((q | 0x80808080u) - bias * TR_ONES) ^ 0x80808080u;
}

/* sum[t] of four threads: the total of one activation, of four that of number thread mod 4. */
TR_DEV int tr_join_quarters(const int *sum, const int n_act)
{
	bool second = tr_thread & 1, upper = tr_thread & 2;
	int a, b;

	if (n_act == 1) {
		a = sum[0] + tr_shfl_xor_int(sum[0], 2);
		return a + tr_shfl_xor_int(a, 1);
	}
	a = (upper ? sum[2] : sum[0]) + tr_shfl_xor_int(upper ? sum[0] : sum[2], 2);
	b = (upper ? sum[3] : sum[1]) + tr_shfl_xor_int(upper ? sum[1] : sum[3], 2);
	return (second ? b : a) + tr_shfl_xor_int(second ? a : b, 1);
}

/* (s0 + s2) + (s1 + s3), the sums of the groups; the same in all of them. */
TR_DEV float tr_join_groups(float sum)
{
	sum += tr_shfl_xor(sum, 8);
	return sum + tr_shfl_xor(sum, 4);
}

/* --- the types ---------------------------------------------------------------------------------- */

/* A thread's quarter of a block. */
struct tr_quarter {
	uint32_t q[2]; /* codes, less the type's bias */
	float d, m; /* m only of types with a minimum */
};

/* Quarter l of 16 bytes of nibbles: of the low ones, then of the high. Only 2-byte aligned. */
TR_DEV void tr_nibbles(uint32_t q[2], const uint8_t *qs, unsigned l)
{
	q[0] = tr_load4_at2(qs + 8 * (l & 1)) >> 4 * (l >> 1) & 0x0f0f0f0fu;
	q[1] = tr_load4_at2(qs + 8 * (l & 1) + 4) >> 4 * (l >> 1) & 0x0f0f0f0fu;
}

/* Four bits, the lowest of b on, as the fifth bit of four codes. */
TR_DEV uint32_t tr_fifth_bits(uint32_t b)
{
	return (b & 1) << 4 | (b & 2) << 11 | (b & 4) << 18 | (b & 8) << 25;
}

TR_DEV void tr_add_fifth(uint32_t q[2], uint32_t bits, unsigned l)
{
	q[0] |= tr_fifth_bits(bits >> 8 * l);
	q[1] |= tr_fifth_bits(bits >> (8 * l + 4));
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

TR_DEV struct tr_quarter tr_quarter_q4_0(const uint8_t *b, unsigned l)
{
	struct tr_quarter o = { { 0, 0 }, tr_load_half(b), 0 };

	tr_nibbles(o.q, b + 2, l);
	o.q[0] = tr_less(o.q[0], 8);
	o.q[1] = tr_less(o.q[1], 8);
	return o;
}

TR_DEV struct tr_quarter tr_quarter_q4_1(const uint8_t *b, unsigned l)
{
	struct tr_quarter o = { { 0, 0 }, tr_load_half(b), tr_load_half(b + 2) };

	tr_nibbles(o.q, b + 4, l);
	return o;
}

TR_DEV struct tr_quarter tr_quarter_q5_0(const uint8_t *b, unsigned l)
{
	struct tr_quarter o = { { 0, 0 }, tr_load_half(b), 0 };

	tr_nibbles(o.q, b + 6, l);
	tr_add_fifth(o.q, tr_load4_at2(b + 2), l);
	o.q[0] = tr_less(o.q[0], 16);
	o.q[1] = tr_less(o.q[1], 16);
	return o;
}

TR_DEV struct tr_quarter tr_quarter_q5_1(const uint8_t *b, unsigned l)
{
	struct tr_quarter o = { { 0, 0 }, tr_load_half(b), tr_load_half(b + 2) };

	tr_nibbles(o.q, b + 8, l);
	tr_add_fifth(o.q, tr_load4(b + 4), l);
	return o;
}

TR_DEV struct tr_quarter tr_quarter_q8_0(const uint8_t *b, unsigned l)
{
	struct tr_quarter o = { { tr_load4_at2(b + 2 + 8 * l), tr_load4_at2(b + 6 + 8 * l) },
		tr_load_half(b), 0 };

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

TR_DEV struct tr_quarter tr_quarter_iq4_nl(const uint8_t *b, unsigned l)
{
	struct tr_quarter o = { { 0, 0 }, tr_load_half(b), 0 };

	tr_nibbles(o.q, b + 2, l);
	o.q[0] = tr_table_iq4(o.q[0]);
	o.q[1] = tr_table_iq4(o.q[1]);
	return o;
}

/* A block has 17 bytes, so nothing in it is aligned. */
TR_DEV struct tr_quarter tr_quarter_mxfp4(const uint8_t *b, unsigned l)
{
	const uint8_t *qs = b + 1 + 8 * (l & 1);
	unsigned shift = 4 * (l >> 1);
	struct tr_quarter o = { { 0, 0 }, tr_e8m0_half(b[0]), 0 };

	o.q[0] = tr_table_fp4(tr_load4_at1(qs) >> shift & 0x0f0f0f0fu);
	o.q[1] = tr_table_fp4(tr_load4_at1(qs + 4) >> shift & 0x0f0f0f0fu);
	return o;
}

typedef struct tr_quarter tr_quarter_fn(const uint8_t *block, unsigned l);

/* The dot with activation in->own, where that is one of n_act, one or four, in in->act: of four
 * number thread mod 4. All of a warp come here with the same n. */
TR_DEV float tr_dot32(const struct tr_dot_in *in, const int n_act, tr_quarter_fn *quarter,
	const unsigned block_bytes, const bool has_min)
{
	unsigned group = tr_thread % TR_LANES / TR_GROUP, l = tr_thread % TR_GROUP;
	uint32_t d_off = TR_ALIGN_UP(in->n, 64u), n_block = in->n / 32, first;
	float acc = 0;

	for (first = 0; first < n_block; first += TR_GROUP) {
		/* A group without a block repeats the last one and drops what comes out. */
		uint32_t idx = first + group, at = idx < n_block ? idx : n_block - 1;
		struct tr_quarter w = quarter(in->row + (size_t)at * block_bytes, l);
		float d_x = *(const float *)(in->own + d_off + 4 * at), next;
		int sum[TR_GROUP], sum_x[TR_GROUP];

		TR_UNROLL
		for (int t = 0; t < n_act; t++) {
			uint64_t x = tr_load8(in->act[t] + 32 * at + 8 * l);
			uint32_t x0 = (uint32_t)x, x1 = (uint32_t)(x >> 32);

			sum[t] = tr_dp4a(w.q[0], x0, tr_dp4a(w.q[1], x1, 0));
			if (has_min)
				sum_x[t] = tr_dp4a(TR_ONES, x0, tr_dp4a(TR_ONES, x1, 0));
		}
		next = tr_fmaf(w.d * d_x, (float)tr_join_quarters(sum, n_act), acc);
		if (has_min)
			next = tr_fmaf(w.m * d_x, (float)tr_join_quarters(sum_x, n_act), next);
		acc = idx < n_block ? next : acc;
	}
	return tr_join_groups(acc);
}

#endif
