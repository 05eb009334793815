/*
 * rows.h - how a dot function walks a matrix, common to all vector instruction sets.
 *
 * The work is cut into tiles of n_row rows by n_act activations, both compile-time constants of the
 * tile function, so that its accumulators live in registers. One activation meets four rows at a
 * time: the activation is loaded once for all of them and four chains of fma overlap. With more
 * activations two rows meet four of them: unpacking a weight block is then paid once for four
 * products. Rows are the outer loop: weights come from memory once, activations from cache.
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
	size_t d_off;	/* of the activations' sections */
	size_t sum_off;
	size_t ahead;	/* from a byte of this tile to the same byte of the next, to prefetch it */
};

typedef void tr_tile_fn(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int n_row, int n_act);

/* Asks for the bytes that the next tile will read where this one is at p. */
TR_INLINE void tr_tile_prefetch(const struct tr_tile *tile, const uint8_t *p, size_t bytes)
{
	TR_UNROLL
	for (size_t i = 0; i < bytes; i += TR_CACHE_LINE)
		_mm_prefetch((const char *)p + tile->ahead + i, _MM_HINT_T0);
}

TR_INLINE void tr_band(tr_tile_fn *fn, const void *type, struct tr_tile *tile, int nr, int nt,
	float *out, size_t out_stride, const uint8_t *w, size_t row_bytes, size_t n_row,
	const uint8_t *act, size_t act_bytes, size_t n_act)
{
	float sum[TR_TILE_ROWS][TR_TILE_ACTS];

	for (size_t r = 0; r < n_row; r += (size_t)nr) {
		TR_UNROLL
		for (int i = 0; i < nr; i++)
			tile->w[i] = w + TR_MIN(r + (size_t)i, n_row - 1) * row_bytes;
		tile->ahead = r + 2 * (size_t)nr <= n_row ? (size_t)nr * row_bytes : 0;
		for (size_t t = 0; t < n_act; t += (size_t)nt) {
			TR_UNROLL
			for (int i = 0; i < nt; i++)
				tile->act[i] = act + TR_MIN(t + (size_t)i, n_act - 1) * act_bytes;
			fn(type, tile, sum, nr, nt);
			TR_UNROLL
			for (int i = 0; i < nt; i++)
				for (int k = 0; k < nr && t + (size_t)i < n_act; k++)
					if (r + (size_t)k < n_row)
						out[(t + (size_t)i) * out_stride + r + (size_t)k] =
							sum[k][i];
		}
	}
}

TR_INLINE void tr_rows(tr_tile_fn *fn, const void *type, enum tr_act_kind kind, float *out,
	size_t out_stride, const uint8_t *w, size_t row_bytes, size_t n_row, const uint8_t *act,
	size_t act_bytes, size_t n_act, size_t n, int many_rows, int many_acts)
{
	struct tr_tile tile = {
		.n = n,
		.d_off = kind == TR_ACT_F32 ? 0 : tr_act_d_off(kind, n),
		.sum_off = kind == TR_ACT_Q8_256 ? tr_act_sum_off(n) : 0,
	};

	if (n_act == 1)
		tr_band(fn, type, &tile, 4, 1, out, out_stride, w, row_bytes, n_row, act, act_bytes,
			n_act);
	else
		tr_band(fn, type, &tile, many_rows, many_acts, out, out_stride, w, row_bytes, n_row, act, act_bytes,
			n_act);
}

/* Defines the dot function of one type. many_rows by many_acts is the tile for several
 * activations, as large as the registers of the instruction set allow. */
#define TR_DEFINE_DOT(function, tile_fn, type, kind, many_rows, many_acts)                         \
	void function(float *out, size_t out_stride, const void *w, size_t row_bytes,              \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n)           \
	{                                                                                          \
		tr_rows(tile_fn, type, kind, out, out_stride, w, row_bytes, n_row, act, act_bytes, \
			n_act, n, many_rows, many_acts);                                           \
	}

#endif
