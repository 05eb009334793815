/*
 * synth_blocks.c - codes are random bytes; what a type adds to them is put right in two steps.
 *
 * First the scales are set to 1 and the fields that must agree are made to (a sub-block's minimum
 * is its scale, so that the values lie around 0). The root mean square is then measured with the
 * type's own decoder, and the scales are set to what gives sigma. Types whose codes are not
 * symmetric get scales of random sign. So a new type needs one row of the table and nothing else.
 *
 * Half-precision scales round: with K types sigma is met within a few percent.
 */
#include "synth_blocks.h"

#include "base/mem.h"
#include "model/quants/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct synth_rng synth_rng(uint64_t seed, uint64_t stream)
{
	struct synth_rng r = { seed * 0x9e3779b97f4a7c15u + stream };

	r.state = synth_u64(&r) + stream;
	return r;
}

/* splitmix64 */
uint64_t synth_u64(struct synth_rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The sum of twelve uniform numbers. */
float synth_normal(struct synth_rng *r)
{
	float sum = 0;

	for (int i = 0; i < 3; i++) {
		uint64_t bits = synth_u64(r);

		for (int k = 0; k < 4; k++)
			sum += (float)(bits >> 16 * k & 0xffff) * 0x1p-16f;
	}
	return sum - 6;
}

#define NO_MIN SIZE_MAX
#define IN_SCALES SIZE_MAX /* as IQ1_M has it */

/* Where a block keeps its halves, and the middle of its codes where a minimum is subtracted from or
 * added to them. */
struct shape {
	uint32_t id;
	size_t at_d;
	size_t at_min;
	float middle;
};

static const struct shape shapes[] = {
	{ TR_QUANT_Q4_0, 0, NO_MIN, 0 },
	{ TR_QUANT_Q4_1, 0, 2, -7.5f },
	{ TR_QUANT_Q5_0, 0, NO_MIN, 0 },
	{ TR_QUANT_Q5_1, 0, 2, -15.5f },
	{ TR_QUANT_Q8_0, 0, NO_MIN, 0 },
	{ TR_QUANT_Q2_K, 80, 82, 1.5f },
	{ TR_QUANT_Q3_K, 108, NO_MIN, 0 },
	{ TR_QUANT_Q4_K, 0, 2, 7.5f },
	{ TR_QUANT_Q5_K, 0, 2, 15.5f },
	{ TR_QUANT_Q6_K, 208, NO_MIN, 0 },
	{ TR_QUANT_IQ1_S, 0, NO_MIN, 0 },
	{ TR_QUANT_IQ1_M, IN_SCALES, NO_MIN, 0 },
	{ TR_QUANT_IQ2_XXS, 0, NO_MIN, 0 },
	{ TR_QUANT_IQ2_XS, 0, NO_MIN, 0 },
	{ TR_QUANT_IQ2_S, 0, NO_MIN, 0 },
	{ TR_QUANT_IQ3_XXS, 0, NO_MIN, 0 },
	{ TR_QUANT_IQ3_S, 0, NO_MIN, 0 },
	{ TR_QUANT_IQ4_NL, 0, NO_MIN, 0 },
	{ TR_QUANT_IQ4_XS, 0, NO_MIN, 0 },
};

static const struct shape *shape_of(const struct tr_quant *q)
{
	for (size_t i = 0; i < TR_ARRAY_LEN(shapes); i++)
		if (shapes[i].id == q->id)
			return &shapes[i];
	return NULL;
}

/* Scales of 32 to 63, each minimum equal to its scale (packing: tr_q4_k_scale). */
static void pair_k_scales(uint8_t scales[12])
{
	for (int j = 0; j < 4; j++) {
		scales[j] |= 0xa0;
		scales[j + 4] = scales[j];
		scales[j + 8] = (uint8_t)((scales[j + 8] & 15) * 0x11);
	}
}

static void make_fields_agree(const struct tr_quant *q, uint8_t *block)
{
	int8_t *codes = (int8_t *)block + offsetof(struct tr_block_q8_0, qs);

	switch (q->id) {
	case TR_QUANT_Q2_K:
		for (int i = 0; i < 16; i++)
			block[i] = (uint8_t)(((block[i] & 15) | 8) * 0x11);
		break;
	case TR_QUANT_Q4_K:
		pair_k_scales(((struct tr_block_q4_k *)block)->scales);
		break;
	case TR_QUANT_Q5_K:
		pair_k_scales(((struct tr_block_q5_k *)block)->scales);
		break;
	case TR_QUANT_Q8_0: /* quantisers never write -128 */
		for (int i = 0; i < 32; i++)
			codes[i] = codes[i] == -128 ? -127 : codes[i];
		break;
	default:
		break;
	}
}

static void put_scale(const struct shape *s, uint8_t *block, float d)
{
	uint16_t half = tr_f32_to_f16(d), min = tr_f32_to_f16(s->middle * tr_f16_to_f32(half));

	if (s->at_d == IN_SCALES)
		tr_iq1_m_put_d((struct tr_block_iq1_m *)block, half);
	else
		memcpy(block + s->at_d, &half, sizeof(half));
	if (s->at_min != NO_MIN)
		memcpy(block + s->at_min, &min, sizeof(min));
}

double synth_rms(const struct tr_quant *q, const void *blocks, size_t n_block)
{
	float x[256];
	double sum = 0;

	for (size_t b = 0; b < n_block; b++) {
		q->dequant((const uint8_t *)blocks + b * q->block_bytes, x, q->block_values);
		for (uint32_t i = 0; i < q->block_values; i++)
			sum += (double)x[i] * (double)x[i];
	}
	return sqrt(sum / ((double)n_block * q->block_values));
}

static void fill_scaled(const struct tr_quant *q, const struct shape *s, float sigma, uint8_t *out,
	size_t n_block, struct synth_rng *r)
{
	size_t size = q->block_bytes;
	float d;

	for (size_t b = 0; b < n_block; b++) {
		make_fields_agree(q, out + b * size);
		put_scale(s, out + b * size, 1);
	}
	d = sigma / (float)synth_rms(q, out, TR_MIN(n_block, (size_t)4096));
	for (size_t b = 0; b < n_block; b++)
		put_scale(s, out + b * size, synth_u64(r) & 1 ? d : -d);
}

/* Scales are powers of two: the two around the wanted one, mixed so that squares average to it. */
static void fill_mxfp4(
	const struct tr_quant *q, float sigma, uint8_t *out, size_t n_block, struct synth_rng *r)
{
	uint64_t upper;
	double want, lower;
	int e;

	for (size_t b = 0; b < n_block; b++)
		out[b * q->block_bytes] = 127;
	want = (double)sigma / synth_rms(q, out, TR_MIN(n_block, (size_t)4096));
	e = (int)floor(log2(want));
	lower = want / ldexp(1, e);
	upper = (uint64_t)((lower * lower - 1) / 3 * 0x1p32);
	for (size_t b = 0; b < n_block; b++)
		out[b * q->block_bytes] = (uint8_t)(127 + e + (synth_u64(r) >> 32 < upper));
}

static void fill_float(
	const struct tr_quant *q, float sigma, uint8_t *out, size_t n, struct synth_rng *r)
{
	for (size_t i = 0; i < n; i++, out += q->block_bytes) {
		float x = sigma * synth_normal(r);
		uint16_t half = tr_f32_to_f16(x);
		uint32_t bits;

		memcpy(&bits, &x, sizeof(bits));
		if (q->id == TR_QUANT_BF16)
			half = (uint16_t)(bits >> 16);
		if (q->id == TR_QUANT_F32)
			memcpy(out, &x, sizeof(x));
		else
			memcpy(out, &half, sizeof(half));
	}
}

int synth_blocks(
	const struct tr_quant *q, float sigma, void *out, size_t n_block, struct synth_rng *r)
{
	const struct shape *s = shape_of(q);
	size_t n = n_block * q->block_bytes;
	uint64_t bits;

	if (q->block_values == 1) {
		fill_float(q, sigma, out, n_block, r);
		return 0;
	}
	for (size_t i = 0; i < n; i += sizeof(bits)) {
		bits = synth_u64(r);
		memcpy((uint8_t *)out + i, &bits, TR_MIN(sizeof(bits), n - i));
	}
	if (q->id == TR_QUANT_MXFP4)
		fill_mxfp4(q, sigma, out, n_block, r);
	else if (s)
		fill_scaled(q, s, sigma, out, n_block, r);
	else
		return TR_E_UNSUPPORTED;
	return 0;
}
