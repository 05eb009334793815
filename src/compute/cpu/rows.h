/*
 * rows.h - how a dot function walks a matrix, common to all vector instruction sets.
 *
 * The work is cut into tiles of nr rows by nt activations, both compile-time constants of the tile
 * function, so that its accumulators live in registers. One activation meets four rows at a time:
 * it is loaded once for all of them and four chains of fma overlap. Several activations meet as
 * many rows as registers allow: unpacking a weight block is then paid once for all of them. Rows
 * are the outer loop: weights come from memory once, activations from cache.
 *
 * A tile that sticks out of the matrix repeats its last row or activation; equal inputs give equal
 * sums, and only those inside are stored.
 *
 * Everything here is inlined into one function per type, with the type's description a constant.
 */
#ifndef TR_COMPUTE_CPU_ROWS_H
#define TR_COMPUTE_CPU_ROWS_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "compute/kernels.h"

#define TR_INLINE static inline __attribute__((always_inline))
#define TR_UNROLL _Pragma("GCC unroll 8")

#define TR_TILE_ROWS 4
#define TR_TILE_ACTS 4

struct tr_tile {
	const uint8_t *w[TR_TILE_ROWS];
	const uint8_t *act[TR_TILE_ACTS];
	size_t n;
	size_t d_off; /* of the activations' sections */
	size_t sum_off;
	bool by_rows; /* how to prefetch */
	size_t ahead; /* from a byte of the first row to what is asked for */
	const uint8_t *end;  /* in line: of the matrix */
	const uint8_t *next; /* what is read behind it, or NULL */
};

typedef void tr_tile_fn(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt);

/*
 * What comes next is asked for in one of two ways. Shares are those of a plain reader, AVX-512.
 *
 * By rows, on Intel: the same bytes of the next tile's rows into the second level, and what follows
 * in these rows into the first, far enough to hide the second, near enough to stay. Sapphire
 * Rapids, one thread: next tile into the first level Q4_0 86%, Q8_0 90, Q4_K 87, Q6_K 91; both
 * prefetches 94, 97, 93, 98.
 *
 * In line, elsewhere: the memory behind, ascending whatever the rows, into the first level.
 * Memory sees one stream, as from a plain reader, where rows are four short ones; and no line is
 * asked for twice, as where rows begin and end. It has to be ahead of the tile's last row; what is
 * behind the matrix is what the thread reads next. AMD EPYC (Zen 5, 48 KiB first level), two
 * threads, rows of 2048 and of 7168 values, while a plain reader had 75 GB/s: 20 KiB ahead of the
 * first row Q4_K 83 and 83%, Q6_K 79 and 83, Q8_0 85 and 75; ahead of the last row 6 KiB 85, 86,
 * 88, 82, 85, 85; 8 KiB 84, 85, 86, 80, 85, 88; 10 KiB 83, 84, 82, 76, 83, 87.
 */
#define TR_NEAR_BYTES 512
#define TR_AHEAD_BYTES ((size_t)8 << 10)

TR_INLINE void tr_prefetch_rows(const struct tr_tile *tile, size_t off, size_t bytes, int nr)
{
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		const char *p = (const char *)tile->w[r] + off;

		TR_UNROLL
		for (size_t i = 0; i < bytes; i += TR_CACHE_LINE) {
			_mm_prefetch(p + TR_NEAR_BYTES + i, _MM_HINT_T0);
			_mm_prefetch(p + tile->ahead + i, _MM_HINT_T1);
		}
	}
}

TR_INLINE void tr_prefetch_line(const struct tr_tile *tile, size_t off, size_t bytes)
{
	const uint8_t *p = tile->w[0] + tile->ahead + off;

	if (p >= tile->end) {
		if (!tile->next)
			return;
		p = tile->next + (p - tile->end);
	}
	_Pragma("GCC unroll 32")
	for (size_t i = 0; i < bytes; i += TR_CACHE_LINE)
		_mm_prefetch((const char *)p + i, _MM_HINT_T0);
}

/* To be called before the tile reads these bytes of its rows. A prefetch behind the end of the
 * matrix does nothing. */
TR_INLINE void tr_tile_prefetch(const struct tr_tile *tile, size_t off, size_t bytes, int nr)
{
	if (tile->by_rows)
		tr_prefetch_rows(tile, off, bytes, nr);
	else
		tr_prefetch_line(tile, off * (size_t)nr, bytes * (size_t)nr);
}

/* A matrix and where its products go. */
struct tr_rows {
	float *out;
	size_t out_stride;
	const uint8_t *w;
	size_t row_bytes;
	size_t n_row;
	const uint8_t *act;
	size_t act_bytes;
	size_t n_act;
};

/* The tile at activation t. */
TR_INLINE void tr_one_tile(tr_tile_fn *fn, const void *type, const struct tr_rows *m,
	struct tr_tile *tile, size_t r, size_t t, int nr, int nt)
{
	float sum[TR_TILE_ROWS][TR_TILE_ACTS];

	TR_UNROLL
	for (int i = 0; i < nt; i++)
		tile->act[i] = m->act + TR_MIN(t + (size_t)i, m->n_act - 1) * m->act_bytes;
	fn(type, tile, sum, nr, nt);
	for (size_t i = 0; i < (size_t)nt && t + i < m->n_act; i++)
		for (size_t k = 0; k < (size_t)nr && r + k < m->n_row; k++)
			m->out[(t + i) * m->out_stride + r + k] = sum[k][i];
}

/* `ahead` of the tile at row r; by rows: to the same byte of the next tile. */
TR_INLINE size_t ahead_of(const struct tr_tile *tile, const struct tr_rows *m, size_t r, size_t nr)
{
	if (!tile->by_rows)
		return (nr - 1) * m->row_bytes + TR_AHEAD_BYTES;
	return r + 2 * nr <= m->n_row ? nr * m->row_bytes : 0;
}

/* Tiles of nr by nt, and of nr by nt_last where no more activations than that are left. */
TR_INLINE void tr_tiles(tr_tile_fn *fn, const void *type, const struct tr_rows *m,
	struct tr_tile *tile, int nr, int nt, int nt_last)
{
	for (size_t r = 0; r < m->n_row; r += (size_t)nr) {
		size_t t = 0;

		TR_UNROLL
		for (int i = 0; i < nr; i++)
			tile->w[i] = m->w + TR_MIN(r + (size_t)i, m->n_row - 1) * m->row_bytes;
		tile->ahead = ahead_of(tile, m, r, (size_t)nr);
		for (; m->n_act - t > (size_t)nt_last; t += TR_MIN((size_t)nt, m->n_act - t))
			tr_one_tile(fn, type, m, tile, r, t, nr, nt);
		if (nt_last && t < m->n_act)
			tr_one_tile(fn, type, m, tile, r, t, nr, nt_last);
	}
}

/* Defines the dot function of one type. nr by nt is the tile for several activations, as large as
 * the registers of the instruction set allow. */
#define TR_DEFINE_DOT(function, fn, type, kind, nr, nt)                                            \
	void function(float *out, size_t out_stride, const void *w, size_t row_bytes,              \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n,           \
		const void *next)                                                                  \
	{                                                                                          \
		const struct tr_rows m = { out, out_stride, w, row_bytes, n_row, act, act_bytes,   \
			n_act };                                                                   \
		struct tr_tile in = { .n = n,                                                      \
			.by_rows = __builtin_cpu_is("intel"),                                      \
			.end = m.w + n_row * row_bytes,                                            \
			.next = next };                                                            \
                                                                                                   \
		if ((kind) != TR_ACT_F32)                                                          \
			in.d_off = tr_act_d_off(kind, n);                                          \
		if ((kind) == TR_ACT_Q8_256)                                                       \
			in.sum_off = tr_act_sum_off(n);                                            \
		if (n_act == 1)                                                                    \
			tr_tiles(fn, type, &m, &in, 4, 1, 0);                                      \
		else                                                                               \
			tr_tiles(fn, type, &m, &in, nr, nt, (nt) > 2 ? 2 : 0);                     \
	}

#endif
