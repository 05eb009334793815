/* Q4_1: d * q + m. */
#include "model/quants/blocks.h"

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_q4_1 *b = blocks;

	for (size_t block = 0; block < n / 32; block++, b++, out += 32) {
		float d = tr_f16_to_f32(b->d), m = tr_f16_to_f32(b->m);

		for (int i = 0; i < 16; i++) {
			out[i] = d * (float)(b->qs[i] & 15) + m;
			out[i + 16] = d * (float)(b->qs[i] >> 4) + m;
		}
	}
}

const struct tr_quant tr_quant_q4_1 = {
	.id = TR_QUANT_Q4_1,
	.name = "Q4_1",
	.block_values = 32,
	.block_bytes = sizeof(struct tr_block_q4_1),
	.act = TR_ACT_Q8_32,
	.dequant = dequant,
};
