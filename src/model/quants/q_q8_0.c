/* Q8_0: d * q. */
#include "model/quants/blocks.h"

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_q8_0 *b = blocks;

	for (size_t block = 0; block < n / 32; block++, b++, out += 32) {
		float d = tr_f16_to_f32(b->d);

		for (int i = 0; i < 32; i++)
			out[i] = d * (float)b->qs[i];
	}
}

const struct tr_quant tr_quant_q8_0 = {
	.id = TR_QUANT_Q8_0,
	.name = "Q8_0",
	.block_values = 32,
	.block_bytes = sizeof(struct tr_block_q8_0),
	.act = TR_ACT_Q8_32,
	.dequant = dequant,
};
