/*
 * avx512_k_sheet.h - super-blocks of 256 values with many activations (the sheet: avx512_sheet.h).
 *
 * A super-block goes by in four parts of two sub-blocks, whose sums are added up in memory, then an
 * end, where the sums of groups of 16 values come in and float sums are made. Zen 5 has two units
 * that multiply. An activation keeps them busy, with Q4_K: 64 vpdpbusd, 8 vpmulld for scales, 8
 * vpdpwssd for minimums and 6 float operations, 43 cycles. With 64 activations it takes 51, unpacking
 * included, so five eighths of what vpdpbusd alone would do.
 */
#ifndef TR_COMPUTE_CPU_AVX512_K_SHEET_H
#define TR_COMPUTE_CPU_AVX512_K_SHEET_H

#include "compute/cpu/avx512_k_tile.h"

/* Activations that take turns; four are no faster. */
#define SHEET_STEP 2

/* Sixteen scales of 8 bits with signs. */
TR_INLINE void put_sheet_scales(struct sheet256 *to, const __m512i v[4], int off)
{
	const __m512i lane = _mm512_set4_epi32(0x0c000c00, 0x08000800, 0x04000400, 0);
	const __m512i factor = _mm512_set1_epi16((short)-off);

	TR_UNROLL_ALL
	for (int g = 0; g < 16; g++) {
		__m512i s = _mm512_slli_epi32(v[g / 4], (unsigned)(24 - 8 * (g % 4)));

		to->scale[g] = _mm512_srai_epi32(s, 24);
	}
	TR_UNROLL
	for (int j = 0; j < 8; j++) { /* two bytes become high bytes of 16 bits */
		__m512i from = _mm512_set1_epi32(j % 2 ? 0x03800280 : 0x01800080);
		__m512i s = _mm512_shuffle_epi8(v[j / 2], _mm512_or_si512(from, lane));

		to->pair[j] = _mm512_mullo_epi16(factor, _mm512_srai_epi16(s, 8));
	}
}

/* Two sub-blocks with n_x activations that are act_bytes apart, x at the first. The
 * activations take turns, so that their chains of additions overlap. */
TR_INLINE void sheet_sums(const struct k *ty, const __m512i codes[2][8], const __m512i scale[4],
	const int8_t *x, size_t act_bytes, __m512i *sum, bool begun, int n_x)
{
	const __m512i zero = _mm512_setzero_si512();
	const int chain = ty->per_scale / 4;
	__m512i v[SHEET_STEP][4];

	TR_UNROLL_ALL
	for (int i = 0; i < 16; i++) {
		TR_UNROLL
		for (int t = 0; t < n_x; t++)
			v[t][i / chain] =
				tr_dot4(i % chain ? v[t][i / chain] : zero, codes[i / 8][i % 8],
					x + (size_t)t * act_bytes +
						(ty->crosswise ? 64 : 32) * (i / 8) + 4 * (i % 8));
	}
	TR_UNROLL
	for (int t = 0; t < n_x; t++) {
		__m512i all = begun ? sum[t] : zero;

		TR_UNROLL
		for (int j = 0; j < 64 / ty->per_scale; j++)
			all = _mm512_add_epi32(all, _mm512_mullo_epi32(v[t][j], scale[j]));
		sum[t] = all;
	}
}

/* The sums of the two sub-blocks of a part of all activations. */
TR_INLINE void sheet_pass(const struct k *ty, struct sheet256 *sheet, int part,
	const struct tr_sheet_job *job, size_t i, __m512i sum[TR_SHEET_ACTS])
{
	const int step = ty->crosswise ? 2 : 1;
	const int first = ty->crosswise ? 4 * (part / 2) + part % 2 : 2 * part;
	const int8_t *x = (const int8_t *)job->act + 256 * i + 32 * first;
	const int n_scale = 32 / ty->per_scale;
	__m512i codes[2][8], scale[4];
	size_t t = 0;

	ty->part(&job->w, sheet, part, codes);
	TR_UNROLL
	for (int j = 0; j < 8; j++) {
		TR_IN_REGISTER(codes[0][j]);
		TR_IN_REGISTER(codes[1][j]);
	}
	TR_UNROLL
	for (int j = 0; j < 2 * n_scale; j++)
		scale[j] = sheet->scale[n_scale * (first + j / n_scale * step) + j % n_scale];
	for (; t + SHEET_STEP <= job->n_act; t += SHEET_STEP, x += SHEET_STEP * job->act_bytes)
		sheet_sums(ty, codes, scale, x, job->act_bytes, sum + t, part, SHEET_STEP);
	for (; t < job->n_act; t++, x += job->act_bytes)
		sheet_sums(ty, codes, scale, x, job->act_bytes, sum + t, part, 1);
}

/* What the sums of groups add, and the end of super-block i: into the float sums, which have begun
 * or begin here. */
TR_INLINE void sheet_end(const struct k *ty, const struct sheet256 *w,
	const struct tr_sheet_job *job, size_t i, const __m512i sum[TR_SHEET_ACTS], bool begun,
	tr_sheet_sums acc)
{
	const uint8_t *act = job->act;
	__m512i pair[8];

	TR_UNROLL
	for (int j = 0; j < 8; j++)
		pair[j] = w->pair[j];
	for (size_t t = 0; t < job->n_act; t++, act += job->act_bytes) {
		const int8_t *x16 = (const int8_t *)act + job->sum_off + 32 * i;
		__m512 dx = _mm512_set1_ps(((const float *)(act + job->d_off))[i]);
		__m512 *to = &acc[t][i % 4], v = begun ? *to : _mm512_setzero_ps();
		__m512i a = sum[t], b = _mm512_setzero_si512();

		if (ty->has_min || ty->off) {
			TR_UNROLL
			for (int j = 0; j < 8; j += 2) {
				__m512i *even = ty->has_min ? &b : &a;

				*even = tr_dot2(*even, pair[j], x16 + 4 * j);
				b = tr_dot2(b, pair[j + 1], x16 + 4 * j + 4);
			}
		}
		if (ty->off)
			a = _mm512_add_epi32(a, b);
		v = _mm512_fmadd_ps(_mm512_mul_ps(w->d, dx), _mm512_cvtepi32_ps(a), v);
		if (ty->has_min)
			v = _mm512_fnmadd_ps(_mm512_mul_ps(w->dmin, dx), _mm512_cvtepi32_ps(b), v);
		*to = v;
	}
}

/* d and dmin */
TR_INLINE void sheet_scales(const struct k *ty, const struct tr_sheet_rows *w, struct sheet256 *to)
{
	__m512i v = tr_column(w, (size_t)d_pair_at(ty->d_at, ty->has_min));

	to->d = tr_half_floats(v, !ty->has_min && ty->d_at);
	if (ty->has_min)
		to->dmin = tr_half_floats(v, true);
}

TR_INLINE void sheet256(const void *type, struct tr_sheet_job *job, tr_sheet_sums acc)
{
	const struct k *ty = type;
	__m512i sum[TR_SHEET_ACTS];
	struct sheet256 sheet;

	for (size_t i = 0; i < job->n / 256; i++) {
		job->w.off = i * ty->bytes;
		ty->sheet(&job->w, &sheet);
		if (!ty->unpack)
			sheet_scales(ty, &job->w, &sheet);
		TR_UNROLL
		for (int part = 0; part < 4; part++) {
			tr_sheet_prefetch(job, i * ty->bytes, ty->bytes, part);
			sheet_pass(ty, &sheet, part, job, i, sum);
		}
		if (i < 4)
			sheet_end(ty, &sheet, job, i, sum, false, acc);
		else
			sheet_end(ty, &sheet, job, i, sum, true, acc);
	}
}

/* One activation goes by tiles, several by sheets. */
#define DEFINE_DOT(function, type)                                                                 \
	void function(float *out, size_t out_stride, const void *w, size_t row_bytes,              \
		size_t n_row, const void *act, size_t act_bytes, size_t n_act, size_t n,           \
		const void *next)                                                                  \
	{                                                                                          \
		const struct tr_rows m = { out, out_stride, w, row_bytes, n_row, act, act_bytes,   \
			n_act };                                                                   \
		struct tr_tile tile = { .n = n,                                                    \
			.d_off = tr_act_d_off(TR_ACT_Q8_256, n),                                   \
			.sum_off = tr_act_sum_off(n),                                              \
			.by_rows = __builtin_cpu_is("intel"),                                      \
			.end = m.w + n_row * row_bytes,                                            \
			.next = next };                                                            \
		struct tr_sheet_job job = { .n = n, .d_off = tile.d_off,                           \
			.sum_off = tile.sum_off, .from_zero = n < 1024 };                          \
                                                                                                   \
		if (n_act == 1)                                                                    \
			tr_tiles(tile256, type, &m, &tile, TR_TILE_ROWS, 1, 0);                    \
		else                                                                               \
			tr_sheets(sheet256, type, &m, &job, TR_SHEET_ACTS);                        \
	}

#endif
