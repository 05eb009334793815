/* avx512_iq.c - the grid types: codes are looked up (grid256.h), then multiplied as those of the K
 * types (avx512_k.h). */
#include "compute/cpu/avx512_k_strip.h"

TR_INLINE const struct grid256 *grid_of(const uint8_t *block)
{
	return (const struct grid256 *)block;
}

TR_INLINE __mmask64 signs_grid(const uint8_t *block, int chunk)
{
	return _load_mask64((__mmask64 *)(grid_of(block)->signs + 8 * chunk));
}

TR_INLINE __m512i scales_grid(const uint8_t *block, __m512i *min)
{
	(void)min;
	return low_halves(load128(grid_of(block)->scales));
}

TR_INLINE __m512i both(__m256i lo, __m256i hi)
{
	return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

#define CODES(type, width)                                                                         \
	TR_INLINE __m512i codes_##type(const uint8_t *block, int chunk)                            \
	{                                                                                          \
		const uint16_t *idx = grid_of(block)->idx + 64 / (width) * chunk;                  \
                                                                                                   \
		return both(look_up##width(tr_##type##_grid, idx),                                 \
			look_up##width(tr_##type##_grid, idx + 32 / (width)));                     \
	}

CODES(iq1, 8)
CODES(iq2_xxs, 8)
CODES(iq2_xs, 8)
CODES(iq2_s, 8)
CODES(iq3_xxs, 4)
CODES(iq3_s, 4)

TR_INLINE __m512i codes_iq1_eighths(const uint8_t *block, int chunk)
{
	const __m512i pick = _mm512_set_epi64(0x0707070707070707, 0x0606060606060606,
		0x0505050505050505, 0x0404040404040404, 0x0303030303030303, 0x0202020202020202,
		0x0101010101010101, 0);
	long long v;

	memcpy(&v, grid_of(block)->signs + 8 * chunk, sizeof(v));
	return _mm512_add_epi8(codes_iq1(block, chunk),
		_mm512_shuffle_epi8(_mm512_set1_epi64(v), pick));
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .d_at = offsetof(struct grid256, d),  \
	.unpack = unpack_##type, .per_scale = 16, .scales = scales_grid
#define IQ1 .codes = codes_iq1_eighths, .off = 9, .unit = TR_IQ1_UNIT
#define SIGNED(type) BLOCK(type), .codes = codes_##type, .signs = signs_grid

static const struct k iq1_s = { BLOCK(iq1_s), IQ1 };
static const struct k iq1_m = { BLOCK(iq1_m), IQ1 };
static const struct k iq2_xxs = { SIGNED(iq2_xxs), .large = true, .unit = TR_IQ2_UNIT };
static const struct k iq2_xs = { SIGNED(iq2_xs), .large = true, .unit = TR_IQ2_UNIT };
static const struct k iq2_s = { SIGNED(iq2_s), .large = true, .unit = TR_IQ2_UNIT };
static const struct k iq3_xxs = { SIGNED(iq3_xxs), .large = true, .unit = TR_IQ3_XXS_UNIT };
static const struct k iq3_s = { SIGNED(iq3_s) };

DEFINE_DOT(tr_avx512_dot_iq1_s, &iq1_s)
DEFINE_DOT(tr_avx512_dot_iq1_m, &iq1_m)
DEFINE_DOT(tr_avx512_dot_iq2_xxs, &iq2_xxs)
DEFINE_DOT(tr_avx512_dot_iq2_xs, &iq2_xs)
DEFINE_DOT(tr_avx512_dot_iq2_s, &iq2_s)
DEFINE_DOT(tr_avx512_dot_iq3_xxs, &iq3_xxs)
DEFINE_DOT(tr_avx512_dot_iq3_s, &iq3_s)
