/* IQ3_S: d * scale * signed entries of a grid of 512, scales of 4 bits per 32 values. */
#include "model/quants/grids.h"

static uint32_t entry_of(const struct tr_block_iq3_s *b, int i)
{
	return tr_iq3_s_grid[b->qs[i] | (b->qh[i / 8] >> i % 8 & 1) << 8];
}

float tr_iq3_s_unpack(const void *block, int16_t w[256])
{
	const struct tr_block_iq3_s *b = block;

	for (int i = 0; i < 32; i++) {
		int s = b->scales[i / 8] >> 4 * (i % 8 / 4) & 15;

		tr_grid_put(w + 8 * i, tr_grid_join(entry_of(b, 2 * i), entry_of(b, 2 * i + 1)),
			b->signs[i], 2 * s + 1);
	}
	return tr_f16_to_f32(b->d) * TR_IQ3_S_UNIT;
}

TR_GRID_TYPE(iq3_s, IQ3_S)
