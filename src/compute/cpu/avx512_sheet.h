/*
 * avx512_sheet.h - several activations: sixteen rows in the lanes of a register.
 *
 * A sheet is a block of 16 rows, unpacked once and met with all activations of a strip. Vector j of
 * the codes of 32 values has four neighbouring codes, 4 j on, of each row, one row a lane. The same
 * four values of an activation are broadcast to all lanes and vpdpbusd adds 64 products; lanes are
 * exact sums of their rows, so nothing is ever added across lanes, and scales are vectors too.
 *
 * Codes are unsigned; what was added to make them so is taken off by means of sums of x.
 *
 * Zen 5 and Intel's processors issue two vpdpbusd and two loads a cycle. So the broadcast is all
 * that may be loaded for each: the 16 vectors of 64 values stay in registers while the activations
 * pass, with a load and a store of a sum for 16 vpdpbusd. Codes need not be stored at all.
 *
 * Packed bytes are brought to rows in lanes before they are taken apart to codes: that is half or a
 * quarter of the work afterwards. It pays from two activations on. With rows of 2048 values in the
 * second level, GFLOP/s with 2, 8 and 32 activations, and of a tile for each activation: Q4_K 239,
 * 508, 657, 166; Q6_K 159, 414, 591, 134 (AMD EPYC, Zen 5, one thread, machine shared).
 *
 * Everything lies on the stack, less than 72 KiB.
 */
#ifndef TR_COMPUTE_CPU_AVX512_SHEET_H
#define TR_COMPUTE_CPU_AVX512_SHEET_H

#include "compute/cpu/avx512.h"
#include "compute/cpu/panel.h"

#define TR_SHEET_ROWS 16
#define TR_SHEET_ACTS 64

/* The rows of a sheet, and where in each the block lies that is unpacked. */
struct tr_sheet_rows {
	const uint8_t *row[TR_SHEET_ROWS];
	size_t off;
};

TR_INLINE const uint8_t *tr_row_at(const struct tr_sheet_rows *w, int r, size_t at)
{
	return w->row[r] + w->off + at;
}

TR_INLINE __m512i two_halves(const uint8_t *lo, const uint8_t *hi)
{
	return _mm512_inserti64x4(
		_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)lo)),
		_mm256_loadu_si256((const __m256i *)hi), 1);
}

/* Dwords of four registers side by side: within each 128 bits, out[j] has dword j of each. */
TR_INLINE void transpose_quarters(__m512i out[4], const __m512i v[4])
{
	__m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
	__m512i c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);

	out[0] = _mm512_unpacklo_epi64(a, b);
	out[1] = _mm512_unpackhi_epi64(a, b);
	out[2] = _mm512_unpacklo_epi64(c, d);
	out[3] = _mm512_unpackhi_epi64(c, d);
}

/* 32 bytes of each row, from byte `at` on: out[j] has dword j of every row. */
TR_INLINE void tr_columns8(__m512i out[8], const struct tr_sheet_rows *w, size_t at)
{
	__m512i v[8], a[4], b[4];

	TR_UNROLL
	for (int i = 0; i < 4; i++) {
		v[i] = two_halves(tr_row_at(w, i, at), tr_row_at(w, i + 4, at));
		v[i + 4] = two_halves(tr_row_at(w, i + 8, at), tr_row_at(w, i + 12, at));
	}
	transpose_quarters(a, v);
	transpose_quarters(b, v + 4);
	TR_UNROLL
	for (int j = 0; j < 4; j++) {
		out[j] = _mm512_shuffle_i32x4(a[j], b[j], 0x88);
		out[j + 4] = _mm512_shuffle_i32x4(a[j], b[j], 0xdd);
	}
}

TR_INLINE __m512i four_quarters(const uint8_t *a, const uint8_t *b, const uint8_t *c,
	const uint8_t *d)
{
	__m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)a));

	v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128((const __m128i *)b));
	v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128((const __m128i *)c));
	return _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128((const __m128i *)d));
}

/* The same of 16 bytes. */
TR_INLINE void tr_columns4(__m512i out[4], const struct tr_sheet_rows *w, size_t at)
{
	__m512i v[4];

	TR_UNROLL
	for (int i = 0; i < 4; i++)
		v[i] = four_quarters(tr_row_at(w, i, at), tr_row_at(w, i + 4, at),
			tr_row_at(w, i + 8, at), tr_row_at(w, i + 12, at));
	transpose_quarters(out, v);
}

TR_INLINE int tr_load4(const void *p)
{
	int v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Four bytes of four rows from row r on. */
TR_INLINE __m128i four_dwords(const struct tr_sheet_rows *w, int r, size_t at)
{
	return _mm_setr_epi32(tr_load4(tr_row_at(w, r, at)), tr_load4(tr_row_at(w, r + 1, at)),
		tr_load4(tr_row_at(w, r + 2, at)), tr_load4(tr_row_at(w, r + 3, at)));
}

/* Four bytes of each row. Not by way of memory: a load of many small stores would wait for them. */
TR_INLINE __m512i tr_column(const struct tr_sheet_rows *w, size_t at)
{
	__m256i lo = _mm256_set_m128i(four_dwords(w, 4, at), four_dwords(w, 0, at));
	__m256i hi = _mm256_set_m128i(four_dwords(w, 12, at), four_dwords(w, 8, at));

	return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

/* The floats of the binary16 in the low or high half of each lane. */
TR_INLINE __m512 tr_half_floats(__m512i v, bool high)
{
	return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(high ? _mm512_srli_epi32(v, 16) : v));
}

TR_INLINE __m512i tr_low_nibbles(__m512i v)
{
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

TR_INLINE __m512i tr_high_nibbles(__m512i v)
{
	return tr_low_nibbles(_mm512_srli_epi16(v, 4));
}

TR_INLINE __m512i tr_broadcast4(const int8_t *x)
{
	return _mm512_set1_epi32(tr_load4(x));
}

/*
 * sum + 4 codes of each row times the 4 values at x, and the same of pairs of 16 bits. The compiler
 * would broadcast with an instruction of its own: Q4_K with 8 activations 464 GFLOP/s, like this
 * 505; but Q8_0 398, and 392 like this, so types of 32 leave it to the compiler.
 */
TR_INLINE __m512i tr_dot4(__m512i sum, __m512i codes, const int8_t *x)
{
	__asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(*(const char(*)[4])x));
	return sum;
}

TR_INLINE __m512i tr_dot2(__m512i sum, __m512i pairs, const int8_t *x)
{
	__asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(pairs), "m"(*(const char(*)[4])x));
	return sum;
}

/* sum + 32 codes of each row times 32 values */
TR_INLINE __m512i tr_dot_part(__m512i sum, const __m512i codes[8], const int8_t *x)
{
	TR_UNROLL
	for (int j = 0; j < 8; j++)
		sum = _mm512_dpbusd_epi32(sum, codes[j], tr_broadcast4(x + 4 * j));
	return sum;
}

/* A group of rows with a strip of activations. */
struct tr_sheet_job {
	struct tr_sheet_rows w;
	size_t row_bytes;
	const uint8_t *act;
	size_t act_bytes;
	size_t n_act;
	size_t n;
	size_t d_off, sum_off;
	bool from_zero; /* too few blocks to begin all four sums */
	/* Types of 32: n_block a strip's activation, filled by prepare. */
	int32_t *sum_x;
	int sum_factor;
	void (*prepare)(struct tr_sheet_job *job); /* optional */
};

typedef __m512 tr_sheet_sums[TR_SHEET_ACTS][4];

/* Sums of all activations: acc[t][i] is number i. */
typedef void tr_sheet_fn(const void *type, struct tr_sheet_job *job, tr_sheet_sums acc);

/*
 * What lies where the next sheet's rows are, a quarter of it a step's part: a step is `bytes` of
 * each row, this one at off. In line, as memory likes it best, though the rows are read side by
 * side. To be called for part 0 to 3 in turn, while the activations pass: a core waits for no more
 * lines than it has buffers. Two threads, 8 activations of 2048 values, weights in DRAM: Q6_K 526
 * GFLOP/s with two steps on of each row, 558 in line; k4.gguf 1077 and 1119 tokens/s.
 */
TR_INLINE void tr_sheet_prefetch(const struct tr_sheet_job *job, size_t off, size_t bytes,
	int part)
{
	const char *p = (const char *)job->w.row[0] + TR_SHEET_ROWS * (job->row_bytes + off) +
			4 * (size_t)part * bytes;

	_Pragma("GCC unroll 64")
	for (size_t i = 0; i < 4 * bytes; i += TR_CACHE_LINE)
		_mm_prefetch(p + i, _MM_HINT_T0);
}

/* Rows r on, of which `left` exist. */
TR_INLINE void tr_sheet_store(const struct tr_rows *m, size_t r, size_t t, size_t n_act,
	tr_sheet_sums acc)
{
	size_t left = TR_MIN(m->n_row - r, (size_t)TR_SHEET_ROWS);

	for (size_t i = 0; i < n_act; i++)
		_mm512_mask_storeu_ps(m->out + (t + i) * m->out_stride + r,
			(__mmask16)((1u << left) - 1),
			_mm512_add_ps(_mm512_add_ps(acc[i][0], acc[i][2]),
				_mm512_add_ps(acc[i][1], acc[i][3])));
}

/* Strips of equal length, of at most n_max. */
TR_INLINE size_t tr_strip(size_t n_act, size_t n_max)
{
	size_t n_strip = (n_act + n_max - 1) / n_max;

	return (n_act + n_strip - 1) / n_strip;
}

/* Strips of at most n_strip activations are the outer loop: those of one strip stay in the first or
 * second cache while the rows of a task, which are few, pass by. */
TR_INLINE void tr_sheets(tr_sheet_fn *fn, const void *type, const struct tr_rows *m,
	struct tr_sheet_job *job, size_t n_strip)
{
	tr_sheet_sums acc;
	size_t n_each = tr_strip(m->n_act, n_strip);

	job->act_bytes = m->act_bytes;
	job->row_bytes = m->row_bytes;
	for (size_t t = 0; t < m->n_act; t += n_each) {
		job->act = m->act + t * m->act_bytes;
		job->n_act = TR_MIN(m->n_act - t, n_each);
		if (job->prepare)
			job->prepare(job);
		for (size_t r = 0; r < m->n_row; r += TR_SHEET_ROWS) {
			for (size_t i = 0; i < TR_SHEET_ROWS; i++)
				job->w.row[i] = m->w + TR_MIN(r + i, m->n_row - 1) * m->row_bytes;
			if (job->from_zero)
				memset(acc, 0, job->n_act * sizeof(acc[0]));
			fn(type, job, acc);
			tr_sheet_store(m, r, t, job->n_act, acc);
		}
	}
}

#endif
