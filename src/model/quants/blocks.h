/*
 * blocks.h - what one block of each tensor type looks like in a file, and the few sub-fields whose
 * decoding is more than a shift.
 *
 * Fields are little-endian and unaligned; the structs are packed and may be laid over file bytes at
 * any address. d, m, dmin are binary16 bits (tr_f16_to_f32). In types of 32 values the low nibble
 * of qs[i] is value i, the high nibble value i + 16.
 */
#ifndef TR_MODEL_QUANTS_BLOCKS_H
#define TR_MODEL_QUANTS_BLOCKS_H

#include "base/portable.h"
#include "model/quant.h"

#include <assert.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blocks are laid over file bytes: little-endian machines only"
#endif

#define TR_PACKED __attribute__((packed))

struct TR_PACKED tr_block_q4_0 {
	uint16_t d;
	uint8_t qs[16];
};

struct TR_PACKED tr_block_q4_1 {
	uint16_t d;
	uint16_t m;
	uint8_t qs[16];
};

struct TR_PACKED tr_block_q5_0 {
	uint16_t d;
	uint32_t qh; /* bit i: fifth bit of value i */
	uint8_t qs[16];
};

struct TR_PACKED tr_block_q5_1 {
	uint16_t d;
	uint16_t m;
	uint32_t qh;
	uint8_t qs[16];
};

struct TR_PACKED tr_block_q8_0 {
	uint16_t d;
	int8_t qs[32];
};

/* K types: 256 values. qs of the 2-bit types: value i sits in byte 32 * (i / 128) + i % 32 at bit
 * 2 * ((i % 128) / 32). */
struct TR_PACKED tr_block_q2_k {
	uint8_t scales[16]; /* per 16 values: scale low, minimum high */
	uint8_t qs[64];
	uint16_t d;
	uint16_t dmin;
};

struct TR_PACKED tr_block_q3_k {
	uint8_t hmask[32]; /* value i: byte i % 32, bit i / 32; a clear bit subtracts 4 */
	uint8_t qs[64];
	uint8_t scales[12]; /* tr_q3_k_scale */
	uint16_t d;
};

/* qs of Q4_K, Q5_K: byte 32 * (i / 64) + i % 32, low nibble for the first 32 of the 64. */
struct TR_PACKED tr_block_q4_k {
	uint16_t d;
	uint16_t dmin;
	uint8_t scales[12]; /* tr_q4_k_scale */
	uint8_t qs[128];
};

struct TR_PACKED tr_block_q5_k {
	uint16_t d;
	uint16_t dmin;
	uint8_t scales[12]; /* tr_q4_k_scale */
	uint8_t qh[32];	    /* value i: byte i % 32, bit i / 32 */
	uint8_t qs[128];
};

/* Value i, with g = (i % 128) / 32: low bits in byte 64 * (i / 128) + 32 * (g % 2) + i % 32 of ql,
 * high nibble for g >= 2; two high bits in byte 32 * (i / 128) + i % 32 of qh at bit 2 * g. */
struct TR_PACKED tr_block_q6_k {
	uint8_t ql[128];
	uint8_t qh[64];
	int8_t scales[16]; /* per 16 values */
	uint16_t d;
};

struct TR_PACKED tr_block_iq4_nl {
	uint16_t d;
	uint8_t qs[16];
};

/* Eight sub-blocks of 32 values, nibbles in each as in the types of 32. */
struct TR_PACKED tr_block_iq4_xs {
	uint16_t d;
	uint16_t scales_h;
	uint8_t scales_l[4]; /* tr_iq4_xs_scale */
	uint8_t qs[128];
};

/*
 * Grid types: 256 values in 8 parts of 32. An index into a grid (grids.h) gives the magnitudes of
 * 8 or 4 values; index i covers those from 8 i or 4 i on. Signs come as a byte for 8 values, bit j
 * set where value j is negative, or as 7 bits, of which the eighth is the parity. A scale field s
 * stands for 2 s + 1.
 */
struct TR_PACKED tr_block_iq2_xxs {
	uint16_t d;
	struct TR_PACKED {
		uint8_t qs[4];
		uint32_t signs_scale; /* 4 times 7 bits of signs, 4 bits of scale */
	} part[8];
};

struct TR_PACKED tr_block_iq2_xs {
	uint16_t d;
	uint16_t qs[32];   /* 9 bits of index, 7 of signs */
	uint8_t scales[8]; /* per 16 values, low nibble first */
};

struct TR_PACKED tr_block_iq2_s {
	uint16_t d;
	uint8_t qs[32];
	uint8_t signs[32];
	uint8_t qh[8];	   /* two high bits of index i: byte i / 4, bit 2 * (i % 4) */
	uint8_t scales[8]; /* per 16 values, low nibble first */
};

struct TR_PACKED tr_block_iq3_xxs {
	uint16_t d;
	uint8_t qs[64];
	uint32_t signs_scale[8]; /* as in IQ2_XXS */
};

struct TR_PACKED tr_block_iq3_s {
	uint16_t d;
	uint8_t qs[64];
	uint8_t qh[8]; /* high bit of index i: byte i / 8, bit i % 8 */
	uint8_t signs[32];
	uint8_t scales[4]; /* per 32 values, low nibble first */
};

/* IQ1: no signs, but an eighth is subtracted from values (bit set) or added to them. */
struct TR_PACKED tr_block_iq1_s {
	uint16_t d;
	uint8_t qs[32];
	uint16_t qh[8]; /* a part: 4 times 3 high bits of index, 3 of scale, 1 to subtract */
};

struct TR_PACKED tr_block_iq1_m {
	uint8_t qs[32];
	uint8_t qh[16];	    /* a nibble for an index: 3 high bits, 1 to subtract */
	uint16_t scales[4]; /* 4 times 3 bits of scale per 16 values, and 4 bits of d */
};

struct TR_PACKED tr_block_mxfp4 {
	uint8_t e; /* tr_e8m0_half */
	uint8_t qs[16];
};

static_assert(sizeof(struct tr_block_q4_0) == 18, "Q4_0");
static_assert(sizeof(struct tr_block_q4_1) == 20, "Q4_1");
static_assert(sizeof(struct tr_block_q5_0) == 22, "Q5_0");
static_assert(sizeof(struct tr_block_q5_1) == 24, "Q5_1");
static_assert(sizeof(struct tr_block_q8_0) == 34, "Q8_0");
static_assert(sizeof(struct tr_block_q2_k) == 84, "Q2_K");
static_assert(sizeof(struct tr_block_q3_k) == 110, "Q3_K");
static_assert(sizeof(struct tr_block_q4_k) == 144, "Q4_K");
static_assert(sizeof(struct tr_block_q5_k) == 176, "Q5_K");
static_assert(sizeof(struct tr_block_q6_k) == 210, "Q6_K");
static_assert(sizeof(struct tr_block_iq4_nl) == 18, "IQ4_NL");
static_assert(sizeof(struct tr_block_iq4_xs) == 136, "IQ4_XS");
static_assert(sizeof(struct tr_block_iq2_xxs) == 66, "IQ2_XXS");
static_assert(sizeof(struct tr_block_iq2_xs) == 74, "IQ2_XS");
static_assert(sizeof(struct tr_block_iq2_s) == 82, "IQ2_S");
static_assert(sizeof(struct tr_block_iq3_xxs) == 98, "IQ3_XXS");
static_assert(sizeof(struct tr_block_iq3_s) == 110, "IQ3_S");
static_assert(sizeof(struct tr_block_iq1_s) == 50, "IQ1_S");
static_assert(sizeof(struct tr_block_iq1_m) == 56, "IQ1_M");
static_assert(sizeof(struct tr_block_mxfp4) == 17, "MXFP4");

extern const int8_t tr_iq4_values[16]; /* IQ4_NL, IQ4_XS */
extern const int8_t tr_fp4_values[16]; /* E2M1, doubled */

/* Six-bit scale and minimum of sub-block j (of 8) of Q4_K and Q5_K. */
TR_FN void tr_q4_k_scale(const uint8_t scales[12], unsigned j, uint8_t *scale, uint8_t *min)
{
	if (j < 4) {
		*scale = scales[j] & 63;
		*min = scales[j + 4] & 63;
	} else {
		*scale = (uint8_t)((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
		*min = (uint8_t)((scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
	}
}

/* Signed scale of group j (of 16) of Q3_K. */
TR_FN int tr_q3_k_scale(const uint8_t scales[12], unsigned j)
{
	int lo = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
	int hi = (scales[8 + j % 4] >> 2 * (j / 4)) & 3;

	return (lo | hi << 4) - 32;
}

/* Signed scale of sub-block j (of 8) of IQ4_XS. */
TR_FN int tr_iq4_xs_scale(const struct tr_block_iq4_xs *b, unsigned j)
{
	int lo = (b->scales_l[j / 2] >> 4 * (j % 2)) & 15;
	int hi = (b->scales_h >> 2 * j) & 3;

	return (lo | hi << 4) - 32;
}

/* The binary16 that IQ1_M keeps in the high nibbles of its scales. */
TR_FN uint16_t tr_iq1_m_d(const struct tr_block_iq1_m *b)
{
	return (uint16_t)(b->scales[0] >> 12 | (b->scales[1] >> 12) << 4 |
		(b->scales[2] >> 12) << 8 | (b->scales[3] >> 12) << 12);
}

TR_FN void tr_iq1_m_put_d(struct tr_block_iq1_m *b, uint16_t d)
{
	for (int i = 0; i < 4; i++)
		b->scales[i] = (uint16_t)((b->scales[i] & 0xfff) | (d >> 4 * i & 15) << 12);
}

/* 2^(e - 128): the E8M0 scale, halved because tr_fp4_values are doubled. */
TR_FN float tr_e8m0_half(uint8_t e)
{
	union {
		uint32_t u;
		float f;
	} v = { .u = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23 };

	return v.f;
}

#endif
