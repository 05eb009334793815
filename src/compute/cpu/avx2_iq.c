/* avx2_iq.c - the grid types: codes are looked up (grid256.h), then multiplied as those of the K
 * types (avx2_k.h). */
#include "compute/cpu/avx2_k.h"

TR_INLINE const struct grid256 *grid_of(const uint8_t *block)
{
	return (const struct grid256 *)block;
}

/* Bytes 2 g and 2 g + 1 of the signs of two blocks, each eight times. */
TR_INLINE __m256i eight_times(const uint8_t *first, const uint8_t *second, int g)
{
	const char a = (char)(2 * (g % 8)), b = (char)(a + 1);
	__m256i v = tr_avx2_two(grid_of(first)->signs + 16 * (g / 8),
		grid_of(second)->signs + 16 * (g / 8));

	return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(_mm_setr_epi8(
			a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b)));
}

TR_INLINE __m256i signs_grid(const uint8_t *first, const uint8_t *second, int g)
{
	const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
	__m256i v = _mm256_and_si256(eight_times(first, second, g), bit);

	return _mm256_or_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(1));
}

TR_INLINE __m256i scales_grid(const uint8_t *first, const uint8_t *second, __m256i *min)
{
	(void)min;
	return tr_avx2_two(grid_of(first)->scales, grid_of(second)->scales);
}

TR_INLINE __m256i four_4(const uint32_t *grid, const uint16_t *a)
{
	__m256i lo = _mm256_blend_epi32(entry4(grid, a[0]), entry4(grid, a[1]), 0x22);
	__m256i hi = _mm256_blend_epi32(entry4(grid, a[2]), entry4(grid, a[3]), 0x88);

	return _mm256_blend_epi32(lo, hi, 0xcc);
}

/* By entries of 4. */
TR_INLINE __m256i two_4(const uint32_t *grid, const uint16_t *a, const uint16_t *b)
{
	return _mm256_blend_epi32(four_4(grid, a), four_4(grid, b), 0xf0);
}

TR_INLINE __m256i codes_iq1(const uint8_t *first, const uint8_t *second, int g)
{
	return _mm256_add_epi8(
		two_8(tr_iq1_grid, grid_of(first)->idx + 2 * g, grid_of(second)->idx + 2 * g),
		eight_times(first, second, g));
}

#define CODES(type, width)                                                                         \
	TR_INLINE __m256i codes_##type(const uint8_t *first, const uint8_t *second, int g)         \
	{                                                                                          \
		int at = 16 / (width) * g;                                                         \
                                                                                                   \
		return two_##width(tr_##type##_grid, grid_of(first)->idx + at,                     \
			grid_of(second)->idx + at);                                                \
	}

CODES(iq2_xxs, 8)
CODES(iq2_xs, 8)
CODES(iq2_s, 8)
CODES(iq3_xxs, 4)
CODES(iq3_s, 4)

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .d_at = offsetof(struct grid256, d),  \
	.unpack = unpack_##type, .scales = scales_grid
#define IQ1 .codes = codes_iq1, .off = 9, .unit = TR_IQ1_UNIT, .lane = { .fit = 4 }
#define SIGNED(type) BLOCK(type), .codes = codes_##type, .signs = signs_grid, .lane = { .fit = 1 }

static const struct k iq1_s = { BLOCK(iq1_s), IQ1 };
static const struct k iq1_m = { BLOCK(iq1_m), IQ1 };
static const struct k iq2_xxs = { SIGNED(iq2_xxs), .unit = TR_IQ2_UNIT };
static const struct k iq2_xs = { SIGNED(iq2_xs), .unit = TR_IQ2_UNIT };
static const struct k iq2_s = { SIGNED(iq2_s), .unit = TR_IQ2_UNIT };
static const struct k iq3_xxs = { SIGNED(iq3_xxs), .unit = TR_IQ3_XXS_UNIT };
static const struct k iq3_s = { SIGNED(iq3_s) };

K_DOT(iq1_s, 3)
K_DOT(iq1_m, 3)
K_DOT(iq2_xxs, 3)
K_DOT(iq2_xs, 3)
K_DOT(iq2_s, 3)
K_DOT(iq3_xxs, 3)
K_DOT(iq3_s, 3)
