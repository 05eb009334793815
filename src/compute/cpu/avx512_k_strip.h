/*
 * avx512_k_strip.h - strips of super-blocks of 256 values: two rows by many activations.
 *
 * The codes and scales of both rows' super-blocks are in registers while the activations pass. The
 * sums start from what x + 128 adds too much (avx512_strips.h).
 */
#ifndef TR_COMPUTE_CPU_AVX512_K_STRIP_H
#define TR_COMPUTE_CPU_AVX512_K_STRIP_H

#include "compute/cpu/avx512_k.h"
#include "compute/cpu/avx512_strips.h"

#define STRIP_ROWS 2

/* A super-block of a row. */
struct unpacked {
	__m512i codes[4]; /* by chunk, with their signs */
	__m512i scale[4]; /* of the chunk's lanes; where two chunks share lanes, of both */
	__m512i start, min;
};

/* Codes that are never negative: the lane sums of two chunks fit the halves of 32 bits. */
TR_INLINE bool has_halves(const struct k *ty)
{
	return !ty->off && !ty->signs;
}

/* sum + scale * (the lanes of chunks i and i + 1 by x + 128) */
TR_INLINE __m512i add_chunks(const struct k *ty, __m512i sum, __m512i x0, __m512i x1,
	const struct unpacked *u, int i)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i b = _mm512_dpbusd_epi32(zero, x1, u->codes[i + 1]), a;

	if (has_halves(ty)) {
		a = _mm512_dpbusd_epi32(_mm512_slli_epi32(b, 16), x0, u->codes[i]);
		return _mm512_dpwssd_epi32(sum, a, u->scale[i / 2]);
	}
	a = _mm512_dpbusd_epi32(zero, x0, u->codes[i]);
	if (!ty->wide && !ty->large)
		return _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sum, a, u->scale[i]), b,
			u->scale[i + 1]);
	sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(a, u->scale[i]));
	return _mm512_add_epi32(sum, _mm512_mullo_epi32(b, u->scale[i + 1]));
}

TR_INLINE void unpack(const struct k *ty, struct unpacked *u, const uint8_t *w)
{
	const __m512i zero = _mm512_setzero_si512(), x = _mm512_set1_epi8((char)128);
	__m512i scales = ty->scales(w, &u->min);

	TR_UNROLL
	for (int chunk = 0; chunk < 4; chunk++) {
		__m512i c = ty->codes(w, chunk);

		c = _mm512_sub_epi8(c, _mm512_set1_epi8((char)ty->off));
		if (ty->signs)
			c = _mm512_mask_sub_epi8(c, ty->signs(w, chunk), zero, c);
		u->codes[chunk] = c;
		u->scale[chunk] = spread(scales, chunk, ty->per_scale);
	}
	if (has_halves(ty)) {
		u->scale[0] = _mm512_or_si512(u->scale[0], _mm512_slli_epi32(u->scale[1], 16));
		u->scale[1] = _mm512_or_si512(u->scale[2], _mm512_slli_epi32(u->scale[3], 16));
	}
	u->start = add_chunks(ty, add_chunks(ty, zero, x, x, u, 0), x, x, u, 2);
	u->start = _mm512_sub_epi32(zero, u->start);
}

/* Block i of the strip's rows, unpacked, with all activations. acc and accm are [act][row]; they
 * are written by block 0, not read. */
TR_INLINE void strip_block(const struct k *ty, const struct tr_strip *strip, size_t i,
	const struct unpacked u[STRIP_ROWS], __m256 d, __m512 *acc, __m512 *accm)
{
	const __mmask16 begun = i ? 0xffff : 0;
	const uint8_t *act = strip->act;
	struct scales256 dd;

	for (size_t t = 0; t < strip->n_act; t++, act += strip->act_bytes) {
		const float *dx = (const float *)(act + strip->rows.d_off) + i;
		const int8_t *q = (const int8_t *)act + 256 * i;
		__m512i sum[STRIP_ROWS];

		TR_UNROLL
		for (int r = 0; r < STRIP_ROWS; r++)
			sum[r] = u[r].start;
		TR_UNROLL
		for (int chunk = 0; chunk < 4; chunk += 2) {
			__m512i x0 = tr_avx512_unsigned(q + 64 * chunk);
			__m512i x1 = tr_avx512_unsigned(q + 64 * chunk + 64);

			TR_UNROLL
			for (int r = 0; r < STRIP_ROWS; r++)
				sum[r] = add_chunks(ty, sum[r], x0, x1, &u[r], chunk);
		}
		_mm256_storeu_ps(dd.by_act[0], _mm256_mul_ps(d, _mm256_broadcast_ss(dx)));
		__asm__("" : "+m"(dd)); /* to be broadcast by loads, not by shuffles */
		TR_UNROLL
		for (int r = 0; r < STRIP_ROWS; r++) {
			__m512 *a = &acc[t * STRIP_ROWS + (size_t)r];
			__m512 *m = &accm[t * STRIP_ROWS + (size_t)r];

			*a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r]),
				_mm512_set1_ps(product_d(&dd, ty->d_at, ty->has_min, r, 0)),
				_mm512_maskz_load_ps(begun, a));
			if (ty->has_min)
				*m = add_mins(_mm512_maskz_load_ps(begun, m),
					product_dmin(&dd, r, 0), u[r].min,
					act + strip->rows.sum_off + 32 * i);
		}
	}
}

TR_INLINE void strip(const void *type, const struct tr_strip *strip, float *sum)
{
	const struct k *ty = type;
	__m512 acc[TR_STRIP_ACTS * STRIP_ROWS], accm[TR_STRIP_ACTS * STRIP_ROWS];
	struct unpacked u[STRIP_ROWS];
	struct grid256 grid[STRIP_ROWS];
	const uint8_t *w[TR_TILE_ROWS];

	for (size_t i = 0; i < strip->rows.n / 256; i++) {
		tr_tile_prefetch(&strip->rows, i * ty->bytes, ty->bytes, STRIP_ROWS);
		TR_UNROLL
		for (int r = 0; r < STRIP_ROWS; r++) {
			w[r] = strip->rows.w[r] + i * ty->bytes;
			if (ty->unpack) {
				ty->unpack(w[r], &grid[r]);
				by_memory(&grid[r]);
				w[r] = (const uint8_t *)&grid[r];
			}
			unpack(ty, &u[r], w[r]);
		}
		strip_block(ty, strip, i, u,
			row_scales(w, ty->d_at, ty->has_min, ty->unit, STRIP_ROWS), acc, accm);
	}
	tr_avx512_strip_trees(sum, acc, ty->has_min ? accm : NULL, strip->n_act * STRIP_ROWS);
}

#define DEFINE_DOT(function, type)                                                                 \
	TR_DEFINE_STRIP_DOT(function, tile, strip, type, TR_ACT_Q8_256, 256, STRIP_ROWS)

#endif
