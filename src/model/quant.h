/*
 * quant.h - tensor types: sizes, and how a block becomes floats.
 *
 * One file a type under quants/; quants.def lists them. Row dot products live in
 * src/compute/kernels.h, which this layer does not know.
 */
#ifndef TR_MODEL_QUANT_H
#define TR_MODEL_QUANT_H

#include "base/err.h"
#include "base/portable.h"

/* The form activations take before they meet a weight of a type (layouts: compute/kernels.h). */
enum tr_act_kind {
	TR_ACT_F32,    /* floats as they are */
	TR_ACT_Q8_32,  /* int8, one scale per 32 values */
	TR_ACT_Q8_256, /* int8, one scale per 256 values, sums of groups of 16 */
	TR_N_ACT_KIND,
};

/* Numbers as in GGUF files. */
enum tr_quant_id {
	TR_QUANT_F32 = 0,
	TR_QUANT_F16 = 1,
	TR_QUANT_Q4_0 = 2,
	TR_QUANT_Q4_1 = 3,
	TR_QUANT_Q5_0 = 6,
	TR_QUANT_Q5_1 = 7,
	TR_QUANT_Q8_0 = 8,
	TR_QUANT_Q2_K = 10,
	TR_QUANT_Q3_K = 11,
	TR_QUANT_Q4_K = 12,
	TR_QUANT_Q5_K = 13,
	TR_QUANT_Q6_K = 14,
	TR_QUANT_IQ2_XXS = 16,
	TR_QUANT_IQ2_XS = 17,
	TR_QUANT_IQ3_XXS = 18,
	TR_QUANT_IQ1_S = 19,
	TR_QUANT_IQ4_NL = 20,
	TR_QUANT_IQ3_S = 21,
	TR_QUANT_IQ2_S = 22,
	TR_QUANT_IQ4_XS = 23,
	TR_QUANT_IQ1_M = 29,
	TR_QUANT_BF16 = 30,
	TR_QUANT_MXFP4 = 39,
	TR_QUANT_ID_END = 64, /* tables indexed by id have this many rows */
};

struct tr_quant {
	uint32_t id;
	const char *name;
	uint32_t block_values;
	uint32_t block_bytes;
	enum tr_act_kind act;
	/* n values (a multiple of block_values) from packed, unaligned blocks. */
	void (*dequant)(const void *blocks, float *out, size_t n);
};

/* NULL when the type is not supported. */
const struct tr_quant *tr_quant_by_id(uint32_t id);
const struct tr_quant *tr_quant_by_name(const char *name);

/* Explains why an id is refused (removed, fork-only, activation format, unknown) and lists what is
 * supported. what names the tensor. Returns TR_E_UNSUPPORTED. */
int tr_quant_refuse(uint32_t id, const char *what, struct tr_err *err);

/* IEEE binary16, without hardware. */
float tr_f16_to_f32(uint16_t h);
uint16_t tr_f32_to_f16(float f); /* round to nearest even */

TR_FN float tr_bf16_to_f32(uint16_t h)
{
	union {
		uint32_t u;
		float f;
	} v = { .u = (uint32_t)h << 16 };

	return v.f;
}

#endif
