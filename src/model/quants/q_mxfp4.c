/* MXFP4: E2M1 values with a power of two per 32. */
#include "model/quants/blocks.h"

const int8_t tr_fp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_mxfp4 *b = blocks;

	for (size_t block = 0; block < n / 32; block++, b++, out += 32) {
		float d = tr_e8m0_half(b->e);

		for (int i = 0; i < 16; i++) {
			out[i] = d * (float)tr_fp4_values[b->qs[i] & 15];
			out[i + 16] = d * (float)tr_fp4_values[b->qs[i] >> 4];
		}
	}
}

const struct tr_quant tr_quant_mxfp4 = {
	.id = TR_QUANT_MXFP4,
	.name = "MXFP4",
	.block_values = 32,
	.block_bytes = sizeof(struct tr_block_mxfp4),
	.act = TR_ACT_Q8_32,
	.dequant = dequant,
};
