/* avx512_k.c - codes and scales of the K types and IQ4_XS (how they are multiplied: avx512_k.h). */
#include "compute/cpu/avx512_k_sheet.h"

/* (v & mask) | (high & high_mask) */
TR_INLINE __m512i join(__m512i v, int mask, __m512i high, int high_mask)
{
	v = _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
	return _mm512_ternarylogic_epi64(v, high, _mm512_set1_epi8((char)high_mask), 0xf8);
}

/* A bit or two at bit `from`, brought to bit `to`; the rest is noise. */
TR_INLINE __m512i bits_to(__m512i v, int from, int to)
{
	return from > to ? _mm512_srli_epi16(v, (unsigned)(from - to))
			 : _mm512_slli_epi16(v, (unsigned)(to - from));
}

/* --- tiles ----------------------------------------------------------------------------------- */

/* Two bits of each value, chunk by chunk, with noise above them. */
TR_INLINE void halves_q2_k(const uint8_t *qs, __m512i codes[4])
{
	__m512i v = _mm512_loadu_si512(qs);

	TR_UNROLL
	for (int k = 0; k < 4; k++)
		codes[k] = bits_to(v, 2 * k, 0);
}

/* 32 bytes with a bit for each sub-block, so that bit k is of the sub-blocks of chunk k. */
TR_INLINE __m512i bit_planes(const uint8_t *p)
{
	__m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));

	return _mm512_srlv_epi16(v, tr_avx512_counts(0, 0, 4, 4));
}

TR_INLINE void codes_q2_k(const uint8_t *p, __m512i codes[4])
{
	halves_q2_k(p + offsetof(struct tr_block_q2_k, qs), codes);
	TR_UNROLL
	for (int k = 0; k < 4; k++)
		codes[k] = _mm512_and_si512(codes[k], _mm512_set1_epi8(3));
}

TR_INLINE void codes_q3_k(const uint8_t *p, __m512i codes[4])
{
	__m512i h = bit_planes(p);

	halves_q2_k(p + offsetof(struct tr_block_q3_k, qs), codes);
	TR_UNROLL
	for (int k = 0; k < 4; k++)
		codes[k] = join(codes[k], 3, bits_to(h, k, 2), 4);
}

/* The nibbles of 128 bytes; those of the high one are not masked. */
TR_INLINE void nibbles_of_pairs(const uint8_t *qs, __m512i low[2], __m512i high[2])
{
	TR_UNROLL
	for (int i = 0; i < 2; i++) {
		low[i] = two_halves(qs + 32 * i, qs + 64 + 32 * i);
		high[i] = _mm512_srli_epi16(low[i], 4);
	}
}

TR_INLINE void codes_q4_k(const uint8_t *p, __m512i codes[4])
{
	__m512i low[2], high[2];

	nibbles_of_pairs(p + offsetof(struct tr_block_q4_k, qs), low, high);
	TR_UNROLL
	for (int i = 0; i < 2; i++) {
		codes[2 * i] = _mm512_and_si512(low[i], _mm512_set1_epi8(15));
		codes[2 * i + 1] = _mm512_and_si512(high[i], _mm512_set1_epi8(15));
	}
}

TR_INLINE void codes_q5_k(const uint8_t *p, __m512i codes[4])
{
	__m512i h = bit_planes(p + offsetof(struct tr_block_q5_k, qh)), low[2], high[2];

	nibbles_of_pairs(p + offsetof(struct tr_block_q5_k, qs), low, high);
	TR_UNROLL
	for (int i = 0; i < 2; i++) {
		codes[2 * i] = join(low[i], 15, bits_to(h, 2 * i, 4), 16);
		codes[2 * i + 1] = join(high[i], 15, bits_to(h, 2 * i + 1, 4), 16);
	}
}

TR_INLINE void codes_q6_k(const uint8_t *p, __m512i codes[4])
{
	__m512i h = _mm512_loadu_si512(p + offsetof(struct tr_block_q6_k, qh)), low[2], high[2];

	nibbles_of_pairs(p, low, high);
	TR_UNROLL
	for (int i = 0; i < 2; i++) {
		codes[i] = join(low[i], 15, bits_to(h, 2 * i, 4), 0x30);
		codes[i + 2] = join(high[i], 15, bits_to(h, 2 * i + 4, 4), 0x30);
	}
}

TR_INLINE __m512i iq4_table(void)
{
	return _mm512_add_epi8(tr_avx512_table(tr_iq4_values), _mm512_set1_epi8((char)128));
}

TR_INLINE void codes_iq4_xs(const uint8_t *p, __m512i codes[4])
{
	TR_UNROLL
	for (int i = 0; i < 2; i++) {
		__m512i v = _mm512_loadu_si512(p + offsetof(struct tr_block_iq4_xs, qs) + 64 * i);

		codes[2 * i] = _mm512_shuffle_epi8(iq4_table(), tr_low_nibbles(v));
		codes[2 * i + 1] = _mm512_shuffle_epi8(iq4_table(), tr_high_nibbles(v));
	}
}

TR_INLINE void scales_q2_k(const uint8_t *const w[TR_TILE_ROWS], struct tile_scales *to)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i v = four_rows(w, 0), min = tr_high_nibbles(v);

	put_scales_16(to, tr_low_nibbles(v));
	to->min[0] = _mm512_unpacklo_epi8(min, zero);
	to->min[1] = _mm512_unpackhi_epi8(min, zero);
}

/* As tr_q3_k_scale, four at a time. The block ends two bytes behind its scales, so they are read
 * with four bytes before them. */
TR_INLINE void scales_q3_k(const uint8_t *const w[TR_TILE_ROWS], struct tile_scales *to)
{
	__m512i v = four_rows(w, offsetof(struct tr_block_q3_k, scales) - 4);
	__m512i low = _mm512_shuffle_epi32(v, _MM_SHUFFLE(2, 1, 2, 1));
	__m512i high = _mm512_shuffle_epi32(v, _MM_SHUFFLE(3, 3, 3, 3));

	low = _mm512_srlv_epi32(low, _mm512_set4_epi32(4, 4, 0, 0));
	high = _mm512_slli_epi32(_mm512_srlv_epi32(high, _mm512_set4_epi32(6, 4, 2, 0)), 4);
	put_scales_16(to, _mm512_sub_epi8(join(low, 15, high, 0x30), _mm512_set1_epi8(32)));
}

/* As tr_q4_k_scale: four scales, four scales, four minimums, four minimums; then by their use. */
TR_INLINE void scales_q4_k(const uint8_t *const w[TR_TILE_ROWS], struct tile_scales *to)
{
	const __m512i m8 = _mm512_set1_epi32(255);
	const int m6 = 0x3f3f3f3f, m4 = 0x0f0f0f0f, m2 = 0x30303030;
	const __m512i mask = _mm512_set4_epi32(m4, m6, m4, m6);
	__m512i v = four_rows(w, 0), low, high;

	low = _mm512_srlv_epi32(_mm512_shuffle_epi32(v, _MM_SHUFFLE(3, 2, 3, 1)),
		_mm512_set4_epi32(4, 0, 0, 0));
	high = _mm512_srli_epi32(_mm512_shuffle_epi32(v, _MM_SHUFFLE(2, 2, 1, 1)), 2);
	low = _mm512_and_si512(low, mask);
	v = _mm512_ternarylogic_epi32(low, high, _mm512_set4_epi32(m2, 0, m2, 0), 0xf8);
	low = quarters_to_dwords(v, 0, 0, 1, 1);
	TR_UNROLL
	for (unsigned k = 0; k < 4; k++)
		to->scale[k] = _mm512_and_si512(_mm512_srli_epi32(low, 8 * k), m8);
	v = _mm512_unpackhi_epi8(v, _mm512_setzero_si512());
	to->min[0] = _mm512_unpacklo_epi16(v, v);
	to->min[1] = _mm512_unpackhi_epi16(v, v);
}

TR_INLINE void scales_q6_k(const uint8_t *const w[TR_TILE_ROWS], struct tile_scales *to)
{
	put_scales_16(to, four_rows(w, offsetof(struct tr_block_q6_k, scales)));
}

/* As tr_iq4_xs_scale: sub-block s of a row in the low bits of dword s % 4 of its quarter. */
TR_INLINE void scales_iq4_xs(const uint8_t *const w[TR_TILE_ROWS], struct tile_scales *to)
{
	__m512i v = four_rows(w, 0);
	__m512i l = _mm512_shuffle_epi32(v, _MM_SHUFFLE(1, 1, 1, 1));
	__m512i h = _mm512_shuffle_epi32(v, _MM_SHUFFLE(0, 0, 0, 0));

	TR_UNROLL
	for (int k = 0; k < 4; k += 2) {
		const int s = 8 * k, t = 16 + 4 * k;
		__m512i low = _mm512_srlv_epi32(l, _mm512_set4_epi32(s + 12, s + 8, s + 4, s));
		__m512i high = _mm512_srlv_epi32(h, _mm512_set4_epi32(t + 6, t + 4, t + 2, t));

		low = _mm512_and_si512(low, _mm512_set1_epi32(15));
		low = _mm512_ternarylogic_epi32(low, _mm512_slli_epi32(high, 4),
			_mm512_set1_epi32(0x30), 0xf8);
		to->scale[k] = quarters_to_dwords(
			_mm512_sub_epi32(low, _mm512_set1_epi32(32)), 0, 1, 2, 3);
	}
}

/* --- sheets ---------------------------------------------------------------------------------- */

/* Byte b of each lane. */
TR_INLINE __m512i unsigned_byte(__m512i v, int b)
{
	return _mm512_and_si512(_mm512_srli_epi32(v, 8 * (unsigned)b), _mm512_set1_epi32(255));
}

TR_INLINE __m512i both_halves(__m512i v)
{
	return _mm512_or_si512(v, _mm512_slli_epi32(v, 16));
}

/* Two bits of each value from 32 bytes a half, of which one part reads what the next needs too. */
TR_INLINE void part_2_bits(const struct tr_sheet_rows *w, size_t at, int part, __m512i raw[8],
	__m512i codes[2][8])
{
	const int shift = 4 * (part % 2);

	if (!shift)
		tr_columns8(raw, w, at + 32 * (size_t)(part / 2));
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		codes[0][j] = bits_to(raw[j], shift, 0);
		codes[1][j] = bits_to(raw[j], shift + 2, 0);
	}
}

TR_INLINE void part_q2_k(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
	__m512i codes[2][8])
{
	part_2_bits(w, offsetof(struct tr_block_q2_k, qs), part, sheet->raw[0], codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		codes[0][j] = _mm512_and_si512(codes[0][j], _mm512_set1_epi8(3));
		codes[1][j] = _mm512_and_si512(codes[1][j], _mm512_set1_epi8(3));
	}
}

TR_INLINE void sheet_q2_k(const struct tr_sheet_rows *w, struct sheet256 *to)
{
	__m512i v[4];

	tr_columns4(v, w, 0);
	TR_UNROLL_ALL
	for (int g = 0; g < 16; g++)
		to->scale[g] = _mm512_and_si512(unsigned_byte(v[g / 4], g % 4),
			_mm512_set1_epi32(15));
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		__m512i a = unsigned_byte(v[j / 2], 2 * j % 4);
		__m512i b = unsigned_byte(v[j / 2], 2 * j % 4 + 1);

		to->pair[j] = _mm512_or_si512(_mm512_srli_epi32(a, 4),
			_mm512_slli_epi32(_mm512_srli_epi32(b, 4), 16));
	}
}

/* As tr_q3_k_scale, four at a time. */
TR_INLINE void sheet_scales_q3_k(__m512i out[4], const struct tr_sheet_rows *w)
{
	const size_t at = offsetof(struct tr_block_q3_k, scales);
	const __m512i m4 = _mm512_set1_epi8(15);
	__m512i a = tr_column(w, at), b = tr_column(w, at + 4), h = tr_column(w, at + 8);

	out[0] = _mm512_and_si512(a, m4);
	out[1] = _mm512_and_si512(b, m4);
	out[2] = tr_high_nibbles(a);
	out[3] = tr_high_nibbles(b);
	TR_UNROLL
	for (int i = 0; i < 4; i++)
		out[i] = _mm512_sub_epi8(join(out[i], 15, bits_to(h, 2 * i, 4), 0x30),
			_mm512_set1_epi8(32));
}

TR_INLINE void sheet_q3_k(const struct tr_sheet_rows *w, struct sheet256 *to)
{
	__m512i v[4];

	sheet_scales_q3_k(v, w);
	put_sheet_scales(to, v, 4);
}

TR_INLINE void part_q3_k(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
	__m512i codes[2][8])
{
	__m512i *h = sheet->raw[1];

	if (!part)
		tr_columns8(h, w, 0);
	part_2_bits(w, offsetof(struct tr_block_q3_k, qs), part, sheet->raw[0], codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		codes[0][j] = join(codes[0][j], 3, bits_to(h[j], 2 * part, 2), 4);
		codes[1][j] = join(codes[1][j], 3, bits_to(h[j], 2 * part + 1, 2), 4);
	}
}

/* As tr_q4_k_scale, four at a time. */
TR_INLINE void sheet_q4_k(const struct tr_sheet_rows *w, struct sheet256 *to)
{
	const __m512i m6 = _mm512_set1_epi8(63);
	__m512i v[4], scale[2], min[2];

	tr_columns4(v, w, 0);
	scale[0] = _mm512_and_si512(v[1], m6);
	scale[1] = join(v[3], 15, _mm512_srli_epi32(v[1], 2), 0x30);
	min[0] = _mm512_and_si512(v[2], m6);
	min[1] = join(_mm512_srli_epi32(v[3], 4), 15, _mm512_srli_epi32(v[2], 2), 0x30);
	TR_UNROLL
	for (int s = 0; s < 8; s++) {
		to->scale[s] = unsigned_byte(scale[s / 4], s % 4);
		to->pair[s] = both_halves(unsigned_byte(min[s / 4], s % 4));
	}
}

/* The nibbles of 32 bytes; those of the high one are not masked. */
TR_INLINE void part_nibbles(const struct tr_sheet_rows *w, size_t at, int part,
	__m512i codes[2][8])
{
	tr_columns8(codes[0], w, at + 32 * (size_t)part);
	TR_UNROLL
	for (int j = 0; j < 8; j++)
		codes[1][j] = _mm512_srli_epi16(codes[0][j], 4);
}

TR_INLINE void part_q4_k(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
	__m512i codes[2][8])
{
	(void)sheet;
	part_nibbles(w, offsetof(struct tr_block_q4_k, qs), part, codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		codes[0][j] = _mm512_and_si512(codes[0][j], _mm512_set1_epi8(15));
		codes[1][j] = _mm512_and_si512(codes[1][j], _mm512_set1_epi8(15));
	}
}

TR_INLINE void part_q5_k(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
	__m512i codes[2][8])
{
	__m512i *h = sheet->raw[0];

	if (!part)
		tr_columns8(h, w, offsetof(struct tr_block_q5_k, qh));
	part_nibbles(w, offsetof(struct tr_block_q5_k, qs), part, codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		codes[0][j] = join(codes[0][j], 15, bits_to(h[j], 2 * part, 4), 16);
		codes[1][j] = join(codes[1][j], 15, bits_to(h[j], 2 * part + 1, 4), 16);
	}
}

TR_INLINE void sheet_q6_k(const struct tr_sheet_rows *w, struct sheet256 *to)
{
	__m512i v[4];

	tr_columns4(v, w, offsetof(struct tr_block_q6_k, scales));
	put_sheet_scales(to, v, 32);
}

TR_INLINE void part_q6_k(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
	__m512i codes[2][8])
{
	const int g = part % 2;
	__m512i *h = sheet->raw[0];

	if (!g)
		tr_columns8(h, w, offsetof(struct tr_block_q6_k, qh) + 16 * (size_t)part);
	part_nibbles(w, 0, part, codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		codes[0][j] = join(codes[0][j], 15, bits_to(h[j], 2 * g, 4), 0x30);
		codes[1][j] = join(codes[1][j], 15, bits_to(h[j], 2 * g + 4, 4), 0x30);
	}
}

/* As tr_iq4_xs_scale, eight at a time: nibbles in l, pairs of bits in the high half of h. */
TR_INLINE void sheet_iq4_xs(const struct tr_sheet_rows *w, struct sheet256 *to)
{
	__m512i h = tr_column(w, 0), l = tr_column(w, 4);

	TR_UNROLL
	for (unsigned s = 0; s < 8; s++) {
		__m512i low = _mm512_and_si512(_mm512_srli_epi32(l, 4 * s), _mm512_set1_epi32(15));
		__m512i high = _mm512_slli_epi32(_mm512_and_si512(
			_mm512_srli_epi32(h, 16 + 2 * s), _mm512_set1_epi32(3)), 4);
		__m512i v = _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32));

		to->scale[s] = v;
		v = _mm512_slli_epi16(_mm512_sub_epi32(_mm512_setzero_si512(), v), 7);
		to->pair[s] = _mm512_mask_blend_epi16(0xaaaaaaaa, v, _mm512_slli_epi32(v, 16));
	}
}

TR_INLINE void part_iq4_xs(const struct tr_sheet_rows *w, struct sheet256 *sheet, int part,
	__m512i codes[2][8])
{
	__m512i v[8];

	(void)sheet;
	tr_columns8(v, w, offsetof(struct tr_block_iq4_xs, qs) + 32 * (size_t)part);
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		codes[j / 4][j % 4] = _mm512_shuffle_epi8(iq4_table(), tr_low_nibbles(v[j]));
		codes[j / 4][j % 4 + 4] = _mm512_shuffle_epi8(iq4_table(), tr_high_nibbles(v[j]));
	}
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type),                                       \
	.d_at = offsetof(struct tr_block_##type, d), .codes = codes_##type, .part = part_##type

static const struct k q2_k = { BLOCK(q2_k), .scales = scales_q2_k, .sheet = sheet_q2_k,
	.has_min = true, .per_scale = 16 };
static const struct k q3_k = { BLOCK(q3_k), .scales = scales_q3_k, .sheet = sheet_q3_k,
	.off = 4, .per_scale = 16 };
static const struct k q4_k = { BLOCK(q4_k), .scales = scales_q4_k, .sheet = sheet_q4_k,
	.has_min = true, .per_scale = 32 };
static const struct k q5_k = { BLOCK(q5_k), .scales = scales_q4_k, .sheet = sheet_q4_k,
	.has_min = true, .per_scale = 32 };
static const struct k q6_k = { BLOCK(q6_k), .scales = scales_q6_k, .sheet = sheet_q6_k,
	.off = 32, .per_scale = 16, .crosswise = true };
static const struct k iq4_xs = { BLOCK(iq4_xs), .scales = scales_iq4_xs, .sheet = sheet_iq4_xs,
	.off = 128, .per_scale = 32, .by_halves = true };

DEFINE_DOT(tr_avx512_dot_q2_k, &q2_k)
DEFINE_DOT(tr_avx512_dot_q3_k, &q3_k)
DEFINE_DOT(tr_avx512_dot_q4_k, &q4_k)
DEFINE_DOT(tr_avx512_dot_q5_k, &q5_k)
DEFINE_DOT(tr_avx512_dot_q6_k, &q6_k)
DEFINE_DOT(tr_avx512_dot_iq4_xs, &iq4_xs)
