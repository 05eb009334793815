/*
 * avx2_panel.c - dots and weighted sums of many rows for several queries at once.
 *
 * A tile of `dots` is nq queries by 8 / nq rows. Lanes 0..7 of all its sums are computed first,
 * then lanes 8..15, so that eight registers do; the trees are done together by transposing. A
 * tile of `mix` is nq queries by 8 / nq registers of columns, which stay there over all rows.
 */
#include "compute/cpu/avx2.h"
#include "compute/cpu/avx2_vec.h"
#include "compute/cpu/panel.h"

#define TILE 8

/* Eight values from value i of a row on. */
TR_INLINE __m256 load(const uint8_t *row, bool half, size_t i)
{
	return half ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(row + 2 * i))) :
		      _mm256_loadu_ps((const float *)row + i);
}

/* The first n of eight values, zeros behind them. */
TR_INLINE __m256 load_first(const uint8_t *row, bool half, size_t i, size_t n)
{
	uint8_t copy[8 * sizeof(float)] = { 0 };

	memcpy(copy, row + i * (half ? 2 : 4), TR_MIN(n, (size_t)8) * (half ? 2 : 4));
	return load(copy, half, 0);
}

/* Four lanes of two sums each become two: [a, b] in each half. */
TR_INLINE __m256 fold_to_4(__m256 a, __m256 b)
{
	return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

/* The rest of the tree, from 8 lanes on, of 8 sums: value k of the result is of acc[k]. */
TR_INLINE __m256 trees(const __m256 acc[TILE])
{
	__m256 a = fold_to_4(acc[0], acc[4]), b = fold_to_4(acc[1], acc[5]);
	__m256 c = fold_to_4(acc[2], acc[6]), d = fold_to_4(acc[3], acc[7]);

	a = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
	c = _mm256_add_ps(_mm256_shuffle_ps(c, d, 0x44), _mm256_shuffle_ps(c, d, 0xee));
	return _mm256_add_ps(_mm256_shuffle_ps(a, c, 0x88), _mm256_shuffle_ps(a, c, 0xdd));
}

/* The first n lanes. */
TR_INLINE __m256 first(size_t n)
{
	return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n),
		_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
}

/* Lanes begin..begin + 7 of the sums acc[q * nr + r]. */
TR_INLINE void half_tile(__m256 acc[TILE], const uint8_t *const *row, bool half, const float *query,
	size_t stride, size_t n, size_t begin, const char *from, size_t share, int nq)
{
	const int nr = TILE / nq;
	__m256 w[TILE];
	size_t i = begin;

	TR_UNROLL_ALL
	for (int k = 0; k < TILE; k++)
		acc[k] = _mm256_setzero_ps();
	for (; i + 16 <= n + begin; i += 16) {
		tr_asker_step(from, share, i / 16);
		TR_UNROLL_ALL
		for (int r = 0; r < nr; r++)
			w[r] = load(row[r], half, i);
		TR_UNROLL_ALL
		for (int q = 0; q < nq; q++) {
			__m256 x = _mm256_loadu_ps(tr_near_row(query + i, stride, q));

			TR_IN_REGISTER(x);
			TR_UNROLL_ALL
			for (int r = 0; r < nr; r++)
				acc[q * nr + r] = _mm256_fmadd_ps(w[r], x, acc[q * nr + r]);
		}
	}
	if (i >= n)
		return;
	TR_UNROLL_ALL
	for (int k = 0; k < TILE; k++) {
		const uint8_t *x = (const uint8_t *)(query + (size_t)(k / nr) * stride);

		acc[k] = _mm256_blendv_ps(acc[k],
			_mm256_fmadd_ps(load_first(row[k % nr], half, i, n - i),
				load_first(x, false, i, n - i), acc[k]), first(n - i));
	}
}

TR_INLINE void dots_tile(float sum[TILE], const uint8_t *const *row, bool half, const float *query,
	size_t stride, size_t n, struct tr_asker *asker, int nq)
{
	const char *from;
	size_t share = tr_asker_take(asker, &from);
	__m256 lo[TILE], hi[TILE];

	half_tile(lo, row, half, query, stride, n, 0, from, share, nq);
	half_tile(hi, row, half, query, stride, n, 8, from, 0, nq);
	TR_UNROLL_ALL
	for (int k = 0; k < TILE; k++)
		hi[k] = _mm256_add_ps(lo[k], hi[k]);
	_mm256_storeu_ps(sum, trees(hi));
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
	struct tr_asker asker = tr_asker_of(ahead, queries->n / 4 * ((rows->n + 1) / 2));
	size_t q = 0;

	for (; queries->n - q >= 4; q += 4)
		dots_of(out, out_stride, rows, half, queries, n, &asker, q, 4);
	for (; q < queries->n; q++)
		dots_of(out, out_stride, rows, half, queries, n, &asker, q, 1);
}

void tr_avx2_dots(float *out, size_t out_stride, const struct tr_panel *rows,
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

/* nc registers of columns from column c on. */
TR_INLINE void mix_tile(float *out, size_t out_stride, const struct mixed *in, size_t c,
	struct tr_asker *asker, int nq, int nc)
{
	const uint8_t *row = tr_panel_row(in->rows, in->half, 0);
	const float *weight = in->weight;
	size_t step = (in->half ? 2 : 4) * in->rows->stride, stride = in->stride;
	const char *from;
	size_t share = tr_asker_take(asker, &from);
	__m256 acc[TILE], x[TILE];

	out += c;
	TR_UNROLL_ALL
	for (int k = 0; k < nq * nc; k++)
		acc[k] = _mm256_loadu_ps(out + (size_t)(k / nc) * out_stride + 8 * (k % nc));
	for (size_t r = 0; r < in->rows->n; r++, row += step) {
		tr_asker_step(from, share, r);
		TR_UNROLL_ALL
		for (int i = 0; i < nc; i++)
			x[i] = load(row, in->half, c + 8 * (size_t)i);
		TR_UNROLL_ALL
		for (int q = 0; q < nq; q++) {
			__m256 w = _mm256_broadcast_ss(tr_near_row(weight + r, stride, q));

			TR_UNROLL_ALL
			for (int i = 0; i < nc; i++)
				acc[q * nc + i] = _mm256_fmadd_ps(w, x[i], acc[q * nc + i]);
		}
	}
	TR_UNROLL_ALL
	for (int k = 0; k < nq * nc; k++)
		_mm256_storeu_ps(out + (size_t)(k / nc) * out_stride + 8 * (k % nc), acc[k]);
}

/* One column, behind the last whole register. */
TR_INLINE void mix_column(float *out, size_t out_stride, const struct mixed *in, size_t c, int nq)
{
	for (int q = 0; q < nq; q++) {
		float sum = out[(size_t)q * out_stride + c];

		for (size_t r = 0; r < in->rows->n; r++) {
			const uint8_t *row = tr_panel_row(in->rows, in->half, r);
			float x = in->half ? _cvtsh_ss(((const uint16_t *)row)[c]) :
					     ((const float *)row)[c];

			sum = __builtin_fmaf(in->weight[(size_t)q * in->stride + r], x, sum);
		}
		out[(size_t)q * out_stride + c] = sum;
	}
}

TR_INLINE void mix_of(float *out, size_t out_stride, const struct tr_panel *rows, bool half,
	const struct tr_panel *weights, size_t n, struct tr_asker *asker, size_t q, int nq)
{
	const struct mixed in = { rows, half, (const float *)weights->x + q * weights->stride,
		weights->stride };
	const int nc = TILE / nq;
	size_t c = 0, step = 8 * (size_t)nc;

	out += q * out_stride;
	for (; n - c >= step; c += step)
		mix_tile(out, out_stride, &in, c, asker, nq, nc);
	for (; n - c >= 8; c += 8)
		mix_tile(out, out_stride, &in, c, asker, nq, 1);
	for (; c < n; c++)
		mix_column(out, out_stride, &in, c, nq);
}

TR_INLINE void mix(float *out, size_t out_stride, const struct tr_panel *rows, bool half,
	const struct tr_panel *weights, size_t n, struct tr_ahead ahead)
{
	struct tr_asker asker = tr_asker_of(ahead, weights->n / 4 * (n / 16));
	size_t q = 0;

	for (; weights->n - q >= 4; q += 4)
		mix_of(out, out_stride, rows, half, weights, n, &asker, q, 4);
	for (; q < weights->n; q++)
		mix_of(out, out_stride, rows, half, weights, n, &asker, q, 1);
}

void tr_avx2_mix(float *out, size_t out_stride, const struct tr_panel *rows,
	const struct tr_panel *weights, size_t n, struct tr_ahead ahead)
{
	if (rows->half)
		mix(out, out_stride, rows, true, weights, n, ahead);
	else
		mix(out, out_stride, rows, false, weights, n, ahead);
}
