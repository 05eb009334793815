/* IQ2_S: d / 8 * scale * signed entry of a grid of 1024, scales of 4 bits per 16 values. */
#include "model/quants/grids.h"

float tr_iq2_s_unpack(const void *block, int16_t w[256])
{
	const struct tr_block_iq2_s *b = block;

	for (int i = 0; i < 32; i++) {
		int s = b->scales[i / 4] >> 4 * (i % 4 / 2) & 15;
		int high = b->qh[i / 4] >> 2 * (i % 4) & 3;

		tr_grid_put(w + 8 * i, tr_iq2_s_grid[b->qs[i] | high << 8], b->signs[i],
			2 * s + 1);
	}
	return tr_f16_to_f32(b->d) * TR_IQ2_UNIT;
}

TR_GRID_TYPE(iq2_s, IQ2_S)
