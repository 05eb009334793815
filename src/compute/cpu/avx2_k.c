/* avx2_k.c - codes and scales of the K types and IQ4_XS (how they are multiplied: avx2_k.h). */
#include "compute/cpu/avx2_k.h"

/* Bits `from` and up of every byte of v, as many as mask has, brought to where mask is. */
TR_INLINE __m256i bits(__m256i v, int from, int to, int mask)
{
	v = from < to ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
	return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* 16 bytes at `at` in two blocks. */
TR_INLINE __m256i two_at(const uint8_t *first, const uint8_t *second, size_t at)
{
	return tr_avx2_two(first + at, second + at);
}

#define AT(type, field) offsetof(struct tr_block_##type, field)

TR_INLINE __m256i codes_q2_k(const uint8_t *first, const uint8_t *second, int g)
{
	size_t qs = AT(q2_k, qs) + 32 * (size_t)(g / 8) + 16 * (size_t)(g % 2);

	return bits(two_at(first, second, qs), 2 * (g / 2 % 4), 0, 3);
}

TR_INLINE __m256i codes_q3_k(const uint8_t *first, const uint8_t *second, int g)
{
	size_t half = 16 * (size_t)(g % 2), qs = AT(q3_k, qs) + 32 * (size_t)(g / 8) + half;

	return _mm256_or_si256(bits(two_at(first, second, qs), 2 * (g / 2 % 4), 0, 3),
		bits(two_at(first, second, half), g / 2, 2, 4));
}

TR_INLINE __m256i codes_q4_k(const uint8_t *first, const uint8_t *second, int g)
{
	size_t qs = AT(q4_k, qs) + 32 * (size_t)(g / 4) + 16 * (size_t)(g % 2);

	return bits(two_at(first, second, qs), 4 * (g / 2 % 2), 0, 15);
}

TR_INLINE __m256i codes_q5_k(const uint8_t *first, const uint8_t *second, int g)
{
	size_t half = 16 * (size_t)(g % 2), qs = AT(q5_k, qs) + 32 * (size_t)(g / 4) + half;

	return _mm256_or_si256(bits(two_at(first, second, qs), 4 * (g / 2 % 2), 0, 15),
		bits(two_at(first, second, AT(q5_k, qh) + half), g / 2, 4, 16));
}

TR_INLINE __m256i codes_q6_k(const uint8_t *first, const uint8_t *second, int g)
{
	size_t half = 16 * (size_t)(g % 2), ql = 64 * (size_t)(g / 8) + 32 * (size_t)(g / 2 % 2);
	size_t qh = AT(q6_k, qh) + 32 * (size_t)(g / 8);

	return _mm256_or_si256(bits(two_at(first, second, ql + half), 4 * (g % 8 / 4), 0, 15),
		bits(two_at(first, second, qh + half), 2 * (g / 2 % 4), 4, 0x30));
}

TR_INLINE __m256i codes_iq4_xs(const uint8_t *first, const uint8_t *second, int g)
{
	__m256i qs = two_at(first, second, AT(iq4_xs, qs) + 16 * (size_t)(g / 2));

	return _mm256_shuffle_epi8(tr_avx2_table(tr_iq4_values), bits(qs, 4 * (g % 2), 0, 15));
}

TR_INLINE __m256i scales_q2_k(const uint8_t *first, const uint8_t *second, __m256i *min)
{
	__m256i v = two_at(first, second, 0);

	*min = bits(v, 4, 0, 15);
	return bits(v, 0, 0, 15);
}

/* The 12 bytes of the scales of two blocks; what is in the last four is read with them from
 * before. */
TR_INLINE __m256i q3_k_bytes(const uint8_t *first, const uint8_t *second)
{
	return _mm256_srli_si256(two_at(first, second, AT(q3_k, scales) - 4), 4);
}

/* As tr_q3_k_scale, four at a time. */
TR_INLINE __m256i scales_q3_k(const uint8_t *first, const uint8_t *second, __m256i *min)
{
	__m256i v = q3_k_bytes(first, second);
	__m256i low = _mm256_srlv_epi32(
		_mm256_unpacklo_epi64(v, v), _mm256_setr_epi32(0, 0, 4, 4, 0, 0, 4, 4));
	__m256i high = _mm256_srlv_epi32(
		_mm256_shuffle_epi32(v, 0xaa), _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));

	(void)min;
	low = _mm256_and_si256(low, _mm256_set1_epi8(15));
	high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4);
	return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
}

/* As tr_q4_k_scale: four scales, four scales, four minimums, four minimums. */
TR_INLINE __m256i scales_q4_k(const uint8_t *first, const uint8_t *second, __m256i *min)
{
	__m256i v = two_at(first, second, AT(q4_k, scales));
	__m256i low = _mm256_srlv_epi32(_mm256_shuffle_epi32(v, _MM_SHUFFLE(2, 1, 2, 0)),
		_mm256_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4));
	__m256i high = _mm256_srli_epi32(_mm256_shuffle_epi32(v, _MM_SHUFFLE(1, 1, 0, 0)), 2);
	const int m6 = 0x3f3f3f3f, m4 = 0x0f0f0f0f, m2 = 0x30303030;

	low = _mm256_and_si256(low, _mm256_setr_epi32(m6, m4, m6, m4, m6, m4, m6, m4));
	high = _mm256_and_si256(high, _mm256_setr_epi32(0, m2, 0, m2, 0, m2, 0, m2));
	v = _mm256_or_si256(low, high);
	*min = _mm256_unpackhi_epi64(v, v);
	return v;
}

TR_INLINE __m256i scales_q6_k(const uint8_t *first, const uint8_t *second, __m256i *min)
{
	(void)min;
	return two_at(first, second, AT(q6_k, scales));
}

/* As tr_iq4_xs_scale. */
TR_INLINE __m128i iq4_xs_words(const uint8_t *p)
{
	const struct tr_block_iq4_xs *b = (const struct tr_block_iq4_xs *)p;
	__m256i low, high, v;
	int l;

	memcpy(&l, b->scales_l, sizeof(l));
	low = _mm256_srlv_epi32(_mm256_set1_epi32(l),
		_mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
	high = _mm256_srlv_epi32(_mm256_set1_epi32(b->scales_h),
		_mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
	low = _mm256_and_si256(low, _mm256_set1_epi32(15));
	high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
	v = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
	return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

TR_INLINE __m256i scales_iq4_xs(const uint8_t *first, const uint8_t *second, __m256i *min)
{
	__m256i v = _mm256_inserti128_si256(
		_mm256_castsi128_si256(iq4_xs_words(first)), iq4_xs_words(second), 1);

	(void)min;
	return _mm256_packs_epi16(v, v);
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .d_at = AT(type, d),                  \
	.codes = codes_##type

static const struct k q2_k = { BLOCK(q2_k), .scales = scales_q2_k, .has_min = true,
	.lane = { .fit = 4 } };
static const struct k q3_k = { BLOCK(q3_k), .scales = scales_q3_k, .off = 4,
	.lane = { .fit = 4 } };
static const struct k q4_k = { BLOCK(q4_k), .scales = scales_q4_k, .per_part = true,
	.has_min = true, .lane = { .fit = 8 } };
static const struct k q5_k = { BLOCK(q5_k), .scales = scales_q4_k, .per_part = true,
	.has_min = true, .lane = { .fit = 4 } };
static const struct k q6_k = { BLOCK(q6_k), .scales = scales_q6_k, .off = 32,
	.lane = { .fit = 2 } };
static const struct k iq4_xs = { BLOCK(iq4_xs), .scales = scales_iq4_xs, .per_part = true,
	.is_signed = true, .lane = { .fit = 1, .is_signed = true } };

K_DOT(q2_k, 2)
K_DOT(q3_k, 3)
K_DOT(q4_k, 2)
K_DOT(q5_k, 3)
K_DOT(q6_k, 3)
K_DOT(iq4_xs, 3)
