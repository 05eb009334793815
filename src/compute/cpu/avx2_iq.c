/* avx2_iq.c - the grid types: codes are looked up (grid256.h), then multiplied as those of the K
 * types (avx2_k.h). */
#include "compute/cpu/avx2_k.h"

TR_INLINE const struct grid256 *grid_of(const uint8_t *block)
{
	return (const struct grid256 *)block;
}

/* Each of the four bytes of a part of signs eight times. */
TR_INLINE __m256i eight_times(const uint8_t *block, int part)
{
	const __m256i pick = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2,
		2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
	int v;

	memcpy(&v, grid_of(block)->signs + 4 * part, sizeof(v));
	return _mm256_shuffle_epi8(_mm256_set1_epi32(v), pick);
}

TR_INLINE __m256i signs_grid(const uint8_t *block, int part)
{
	const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
	__m256i v = _mm256_and_si256(eight_times(block, part), bit);

	return _mm256_or_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(1));
}

TR_INLINE __m256i scales_grid(const uint8_t *block, __m128i *min)
{
	(void)min;
	return by_part(load128(grid_of(block)->scales));
}

TR_INLINE __m256i codes_iq1(const uint8_t *block, int part)
{
	return _mm256_add_epi8(look_up8(tr_iq1_grid, grid_of(block)->idx + 4 * part),
		eight_times(block, part));
}

#define CODES(type, width)                                                                         \
	TR_INLINE __m256i codes_##type(const uint8_t *block, int part)                             \
	{                                                                                          \
		return look_up##width(tr_##type##_grid,                                            \
			grid_of(block)->idx + 32 / (width) * part);                                \
	}

CODES(iq2_xxs, 8)
CODES(iq2_xs, 8)
CODES(iq2_s, 8)
CODES(iq3_xxs, 4)
CODES(iq3_s, 4)

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .d_at = offsetof(struct grid256, d),  \
	.unpack = unpack_##type, .scales = scales_grid
#define IQ1 .codes = codes_iq1, .off = 9, .unit = TR_IQ1_UNIT
#define SIGNED(type) BLOCK(type), .codes = codes_##type, .signs = signs_grid

static const struct k iq1_s = { BLOCK(iq1_s), IQ1 };
static const struct k iq1_m = { BLOCK(iq1_m), IQ1 };
static const struct k iq2_xxs = { SIGNED(iq2_xxs), .unit = TR_IQ2_UNIT };
static const struct k iq2_xs = { SIGNED(iq2_xs), .unit = TR_IQ2_UNIT };
static const struct k iq2_s = { SIGNED(iq2_s), .unit = TR_IQ2_UNIT };
static const struct k iq3_xxs = { SIGNED(iq3_xxs), .unit = TR_IQ3_XXS_UNIT };
static const struct k iq3_s = { SIGNED(iq3_s) };

TR_DEFINE_DOT(tr_avx2_dot_iq1_s, tile, &iq1_s, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq1_m, tile, &iq1_m, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq2_xxs, tile, &iq2_xxs, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq2_xs, tile, &iq2_xs, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq2_s, tile, &iq2_s, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq3_xxs, tile, &iq3_xxs, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq3_s, tile, &iq3_s, TR_ACT_Q8_256, 2, 2)
