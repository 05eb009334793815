/* avx2_k.c - codes and scales of the K types and IQ4_XS (how they are multiplied: avx2_k.h). */
#include "compute/cpu/avx2_k.h"

/* Bits `from` and up of every byte of v, as many as mask has, brought to where mask is. */
TR_INLINE __m256i bits(__m256i v, int from, int to, int mask)
{
	v = from < to ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
	return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

TR_INLINE __m256i codes_q2_k(const uint8_t *p, int part)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q2_k, qs) + 32 * (part / 4);

	return bits(tr_avx2_load(qs), 2 * (part % 4), 0, 3);
}

TR_INLINE __m256i codes_q3_k(const uint8_t *p, int part)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q3_k, qs) + 32 * (part / 4);

	return _mm256_or_si256(bits(tr_avx2_load(qs), 2 * (part % 4), 0, 3),
		bits(tr_avx2_load(p), part, 2, 4));
}

TR_INLINE __m256i codes_q4_k(const uint8_t *p, int part)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q4_k, qs) + 32 * (part / 2);

	return bits(tr_avx2_load(qs), 4 * (part % 2), 0, 15);
}

TR_INLINE __m256i codes_q5_k(const uint8_t *p, int part)
{
	const uint8_t *qs = p + offsetof(struct tr_block_q5_k, qs) + 32 * (part / 2);
	const uint8_t *qh = p + offsetof(struct tr_block_q5_k, qh);

	return _mm256_or_si256(bits(tr_avx2_load(qs), 4 * (part % 2), 0, 15),
		bits(tr_avx2_load(qh), part, 4, 16));
}

TR_INLINE __m256i codes_q6_k(const uint8_t *p, int part)
{
	const uint8_t *ql = p + 64 * (part / 4) + 32 * (part % 2);
	const uint8_t *qh = p + offsetof(struct tr_block_q6_k, qh) + 32 * (part / 4);

	return _mm256_or_si256(bits(tr_avx2_load(ql), 4 * (part % 4 / 2), 0, 15),
		bits(tr_avx2_load(qh), 2 * (part % 4), 4, 0x30));
}

TR_INLINE __m256i codes_iq4_xs(const uint8_t *p, int part)
{
	const uint8_t *qs = p + offsetof(struct tr_block_iq4_xs, qs) + 16 * part;

	return _mm256_shuffle_epi8(tr_avx2_table(tr_iq4_values), tr_avx2_nibbles(qs));
}

/* 8 signed bytes, one a part. */
TR_INLINE __m256i for_both(__m128i v)
{
	return _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(v, v));
}

TR_INLINE __m256i scales_q2_k(const uint8_t *p, __m128i *min)
{
	__m128i v = _mm_loadu_si128((const __m128i *)p), low = _mm_set1_epi8(15);

	*min = _mm_and_si128(_mm_srli_epi16(v, 4), low);
	return by_part(_mm_and_si128(v, low));
}

/* As tr_q3_k_scale, four at a time. */
TR_INLINE __m256i scales_q3_k(const uint8_t *p, __m128i *min)
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
	return by_part(_mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)));
}

/* As tr_q4_k_scale: four scales, four scales, four minimums, four minimums. */
TR_INLINE __m256i scales_q4_k(const uint8_t *p, __m128i *min)
{
	__m128i v = _mm_loadu_si128(
		(const __m128i *)(p + offsetof(struct tr_block_q4_k, scales)));
	__m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(v, _MM_SHUFFLE(2, 1, 2, 0)),
		_mm_setr_epi32(0, 0, 0, 4));
	__m128i high = _mm_srli_epi32(_mm_shuffle_epi32(v, _MM_SHUFFLE(1, 1, 0, 0)), 2);
	const int m6 = 0x3f3f3f3f, m4 = 0x0f0f0f0f, m2 = 0x30303030;

	low = _mm_and_si128(low, _mm_setr_epi32(m6, m4, m6, m4));
	high = _mm_and_si128(high, _mm_setr_epi32(0, m2, 0, m2));
	v = _mm_or_si128(low, high);
	*min = _mm_unpackhi_epi8(v, v);
	return for_both(v);
}

TR_INLINE __m256i scales_q6_k(const uint8_t *p, __m128i *min)
{
	(void)min;
	return by_part(_mm_loadu_si128(
		(const __m128i *)(p + offsetof(struct tr_block_q6_k, scales))));
}

/* As tr_iq4_xs_scale. */
TR_INLINE __m256i scales_iq4_xs(const uint8_t *p, __m128i *min)
{
	const struct tr_block_iq4_xs *b = (const struct tr_block_iq4_xs *)p;
	__m256i low, high, v;
	int l;

	(void)min;
	memcpy(&l, b->scales_l, sizeof(l));
	low = _mm256_srlv_epi32(_mm256_set1_epi32(l),
		_mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
	high = _mm256_srlv_epi32(_mm256_set1_epi32(b->scales_h),
		_mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
	low = _mm256_and_si256(low, _mm256_set1_epi32(15));
	high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
	v = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
	v = _mm256_permute4x64_epi64(_mm256_packs_epi32(v, v), _MM_SHUFFLE(3, 1, 2, 0));
	return _mm256_permute2x128_si256(v, v, 0);
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type),                                       \
	.d_at = offsetof(struct tr_block_##type, d), .codes = codes_##type

static const struct k q2_k = { BLOCK(q2_k), .has_min = true, .scales = scales_q2_k };
static const struct k q3_k = { BLOCK(q3_k), .off = 4, .scales = scales_q3_k };
static const struct k q4_k = { BLOCK(q4_k), .has_min = true, .scales = scales_q4_k };
static const struct k q5_k = { BLOCK(q5_k), .has_min = true, .scales = scales_q4_k };
static const struct k q6_k = { BLOCK(q6_k), .off = 32, .scales = scales_q6_k };
static const struct k iq4_xs = { BLOCK(iq4_xs), .is_signed = true, .scales = scales_iq4_xs };

TR_DEFINE_DOT(tr_avx2_dot_q2_k, tile, &q2_k, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q3_k, tile, &q3_k, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q4_k, tile, &q4_k, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q5_k, tile, &q5_k, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_q6_k, tile, &q6_k, TR_ACT_Q8_256, 2, 2)
TR_DEFINE_DOT(tr_avx2_dot_iq4_xs, tile, &iq4_xs, TR_ACT_Q8_256, 2, 2)
