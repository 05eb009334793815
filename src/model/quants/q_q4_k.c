/* Q4_K: d * scale * q - dmin * min, scale and min of 6 bits per 32 values. */
#include "model/quants/blocks.h"

static void dequant_block(const struct tr_block_q4_k *b, float *out)
{
	float d = tr_f16_to_f32(b->d), dmin = tr_f16_to_f32(b->dmin);

	for (unsigned j = 0; j < 8; j++) {
		uint8_t scale, min;
		float dl, ml;

		tr_q4_k_scale(b->scales, j, &scale, &min);
		dl = d * (float)scale;
		ml = dmin * (float)min;
		for (int i = 0; i < 32; i++) {
			int q = b->qs[32 * (j / 2) + i] >> 4 * (j % 2) & 15;

			out[32 * j + i] = dl * (float)q - ml;
		}
	}
}

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_q4_k *b = blocks;

	for (size_t block = 0; block < n / 256; block++, b++, out += 256)
		dequant_block(b, out);
}

const struct tr_quant tr_quant_q4_k = {
	.id = TR_QUANT_Q4_K,
	.name = "Q4_K",
	.block_values = 256,
	.block_bytes = sizeof(struct tr_block_q4_k),
	.act = TR_ACT_Q8_256,
	.dequant = dequant,
};
