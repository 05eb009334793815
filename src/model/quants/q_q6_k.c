/* Q6_K: d * scale * (q - 32), scales of 8 bits per 16 values. */
#include "model/quants/blocks.h"

static void dequant_block(const struct tr_block_q6_k *b, float *out)
{
	float d = tr_f16_to_f32(b->d);

	for (int i = 0; i < 256; i++) {
		int half = i / 128, g = i % 128 / 32, at = i % 32;
		int lo = b->ql[64 * half + 32 * (g & 1) + at] >> 4 * (g / 2) & 15;
		int hi = b->qh[32 * half + at] >> 2 * g & 3;

		out[i] = d * (float)b->scales[i / 16] * (float)((lo | hi << 4) - 32);
	}
}

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_q6_k *b = blocks;

	for (size_t block = 0; block < n / 256; block++, b++, out += 256)
		dequant_block(b, out);
}

const struct tr_quant tr_quant_q6_k = {
	.id = TR_QUANT_Q6_K,
	.name = "Q6_K",
	.block_values = 256,
	.block_bytes = sizeof(struct tr_block_q6_k),
	.act = TR_ACT_Q8_256,
	.dequant = dequant,
};
