/* Q3_K: d * scale * q, q in -4..3, scales of 6 bits per 16 values. */
#include "model/quants/blocks.h"

static void dequant_block(const struct tr_block_q3_k *b, float *out)
{
	float d = tr_f16_to_f32(b->d);

	for (int i = 0; i < 256; i++) {
		int q = b->qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3;
		int h = b->hmask[i % 32] >> i / 32 & 1;
		int s = tr_q3_k_scale(b->scales, (unsigned)i / 16);

		out[i] = d * (float)s * (float)(q - (h ? 0 : 4));
	}
}

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_q3_k *b = blocks;

	for (size_t block = 0; block < n / 256; block++, b++, out += 256)
		dequant_block(b, out);
}

const struct tr_quant tr_quant_q3_k = {
	.id = TR_QUANT_Q3_K,
	.name = "Q3_K",
	.block_values = 256,
	.block_bytes = sizeof(struct tr_block_q3_k),
	.act = TR_ACT_Q8_256,
	.dequant = dequant,
};
