/* IQ1_S: d * scale * (-1, 0 or 1 by a grid of 2048, plus or minus an eighth), scales of 3 bits per
 * 32 values. */
#include "model/quants/grids.h"

float tr_iq1_s_unpack(const void *block, int16_t w[256])
{
	const struct tr_block_iq1_s *b = block;

	for (int i = 0; i < 32; i++) {
		int h = b->qh[i / 4];

		tr_grid_put_iq1(w + 8 * i, tr_iq1_grid[b->qs[i] | (h >> 3 * (i % 4) & 7) << 8],
			h >> 15, 2 * (h >> 12 & 7) + 1);
	}
	return tr_f16_to_f32(b->d) * TR_IQ1_UNIT;
}

TR_GRID_TYPE(iq1_s, IQ1_S)
