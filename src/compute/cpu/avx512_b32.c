/*
 * avx512_b32.c - dot products of the types with 32 values a block.
 *
 * One activation goes by tiles (avx512_tile.h). Four blocks of a row fill two registers, first
 * halves and last halves, a block to a quarter; two vpdpbusd leave four partial sums of each. The
 * last one to three blocks of a row are copied and padded with zeros: products of zeros change no
 * sum, since none is ever -0.
 *
 * Several activations go by sheets (avx512_sheet.h): a block and the one four blocks on, which goes
 * into the same float sum, are 16 vpdpbusd for one load and store of that.
 */
#include "compute/cpu/avx512_sheet.h"
#include "compute/cpu/avx512_tile.h"
#include "compute/cpu/step32.h"

struct b32 {
	size_t bytes; /* of a block */
	int off;      /* codes are that much too large */
	bool e8m0;    /* d is a power of two in a byte, not binary16 */
	bool has_min; /* m follows d */
	/* Four blocks of a row: the first 16 codes of each, and the last. */
	void (*codes)(const uint8_t *w, __m512i codes[2]);
	/* A block of 16 rows. */
	void (*sheet)(const struct tr_sheet_rows *w, __m512i codes[8]);
};

/* --- tiles ----------------------------------------------------------------------------------- */

TR_INLINE __m512i four_pieces(const uint8_t *p, int stride)
{
	return four_quarters(p, p + stride, p + 2 * stride, p + 3 * stride);
}

TR_INLINE void nibbles(const uint8_t *p, int stride, __m512i codes[2])
{
	__m512i v = four_pieces(p, stride);

	codes[0] = tr_low_nibbles(v);
	codes[1] = tr_high_nibbles(v);
}

TR_INLINE void look_up(__m512i table, __m512i codes[2])
{
	codes[0] = _mm512_shuffle_epi8(table, codes[0]);
	codes[1] = _mm512_shuffle_epi8(table, codes[1]);
}

/* 32 bits of each block. */
TR_INLINE void add_fifth_bits(const uint8_t *p, int stride, __m512i codes[2])
{
	uint64_t first = 0, last = 0;

	TR_UNROLL
	for (int b = 0; b < 4; b++) {
		uint32_t v;

		memcpy(&v, p + b * stride, sizeof(v));
		first |= (uint64_t)(v & 0xffff) << 16 * b;
		last |= (uint64_t)(v >> 16) << 16 * b;
	}
	codes[0] = _mm512_mask_add_epi8(codes[0], first, codes[0], _mm512_set1_epi8(16));
	codes[1] = _mm512_mask_add_epi8(codes[1], last, codes[1], _mm512_set1_epi8(16));
}

TR_INLINE __m512i iq4_table(void)
{
	return _mm512_add_epi8(tr_avx512_table(tr_iq4_values), _mm512_set1_epi8((char)128));
}

TR_INLINE __m512i fp4_table(void)
{
	return _mm512_add_epi8(tr_avx512_table(tr_fp4_values), _mm512_set1_epi8(12));
}

TR_INLINE void codes_q4_0(const uint8_t *p, __m512i codes[2])
{
	nibbles(p + 2, sizeof(struct tr_block_q4_0), codes);
}

TR_INLINE void codes_q4_1(const uint8_t *p, __m512i codes[2])
{
	nibbles(p + 4, sizeof(struct tr_block_q4_1), codes);
}

TR_INLINE void codes_q5_0(const uint8_t *p, __m512i codes[2])
{
	nibbles(p + 6, sizeof(struct tr_block_q5_0), codes);
	add_fifth_bits(p + 2, sizeof(struct tr_block_q5_0), codes);
}

TR_INLINE void codes_q5_1(const uint8_t *p, __m512i codes[2])
{
	nibbles(p + 8, sizeof(struct tr_block_q5_1), codes);
	add_fifth_bits(p + 4, sizeof(struct tr_block_q5_1), codes);
}

TR_INLINE void codes_q8_0(const uint8_t *p, __m512i codes[2])
{
	const __m512i top = _mm512_set1_epi8((char)128);

	codes[0] = _mm512_xor_si512(four_pieces(p + 2, sizeof(struct tr_block_q8_0)), top);
	codes[1] = _mm512_xor_si512(four_pieces(p + 18, sizeof(struct tr_block_q8_0)), top);
}

TR_INLINE void codes_iq4_nl(const uint8_t *p, __m512i codes[2])
{
	nibbles(p + 2, sizeof(struct tr_block_iq4_nl), codes);
	look_up(iq4_table(), codes);
}

TR_INLINE void codes_mxfp4(const uint8_t *p, __m512i codes[2])
{
	nibbles(p + 1, sizeof(struct tr_block_mxfp4), codes);
	look_up(fp4_table(), codes);
}

/* As tr_e8m0_half (powers() of step32.h, of 16). */
TR_INLINE __m512 powers16(__m512i e)
{
	__m512i one = _mm512_set1_epi32(1);
	__m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
	__m512i small = _mm512_slli_epi32(_mm512_add_epi32(e, one), 21);

	return _mm512_castsi512_ps(_mm512_max_epi32(normal, small));
}

/* Which words of 64 bytes of a row go where: those at bytes a to d, of four blocks' heads, to each
 * dword of quarters 0 to 3. */
TR_INLINE __m512i head_words(int a, int b, int c, int d)
{
	a /= 2, b /= 2, c /= 2, d /= 2;
	return _mm512_setr_epi32(a | (a + 1) << 16, a | (a + 1) << 16, a | (a + 1) << 16,
		a | (a + 1) << 16, b | (b + 1) << 16, b | (b + 1) << 16, b | (b + 1) << 16,
		b | (b + 1) << 16, c | (c + 1) << 16, c | (c + 1) << 16, c | (c + 1) << 16,
		c | (c + 1) << 16, d | (d + 1) << 16, d | (d + 1) << 16, d | (d + 1) << 16,
		d | (d + 1) << 16);
}

/* The first four bytes, or the words around the first, of four blocks of four rows: block b of row
 * r in lane 4 b + r. Read by 64 bytes, of which none lies behind the blocks. */
TR_INLINE __m512i heads(const struct b32 *ty, const uint8_t *const w[TR_TILE_ROWS])
{
	const int s = (int)ty->bytes;
	const int at = 2 * s < 64 ? 4 * s - 64 : 2 * s; /* of the second 64 bytes */
	const bool one = 3 * s + 4 <= 64;
	const __m512i idx = one ? head_words(0, s, 2 * s, 3 * s)
				: head_words(0, s, 2 * s - at, 3 * s - at);
	__m512i v = _mm512_setzero_si512();

	TR_UNROLL
	for (int r = 0; r < TR_TILE_ROWS; r++) {
		if (one) {
			v = _mm512_mask_permutexvar_epi16(v, 0x03030303u << 2 * r, idx,
				_mm512_loadu_si512(w[r]));
			continue;
		}
		v = _mm512_mask_permutexvar_epi16(v, 0x00000303u << 2 * r, idx,
			_mm512_loadu_si512(w[r]));
		v = _mm512_mask_permutexvar_epi16(v, 0x03030000u << 2 * r, idx,
			_mm512_loadu_si512(w[r] + at));
	}
	return v;
}

TR_INLINE __m512 tile_scales(const struct b32 *ty, __m512i heads)
{
	if (!ty->e8m0)
		return tr_half_floats(heads, false);
	/* Blocks start at even and odd addresses in turn. */
	heads = _mm512_srlv_epi32(heads,
		_mm512_setr_epi32(0, 0, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0, 8, 8, 8, 8));
	return powers16(_mm512_and_si512(heads, _mm512_set1_epi32(255)));
}

/* The next four blocks of four rows. */
TR_INLINE __m512 step(const struct b32 *ty, const uint8_t *const w[TR_TILE_ROWS], const int8_t *q,
	const float *d_x, __m512 acc)
{
	const __m512i zero = _mm512_setzero_si512(), off = _mm512_set1_epi8((char)ty->off);
	__m512i a = _mm512_loadu_si512(q), b = _mm512_loadu_si512(q + 64), start = zero;
	__m512i x[2] = { _mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd) };
	__m512i v[TR_TILE_ROWS], head = heads(ty, w);
	__m512 d = tr_by_block(_mm_loadu_ps(d_x));

	if (ty->off) {
		start = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, off, x[0]), off, x[1]);
		start = _mm512_sub_epi32(zero, start);
	}
	TR_UNROLL
	for (int r = 0; r < TR_TILE_ROWS; r++) {
		__m512i codes[2];

		ty->codes(w[r], codes);
		v[r] = _mm512_dpbusd_epi32(start, codes[0], x[0]);
		v[r] = _mm512_dpbusd_epi32(v[r], codes[1], x[1]);
	}
	acc = _mm512_fmadd_ps(_mm512_mul_ps(tile_scales(ty, head), d),
		_mm512_cvtepi32_ps(tr_fold_rows(v)), acc);
	if (ty->has_min) {
		a = _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(1), x[0]);
		v[0] = v[1] = v[2] = v[3] = _mm512_dpbusd_epi32(a, _mm512_set1_epi8(1), x[1]);
		acc = _mm512_fmadd_ps(_mm512_mul_ps(tr_half_floats(head, true), d),
			_mm512_cvtepi32_ps(tr_fold_rows(v)), acc);
	}
	return acc;
}

TR_INLINE void tile32(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct b32 *ty = type;
	__m512 acc = _mm512_setzero_ps();
	size_t n_block = tile->n / 32, left = n_block % 4;
	struct source from;
	struct padding pad;

	source_of(&from, tile, nr, nt);
	for (size_t i = 0; i + 4 <= n_block; i += 4) {
		tr_tile_prefetch(tile, i * ty->bytes, 4 * ty->bytes, nr);
		acc = step(ty, from.w, from.q[0], from.d[0], acc);
		source_skip(&from, 4, ty->bytes, nr, nt);
	}
	if (left) {
		copy_last(&pad, tile, n_block - left, ty->bytes, nr, nt);
		source_padded(&from, &pad, nr, nt);
		acc = step(ty, from.w, from.q[0], from.d[0], acc);
	}
	tr_tile_join(sum, acc);
}

/* --- sheets ---------------------------------------------------------------------------------- */

TR_INLINE void sheet_nibbles(const struct tr_sheet_rows *w, size_t at, __m512i codes[8])
{
	__m512i v[4];

	tr_columns4(v, w, at);
	TR_UNROLL
	for (int j = 0; j < 4; j++) {
		codes[j] = tr_low_nibbles(v[j]);
		codes[j + 4] = tr_high_nibbles(v[j]);
	}
}

TR_INLINE void sheet_table(const struct tr_sheet_rows *w, size_t at, __m512i table,
	__m512i codes[8])
{
	sheet_nibbles(w, at, codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++)
		codes[j] = _mm512_shuffle_epi8(table, codes[j]);
}

/* Four bits of each lane, from bit 4 j on, to bit 4 of its four bytes. */
TR_INLINE __m512i fifth_bits(__m512i h, unsigned j)
{
	const __m512i bit = _mm512_set1_epi32(0x08040201);
	__m512i v = _mm512_and_si512(_mm512_srli_epi32(h, 4 * j), _mm512_set1_epi32(15));

	v = _mm512_shuffle_epi8(v, _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0));
	return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(v, bit), _mm512_set1_epi8(16));
}

TR_INLINE void sheet_5_bits(const struct tr_sheet_rows *w, size_t high_at, size_t at,
	__m512i codes[8])
{
	__m512i h = tr_column(w, high_at);

	sheet_nibbles(w, at, codes);
	TR_UNROLL
	for (unsigned j = 0; j < 8; j++)
		codes[j] = _mm512_or_si512(codes[j], fifth_bits(h, j));
}

TR_INLINE void sheet_q4_0(const struct tr_sheet_rows *w, __m512i codes[8])
{
	sheet_nibbles(w, 2, codes);
}

TR_INLINE void sheet_q4_1(const struct tr_sheet_rows *w, __m512i codes[8])
{
	sheet_nibbles(w, 4, codes);
}

TR_INLINE void sheet_q5_0(const struct tr_sheet_rows *w, __m512i codes[8])
{
	sheet_5_bits(w, 2, 6, codes);
}

TR_INLINE void sheet_q5_1(const struct tr_sheet_rows *w, __m512i codes[8])
{
	sheet_5_bits(w, 4, 8, codes);
}

TR_INLINE void sheet_q8_0(const struct tr_sheet_rows *w, __m512i codes[8])
{
	tr_columns8(codes, w, 2);
	TR_UNROLL
	for (int j = 0; j < 8; j++)
		codes[j] = _mm512_xor_si512(codes[j], _mm512_set1_epi8((char)128));
}

TR_INLINE void sheet_iq4_nl(const struct tr_sheet_rows *w, __m512i codes[8])
{
	sheet_table(w, 2, iq4_table(), codes);
}

TR_INLINE void sheet_mxfp4(const struct tr_sheet_rows *w, __m512i codes[8])
{
	sheet_table(w, 1, fp4_table(), codes);
}

/* A block of 16 rows. */
struct block32 {
	__m512i codes[8];
	__m512 d, m;
};

TR_INLINE void sheet_block(const struct b32 *ty, const struct tr_sheet_rows *w,
	struct block32 *to)
{
	__m512i head = tr_column(w, 0);

	ty->sheet(w, to->codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++)
		TR_IN_REGISTER(to->codes[j]);
	if (ty->e8m0)
		to->d = powers16(_mm512_and_si512(head, _mm512_set1_epi32(255)));
	else
		to->d = tr_half_floats(head, false);
	if (ty->has_min)
		to->m = tr_half_floats(head, true);
}

/* A block with one activation: x, its scale and sum. */
TR_INLINE __m512 sheet_sum(const struct b32 *ty, __m512 acc, const struct block32 *w,
	const int8_t *x, float d_x, int32_t sum_x)
{
	__m512i start = ty->off ? _mm512_set1_epi32(sum_x) : _mm512_setzero_si512();
	__m512 d = _mm512_set1_ps(d_x);

	acc = _mm512_fmadd_ps(_mm512_mul_ps(w->d, d),
		_mm512_cvtepi32_ps(tr_dot_part(start, w->codes, x)), acc);
	if (ty->has_min)
		acc = _mm512_fmadd_ps(_mm512_mul_ps(w->m, d),
			_mm512_cvtepi32_ps(_mm512_set1_epi32(sum_x)), acc);
	return acc;
}

/* Block i of the rows and, where `both`, block i + 4 with all activations. */
TR_INLINE void sheet_pass(const struct b32 *ty, struct tr_sheet_job *job, size_t i, bool both,
	tr_sheet_sums acc)
{
	const uint8_t *act = job->act;
	const __mmask16 begun = i < 4 ? 0 : 0xffff; /* before: nothing to add to */
	const int32_t *sum_x = job->sum_x + i;
	struct block32 w[2];

	job->w.off = i * ty->bytes;
	sheet_block(ty, &job->w, &w[0]);
	if (both) {
		job->w.off = (i + 4) * ty->bytes;
		sheet_block(ty, &job->w, &w[1]);
	}
	for (size_t t = 0; t < job->n_act; t++, act += job->act_bytes, sum_x += job->n / 32) {
		const int8_t *x = (const int8_t *)act + 32 * i;
		const float *d = (const float *)(act + job->d_off) + i;
		__m512 *to = &acc[t][i % 4], v = _mm512_maskz_loadu_ps(begun, to);

		v = sheet_sum(ty, v, &w[0], x, d[0], sum_x[0]);
		if (both)
			v = sheet_sum(ty, v, &w[1], x + 128, d[4], sum_x[4]);
		*to = v;
	}
}

TR_INLINE void sheet32(const void *type, struct tr_sheet_job *job, tr_sheet_sums acc)
{
	const struct b32 *ty = type;
	size_t i = 0, n_block = job->n / 32;

	for (; i + 8 <= n_block; i += 8) {
		for (int b = 0; b < 4; b++) {
			tr_sheet_prefetch(job, i * ty->bytes, 8 * ty->bytes, b);
			sheet_pass(ty, job, i + (size_t)b, true, acc);
		}
	}
	for (; i < n_block; i++)
		sheet_pass(ty, job, i, false, acc);
}

/* --- sums of x ------------------------------------------------------------------------------- */

/* factor times the sums of n_block blocks */
static void sum_blocks(int32_t *sum, const int8_t *x, size_t n_block, int factor)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	const __m512i one = _mm512_set1_epi8(1), zero = _mm512_setzero_si512();

	for (size_t i = 0; i < n_block; i += 8) {
		size_t left = TR_MIN(n_block - i, (size_t)8);
		__m512i v[4], u;
		__m256i s;

		TR_UNROLL
		for (size_t k = 0; k < 4; k++) {
			__mmask16 in = left >= 2 * k + 2 ? 0xffff : left > 2 * k ? 0xff : 0;

			v[k] = _mm512_dpbusd_epi32(zero, one,
				_mm512_maskz_loadu_epi32(in, x + 32 * i + 64 * k));
		}
		u = tr_fold_rows(v);
		u = _mm512_add_epi32(u, _mm512_shuffle_i32x4(u, u, 0xb1));
		u = _mm512_shuffle_i32x4(u, u, 0x08);
		s = _mm256_permutevar8x32_epi32(_mm512_castsi512_si256(u), order);
		s = _mm256_mullo_epi32(s, _mm256_set1_epi32(factor));
		_mm256_mask_storeu_epi32(sum + i, (__mmask8)((1u << left) - 1), s);
	}
}

static void prepare(struct tr_sheet_job *job)
{
	for (size_t t = 0; t < job->n_act; t++)
		sum_blocks(job->sum_x + t * (job->n / 32),
			(const int8_t *)job->act + t * job->act_bytes, job->n / 32,
			job->sum_factor);
}

/* --- the functions --------------------------------------------------------------------------- */

/* Sums of x of all blocks of a strip: 32 activations of up to 8192 values, fewer of longer ones. */
#define MAX_SUMS 8192

TR_INLINE void sheets(const struct b32 *ty, const struct tr_rows *m, size_t n)
{
	int32_t sum_x[MAX_SUMS];
	struct tr_sheet_job job = { .n = n,
		.d_off = tr_act_d_off(TR_ACT_Q8_32, n),
		.sum_x = sum_x,
		.from_zero = n < 128,
		.sum_factor = ty->off ? -ty->off : 1,
		.prepare = prepare };

	tr_sheets(sheet32, ty, m, &job, TR_MIN(MAX_SUMS / (n / 32), (size_t)TR_SHEET_ACTS));
}

#define DEFINE_DOT(function, type)                                                                 \
	void function(float *out, size_t out_stride, const void *w, size_t row_bytes,              \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n,           \
		const void *next)                                                                  \
	{                                                                                          \
		const struct tr_rows m = { out, out_stride, w, row_bytes, n_row, act, act_bytes,   \
			n_act };                                                                   \
		struct tr_tile tile = { .n = n,                                                    \
			.d_off = tr_act_d_off(TR_ACT_Q8_32, n),                                    \
			.by_rows = __builtin_cpu_is("intel"),                                      \
			.end = m.w + n_row * row_bytes,                                            \
			.next = next };                                                            \
                                                                                                   \
		if (n_act == 1 || n / 32 > MAX_SUMS)                                               \
			tr_tiles(tile32, type, &m, &tile, TR_TILE_ROWS, 1, 0);                     \
		else                                                                               \
			sheets(type, &m, n);                                                       \
	}

#define BLOCK(type) .bytes = sizeof(struct tr_block_##type), .codes = codes_##type,                \
	.sheet = sheet_##type

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
