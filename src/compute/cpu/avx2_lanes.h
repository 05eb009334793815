/*
 * avx2_lanes.h - dot products of eight rows with several activations: a row is a lane.
 *
 * 256 values of eight rows are unpacked once, to memory that stays in the first level of cache, in
 * such an order that a register has four neighbouring values of each row. An activation meets them
 * by broadcasts of four of its values: products are added up in 16 bits as long as they fit, then
 * multiplied by the scales of their sub-block and added up in 32. No sum crosses lanes, and scales
 * of blocks are eight to a register.
 *
 * Strips of activations are the outer loop, as the four sums of eight rows are kept for each. Four
 * activations meet a panel at once and share what is loaded of it.
 *
 * GFLOP/s with 4, 16, 32 activations, by tiles of two rows and two activations (with 16 lanes of
 * floats a row) and by panels: Q4_K 109, 113, 112 and 183, 253, 281; Q6_K 110, 112, 113 and 134,
 * 196, 219; Q8_0 121, 121, 122 and 119, 160, 173; Q4_0 103, 104, 106 and 165, 223, 242; MXFP4 90,
 * 93, 93 and 170, 226, 247 (AMD EPYC, Zen 5, one thread of a machine in use, 7168 values a row).
 * Without lanes_prefetch Q4_K had 155, 220, 246. For two activations unpacking pays for few types.
 */
#ifndef TR_COMPUTE_CPU_AVX2_LANES_H
#define TR_COMPUTE_CPU_AVX2_LANES_H

#include "compute/cpu/avx2.h"

#define LANE_ROWS 8
#define LANE_VALUES 256
#define LANE_ACTS 32 /* of a strip */
#define LANE_TILE 4  /* activations at once */

/* LANE_VALUES values of eight rows. Row r has bytes 4 r to 4 r + 3 of each 32. */
struct lanes_panel {
	_Alignas(32) uint8_t codes[LANE_VALUES / 4][32]; /* unsigned, or magnitudes */
	_Alignas(32) uint8_t signs[LANE_VALUES / 4][32]; /* of signed types: codes with their sign */
	/* Types of 256: the scale of each group of 16 values, twice; of each pair of groups what its
	 * sums of activations count, as an offset to the sum or in the minimum; d and dmin. */
	_Alignas(32) int16_t scales[16][2 * LANE_ROWS];
	_Alignas(32) int16_t counts[8][2 * LANE_ROWS];
	/* Types of 32: of each block. */
	_Alignas(32) float d[8][LANE_ROWS];
	_Alignas(32) float m[8][LANE_ROWS];
};

/* Eight rows. */
struct lanes_rows {
	const uint8_t *w[2][4];
};

struct lanes_strip {
	const uint8_t *act;
	size_t act_bytes;
	size_t n_act;
	size_t n;
	size_t d_off;
	size_t sum_off;
	bool by_rows; /* how to prefetch, as in struct tr_tile */
	size_t ahead; /* from eight rows to the next */
	const uint8_t *end;
	const int32_t *x_sums; /* types of 32: n / 32 words an activation; what they are is theirs */
};

typedef float lanes_sums[LANE_ACTS][4][LANE_ROWS];

/* How many pairs of products add up to no more than 16 bits, and what they are made of. */
struct lanes_codes {
	int fit;
	bool is_signed;
};

/* Values [256 i, 256 i + 256) of the rows, or what there is of them. */
typedef void lanes_unpack_fn(const void *type, struct lanes_panel *to,
	const struct lanes_rows *rows, const struct lanes_strip *s, size_t i);
/* nt activations from number t on meet that. */
typedef void lanes_meet_fn(const void *type, const struct lanes_panel *p,
	const struct lanes_strip *s, size_t t, size_t i, lanes_sums sums, int nt);
/* Makes x_sums; optional. */
typedef void lanes_begin_fn(const void *type, const struct lanes_strip *s, int32_t *x_sums);

TR_INLINE void lanes_put(void *to, __m256i v)
{
	_mm256_store_si256((__m256i *)to, v);
}

TR_INLINE __m256i lanes_get(const void *p)
{
	return _mm256_load_si256((const __m256i *)p);
}

/* To be called before bytes at off of the rows are read: asks for what is read next. */
TR_INLINE void lanes_prefetch(const struct lanes_strip *s, const struct lanes_rows *rows,
	size_t off, size_t bytes)
{
	const uint8_t *p = TR_MIN(rows->w[0][0] + TR_AHEAD_BYTES + LANE_ROWS * off, s->end);

	for (size_t i = 0; i < LANE_ROWS * bytes && !s->by_rows; i += TR_CACHE_LINE)
		_mm_prefetch((const char *)p + i, _MM_HINT_T0);
	for (size_t r = 0; r < LANE_ROWS && s->by_rows; r++)
		for (size_t i = 0; i < bytes; i += TR_CACHE_LINE)
			_mm_prefetch((const char *)rows->w[r / 4][r % 4] + s->ahead + off + i,
				_MM_HINT_T0);
}

/* 16 bytes of rows r and 4 + r in the halves of v[r]: four registers, of four bytes of each row. */
TR_INLINE void lanes_turn(__m256i to[4], const __m256i v[4])
{
	__m256i lo[2], hi[2];

	TR_UNROLL
	for (int i = 0; i < 2; i++) {
		lo[i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
		hi[i] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
	}
	to[0] = _mm256_unpacklo_epi64(lo[0], lo[1]);
	to[1] = _mm256_unpackhi_epi64(lo[0], lo[1]);
	to[2] = _mm256_unpacklo_epi64(hi[0], hi[1]);
	to[3] = _mm256_unpackhi_epi64(hi[0], hi[1]);
}

/* Codes 4 k to 4 k + 3 of each row. */
TR_INLINE void lanes_put_codes(struct lanes_panel *to, struct lanes_codes c, int k, __m256i codes)
{
	lanes_put(to->codes[k], c.is_signed ? _mm256_abs_epi8(codes) : codes);
	if (c.is_signed)
		lanes_put(to->signs[k], codes);
}

/* c.fit times four values from 4 k on, of nt activations: sums of pairs of products. */
TR_INLINE void lanes_pairs(__m256i pairs[LANE_TILE], const struct lanes_panel *p,
	struct lanes_codes c, const int8_t *const q[LANE_TILE], int k, int nt)
{
	TR_UNROLL
	for (int j = 0; j < c.fit; j++) {
		__m256i codes = lanes_get(p->codes[k + j]), signs;

		if (c.is_signed)
			signs = lanes_get(p->signs[k + j]);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256i x, v;
			int four;

			memcpy(&four, q[t] + 4 * (k + j), sizeof(four));
			x = _mm256_set1_epi32(four);
			v = _mm256_maddubs_epi16(
				codes, c.is_signed ? _mm256_sign_epi8(x, signs) : x);
			pairs[t] = tr_avx2_now(j ? _mm256_add_epi16(pairs[t], v) : v);
		}
	}
}

/* The products of eight rows with activation t; r is the first row. */
TR_INLINE void lanes_store(const struct tr_rows *m, size_t r, size_t t, float sum[4][LANE_ROWS])
{
	__m256 even = _mm256_add_ps(_mm256_load_ps(sum[0]), _mm256_load_ps(sum[2]));
	__m256 odd = _mm256_add_ps(_mm256_load_ps(sum[1]), _mm256_load_ps(sum[3]));
	float *out = m->out + t * m->out_stride + r;

	if (m->n_row - r >= LANE_ROWS) {
		_mm256_storeu_ps(out, _mm256_add_ps(even, odd));
	} else {
		_mm256_store_ps(sum[0], _mm256_add_ps(even, odd));
		memcpy(out, sum[0], (m->n_row - r) * sizeof(*out));
	}
}

/* Eight rows from r on with the activations of a strip, of which t is the first. */
TR_INLINE void lanes_eight(const void *type, lanes_unpack_fn *unpack, lanes_meet_fn *meet,
	const struct tr_rows *m, const struct lanes_strip *s, size_t r, size_t t)
{
	_Alignas(32) lanes_sums sums;
	struct lanes_panel panel;
	struct lanes_rows rows;

	TR_UNROLL
	for (size_t k = 0; k < LANE_ROWS; k++)
		rows.w[k / 4][k % 4] = m->w + TR_MIN(r + k, m->n_row - 1) * m->row_bytes;
	memset(sums, 0, s->n_act * sizeof(sums[0]));
	for (size_t i = 0; i * LANE_VALUES < s->n; i++) {
		size_t at = 0;

		unpack(type, &panel, &rows, s, i);
		for (; s->n_act - at >= LANE_TILE; at += LANE_TILE)
			meet(type, &panel, s, at, i, sums, LANE_TILE);
		if (s->n_act - at >= 2) {
			meet(type, &panel, s, at, i, sums, 2);
			at += 2;
		}
		if (at < s->n_act)
			meet(type, &panel, s, at, i, sums, 1);
	}
	for (size_t k = 0; k < s->n_act; k++)
		lanes_store(m, r, t + k, sums[k]);
}

/* Room for the sums of types of 32. */
#define LANE_X_SUMS 8192

TR_INLINE void lanes_all(const void *type, lanes_begin_fn *begin, lanes_unpack_fn *unpack,
	lanes_meet_fn *meet, const struct tr_rows *m, const struct tr_tile *in)
{
	int32_t x_sums[LANE_X_SUMS];
	struct lanes_strip s = { .act_bytes = m->act_bytes, .n = in->n, .d_off = in->d_off,
		.sum_off = in->sum_off, .by_rows = in->by_rows,
		.ahead = LANE_ROWS * m->row_bytes, .end = in->end, .x_sums = x_sums };
	size_t room = LANE_X_SUMS / TR_MAX(s.n / 32, (size_t)1);
	size_t most = begin ? TR_MIN(room, (size_t)LANE_ACTS) : LANE_ACTS;

	for (size_t t = 0; t < m->n_act; t += most) {
		s.act = m->act + t * m->act_bytes;
		s.n_act = TR_MIN(m->n_act - t, most);
		if (begin)
			begin(type, &s, x_sums);
		for (size_t r = 0; r < m->n_row; r += LANE_ROWS)
			lanes_eight(type, unpack, meet, m, &s, r, t);
	}
}

/* Defines the dot function of one type: one activation goes by tiles, and so do two with fewer than
 * `least`; more go by panels. */
#define TR_AVX2_DEFINE_DOT(function, tile_fn, begin_fn, unpack_fn, meet_fn, type, kind, least)     \
	void function(float *out, size_t out_stride, const void *w, size_t row_bytes,              \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n,           \
		const void *next)                                                                  \
	{                                                                                          \
		const struct tr_rows m = { out, out_stride, w, row_bytes, n_row, act, act_bytes,   \
			n_act };                                                                   \
		struct tr_tile in = { .n = n,                                                      \
			.d_off = tr_act_d_off(kind, n),                                            \
			.by_rows = __builtin_cpu_is("intel"),                                      \
			.end = m.w + n_row * row_bytes,                                            \
			.next = next };                                                            \
                                                                                                   \
		if ((kind) == TR_ACT_Q8_256)                                                       \
			in.sum_off = tr_act_sum_off(n);                                            \
		if (n_act == 1)                                                                    \
			tr_tiles(tile_fn, type, &m, &in, 4, 1, 0);                                 \
		else if (n_act < (least) || n / 32 > LANE_X_SUMS)                                  \
			tr_tiles(tile_fn, type, &m, &in, 4, 2, 0);                                 \
		else                                                                               \
			lanes_all(type, begin_fn, unpack_fn, meet_fn, &m, &in);                    \
	}

#endif
