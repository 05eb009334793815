/* Q2_K: d * scale * q - dmin * min, scale and min of 4 bits per 16 values. */
#include "model/quants/blocks.h"

static void dequant_block(const struct tr_block_q2_k *b, float *out)
{
	float d = tr_f16_to_f32(b->d), dmin = tr_f16_to_f32(b->dmin);

	for (int i = 0; i < 256; i++) {
		int q = b->qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3;
		uint8_t s = b->scales[i / 16];

		out[i] = d * (float)(s & 15) * (float)q - dmin * (float)(s >> 4);
	}
}

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_q2_k *b = blocks;

	for (size_t block = 0; block < n / 256; block++, b++, out += 256)
		dequant_block(b, out);
}

const struct tr_quant tr_quant_q2_k = {
	.id = TR_QUANT_Q2_K,
	.name = "Q2_K",
	.block_values = 256,
	.block_bytes = sizeof(struct tr_block_q2_k),
	.act = TR_ACT_Q8_256,
	.dequant = dequant,
};
