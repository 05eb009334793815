/*
 * avx2_b32.c - dot products of the types with 32 values a block.
 *
 * Two blocks at once, 16 values of each in a register: next to each other in the row for one
 * activation, of rows r and 4 + r for a panel (avx2_lanes.h). With one activation eight blocks of
 * four rows are a step. The last blocks of a row, when fewer than eight, are copied to a step padded
 * with zeros: a product of zeros leaves the sums as they are.
 *
 * Two blocks in a register, against one block with its sums in eight lanes of floats: Q4_0 21 to 29
 * GB/s, MXFP4 17 to 24, Q8_0 the same (AMD EPYC, Zen 5, one thread of a machine in use).
 */
#include "compute/cpu/avx2_lanes.h"
#include "compute/cpu/step32.h"

struct b32 {
	size_t bytes;	/* of a block */
	bool is_signed; /* the codes are signed; off is 0 */
	int off;
	int fit;	/* how many sums of four products add up to a number of 16 bits */
	bool e8m0;	/* d is a power of two in a byte, not binary16 */
	bool has_min;	/* m follows d */
	/* Values 16 h and up of two blocks. */
	__m256i (*codes)(const uint8_t *first, const uint8_t *second, int h);
	struct lanes_codes lane;
};

TR_INLINE __m256i nibbles(const uint8_t *first, const uint8_t *second, int at, int h)
{
	__m256i v = tr_avx2_two(first + at, second + at);

	return _mm256_and_si256(h ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
}

/* Bits 16 h and up of two words to 16 or 0 in bytes. */
TR_INLINE __m256i fifth_bits(const uint8_t *first, const uint8_t *second, int at, int h)
{
	const __m256i spread = _mm256_setr_epi64x(
		0, 0x0101010101010101, 0, 0x0101010101010101);
	const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
	int a, b;
	__m256i v;

	memcpy(&a, first + at, sizeof(a));
	memcpy(&b, second + at, sizeof(b));
	v = _mm256_blend_epi32(_mm256_set1_epi32(a), _mm256_set1_epi32(b), 0xf0);
	v = _mm256_shuffle_epi8(v, _mm256_add_epi8(spread, _mm256_set1_epi8((char)(2 * h))));
	v = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
	return _mm256_and_si256(v, _mm256_set1_epi8(16));
}

TR_INLINE __m256i codes_q4_0(const uint8_t *first, const uint8_t *second, int h)
{
	return nibbles(first, second, 2, h);
}

TR_INLINE __m256i codes_q4_1(const uint8_t *first, const uint8_t *second, int h)
{
	return nibbles(first, second, 4, h);
}

TR_INLINE __m256i codes_q5_0(const uint8_t *first, const uint8_t *second, int h)
{
	return _mm256_or_si256(
		nibbles(first, second, 6, h), fifth_bits(first, second, 2, h));
}

TR_INLINE __m256i codes_q5_1(const uint8_t *first, const uint8_t *second, int h)
{
	return _mm256_or_si256(
		nibbles(first, second, 8, h), fifth_bits(first, second, 4, h));
}

TR_INLINE __m256i codes_q8_0(const uint8_t *first, const uint8_t *second, int h)
{
	return tr_avx2_two(first + 2 + 16 * h, second + 2 + 16 * h);
}

TR_INLINE __m256i codes_iq4_nl(const uint8_t *first, const uint8_t *second, int h)
{
	return _mm256_shuffle_epi8(
		tr_avx2_table(tr_iq4_values), nibbles(first, second, 2, h));
}

TR_INLINE __m256i codes_mxfp4(const uint8_t *first, const uint8_t *second, int h)
{
	__m256i table = _mm256_add_epi8(tr_avx2_table(tr_fp4_values), _mm256_set1_epi8(12));

	return _mm256_shuffle_epi8(table, nibbles(first, second, 1, h));
}

/* --- one or two activations --------------------------------------------------------------------- */

/* d of two blocks of four rows, by what the first bytes of these blocks are */
TR_INLINE __m256 scales(const struct b32 *ty, __m256i start)
{
	if (ty->e8m0)
		return powers(_mm256_and_si256(start, _mm256_set1_epi32(255)));
	return tr_avx2_halves(start, false);
}

#define B32_ACTS 2

/* Two blocks of an activation. */
struct x2 {
	__m256i x[2];
	__m256i start; /* sums of four by what codes are too large */
};

TR_INLINE struct x2 take_x(const struct b32 *ty, const int8_t *q)
{
	const __m256i off = _mm256_set1_epi8((char)ty->off);
	__m256i a = tr_avx2_load(q), b = tr_avx2_load(q + 32);
	struct x2 x = { { _mm256_permute2x128_si256(a, b, 0x20),
		_mm256_permute2x128_si256(a, b, 0x31) }, _mm256_setzero_si256() };

	if (ty->off)
		x.start = _mm256_add_epi16(
			_mm256_maddubs_epi16(off, x.x[0]), _mm256_maddubs_epi16(off, x.x[1]));
	return x;
}

/* Sums of four products of two blocks of a row in 16 bits; of signed codes, of eight in 32. */
TR_INLINE void multiply(const struct b32 *ty, __m256i sum[B32_ACTS], const uint8_t *w,
	const struct x2 x[B32_ACTS], int nt)
{
	const __m256i one = _mm256_set1_epi16(1);

	TR_UNROLL
	for (int h = 0; h < 2; h++) {
		__m256i codes = ty->codes(w, w + ty->bytes, h), size = _mm256_abs_epi8(codes);

		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256i v;

			if (ty->is_signed) {
				v = _mm256_maddubs_epi16(
					size, _mm256_sign_epi8(x[t].x[h], codes));
				v = _mm256_madd_epi16(v, one);
				sum[t] = h ? _mm256_add_epi32(sum[t], v) : v;
				continue;
			}
			v = _mm256_maddubs_epi16(codes, x[t].x[h]);
			sum[t] = h ? _mm256_add_epi16(sum[t], v) : v;
			if (ty->off && h)
				sum[t] = _mm256_sub_epi16(sum[t], x[t].start);
		}
	}
}

/* The sums of x of eight blocks. */
TR_INLINE void sum_x(float to[STEP_BLOCKS], const int8_t *q)
{
	const __m256i one = _mm256_set1_epi8(1);
	__m256i v[4], s;

	TR_UNROLL
	for (int b = 0; b < 4; b++) {
		__m256i lo = _mm256_maddubs_epi16(one, tr_avx2_load(q + 32 * b));
		__m256i hi = _mm256_maddubs_epi16(one, tr_avx2_load(q + 32 * (b + 4)));

		v[b] = _mm256_add_epi16(_mm256_permute2x128_si256(lo, hi, 0x20),
			_mm256_permute2x128_si256(lo, hi, 0x31));
	}
	s = tr_avx2_sums(v, true, 4);
	_mm256_storeu_ps(to, _mm256_cvtepi32_ps(s));
}

/* Blocks b and b + 1 of four rows, from w[r] on. */
TR_INLINE void add_pair(const struct b32 *ty, __m256 acc[B32_ACTS][2],
	const uint8_t *const row[TR_TILE_ROWS], int b, const int8_t *const q[B32_ACTS],
	const float *const d[B32_ACTS], float x_sums[B32_ACTS][STEP_BLOCKS], int nt)
{
	__m256i v[4][B32_ACTS], start;
	struct x2 x[B32_ACTS];
	const uint8_t *w[2][4];

	TR_UNROLL
	for (int t = 0; t < nt; t++)
		x[t] = take_x(ty, q[t] + 32 * b);
	TR_UNROLL
	for (int r = 0; r < 4; r++) {
		w[0][r] = row[r] + (size_t)b * ty->bytes;
		w[1][r] = w[0][r] + ty->bytes;
		multiply(ty, v[r], w[0][r], x, nt);
	}
	start = tr_avx2_words(w, 0);
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		__m256 d_x = tr_avx2_by_block(d[t] + b), *a = &acc[t][b / 2 % 2];
		__m256i of[4] = { v[0][t], v[1][t], v[2][t], v[3][t] };

		*a = _mm256_fmadd_ps(_mm256_mul_ps(scales(ty, start), d_x),
			_mm256_cvtepi32_ps(tr_avx2_sums(of, !ty->is_signed, ty->fit)), *a);
		if (ty->has_min)
			*a = _mm256_fmadd_ps(_mm256_mul_ps(tr_avx2_halves(start, true), d_x),
				tr_avx2_by_block(x_sums[t] + b), *a);
	}
}

/* Step i of a tile. */
TR_INLINE void step(const struct b32 *ty, __m256 acc[B32_ACTS][2], const struct tr_tile *tile,
	const struct source *from, size_t i, int nt)
{
	float x_sums[B32_ACTS][STEP_BLOCKS];
	const uint8_t *row[TR_TILE_ROWS];
	const int8_t *q[B32_ACTS];
	const float *d[B32_ACTS];

	tr_tile_prefetch(tile, i * STEP_BLOCKS * ty->bytes, STEP_BLOCKS * ty->bytes, 4);
	TR_UNROLL
	for (int r = 0; r < 4; r++)
		row[r] = from->w[r] + i * STEP_BLOCKS * ty->bytes;
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		q[t] = from->q[t] + i * STEP_VALUES;
		d[t] = from->d[t] + i * STEP_BLOCKS;
		if (ty->has_min)
			sum_x(x_sums[t], q[t]);
	}
	TR_UNROLL
	for (int b = 0; b < STEP_BLOCKS; b += 2)
		add_pair(ty, acc, row, b, q, d, x_sums, nt);
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct b32 *ty = type;
	__m256 acc[B32_ACTS][2];
	struct source from;
	struct padding pad;
	size_t n_block = tile->n / 32, n_step = n_block / STEP_BLOCKS;
	bool more = n_block % STEP_BLOCKS;

	TR_UNROLL
	for (int t = 0; t < nt; t++)
		acc[t][0] = acc[t][1] = _mm256_setzero_ps();
	source_of(&from, tile, nr, nt);
	for (;;) {
		for (size_t i = 0; i < n_step; i++)
			step(ty, acc, tile, &from, i, nt);
		if (!more)
			break;
		copy_last(&pad, tile, n_step * STEP_BLOCKS, ty->bytes, nr, nt);
		source_padded(&from, &pad, nr, nt);
		n_step = 1;
		more = false;
	}
	TR_UNROLL
	for (int t = 0; t < nt; t++)
		tr_avx2_join(sum, t, acc[t][0], acc[t][1]);
}

/* --- panels ------------------------------------------------------------------------------------- */

TR_INLINE void lane_codes(const struct b32 *ty, struct lanes_panel *to, int b,
	const uint8_t *const w[2][4])
{
	TR_UNROLL
	for (int h = 0; h < 2; h++) {
		__m256i v[4], words[4];

		TR_UNROLL
		for (int r = 0; r < 4; r++)
			v[r] = ty->codes(w[0][r], w[1][r], h);
		lanes_turn(words, v);
		TR_UNROLL
		for (int k = 0; k < 4; k++)
			lanes_put_codes(to, ty->lane, 8 * b + 4 * h + k, words[k]);
	}
}

TR_INLINE void unpack_lanes(const void *type, struct lanes_panel *to,
	const struct lanes_rows *rows, const struct lanes_strip *s, size_t i)
{
	const struct b32 *ty = type;
	size_t first = i * STEP_BLOCKS, n_block = TR_MIN(s->n / 32 - first, (size_t)STEP_BLOCKS);

	lanes_prefetch(s, rows, first * ty->bytes, STEP_BLOCKS * ty->bytes);
	for (int b = 0; b < (int)n_block; b++) {
		const uint8_t *w[2][4];
		__m256i start;

		TR_UNROLL
		for (int r = 0; r < LANE_ROWS; r++)
			w[r / 4][r % 4] = rows->w[r / 4][r % 4] + (first + (size_t)b) * ty->bytes;
		start = tr_avx2_words(w, 0);
		_mm256_store_ps(to->d[b], scales(ty, start));
		if (ty->has_min)
			_mm256_store_ps(to->m[b], tr_avx2_halves(start, true));
		lane_codes(ty, to, b, w);
	}
}

/* What is added to the sum of a block, an integer, or a float with minimums: the sum of its x. */
TR_INLINE void begin_lanes(const void *type, const struct lanes_strip *s, int32_t *x_sums)
{
	const struct b32 *ty = type;
	const __m256i one = _mm256_set1_epi8(1);
	size_t n_block = s->n / 32;

	for (size_t i = 0; i < s->n_act * n_block && (ty->off || ty->has_min); i++) {
		const uint8_t *act = s->act + i / n_block * s->act_bytes;
		__m256i v = _mm256_maddubs_epi16(one, tr_avx2_load(act + 32 * (i % n_block)));
		__m128i x;

		v = _mm256_madd_epi16(v, _mm256_set1_epi16((short)(ty->off ? -ty->off : 1)));
		x = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
		x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
		x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 1));
		if (ty->has_min)
			x = _mm_castps_si128(_mm_cvtepi32_ps(x));
		x_sums[i] = _mm_cvtsi128_si32(x);
	}
}

/* Exact sums of block b of a panel. */
TR_INLINE void sum_lanes(const struct b32 *ty, __m256i sum[LANE_TILE],
	const struct lanes_panel *p, const int8_t *const q[LANE_TILE], int b, int nt)
{
	const __m256i one = _mm256_set1_epi16(1);
	__m256i pairs[LANE_TILE];

	TR_UNROLL
	for (int k = 0; k < 8; k += ty->lane.fit) {
		lanes_pairs(pairs, p, ty->lane, q, 8 * b + k, nt);
		TR_UNROLL
		for (int a = 0; a < nt; a++) {
			pairs[a] = _mm256_madd_epi16(pairs[a], one);
			sum[a] = tr_avx2_now(
				k || ty->off ? _mm256_add_epi32(sum[a], pairs[a]) : pairs[a]);
		}
	}
}

TR_INLINE void meet_lanes(const void *type, const struct lanes_panel *p,
	const struct lanes_strip *s, size_t t, size_t i, lanes_sums sums, int nt)
{
	const struct b32 *ty = type;
	size_t first = i * STEP_BLOCKS, n_block = TR_MIN(s->n / 32 - first, (size_t)STEP_BLOCKS);
	const int32_t *x_sums[LANE_TILE];
	const float *d_x[LANE_TILE];
	const int8_t *q[LANE_TILE];
	__m256i sum[LANE_TILE];

	TR_UNROLL
	for (int a = 0; a < nt; a++) {
		const uint8_t *act = s->act + (t + (size_t)a) * s->act_bytes;

		q[a] = (const int8_t *)act + LANE_VALUES * i;
		d_x[a] = (const float *)(act + s->d_off) + first;
		x_sums[a] = s->x_sums + (t + (size_t)a) * (s->n / 32) + first;
	}
	for (int b = 0; b < (int)n_block; b++) {
		if (ty->off) {
			TR_UNROLL
			for (int a = 0; a < nt; a++)
				sum[a] = _mm256_set1_epi32(x_sums[a][b]);
		}
		sum_lanes(ty, sum, p, q, b, nt);
		TR_UNROLL
		for (int a = 0; a < nt; a++) {
			float *to = sums[t + (size_t)a][b % 4];
			__m256 d = _mm256_broadcast_ss(d_x[a] + b), v = _mm256_load_ps(to);

			v = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(p->d[b]), d),
				_mm256_cvtepi32_ps(sum[a]), v);
			if (ty->has_min)
				v = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(p->m[b]), d),
					_mm256_castsi256_ps(_mm256_set1_epi32(x_sums[a][b])), v);
			_mm256_store_ps(to, v);
		}
	}
}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .codes = codes_##type

static const struct b32 q4_0 = { BLOCK(q4_0), .off = 8, .fit = 4, .lane = { .fit = 8 } };
static const struct b32 q4_1 = { BLOCK(q4_1), .has_min = true, .fit = 4, .lane = { .fit = 8 } };
static const struct b32 q5_0 = { BLOCK(q5_0), .off = 16, .fit = 4, .lane = { .fit = 4 } };
static const struct b32 q5_1 = { BLOCK(q5_1), .has_min = true, .fit = 2, .lane = { .fit = 4 } };
static const struct b32 q8_0 = { BLOCK(q8_0), .is_signed = true,
	.lane = { .fit = 1, .is_signed = true } };
static const struct b32 iq4_nl = { BLOCK(iq4_nl), .is_signed = true,
	.lane = { .fit = 1, .is_signed = true } };
static const struct b32 mxfp4 = { BLOCK(mxfp4), .off = 12, .e8m0 = true, .fit = 4,
	.lane = { .fit = 4 } };

#define B32_DOT(name, least)                                                                       \
	TR_AVX2_DEFINE_DOT(tr_avx2_dot_##name, tile, begin_lanes, unpack_lanes, meet_lanes, &name, \
		TR_ACT_Q8_32, least)

B32_DOT(q4_0, 2)
B32_DOT(q4_1, 2)
B32_DOT(q5_0, 2)
B32_DOT(q5_1, 2)
B32_DOT(q8_0, 3)
B32_DOT(iq4_nl, 2)
B32_DOT(mxfp4, 2)
