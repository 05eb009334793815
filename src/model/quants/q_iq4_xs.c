/* IQ4_XS: d * scale * value of the IQ4_NL table, scales of 6 bits per 32 values. */
#include "model/quants/blocks.h"

static void dequant_block(const struct tr_block_iq4_xs *b, float *out)
{
	float d = tr_f16_to_f32(b->d);

	for (unsigned j = 0; j < 8; j++) {
		float dl = d * (float)tr_iq4_xs_scale(b, j);

		for (int i = 0; i < 16; i++) {
			uint8_t n = b->qs[16 * j + i];

			out[32 * j + i] = dl * (float)tr_iq4_values[n & 15];
			out[32 * j + i + 16] = dl * (float)tr_iq4_values[n >> 4];
		}
	}
}

static void dequant(const void *blocks, float *out, size_t n)
{
	const struct tr_block_iq4_xs *b = blocks;

	for (size_t block = 0; block < n / 256; block++, b++, out += 256)
		dequant_block(b, out);
}

const struct tr_quant tr_quant_iq4_xs = {
	.id = TR_QUANT_IQ4_XS,
	.name = "IQ4_XS",
	.block_values = 256,
	.block_bytes = sizeof(struct tr_block_iq4_xs),
	.act = TR_ACT_Q8_256,
	.dequant = dequant,
};
