/* BF16: the upper half of a float. */
#include "model/quants/blocks.h"

#include <string.h>

static void dequant(const void *blocks, float *out, size_t n)
{
	const uint8_t *at = blocks;
	uint16_t h;

	for (size_t i = 0; i < n; i++) {
		memcpy(&h, at + i * sizeof(h), sizeof(h));
		out[i] = tr_bf16_to_f32(h);
	}
}

const struct tr_quant tr_quant_bf16 = {
	.id = TR_QUANT_BF16,
	.name = "BF16",
	.block_values = 1,
	.block_bytes = sizeof(uint16_t),
	.act = TR_ACT_F32,
	.dequant = dequant,
};
