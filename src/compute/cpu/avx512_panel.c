/*
 * avx512_panel.c - dots and weighted sums of many rows for several queries at once.
 *
 * A tile of `dots` is nq queries by 16 / nq rows, one register of lanes each; their trees are done
 * together by transposing. A tile of `mix` is nq queries by up to 16 / nq registers of columns,
 * which stay in registers over all rows. Sixteen chains of fma hide its latency twice over, and a
 * row that is converted from binary16 serves nq of them.
 */
#include "compute/cpu/avx512.h"
#include "compute/cpu/avx512_vec.h"
#include "compute/cpu/panel.h"

#define TILE 16

/* Sixteen values from value i of a row on. */
TR_INLINE __m512 load(const uint8_t *row, bool half, size_t i)
{
	return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(row + 2 * i))) :
		      _mm512_loadu_ps(row + 4 * i);
}

/* Those of m. */
TR_INLINE __m512 load_some(const uint8_t *row, bool half, size_t i, __mmask16 m)
{
	return half ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, row + 2 * i)) :
		      _mm512_maskz_loadu_ps(m, row + 4 * i);
}

/* sum[q * nr + r], nr = 16 / nq, of the rows at row[r] and the queries from query on. */
TR_INLINE void dots_tile(float sum[TILE], const uint8_t *const *row, bool half, const float *query,
	size_t stride, size_t n, struct tr_asker *asker, int nq)
{
	const int nr = TILE / nq;
	const char *from;
	size_t share = tr_asker_take(asker, &from), i = 0;
	__m512 acc[TILE], w[TILE];

	TR_UNROLL_ALL
	for (int k = 0; k < TILE; k++)
		acc[k] = _mm512_setzero_ps();
	for (; n - i >= 16; i += 16) {
		tr_asker_step(from, share, i / 16);
		TR_UNROLL_ALL
		for (int r = 0; r < nr; r++)
			w[r] = load(row[r], half, i);
		TR_UNROLL_ALL
		for (int q = 0; q < nq; q++) {
			__m512 x = _mm512_loadu_ps(tr_near_row(query + i, stride, q));

			TR_IN_REGISTER(x);
			TR_UNROLL_ALL
			for (int r = 0; r < nr; r++)
				acc[q * nr + r] = _mm512_fmadd_ps(w[r], x, acc[q * nr + r]);
		}
	}
	if (i < n) {
		__mmask16 m = tr_avx512_first(n - i);

		TR_UNROLL_ALL
		for (int k = 0; k < TILE; k++)
			acc[k] = _mm512_mask3_fmadd_ps(load_some(row[k % nr], half, i, m),
				_mm512_maskz_loadu_ps(m, query + (size_t)(k / nr) * stride + i),
				acc[k], m);
	}
	_mm512_storeu_ps(sum, tr_avx512_trees(acc));
}

/* All rows with the nq queries from q on. Behind the last row it is repeated. */
TR_INLINE void dots_of(float *out, size_t out_stride, const struct tr_panel *rows, bool half,
	const struct tr_panel *queries, size_t n, struct tr_asker *asker, size_t q, int nq)
{
	const size_t nr = TILE / (size_t)nq;
	const float *query = (const float *)queries->x + q * queries->stride;
	const uint8_t *row[TILE];
	float sum[TILE];

	for (size_t r = 0; r < rows->n; r += nr) {
		size_t left = TR_MIN(rows->n - r, nr);

		TR_UNROLL_ALL
		for (size_t i = 0; i < nr; i++)
			row[i] = tr_panel_row(rows, half, r + TR_MIN(i, left - 1));
		dots_tile(sum, row, half, query, queries->stride, n, asker, nq);
		TR_UNROLL_ALL
		for (size_t k = 0; k < TILE; k++)
			if (k % nr < left)
				out[(q + k / nr) * out_stride + r + k % nr] = sum[k];
	}
}

TR_INLINE void dots(float *out, size_t out_stride, const struct tr_panel *rows, bool half,
	const struct tr_panel *queries, size_t n, struct tr_ahead ahead)
{
	struct tr_asker asker = tr_asker_of(ahead, queries->n / 8 * ((rows->n + 1) / 2));
	size_t q = 0;

	for (; queries->n - q >= 8; q += 8)
		dots_of(out, out_stride, rows, half, queries, n, &asker, q, 8);
	for (; queries->n - q >= 4; q += 4)
		dots_of(out, out_stride, rows, half, queries, n, &asker, q, 4);
	for (; q < queries->n; q++)
		dots_of(out, out_stride, rows, half, queries, n, &asker, q, 1);
}

void tr_avx512_dots(float *out, size_t out_stride, const struct tr_panel *rows,
	const struct tr_panel *queries, size_t n, struct tr_ahead ahead)
{
	if (rows->half)
		dots(out, out_stride, rows, true, queries, n, ahead);
	else
		dots(out, out_stride, rows, false, queries, n, ahead);
}

/* What a tile of mix reads. */
struct mixed {
	const struct tr_panel *rows;
	bool half;
	const float *weight; /* of the tile's first query */
	size_t stride;	     /* of weights */
};

/* nc registers of columns from column c on, of each only the values of m unless whole. */
TR_INLINE void mix_tile(float *out, size_t out_stride, const struct mixed *in, size_t c, bool whole,
	__mmask16 m, struct tr_asker *asker, int nq, int nc)
{
	const uint8_t *row = tr_panel_row(in->rows, in->half, 0);
	const float *weight = in->weight;
	size_t step = (in->half ? 2 : 4) * in->rows->stride, stride = in->stride;
	const char *from;
	size_t share = tr_asker_take(asker, &from);
	__m512 acc[TILE], x[TILE];

	out += c;
	TR_UNROLL_ALL
	for (int k = 0; k < nq * nc; k++)
		acc[k] = _mm512_maskz_loadu_ps(m,
			out + (size_t)(k / nc) * out_stride + 16 * (k % nc));
	for (size_t r = 0; r < in->rows->n; r++, row += step) {
		tr_asker_step(from, share, r);
		TR_UNROLL_ALL
		for (int i = 0; i < nc; i++)
			x[i] = whole ? load(row, in->half, c + 16 * (size_t)i) :
				       load_some(row, in->half, c + 16 * (size_t)i, m);
		TR_UNROLL_ALL
		for (int q = 0; q < nq; q++) {
			__m512 w = _mm512_set1_ps(*tr_near_row(weight + r, stride, q));

			TR_UNROLL_ALL
			for (int i = 0; i < nc; i++)
				acc[q * nc + i] = _mm512_fmadd_ps(w, x[i], acc[q * nc + i]);
		}
	}
	TR_UNROLL_ALL
	for (int k = 0; k < nq * nc; k++)
		_mm512_mask_storeu_ps(out + (size_t)(k / nc) * out_stride + 16 * (k % nc), m,
			acc[k]);
}

TR_INLINE void mix_of(float *out, size_t out_stride, const struct tr_panel *rows, bool half,
	const struct tr_panel *weights, size_t n, struct tr_asker *asker, size_t q, int nq)
{
	const struct mixed in = { rows, half, (const float *)weights->x + q * weights->stride,
		weights->stride };
	const int nc = nq == 1 ? 8 : TILE / nq;
	size_t c = 0, step = 16 * (size_t)nc;

	out += q * out_stride;
	for (; n - c >= step; c += step)
		mix_tile(out, out_stride, &in, c, true, 0xffff, asker, nq, nc);
	for (; c < n; c += 16)
		mix_tile(out, out_stride, &in, c, false,
			n - c < 16 ? tr_avx512_first(n - c) : 0xffff, asker, nq, 1);
}

TR_INLINE void mix(float *out, size_t out_stride, const struct tr_panel *rows, bool half,
	const struct tr_panel *weights, size_t n, struct tr_ahead ahead)
{
	struct tr_asker asker = tr_asker_of(ahead, weights->n / 8 * (n / 32));
	size_t q = 0;

	for (; weights->n - q >= 8; q += 8)
		mix_of(out, out_stride, rows, half, weights, n, &asker, q, 8);
	for (; weights->n - q >= 4; q += 4)
		mix_of(out, out_stride, rows, half, weights, n, &asker, q, 4);
	for (; q < weights->n; q++)
		mix_of(out, out_stride, rows, half, weights, n, &asker, q, 1);
}

void tr_avx512_mix(float *out, size_t out_stride, const struct tr_panel *rows,
	const struct tr_panel *weights, size_t n, struct tr_ahead ahead)
{
	if (rows->half)
		mix(out, out_stride, rows, true, weights, n, ahead);
	else
		mix(out, out_stride, rows, false, weights, n, ahead);
}
