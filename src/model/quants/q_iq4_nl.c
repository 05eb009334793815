/* IQ4_NL: d * value of a table that is dense near zero. */
#include "model/quants/blocks.h"

const int8_t tr_iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69,
	89, 113 };

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_iq4_nl *b = blocks;

	for (size_t block = 0; block < n / 32; block++, b++, out += 32) {
		float d = tr_f16_to_f32(b->d);

		for (int i = 0; i < 16; i++) {
			out[i] = d * (float)tr_iq4_values[b->qs[i] & 15];
			out[i + 16] = d * (float)tr_iq4_values[b->qs[i] >> 4];
		}
	}
}

const struct tr_quant tr_quant_iq4_nl = {
	.id = TR_QUANT_IQ4_NL,
	.name = "IQ4_NL",
	.block_values = 32,
	.block_bytes = sizeof(struct tr_block_iq4_nl),
	.act = TR_ACT_Q8_32,
	.dequant = dequant,
};
