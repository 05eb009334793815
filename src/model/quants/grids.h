/*
 * grids.h - the types whose codes are indices into a table of value tuples: the tables, and a block
 * as the integers it stands for.
 *
 * An entry is 8 or 4 bytes, the first value lowest. IQ2 and IQ3 entries are magnitudes. IQ1 entries
 * are 8 (v + 1) for v = -1, 0, 1, so that a value with its eighth is (entry - 8 +- 1) / 8.
 */
#ifndef TR_MODEL_QUANTS_GRIDS_H
#define TR_MODEL_QUANTS_GRIDS_H

#include "model/quants/blocks.h"

extern const uint64_t tr_iq2_xxs_grid[256];
extern const uint64_t tr_iq2_xs_grid[512];
extern const uint64_t tr_iq2_s_grid[1024];
extern const uint32_t tr_iq3_xxs_grid[256];
extern const uint32_t tr_iq3_s_grid[512];
extern const uint64_t tr_iq1_grid[2048];

/* d of a block times this, and integers, make its values. */
#define TR_IQ1_UNIT 0.125f
#define TR_IQ2_UNIT 0.125f
#define TR_IQ3_XXS_UNIT 0.25f
#define TR_IQ3_S_UNIT 1.0f

/* A super-block is the float returned times w: scales and signs multiplied in, all exact. */
typedef float tr_grid_unpack_fn(const void *block, int16_t w[256]);
tr_grid_unpack_fn tr_iq1_s_unpack, tr_iq1_m_unpack, tr_iq2_xxs_unpack, tr_iq2_xs_unpack;
tr_grid_unpack_fn tr_iq2_s_unpack, tr_iq3_xxs_unpack, tr_iq3_s_unpack;

/* Seven bits of signs to eight: an even number is negative. */
static inline uint8_t tr_grid_signs(uint32_t bits)
{
	uint32_t s = bits & 127;

	return (uint8_t)(s | (uint32_t)__builtin_parity(s) << 7);
}

/* Two entries of four values as one of eight. */
static inline uint64_t tr_grid_join(uint32_t first, uint32_t second)
{
	return first | (uint64_t)second << 32;
}

/* The eight values of an IQ2 or IQ3 entry. */
static inline void tr_grid_put(int16_t *w, uint64_t entry, unsigned signs, int scale)
{
	for (int j = 0; j < 8; j++) {
		int v = (int)(entry >> 8 * j & 255) * scale;

		w[j] = (int16_t)(signs >> j & 1 ? -v : v);
	}
}

/* The eight values of an IQ1 entry. */
static inline void tr_grid_put_iq1(int16_t *w, uint64_t entry, bool subtract, int scale)
{
	int eighth = subtract ? -1 : 1;

	for (int j = 0; j < 8; j++)
		w[j] = (int16_t)(((int)(entry >> 8 * j & 255) - 8 + eighth) * scale);
}

/* Defines the descriptor of a type by its unpack function. */
#define TR_GRID_TYPE(type, TYPE)                                                                   \
	static void dequant(const void *blocks, float *out, size_t n)                              \
	{                                                                                          \
		const struct tr_block_##type *b = blocks;                                          \
		int16_t w[256];                                                                    \
                                                                                                   \
		for (size_t block = 0; block < n / 256; block++, out += 256) {                     \
			float d = tr_##type##_unpack(b + block, w);                                \
                                                                                                   \
			for (int i = 0; i < 256; i++)                                              \
				out[i] = d * (float)w[i];                                          \
		}                                                                                  \
	}                                                                                          \
                                                                                                   \
	const struct tr_quant tr_quant_##type = {                                                  \
		.id = TR_QUANT_##TYPE,                                                             \
		.name = #TYPE,                                                                     \
		.block_values = 256,                                                               \
		.block_bytes = sizeof(struct tr_block_##type),                                     \
		.act = TR_ACT_Q8_256,                                                              \
		.dequant = dequant,                                                                \
	};

#endif
