/*
 * grid256.h - super-blocks of the grid types unpacked to one form, common to all vector instruction
 * sets: indices as 16-bit numbers, signs as bytes of 8, scales as the integers they stand for.
 *
 * What is left is the look-up, a load for 8 or 4 values, and that bounds the speed of these types:
 * for 256 values 32 or 64 loads of indices, as many of entries, and a blend after each. Entries are
 * broadcast from memory, so that no shuffles are needed. Gathers are not used: they are slow on
 * AMD's processors, and on Intel's up to Ice Lake with the mitigation of Gather Data Sampling.
 */
#ifndef TR_COMPUTE_CPU_GRID256_H
#define TR_COMPUTE_CPU_GRID256_H

#include "compute/cpu/rows.h"
#include "model/quants/grids.h"

struct grid256 {
	uint32_t d; /* binary16 */
	int8_t scales[16]; /* per 16 values */
	/* IQ2, IQ3: bit j of byte i is set where value 8 i + j is negative. IQ1: byte i is what is
	 * added to the entries of values 8 i to 8 i + 7 to have them nine too large. */
	_Alignas(32) uint8_t signs[32];
	_Alignas(32) uint16_t idx[64]; /* 32 of grids with entries of 8 */
};

/* Indices are to be loaded from where they were stored: left to itself the compiler takes them out
 * of vector registers one by one, which needs two more instructions for each. */
TR_INLINE void by_memory(struct grid256 *g)
{
	__asm__("" : "+m"(*g));
}

TR_INLINE __m128i load128(const void *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

TR_INLINE __m256i load256(const void *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

TR_INLINE void put_indices(struct grid256 *to, int at, __m256i idx)
{
	_mm256_store_si256((__m256i *)(to->idx + at), idx);
}

/* 16 indices: low bytes, and bits above them. */
TR_INLINE void join_indices(struct grid256 *to, int at, __m128i low, __m256i high)
{
	put_indices(to, at, _mm256_or_si256(_mm256_cvtepu8_epi16(low), high));
}

TR_INLINE void put_signs(struct grid256 *to, __m256i signs)
{
	_mm256_store_si256((__m256i *)to->signs, signs);
}

/* Sixteen scale fields s: 2 s + 1. */
TR_INLINE void put_scales(struct grid256 *to, __m128i s)
{
	_mm_storeu_si128((__m128i *)to->scales,
		_mm_or_si128(_mm_add_epi8(s, s), _mm_set1_epi8(1)));
}

/* The nibbles of 8 or 16 bytes, low before high: the first 16 of them. */
TR_INLINE __m128i nibbles(__m128i v)
{
	__m128i low = _mm_set1_epi8(15);

	return _mm_unpacklo_epi8(
		_mm_and_si128(v, low), _mm_and_si128(_mm_srli_epi16(v, 4), low));
}

/* As tr_grid_signs, 32 at a time: the parity of 7 bits becomes the eighth. */
TR_INLINE __m256i with_parity(__m256i s)
{
	const char odd = (char)128;
	const __m128i parity = _mm_setr_epi8(
		0, odd, odd, 0, odd, 0, 0, odd, odd, 0, 0, odd, 0, odd, odd, 0);
	__m256i folded = _mm256_and_si256(
		_mm256_xor_si256(s, _mm256_srli_epi16(s, 4)), _mm256_set1_epi8(15));

	return _mm256_or_si256(s,
		_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(parity), folded));
}

/* Eight fields of 4 times 7 bits of signs and 4 bits of scale. */
TR_INLINE void put_signs_scales(struct grid256 *to, __m256i field)
{
	__m256i a = _mm256_and_si256(field, _mm256_set1_epi32(0x7f));
	__m256i b = _mm256_and_si256(_mm256_slli_epi32(field, 1), _mm256_set1_epi32(0x7f00));
	__m256i c = _mm256_and_si256(_mm256_slli_epi32(field, 2), _mm256_set1_epi32(0x7f0000));
	__m256i d = _mm256_and_si256(_mm256_slli_epi32(field, 3), _mm256_set1_epi32(0x7f000000));
	__m256i s = _mm256_srli_epi32(field, 28);

	put_signs(to, with_parity(_mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d))));
	s = _mm256_or_si256(s, _mm256_slli_epi32(s, 8));
	put_scales(to, _mm_packus_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
}

/* Of four 16-bit fields, each as four 3-bit fields: those in bits 9 to 11 of 16 words, with noise
 * around them. */
TR_INLINE __m256i fan_out(const void *p)
{
	const __m256i pick = _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 4, 5,
		4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7);
	long long v;

	memcpy(&v, p, sizeof(v));
	return _mm256_mullo_epi16(_mm256_shuffle_epi8(_mm256_set1_epi64x(v), pick),
		_mm256_set1_epi64x(0x0001000800400200));
}

TR_INLINE void unpack_iq2_xxs(const uint8_t *p, struct grid256 *to)
{
	const struct tr_block_iq2_xxs *b = (const struct tr_block_iq2_xxs *)p;
	__m256 lo = _mm256_castsi256_ps(load256(b->part));
	__m256 hi = _mm256_castsi256_ps(load256(b->part + 4));
	__m256i idx = _mm256_castps_si256(_mm256_shuffle_ps(lo, hi, 0x88));
	__m256i field = _mm256_castps_si256(_mm256_shuffle_ps(lo, hi, 0xdd));

	to->d = b->d;
	idx = _mm256_permute4x64_epi64(idx, 0xd8);
	put_indices(to, 0, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(idx)));
	put_indices(to, 16, _mm256_cvtepu8_epi16(_mm256_extracti128_si256(idx, 1)));
	put_signs_scales(to, _mm256_permute4x64_epi64(field, 0xd8));
}

TR_INLINE void unpack_iq2_xs(const uint8_t *p, struct grid256 *to)
{
	const struct tr_block_iq2_xs *b = (const struct tr_block_iq2_xs *)p;
	__m256i lo = load256(b->qs), hi = load256(b->qs + 16), mask = _mm256_set1_epi16(511);
	__m256i s = _mm256_packus_epi16(_mm256_srli_epi16(lo, 9), _mm256_srli_epi16(hi, 9));

	to->d = b->d;
	put_indices(to, 0, _mm256_and_si256(lo, mask));
	put_indices(to, 16, _mm256_and_si256(hi, mask));
	put_signs(to, with_parity(_mm256_permute4x64_epi64(s, 0xd8)));
	put_scales(to, nibbles(_mm_loadl_epi64((const __m128i *)b->scales)));
}

/* Four bytes of 2-bit fields: 16 words, the field in bits 8 and 9. */
TR_INLINE __m256i high_pairs(const uint8_t *p)
{
	const __m256i pick = _mm256_setr_epi8(0, -1, 0, -1, 0, -1, 0, -1, 1, -1, 1, -1, 1, -1, 1,
		-1, 2, -1, 2, -1, 2, -1, 2, -1, 3, -1, 3, -1, 3, -1, 3, -1);
	__m256i v;
	int h;

	memcpy(&h, p, sizeof(h));
	v = _mm256_shuffle_epi8(_mm256_set1_epi32(h), pick);
	v = _mm256_mullo_epi16(v, _mm256_set1_epi64x(0x0004001000400100));
	return _mm256_and_si256(v, _mm256_set1_epi16(0x300));
}

TR_INLINE void unpack_iq2_s(const uint8_t *p, struct grid256 *to)
{
	const struct tr_block_iq2_s *b = (const struct tr_block_iq2_s *)p;

	to->d = b->d;
	join_indices(to, 0, load128(b->qs), high_pairs(b->qh));
	join_indices(to, 16, load128(b->qs + 16), high_pairs(b->qh + 4));
	put_signs(to, load256(b->signs));
	put_scales(to, nibbles(_mm_loadl_epi64((const __m128i *)b->scales)));
}

TR_INLINE void unpack_iq3_xxs(const uint8_t *p, struct grid256 *to)
{
	const struct tr_block_iq3_xxs *b = (const struct tr_block_iq3_xxs *)p;

	to->d = b->d;
	TR_UNROLL
	for (int i = 0; i < 64; i += 16)
		put_indices(to, i, _mm256_cvtepu8_epi16(load128(b->qs + i)));
	put_signs_scales(to, load256(b->signs_scale));
}

/* Two bytes of bits: 16 words, the bit as bit 8. */
TR_INLINE __m256i high_bits(const uint8_t *p)
{
	const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048,
		4096, 8192, 16384, -32768);
	__m256i v;
	short h;

	memcpy(&h, p, sizeof(h));
	v = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(h), bit), bit);
	return _mm256_and_si256(v, _mm256_set1_epi16(0x100));
}

TR_INLINE void unpack_iq3_s(const uint8_t *p, struct grid256 *to)
{
	const struct tr_block_iq3_s *b = (const struct tr_block_iq3_s *)p;
	__m128i s;
	int scales;

	to->d = b->d;
	TR_UNROLL
	for (int i = 0; i < 64; i += 16)
		join_indices(to, i, load128(b->qs + i), high_bits(b->qh + i / 8));
	put_signs(to, load256(b->signs));
	memcpy(&scales, b->scales, sizeof(scales));
	s = nibbles(_mm_cvtsi32_si128(scales));
	put_scales(to, _mm_unpacklo_epi8(s, s));
}

TR_INLINE void unpack_iq1_s(const uint8_t *p, struct grid256 *to)
{
	const struct tr_block_iq1_s *b = (const struct tr_block_iq1_s *)p;
	__m256i mask = _mm256_set1_epi16(0x700), subtract;
	__m128i h = load128(b->qh), s;

	to->d = b->d;
	join_indices(to, 0, load128(b->qs),
		_mm256_and_si256(_mm256_srli_epi16(fan_out(b->qh), 1), mask));
	join_indices(to, 16, load128(b->qs + 16),
		_mm256_and_si256(_mm256_srli_epi16(fan_out(b->qh + 4), 1), mask));
	subtract = _mm256_srai_epi32(_mm256_cvtepi16_epi32(h), 31);
	put_signs(to, _mm256_andnot_si256(subtract, _mm256_set1_epi8(2)));
	s = _mm_and_si128(_mm_srli_epi16(h, 12), _mm_set1_epi16(7));
	put_scales(to, _mm_or_si128(s, _mm_slli_epi16(s, 8)));
}

TR_INLINE void unpack_iq1_m(const uint8_t *p, struct grid256 *to)
{
	const struct tr_block_iq1_m *b = (const struct tr_block_iq1_m *)p;
	__m128i h = load128(b->qh), lo = nibbles(h), hi = nibbles(_mm_unpackhi_epi64(h, h));
	__m256i mask = _mm256_set1_epi16(0x700), s, add;

	to->d = tr_iq1_m_d(b);
	join_indices(to, 0, load128(b->qs),
		_mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepu8_epi16(lo), 8), mask));
	join_indices(to, 16, load128(b->qs + 16),
		_mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepu8_epi16(hi), 8), mask));
	add = _mm256_cmpgt_epi8(_mm256_set1_epi8(8), _mm256_set_m128i(hi, lo));
	put_signs(to, _mm256_and_si256(add, _mm256_set1_epi8(2)));
	s = _mm256_and_si256(_mm256_srli_epi16(fan_out(b->scales), 9), _mm256_set1_epi16(7));
	put_scales(to,
		_mm_packus_epi16(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
}

TR_INLINE __m256i entry8(const uint64_t *grid, uint16_t idx)
{
	return _mm256_set1_epi64x((long long)grid[idx]);
}

TR_INLINE __m256i entry4(const uint32_t *grid, uint16_t idx)
{
	return _mm256_set1_epi32((int)grid[idx]);
}

/* Entries of 8 values: two from a, two from b. */
TR_INLINE __m256i two_8(const uint64_t *grid, const uint16_t *a, const uint16_t *b)
{
	__m256i lo = _mm256_blend_epi32(entry8(grid, a[0]), entry8(grid, a[1]), 0x0c);
	__m256i hi = _mm256_blend_epi32(entry8(grid, b[0]), entry8(grid, b[1]), 0xc0);

	return _mm256_blend_epi32(lo, hi, 0xf0);
}

/* 32 values of 4 entries. */
TR_INLINE __m256i look_up8(const uint64_t *grid, const uint16_t *idx)
{
	return two_8(grid, idx, idx + 2);
}

/* 32 values of 8 entries. */
TR_INLINE __m256i look_up4(const uint32_t *grid, const uint16_t *idx)
{
	__m256i a = _mm256_blend_epi32(entry4(grid, idx[0]), entry4(grid, idx[1]), 0x02);
	__m256i b = _mm256_blend_epi32(entry4(grid, idx[2]), entry4(grid, idx[3]), 0x08);
	__m256i c = _mm256_blend_epi32(entry4(grid, idx[4]), entry4(grid, idx[5]), 0x20);
	__m256i d = _mm256_blend_epi32(entry4(grid, idx[6]), entry4(grid, idx[7]), 0x80);

	return _mm256_blend_epi32(_mm256_blend_epi32(a, b, 0x0c),
		_mm256_blend_epi32(c, d, 0xc0), 0xf0);
}

#endif
