/* F32: floats as they are. */
#include "model/quants/blocks.h"

#include <string.h>

static void dequant(const void *blocks, float *out, size_t n)
{
	memcpy(out, blocks, n * sizeof(float));
}

const struct tr_quant tr_quant_f32 = {
	.id = TR_QUANT_F32,
	.name = "F32",
	.block_values = 1,
	.block_bytes = sizeof(float),
	.act = TR_ACT_F32,
	.dequant = dequant,
};
