/* avx512_iq.c - the grid types: codes are looked up (grid256.h), then multiplied as those of the K
 * types (avx512_k.h). */
#include "compute/cpu/avx512_k_sheet.h"

/* How a grid type is unpacked. */
struct grid_type {
	void (*unpack)(const uint8_t *block, struct grid256 *to);
	__m256i (*codes)(const struct grid256 *g, int s); /* of sub-block s, magnitudes */
	bool is_signed;
	float unit;
};

/* With signs, codes of the sheet are this much too large. */
#define SIGNED_OFF 64
#define IQ1_OFF	   9

#define CODES(type, width)                                                                         \
	TR_INLINE __m256i codes_##type(const struct grid256 *g, int s)                             \
	{                                                                                          \
		return look_up##width(tr_##type##_grid, g->idx + 32 / (width) * s);                \
	}

CODES(iq1, 8)
CODES(iq2_xxs, 8)
CODES(iq2_xs, 8)
CODES(iq2_s, 8)
CODES(iq3_xxs, 4)
CODES(iq3_s, 4)

TR_INLINE __m256i codes_iq1_eighths(const struct grid256 *g, int s)
{
	const __m256i pick = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
		0x0303030303030303);
	int v;

	memcpy(&v, g->signs + 4 * s, sizeof(v));
	return _mm256_add_epi8(codes_iq1(g, s), _mm256_shuffle_epi8(_mm256_set1_epi32(v), pick));
}

TR_INLINE __m256i with_signs(const struct grid256 *g, int s, __m256i v)
{
	uint32_t negative;

	memcpy(&negative, g->signs + 4 * s, sizeof(negative));
	v = _mm256_mask_sub_epi8(v, negative, _mm256_setzero_si256(), v);
	return _mm256_add_epi8(v, _mm256_set1_epi8(SIGNED_OFF));
}

/* Row by row into memory, from where the columns are taken. */
TR_INLINE void sheet_grid(const struct grid_type *ty, const struct tr_sheet_rows *w,
	struct sheet256 *to)
{
	uint8_t scales[TR_SHEET_ROWS][16];
	struct tr_sheet_rows scale_rows = { .off = 0 };
	int d[TR_SHEET_ROWS];
	struct grid256 g;
	__m512i v[4];

	for (int r = 0; r < TR_SHEET_ROWS; r++) {
		ty->unpack(tr_row_at(w, r, 0), &g);
		by_memory(&g);
		TR_UNROLL
		for (int s = 0; s < 8; s++) {
			__m256i c = ty->codes(&g, s);

			_mm256_storeu_si256((__m256i *)(to->rows[r] + 32 * s),
				ty->is_signed ? with_signs(&g, s, c) : c);
		}
		_mm_storeu_si128((__m128i *)scales[r], load128(g.scales));
		d[r] = (int)g.d;
		scale_rows.row[r] = scales[r];
	}
	tr_columns4(v, &scale_rows, 0);
	put_sheet_scales(to, v, ty->is_signed ? SIGNED_OFF : IQ1_OFF);
	to->d = tr_half_floats(_mm512_loadu_si512(d), false);
	if (ty->unit != 0)
		to->d = _mm512_mul_ps(to->d, _mm512_set1_ps(ty->unit));
}

TR_INLINE void part_grid(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
	__m512i codes[2][8])
{
	struct tr_sheet_rows rows = { .off = 0 };

	(void)w;
	for (int r = 0; r < TR_SHEET_ROWS; r++)
		rows.row[r] = sheet->rows[r];
	tr_columns8(codes[0], &rows, 64 * (size_t)part);
	tr_columns8(codes[1], &rows, 64 * (size_t)part + 32);
}

TR_INLINE const struct grid256 *grid_of(const uint8_t *block)
{
	return (const struct grid256 *)block;
}

TR_INLINE void tile_codes(const struct grid_type *ty, const uint8_t *block, __m512i codes[4])
{
	TR_UNROLL
	for (int k = 0; k < 4; k++)
		codes[k] = _mm512_inserti64x4(
			_mm512_castsi256_si512(ty->codes(grid_of(block), k)),
			ty->codes(grid_of(block), k + 4), 1);
}

TR_INLINE __mmask64 tile_signs(const uint8_t *block, int k)
{
	uint32_t lo, hi;

	memcpy(&lo, grid_of(block)->signs + 4 * k, sizeof(lo));
	memcpy(&hi, grid_of(block)->signs + 16 + 4 * k, sizeof(hi));
	return (__mmask64)hi << 32 | lo;
}

TR_INLINE void scales_grid(const uint8_t *const w[TR_TILE_ROWS], struct tile_scales *to)
{
	put_scales_16(to, four_rows(w, offsetof(struct grid256, scales)));
}

#define TYPE(type, ...)                                                                            \
	static const struct grid_type grid_##type = { .unpack = unpack_##type, __VA_ARGS__ };      \
	TR_INLINE void sheet_##type(const struct tr_sheet_rows *w, struct sheet256 *to)            \
	{                                                                                          \
		sheet_grid(&grid_##type, w, to);                                                   \
	}                                                                                          \
	TR_INLINE void tile_codes_##type(const uint8_t *block, __m512i codes[4])                   \
	{                                                                                          \
		tile_codes(&grid_##type, block, codes);                                            \
	}

TYPE(iq1_s, .codes = codes_iq1_eighths, .unit = TR_IQ1_UNIT)
TYPE(iq1_m, .codes = codes_iq1_eighths, .unit = TR_IQ1_UNIT)
TYPE(iq2_xxs, .codes = codes_iq2_xxs, .is_signed = true, .unit = TR_IQ2_UNIT)
TYPE(iq2_xs, .codes = codes_iq2_xs, .is_signed = true, .unit = TR_IQ2_UNIT)
TYPE(iq2_s, .codes = codes_iq2_s, .is_signed = true, .unit = TR_IQ2_UNIT)
TYPE(iq3_xxs, .codes = codes_iq3_xxs, .is_signed = true, .unit = TR_IQ3_XXS_UNIT)
TYPE(iq3_s, .codes = codes_iq3_s, .is_signed = true, .unit = 1)

#define BLOCK(type, u) .bytes = sizeof(struct tr_block_##type), .per_scale = 16,                   \
	.d_at = offsetof(struct grid256, d), .codes = tile_codes_##type,                           \
	.scales = scales_grid, .unpack = unpack_##type, .sheet = sheet_##type,                     \
	.part = part_grid, .unit = (u)
#define SIGNED .off = SIGNED_OFF, .signs = tile_signs

static const struct k iq1_s = { BLOCK(iq1_s, TR_IQ1_UNIT), .off = IQ1_OFF };
static const struct k iq1_m = { BLOCK(iq1_m, TR_IQ1_UNIT), .off = IQ1_OFF };
static const struct k iq2_xxs = { BLOCK(iq2_xxs, TR_IQ2_UNIT), SIGNED };
static const struct k iq2_xs = { BLOCK(iq2_xs, TR_IQ2_UNIT), SIGNED };
static const struct k iq2_s = { BLOCK(iq2_s, TR_IQ2_UNIT), SIGNED };
static const struct k iq3_xxs = { BLOCK(iq3_xxs, TR_IQ3_XXS_UNIT), SIGNED };
static const struct k iq3_s = { BLOCK(iq3_s, 0), SIGNED };

DEFINE_DOT(tr_avx512_dot_iq1_s, &iq1_s)
DEFINE_DOT(tr_avx512_dot_iq1_m, &iq1_m)
DEFINE_DOT(tr_avx512_dot_iq2_xxs, &iq2_xxs)
DEFINE_DOT(tr_avx512_dot_iq2_xs, &iq2_xs)
DEFINE_DOT(tr_avx512_dot_iq2_s, &iq2_s)
DEFINE_DOT(tr_avx512_dot_iq3_xxs, &iq3_xxs)
DEFINE_DOT(tr_avx512_dot_iq3_s, &iq3_s)
