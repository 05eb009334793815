/* IQ3_XXS: d / 4 * scale * signed entries of a grid of 256, scales of 4 bits per 32 values. */
#include "model/quants/grids.h"

float tr_iq3_xxs_unpack(const void *block, int16_t w[256])
{
	const struct tr_block_iq3_xxs *b = block;

	for (int i = 0; i < 32; i++) {
		uint32_t field = b->signs_scale[i / 4];
		uint64_t entry = tr_grid_join(tr_iq3_xxs_grid[b->qs[2 * i]],
			tr_iq3_xxs_grid[b->qs[2 * i + 1]]);

		tr_grid_put(w + 8 * i, entry, tr_grid_signs(field >> 7 * (i % 4)),
			(int)(2 * (field >> 28) + 1));
	}
	return tr_f16_to_f32(b->d) * TR_IQ3_XXS_UNIT;
}

TR_GRID_TYPE(iq3_xxs, IQ3_XXS)
