/*
 * avx2_k.h - dot products of super-blocks of 256 values.
 *
 * A super-block is eight parts of 32 values; parts of even number add to lanes 0..7, of odd number
 * to lanes 8..15. Codes times activations give sums of pairs in 16 bits, which one multiplication
 * by the 16-bit scales adds up to the lanes. Scales are kept in the order in which parts take them:
 * those of the even groups of 16 values in the low half of a register, of the odd in the high half.
 */
#ifndef TR_COMPUTE_CPU_AVX2_K_H
#define TR_COMPUTE_CPU_AVX2_K_H

#include "compute/cpu/avx2.h"
#include "compute/cpu/grid256.h"
#include "compute/cpu/step256.h"

struct k {
	size_t bytes;
	size_t d_at;
	bool is_signed;
	int off;
	bool has_min;
	__m256i (*codes)(const uint8_t *block, int part);
	/* Optional: 1 or -1 with the sign of each code, which is then a magnitude. */
	__m256i (*signs)(const uint8_t *block, int part);
	/* Scales as said above; with minimums, those of the 16 groups of 16 values in *min. */
	__m256i (*scales)(const uint8_t *block, __m128i *min);
	/* Optional: puts a block into a form that the functions above and d_at are about. */
	void (*unpack)(const uint8_t *block, struct grid256 *to);
	float unit; /* d times this counts; 0: d itself */
};

/* 16 signed bytes, one a group, to the order of parts. */
TR_INLINE __m256i by_part(__m128i v)
{
	return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(v, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1,
							   3, 5, 7, 9, 11, 13, 15)));
}

/* The scale of each pair of a part. */
TR_INLINE __m256i spread(__m256i scales, int part)
{
	const short word = (short)(2 * part | (2 * part + 1) << 8);

	return _mm256_shuffle_epi8(scales, _mm256_set1_epi16(word));
}

/* Sums of neighbouring pairs of codes of a part times x, in 16 bits. */
TR_INLINE __m256i pairs(const struct k *ty, const uint8_t *w, int part, __m256i x, __m256i start)
{
	__m256i codes = ty->codes(w, part);

	if (ty->signs)
		return _mm256_maddubs_epi16(codes, _mm256_sign_epi8(x, ty->signs(w, part)));
	return tr_avx2_pairs(ty->is_signed, ty->off, codes, x, start);
}

/* Exact sums of the lanes of one super-block at w[r] with the activations at q[t]. */
TR_INLINE void sum_lanes(const struct k *ty, __m256i sum[2][TR_TILE_ROWS][TR_TILE_ACTS],
	const uint8_t *const w[TR_TILE_ROWS], const __m256i scales[TR_TILE_ROWS],
	const int8_t *const q[TR_TILE_ACTS], int nr, int nt)
{
	TR_UNROLL
	for (int part = 0; part < 8; part++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256i x = tr_avx2_load(q[t] + 32 * part);
			__m256i start = tr_avx2_start(ty->off, x);

			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m256i s = pairs(ty, w[r], part, x, start);

				s = _mm256_madd_epi16(s, spread(scales[r], part));
				sum[part % 2][r][t] = part < 2 ? s
					: _mm256_add_epi32(sum[part % 2][r][t], s);
			}
		}
	}
}

/* accm -= dmin * sums of groups times minimums */
TR_INLINE void add_mins(__m256 *lo, __m256 *hi, __m256 dmin, __m128i min, const uint8_t *x16)
{
	__m256i min_lo = _mm256_cvtepu8_epi32(min);
	__m256i min_hi = _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(min, min));
	__m256i x_lo = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)x16));
	__m256i x_hi = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(x16 + 16)));

	*lo = _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(_mm256_madd_epi16(min_lo, x_lo)), *lo);
	*hi = _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(_mm256_madd_epi16(min_hi, x_hi)), *hi);
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct k *ty = type;
	__m256 acc[2][TR_TILE_ROWS][TR_TILE_ACTS], accm[2][TR_TILE_ROWS][TR_TILE_ACTS];
	__m256i scales[TR_TILE_ROWS], lanes[2][TR_TILE_ROWS][TR_TILE_ACTS];
	__m128i mins[TR_TILE_ROWS];
	const uint8_t *w[TR_TILE_ROWS];
	const int8_t *q[TR_TILE_ACTS];
	struct grid256 unpacked[TR_TILE_ROWS];
	struct scales256 d;

	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			acc[0][r][t] = acc[1][r][t] = _mm256_setzero_ps();
			accm[0][r][t] = accm[1][r][t] = _mm256_setzero_ps();
		}
	}
	for (size_t i = 0, n_block = tile->n / 256; i < n_block; i++) {
		tr_tile_prefetch(tile, i * ty->bytes, ty->bytes, nr);
		TR_UNROLL
		for (int r = 0; r < nr; r++) {
			w[r] = tile->w[r] + i * ty->bytes;
			if (ty->unpack) {
				ty->unpack(w[r], &unpacked[r]);
				by_memory(&unpacked[r]);
				w[r] = (const uint8_t *)&unpacked[r];
			}
			scales[r] = ty->scales(w[r], &mins[r]);
		}
		TR_UNROLL
		for (int t = 0; t < nt; t++)
			q[t] = (const int8_t *)tile->act[t] + 256 * i;
		sum_lanes(ty, lanes, w, scales, q, nr, nt);
		multiply_scales(&d, w, ty->d_at, ty->has_min, ty->unit, tile, i, nr, nt);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			const uint8_t *x16 = tile->act[t] + tile->sum_off + 32 * i;

			TR_UNROLL
			for (int r = 0; r < nr; r++) {
				__m256 dd = _mm256_set1_ps(
					product_d(&d, ty->d_at, ty->has_min, r, t));

				TR_UNROLL
				for (int h = 0; h < 2; h++)
					acc[h][r][t] = _mm256_fmadd_ps(dd,
						_mm256_cvtepi32_ps(lanes[h][r][t]), acc[h][r][t]);
				if (ty->has_min)
					add_mins(&accm[0][r][t], &accm[1][r][t],
						_mm256_set1_ps(product_dmin(&d, r, t)), mins[r],
						x16);
			}
		}
	}
	TR_UNROLL
	for (int r = 0; r < nr; r++) {
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			if (ty->has_min) {
				acc[0][r][t] = _mm256_add_ps(acc[0][r][t], accm[0][r][t]);
				acc[1][r][t] = _mm256_add_ps(acc[1][r][t], accm[1][r][t]);
			}
			sum[r][t] = tr_avx2_tree(acc[0][r][t], acc[1][r][t]);
		}
	}
}

#endif
