/* avx512_k.c - codes and scales of the K types and IQ4_XS (how they are multiplied: avx512_k.h). */
#include "compute/cpu/avx512_k_strip.h"

/* The same 32 bytes twice, shifted right by a and b bits; bits cross the bytes of a pair. */
TR_INLINE __m512i twice(const uint8_t *p, int a, int b)
{
	__m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));

	return _mm512_srlv_epi16(v, tr_avx512_counts(a, a, b, b));
}

TR_INLINE __m512i twice_left(const uint8_t *p, int a, int b)
{
	__m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));

	return _mm512_sllv_epi16(v, tr_avx512_counts(a, a, b, b));
}

/* Bits 2 * chunk and 2 * chunk + 1 of 32 bytes, each set brought to bit `to`; the rest is noise. */
TR_INLINE __m512i bit_planes(const uint8_t *p, int chunk, int to)
{
	int a = 2 * chunk - to, b = a + 1;

	return b <= 0 ? twice_left(p, -a, -b) : twice(p, a, b);
}

/* (v & mask) | (high & high_mask) */
TR_INLINE __m512i join(__m512i v, int mask, __m512i high, int high_mask)
{
	v = _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
	return _mm512_ternarylogic_epi64(v, high, _mm512_set1_epi8((char)high_mask), 0xf8);
}

TR_INLINE __m512i codes_q2_k(const uint8_t *p, int chunk)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q2_k, qs) + 32 * (chunk / 2);
	int shift = 4 * (chunk % 2);

	return _mm512_and_si512(twice(qs, shift, shift + 2), _mm512_set1_epi8(3));
}

TR_INLINE __m512i codes_q3_k(const uint8_t *p, int chunk)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q3_k, qs) + 32 * (chunk / 2);
	int shift = 4 * (chunk % 2);

	return join(twice(qs, shift, shift + 2), 3, bit_planes(p, chunk, 2), 4);
}

TR_INLINE __m512i codes_q4_k(const uint8_t *p, int chunk)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q4_k, qs) + 32 * chunk;

	return _mm512_and_si512(twice(qs, 0, 4), _mm512_set1_epi8(15));
}

TR_INLINE __m512i codes_q5_k(const uint8_t *p, int chunk)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q5_k, qs) + 32 * chunk;
	const uint8_t *qh = p + offsetof(struct tr_block_q5_k, qh);

	return join(twice(qs, 0, 4), 15, bit_planes(qh, chunk, 4), 16);
}

TR_INLINE __m512i codes_q6_k(const uint8_t *p, int chunk)
{
	__m512i ql = _mm512_loadu_si512(p + 64 * (chunk / 2));
	const uint8_t *qh = p + offsetof(struct tr_block_q6_k, qh) + 32 * (chunk / 2);

	if (chunk % 2)
		return join(_mm512_srli_epi16(ql, 4), 15, twice(qh, 0, 2), 0x30);
	return join(ql, 15, twice_left(qh, 4, 2), 0x30);
}

TR_INLINE __m512i codes_iq4_xs(const uint8_t *p, int chunk)
{
	const uint8_t *qs = p + offsetof(struct tr_block_iq4_xs, qs) + 32 * chunk;
	__m512i v = _mm512_srlv_epi16(tr_avx512_pair(qs, qs + 16), tr_avx512_counts(0, 4, 0, 4));
	__m512i table = _mm512_add_epi8(tr_avx512_table(tr_iq4_values),
		_mm512_set1_epi8((char)128));

	return _mm512_shuffle_epi8(table, _mm512_and_si512(v, _mm512_set1_epi8(15)));
}

TR_INLINE __m512i scales_q2_k(const uint8_t *p, __m512i *min)
{
	__m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));

	*min = _mm512_srli_epi32(v, 4);
	return _mm512_and_si512(v, _mm512_set1_epi32(15));
}

/* As tr_q3_k_scale, four at a time. */
TR_INLINE __m512i scales_q3_k(const uint8_t *p, __m512i *min)
{
	__m128i low = _mm_loadl_epi64(
		(const __m128i *)(p + offsetof(struct tr_block_q3_k, scales)));
	__m128i high;
	int h;

	(void)min;
	memcpy(&h, p + offsetof(struct tr_block_q3_k, scales) + 8, sizeof(h));
	low = _mm_srlv_epi32(_mm_unpacklo_epi64(low, low), _mm_setr_epi32(0, 0, 4, 4));
	high = _mm_srlv_epi32(_mm_set1_epi32(h), _mm_setr_epi32(0, 2, 4, 6));
	low = _mm_and_si128(low, _mm_set1_epi8(15));
	high = _mm_slli_epi32(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
	return low_halves(_mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)));
}

/* As tr_q4_k_scale: four scales, four scales, four minimums, four minimums. */
TR_INLINE __m512i scales_q4_k(const uint8_t *p, __m512i *min)
{
	__m128i v = _mm_loadu_si128(
		(const __m128i *)(p + offsetof(struct tr_block_q4_k, scales)));
	__m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(v, _MM_SHUFFLE(2, 1, 2, 0)),
		_mm_setr_epi32(0, 0, 0, 4));
	__m128i high = _mm_srli_epi32(_mm_shuffle_epi32(v, _MM_SHUFFLE(1, 1, 0, 0)), 2);
	const int m6 = 0x3f3f3f3f, m4 = 0x0f0f0f0f, m2 = 0x30303030;
	__m512i all;

	low = _mm_and_si128(low, _mm_setr_epi32(m6, m4, m6, m4));
	high = _mm_and_si128(high, _mm_setr_epi32(0, m2, 0, m2));
	all = _mm512_cvtepu8_epi32(_mm_or_si128(low, high));
	*min = _mm512_permutexvar_epi32(_mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
						13, 14, 14, 15, 15), all);
	return all;
}

TR_INLINE __m512i scales_q6_k(const uint8_t *p, __m512i *min)
{
	(void)min;
	return low_halves(_mm_loadu_si128(
		(const __m128i *)(p + offsetof(struct tr_block_q6_k, scales))));
}

/* As tr_iq4_xs_scale. */
TR_INLINE __m512i scales_iq4_xs(const uint8_t *p, __m512i *min)
{
	const struct tr_block_iq4_xs *b = (const struct tr_block_iq4_xs *)p;
	__m256i low, high;
	int l;

	(void)min;
	memcpy(&l, b->scales_l, sizeof(l));
	low = _mm256_srlv_epi32(_mm256_set1_epi32(l),
		_mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
	high = _mm256_srlv_epi32(_mm256_set1_epi32(b->scales_h),
		_mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
	low = _mm256_and_si256(low, _mm256_set1_epi32(15));
	high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
	return _mm512_castsi256_si512(
		_mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32)));
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type),                                       \
	.d_at = offsetof(struct tr_block_##type, d), .codes = codes_##type

static const struct k q2_k = { BLOCK(q2_k), .has_min = true, .per_scale = 16,
	.scales = scales_q2_k };
static const struct k q3_k = { BLOCK(q3_k), .off = 4, .per_scale = 16, .scales = scales_q3_k };
static const struct k q4_k = { BLOCK(q4_k), .has_min = true, .per_scale = 32,
	.scales = scales_q4_k };
static const struct k q5_k = { BLOCK(q5_k), .has_min = true, .per_scale = 32,
	.scales = scales_q4_k };
static const struct k q6_k = { BLOCK(q6_k), .off = 32, .per_scale = 16, .scales = scales_q6_k };
static const struct k iq4_xs = { BLOCK(iq4_xs), .off = 128, .per_scale = 32, .wide = true,
	.scales = scales_iq4_xs };

DEFINE_DOT(tr_avx512_dot_q2_k, &q2_k)
DEFINE_DOT(tr_avx512_dot_q3_k, &q3_k)
DEFINE_DOT(tr_avx512_dot_q4_k, &q4_k)
DEFINE_DOT(tr_avx512_dot_q5_k, &q5_k)
DEFINE_DOT(tr_avx512_dot_q6_k, &q6_k)
DEFINE_DOT(tr_avx512_dot_iq4_xs, &iq4_xs)
