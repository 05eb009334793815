/* Q5_1: d * q + m, the fifth bits apart in qh. */
#include "model/quants/blocks.h"

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_q5_1 *b = blocks;

	for (size_t block = 0; block < n / 32; block++, b++, out += 32) {
		float d = tr_f16_to_f32(b->d), m = tr_f16_to_f32(b->m);

		for (int i = 0; i < 16; i++) {
			int lo = (b->qs[i] & 15) | (b->qh >> i & 1) << 4;
			int hi = (b->qs[i] >> 4) | (b->qh >> (i + 16) & 1) << 4;

			out[i] = d * (float)lo + m;
			out[i + 16] = d * (float)hi + m;
		}
	}
}

const struct tr_quant tr_quant_q5_1 = {
	.id = TR_QUANT_Q5_1,
	.name = "Q5_1",
	.block_values = 32,
	.block_bytes = sizeof(struct tr_block_q5_1),
	.act = TR_ACT_Q8_32,
	.dequant = dequant,
};
