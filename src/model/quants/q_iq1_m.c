/* IQ1_M: d * scale * (-1, 0 or 1 by a grid of 2048, plus or minus an eighth), scales of 3 bits per
 * 16 values. */
#include "model/quants/grids.h"

float tr_iq1_m_unpack(const void *block, int16_t w[256])
{
	const struct tr_block_iq1_m *b = block;

	for (int i = 0; i < 32; i++) {
		int h = b->qh[i / 2] >> 4 * (i % 2) & 15;
		int s = b->scales[i / 8] >> 3 * (i / 2 % 4) & 7;

		tr_grid_put_iq1(w + 8 * i, tr_iq1_grid[b->qs[i] | (h & 7) << 8], h >> 3,
			2 * s + 1);
	}
	return tr_f16_to_f32(tr_iq1_m_d(b)) * TR_IQ1_UNIT;
}

TR_GRID_TYPE(iq1_m, IQ1_M)
