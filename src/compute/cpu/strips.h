/*
 * strips.h - how a dot function meets several activations at once.
 *
 * A strip is a few rows and up to TR_STRIP_ACTS activations. The functions unpack a step of the
 * rows into registers and run all activations of the strip over it; their sums lie in memory in the
 * meantime, where a load and a store a step cost less than unpacking the weights again for every
 * handful of activations. Strips of activations are the outer loop: those of one strip stay in the
 * first or second cache while the rows of a task, which are few, pass by.
 */
#ifndef TR_COMPUTE_CPU_STRIPS_H
#define TR_COMPUTE_CPU_STRIPS_H

#include "compute/cpu/rows.h"

/* With 16 or 32 of 2048 values each: Q4_K 256, 267 GFLOP/s, Q6_K 315, 338 (AMD EPYC, Zen 5, one
 * thread). An expert of a prefill of 512 tokens meets 16 on average. */
#define TR_STRIP_ACTS 32

struct tr_strip {
	struct tr_tile rows; /* its activations are not used */
	const uint8_t *act;
	size_t act_bytes;
	size_t n_act;
};

/* sum[t * rows of a strip + r], t < n_act */
typedef void tr_strip_fn(const void *type, const struct tr_strip *strip, float *sum);

/* nr rows from row r on with the activations of the strip. Behind the last row it is repeated. */
TR_INLINE void tr_one_strip(tr_strip_fn *fn, const void *type, const struct tr_rows *m,
	struct tr_strip *strip, size_t r, size_t t, int nr)
{
	float sum[TR_STRIP_ACTS * TR_TILE_ROWS];
	size_t left = m->n_row - r;

	TR_UNROLL
	for (int i = 0; i < nr; i++)
		strip->rows.w[i] = m->w + TR_MIN(r + (size_t)i, m->n_row - 1) * m->row_bytes;
	strip->rows.ahead = r + 2 * (size_t)nr <= m->n_row ? (size_t)nr * m->row_bytes : 0;
	fn(type, strip, sum);
	for (size_t i = 0; i < strip->n_act; i++)
		if (left >= (size_t)nr)
			memcpy(m->out + (t + i) * m->out_stride + r, sum + i * (size_t)nr,
				(size_t)nr * sizeof(*sum));
		else
			for (size_t k = 0; k < left; k++)
				m->out[(t + i) * m->out_stride + r + k] = sum[i * (size_t)nr + k];
}

TR_INLINE void tr_strips(tr_strip_fn *fn, const void *type, const struct tr_rows *m,
	struct tr_strip *strip, int nr)
{
	strip->act_bytes = m->act_bytes;
	for (size_t t = 0; t < m->n_act; t += TR_STRIP_ACTS) {
		strip->act = m->act + t * m->act_bytes;
		strip->n_act = TR_MIN(m->n_act - t, (size_t)TR_STRIP_ACTS);
		for (size_t r = 0; r < m->n_row; r += (size_t)nr)
			tr_one_strip(fn, type, m, strip, r, t, nr);
	}
}

/* Defines the dot function of one type: one activation, or a rest that is no multiple of `step`
 * values, goes by tiles, all else by strips of nr rows. */
#define TR_DEFINE_STRIP_DOT(function, tile_fn, strip_fn, type, kind, step, nr)                     \
	void function(float *out, size_t out_stride, const void *w, size_t row_bytes,              \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n)           \
	{                                                                                          \
		const struct tr_rows m = { out, out_stride, w, row_bytes, n_row, act, act_bytes,   \
			n_act };                                                                   \
		struct tr_strip in = { .rows = { .n = n, .d_off = tr_act_d_off(kind, n),           \
			.by_rows = __builtin_cpu_is("intel"), .end = m.w + n_row * row_bytes } };  \
                                                                                                   \
		if ((kind) == TR_ACT_Q8_256)                                                       \
			in.rows.sum_off = tr_act_sum_off(n);                                       \
		if (n_act == 1 || n % (step))                                                      \
			tr_tiles(tile_fn, type, &m, &in.rows, 4, 1, 0);                            \
		else                                                                               \
			tr_strips(strip_fn, type, &m, &in, nr);                                    \
	}

#endif
