/* IQ2_XXS: d / 8 * scale * signed entry of a grid of 256, scales of 4 bits per 32 values. */
#include "model/quants/grids.h"

float tr_iq2_xxs_unpack(const void *block, int16_t w[256])
{
	const struct tr_block_iq2_xxs *b = block;

	for (int i = 0; i < 32; i++) {
		uint32_t field = b->part[i / 4].signs_scale;

		tr_grid_put(w + 8 * i, tr_iq2_xxs_grid[b->part[i / 4].qs[i % 4]],
			tr_grid_signs(field >> 7 * (i % 4)), (int)(2 * (field >> 28) + 1));
	}
	return tr_f16_to_f32(b->d) * TR_IQ2_UNIT;
}

TR_GRID_TYPE(iq2_xxs, IQ2_XXS)
