/*
 * avx512_b32.c - dot products of the types with 32 values a block.
 *
 * Two blocks fill a register with 64 unsigned codes, q + off, and meet 64 activations in one
 * vpdpbusd whose lanes start from -off * sum4(x). Eight blocks are one step: their scales are
 * collected, converted and multiplied by the activation's together, then spread over the lanes pair
 * by pair. Four blocks at the end of a row are half a step. The last one to three are copied to
 * half a step padded with zeros: a product of zeros leaves the lanes as they are.
 */
#include "compute/cpu/avx512_strips.h"
#include "compute/cpu/step32.h"

struct b32 {
	size_t bytes; /* of a block */
	int off;
	bool e8m0;    /* d is a power of two in a byte, not binary16 */
	bool has_min; /* m follows d */
	__m512i (*codes)(const uint8_t *pair); /* of two blocks */
};

TR_INLINE __m512i nibbles(const uint8_t *lo, const uint8_t *hi)
{
	__m512i v = _mm512_srlv_epi16(tr_avx512_pair(lo, hi), tr_avx512_counts(0, 4, 0, 4));

	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

TR_INLINE __m512i fifth_bits(__m512i v, const uint8_t *lo, const uint8_t *hi)
{
	uint32_t a, b;

	memcpy(&a, lo, 4);
	memcpy(&b, hi, 4);
	return _mm512_mask_add_epi8(v, (uint64_t)b << 32 | a, v, _mm512_set1_epi8(16));
}

TR_INLINE __m512i codes_q4_0(const uint8_t *p)
{
	return nibbles(p + 2, p + 20);
}

TR_INLINE __m512i codes_q4_1(const uint8_t *p)
{
	return nibbles(p + 4, p + 24);
}

TR_INLINE __m512i codes_q5_0(const uint8_t *p)
{
	return fifth_bits(nibbles(p + 6, p + 28), p + 2, p + 24);
}

TR_INLINE __m512i codes_q5_1(const uint8_t *p)
{
	return fifth_bits(nibbles(p + 8, p + 32), p + 4, p + 28);
}

TR_INLINE __m512i codes_q8_0(const uint8_t *p)
{
	__m256i lo = _mm256_loadu_si256((const __m256i *)(p + 2));
	__m256i hi = _mm256_loadu_si256((const __m256i *)(p + 36));

	return _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1),
		_mm512_set1_epi8((char)0x80));
}

TR_INLINE __m512i codes_iq4_nl(const uint8_t *p)
{
	__m512i table = _mm512_add_epi8(tr_avx512_table(tr_iq4_values),
		_mm512_set1_epi8((char)128));

	return _mm512_shuffle_epi8(table, nibbles(p + 2, p + 20));
}

TR_INLINE __m512i codes_mxfp4(const uint8_t *p)
{
	__m512i table = _mm512_add_epi8(tr_avx512_table(tr_fp4_values), _mm512_set1_epi8(12));

	return _mm512_shuffle_epi8(table, nibbles(p + 1, p + 18));
}

/* Words at p, p + stride, q, q + stride. */
TR_INLINE __m128i four_words(const uint8_t *p, const uint8_t *q, int stride)
{
	const short s = (short)(stride / 2);
	const __m256i idx = _mm256_setr_epi16(0, s, 16, (short)(16 + s), 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0);
	const __m512i wide_idx = _mm512_castsi256_si512(_mm256_setr_epi16(0, s, 32, (short)(32 + s),
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));

	if (stride <= 30)
		return _mm256_castsi256_si128(_mm256_permutex2var_epi16(
			_mm256_loadu_si256((const __m256i *)p), idx,
			_mm256_loadu_si256((const __m256i *)q)));
	return _mm512_castsi512_si128(_mm512_permutex2var_epi16(_mm512_loadu_si512(p), wide_idx,
		_mm512_loadu_si512(q)));
}

/* The words that hold the bytes at p, p + stride, ... of eight blocks. */
TR_INLINE __m128i eight_words(const uint8_t *p, int stride)
{
	const short a = (short)(stride / 2), b = (short)stride, c = (short)(stride * 3 / 2);
	const __m512i idx = _mm512_castsi256_si512(_mm256_setr_epi16(0, a, b, c, 32, 32 + a, 32 + b,
		32 + c, 0, 0, 0, 0, 0, 0, 0, 0));

	if (stride <= 20)
		return _mm512_castsi512_si128(_mm512_permutex2var_epi16(_mm512_loadu_si512(p), idx,
			_mm512_loadu_si512(p + 4 * stride)));
	return _mm_unpacklo_epi64(four_words(p, p + 2 * stride, stride),
		four_words(p + 4 * stride, p + 6 * stride, stride));
}

/* The first four bytes of eight blocks. */
TR_INLINE __m256i eight_pairs(const uint8_t *p, int stride)
{
	const int a = stride / 4;
	const __m512i idx = _mm512_castsi256_si512(_mm256_setr_epi32(0, a, 2 * a, 3 * a, 16, 16 + a,
		16 + 2 * a, 16 + 3 * a));
	const __m256i half_idx = _mm256_setr_epi32(0, a, 8, 8 + a, 0, 0, 0, 0);
	__m256i v[4];

	if (stride <= 20)
		return _mm512_castsi512_si256(_mm512_permutex2var_epi32(_mm512_loadu_si512(p), idx,
			_mm512_loadu_si512(p + 4 * stride)));
	TR_UNROLL
	for (int i = 0; i < 4; i++)
		v[i] = _mm256_loadu_si256((const __m256i *)(p + 2 * i * stride));
	v[0] = _mm256_permutex2var_epi32(v[0], half_idx, v[1]);
	v[2] = _mm256_permutex2var_epi32(v[2], half_idx, v[3]);
	return _mm256_inserti128_si256(v[0], _mm256_castsi256_si128(v[2]), 1);
}

/* The d of eight blocks, or d and m of each. */
TR_INLINE __m512 scales(const struct b32 *ty, const uint8_t *p)
{
	/* Of words that start at even and odd addresses in turn, the byte that is meant. */
	const __m128i byte = _mm_setr_epi8(0, 3, 4, 7, 8, 11, 12, 15, 0, 0, 0, 0, 0, 0, 0, 0);
	const int bytes = (int)ty->bytes;
	__m128i e;

	if (ty->has_min)
		return _mm512_cvtph_ps(eight_pairs(p, bytes));
	if (!ty->e8m0)
		return _mm512_castps256_ps512(_mm256_cvtph_ps(eight_words(p, bytes)));
	e = _mm_shuffle_epi8(eight_words(p, bytes), byte);
	return _mm512_castps256_ps512(powers(_mm256_cvtepu8_epi32(e)));
}

/* The same of four blocks, reading nothing behind them. */
TR_INLINE __m512 half_scales(const struct b32 *ty, const uint8_t *p)
{
	const __m128i byte = _mm_setr_epi8(0, 3, 4, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	const int bytes = (int)ty->bytes, a = bytes / 4;
	const __m256i pair_idx = _mm256_setr_epi32(0, a, 8, 8 + a, 0, 0, 0, 0);
	__m128i e;

	if (ty->has_min)
		return _mm512_cvtph_ps(_mm256_permutex2var_epi32(
			_mm256_loadu_si256((const __m256i *)p), pair_idx,
			_mm256_loadu_si256((const __m256i *)(p + 2 * bytes))));
	e = four_words(p, p + 2 * bytes, bytes);
	if (!ty->e8m0)
		return _mm512_castps128_ps512(_mm_cvtph_ps(e));
	e = _mm_shuffle_epi8(e, byte);
	return _mm512_castps256_ps512(powers(_mm256_cvtepu8_epi32(e)));
}

/* The d of eight blocks of activations, each twice where d and m want one. */
TR_INLINE __m512 act_scales(const struct b32 *ty, const float *d)
{
	const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
	__m512 v = _mm512_castps256_ps512(_mm256_loadu_ps(d));

	return ty->has_min ? _mm512_permutexvar_ps(twice, v) : v;
}

TR_INLINE __m512 product(const struct b32 *ty, __m512 a, __m512 b)
{
	if (ty->has_min)
		return _mm512_mul_ps(a, b);
	return _mm512_castps256_ps512(
		_mm256_mul_ps(_mm512_castps512_ps256(a), _mm512_castps512_ps256(b)));
}

/* Lanes 0..7 take value lo of v, lanes 8..15 value hi. */
TR_INLINE __m512 spread(__m512 v, int lo, int hi)
{
	return _mm512_permutexvar_ps(_mm512_inserti64x4(_mm512_set1_epi32(lo),
					     _mm256_set1_epi32(hi), 1), v);
}

/* Step i of a tile, or the first n_block blocks of it: four or eight. */
TR_INLINE void step(const struct b32 *ty, __m512 acc[TR_TILE_ROWS][TR_TILE_ACTS],
	const struct source *from, size_t i, int n_block, int nr, int nt)
{
	const int per_block = ty->has_min ? 2 : 1;
	__m512 scale[TR_TILE_ROWS][TR_TILE_ACTS];
	__m512i codes[TR_TILE_ROWS];

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		const uint8_t *w = from->w[r] + i * STEP_BLOCKS * ty->bytes;

		TR_UNROLL
		for (int t = 0; t < nt; t++)
			scale[r][t] = product(ty, n_block == 4 ? half_scales(ty, w) : scales(ty, w),
				act_scales(ty, from->d[t] + i * STEP_BLOCKS));
	}
	TR_UNROLL
	for (int pair = 0; pair < n_block / 2; pair++) {
		TR_UNROLL
		for (int r = 0; r < nr; r++)
			codes[r] = ty->codes(from->w[r] +
				(i * STEP_BLOCKS + 2 * (size_t)pair) * ty->bytes);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m512i x = _mm512_loadu_si512(from->q[t] + i * STEP_VALUES + 64 * pair);
			__m512i start = tr_avx512_offset(ty->off, x);
			__m512 x4;

			if (ty->has_min)
				x4 = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(),
					_mm512_set1_epi8(1), x));
			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m512i sum = _mm512_dpbusd_epi32(start, codes[r], x);
				int lo = 2 * pair * per_block, hi = lo + per_block;

				acc[r][t] = _mm512_fmadd_ps(spread(scale[r][t], lo, hi),
					_mm512_cvtepi32_ps(sum), acc[r][t]);
				if (ty->has_min)
					acc[r][t] = _mm512_fmadd_ps(
						spread(scale[r][t], lo + 1, hi + 1), x4,
						acc[r][t]);
			}
		}
	}
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct b32 *ty = type;
	__m512 acc[TR_TILE_ROWS][TR_TILE_ACTS];
	struct source from;
	struct padding pad;
	size_t n_block = tile->n / 32, n_step = n_block / STEP_BLOCKS, first;

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			acc[r][t] = _mm512_setzero_ps();
	}
	source_of(&from, tile, nr, nt);
	for (size_t i = 0; i < n_step; i++) {
		tr_tile_prefetch(tile, i * STEP_BLOCKS * ty->bytes, STEP_BLOCKS * ty->bytes, nr);
		step(ty, acc, &from, i, STEP_BLOCKS, nr, nt);
	}
	source_skip(&from, n_step * STEP_BLOCKS, ty->bytes, nr, nt);
	for (first = n_step * STEP_BLOCKS; first < n_block; first += 4) {
		if (n_block - first < 4) {
			copy_last(&pad, tile, first, ty->bytes, nr, nt);
			source_padded(&from, &pad, nr, nt);
		}
		tr_tile_prefetch(tile, first * ty->bytes, 4 * ty->bytes, nr);
		step(ty, acc, &from, 0, 4, nr, nt);
		source_skip(&from, 4, ty->bytes, nr, nt);
	}
	tr_avx512_tile_trees(sum, acc, nr, nt);
}

/* --- strips: four blocks of four rows with many activations ----------------------------------- */

#define STRIP_ROWS   4
#define STRIP_VALUES 128

/* Four blocks of a row. */
struct unpacked {
	__m512i codes[2]; /* by pair of blocks */
	__m512i start[2]; /* -128 times the lanes' sums of codes */
	__m256 d;	  /* d of each block, or d and m */
};

TR_INLINE void unpack(const struct b32 *ty, struct unpacked *u, const uint8_t *w)
{
	const __m512i zero = _mm512_setzero_si512();

	TR_UNROLL
	for (int pair = 0; pair < 2; pair++) {
		u->codes[pair] = _mm512_sub_epi8(ty->codes(w + 2 * (size_t)pair * ty->bytes),
			_mm512_set1_epi8((char)ty->off));
		u->start[pair] = _mm512_sub_epi32(zero,
			_mm512_dpbusd_epi32(zero, _mm512_set1_epi8((char)128), u->codes[pair]));
	}
	u->d = _mm512_castps512_ps256(half_scales(ty, w));
}

/* The d of four blocks of activations, each twice where d and m want one. */
TR_INLINE __m256 four_act_scales(const struct b32 *ty, const float *d)
{
	__m256 v = _mm256_castps128_ps256(_mm_loadu_ps(d));

	return ty->has_min ? _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3))
			   : v;
}

/* Blocks 4 i .. 4 i + 3 of the strip's rows, unpacked, with all activations. acc is [act][row]; it
 * is written by the first of them, not read. */
TR_INLINE void strip_blocks(const struct b32 *ty, const struct tr_strip *strip, size_t i,
	const struct unpacked u[STRIP_ROWS], __m512 *acc)
{
	const __mmask16 begun = i ? 0xffff : 0;
	const int per_block = ty->has_min ? 2 : 1;
	const uint8_t *act = strip->act;

	for (size_t t = 0; t < strip->n_act; t++, act += strip->act_bytes, acc += STRIP_ROWS) {
		const float *dx = (const float *)(act + strip->rows.d_off) + 4 * i;
		__m512i x[2];
		__m512 x4[2];

		TR_UNROLL
		for (int pair = 0; pair < 2; pair++) {
			x[pair] = tr_avx512_unsigned((const int8_t *)act + STRIP_VALUES * i +
				64 * (size_t)pair);
			if (ty->has_min)
				x4[pair] = _mm512_cvtepi32_ps(
					_mm512_dpbusd_epi32(_mm512_set1_epi32(-4 * 128), x[pair],
						_mm512_set1_epi8(1)));
		}
		TR_UNROLL
		for (int r = 0; r < STRIP_ROWS; r++) {
			__m512 d = _mm512_castps256_ps512(
				_mm256_mul_ps(u[r].d, four_act_scales(ty, dx)));
			__m512 a = _mm512_maskz_load_ps(begun, &acc[r]);

			TR_UNROLL
			for (int pair = 0; pair < 2; pair++) {
				int lo = 2 * pair * per_block, hi = lo + per_block;
				__m512i s = _mm512_dpbusd_epi32(u[r].start[pair], x[pair],
					u[r].codes[pair]);

				a = _mm512_fmadd_ps(spread(d, lo, hi), _mm512_cvtepi32_ps(s), a);
				if (ty->has_min)
					a = _mm512_fmadd_ps(spread(d, lo + 1, hi + 1), x4[pair], a);
			}
			acc[r] = a;
		}
	}
}

TR_INLINE void strip(const void *type, const struct tr_strip *strip, float *sum)
{
	const struct b32 *ty = type;
	__m512 acc[TR_STRIP_ACTS * STRIP_ROWS];
	struct unpacked u[STRIP_ROWS];

	for (size_t i = 0; i < strip->rows.n / STRIP_VALUES; i++) {
		tr_tile_prefetch(&strip->rows, 4 * i * ty->bytes, 4 * ty->bytes, STRIP_ROWS);
		TR_UNROLL
		for (int r = 0; r < STRIP_ROWS; r++)
			unpack(ty, &u[r], strip->rows.w[r] + 4 * i * ty->bytes);
		strip_blocks(ty, strip, i, u, acc);
	}
	tr_avx512_strip_trees(sum, acc, NULL, strip->n_act * STRIP_ROWS);
}

#define DEFINE_DOT(function, type)                                                                 \
	TR_DEFINE_STRIP_DOT(function, tile, strip, type, TR_ACT_Q8_32, STRIP_VALUES, STRIP_ROWS)

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .codes = codes_##type

static const struct b32 q4_0 = { BLOCK(q4_0), .off = 8 };
static const struct b32 q4_1 = { BLOCK(q4_1), .has_min = true };
static const struct b32 q5_0 = { BLOCK(q5_0), .off = 16 };
static const struct b32 q5_1 = { BLOCK(q5_1), .has_min = true };
static const struct b32 q8_0 = { BLOCK(q8_0), .off = 128 };
static const struct b32 iq4_nl = { BLOCK(iq4_nl), .off = 128 };
static const struct b32 mxfp4 = { BLOCK(mxfp4), .off = 12, .e8m0 = true };

DEFINE_DOT(tr_avx512_dot_q4_0, &q4_0)
DEFINE_DOT(tr_avx512_dot_q4_1, &q4_1)
DEFINE_DOT(tr_avx512_dot_q5_0, &q5_0)
DEFINE_DOT(tr_avx512_dot_q5_1, &q5_1)
DEFINE_DOT(tr_avx512_dot_q8_0, &q8_0)
DEFINE_DOT(tr_avx512_dot_iq4_nl, &iq4_nl)
DEFINE_DOT(tr_avx512_dot_mxfp4, &mxfp4)
