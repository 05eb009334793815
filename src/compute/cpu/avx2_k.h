/*
 * avx2_k.h - dot products of super-blocks of 256 values.
 *
 * Two blocks at once, a group of 16 values of each in a register: next to each other in the row for
 * one activation, of rows r and 4 + r for a panel (avx2_lanes.h). Codes times activations give sums
 * of pairs in 16 bits, which one multiplication by the 16-bit scales adds up to 32.
 *
 * Offsets to codes are taken off at the end, by the sums of groups of activations that are there for
 * minimums. Where a row has an odd number of blocks, the last is paired with one of zeros: a product
 * of zeros leaves the sums as they are.
 *
 * One activation is bound by instructions, not memory, on one thread of a Zen 5: of 256 values of
 * Q4_K 63 that compute, of Q6_K 83. Against 16 lanes of floats a row: Q4_K 31.7 to 27.3 GB/s from
 * the second cache, 26.4 to 25.1 from memory, Q6_K 30.8 to 32.6 and 25.5 to 26.2; two threads of a
 * machine in use have the same from both.
 */
#ifndef TR_COMPUTE_CPU_AVX2_K_H
#define TR_COMPUTE_CPU_AVX2_K_H

#include "compute/cpu/avx2_lanes.h"
#include "compute/cpu/grid256.h"
#include "compute/cpu/step256.h"

struct k {
	size_t bytes;
	size_t d_at;
	bool per_part; /* scales and minimums are of 32 values, not 16 */
	bool has_min;
	bool is_signed;
	int off; /* of the codes, if they are unsigned */
	struct lanes_codes lane;
	/* Group g of two blocks. */
	__m256i (*codes)(const uint8_t *first, const uint8_t *second, int g);
	/* Optional: 1 or -1 with the sign of each code, which is then a magnitude. */
	__m256i (*signs)(const uint8_t *first, const uint8_t *second, int g);
	/* Bytes, signed: scales of the groups, or parts, of each block from the start of its half on.
	 * With minimums, those in *min. */
	__m256i (*scales)(const uint8_t *first, const uint8_t *second, __m256i *min);
	/* Optional: puts a block into a form that the functions above and d_at are about. */
	void (*unpack)(const uint8_t *block, struct grid256 *to);
	float unit; /* d times this counts; 0: d itself */
};

/* What is to be added to signed codes to have them unsigned in a panel. */
#define K_SIGNED_OFF 64

/* --- one or two activations --------------------------------------------------------------------- */

static _Alignas(TR_CACHE_LINE) const uint8_t k_zeros[256];

/* p or, if there is no such thing, zeros: not to be known when this is compiled, or what is read
 * there is read in a branch and carried through memory. */
TR_INLINE const uint8_t *if_there(bool is, const void *p)
{
	const uint8_t *q = is ? p : k_zeros;

	__asm__("" : "+r"(q));
	return q;
}

/* Two blocks of an activation. */
struct k_act {
	_Alignas(32) int8_t x[16][32]; /* by group */
	_Alignas(32) int16_t sums[2][16]; /* of groups 0 to 7, 8 to 15; or of parts */
	float d[2];
};

#define K_ACTS 2

/* Blocks i and, if there is one, i + 1 of activation t. */
TR_INLINE void take_act(struct k_act *to, const struct k *ty, const struct tr_tile *tile, size_t i,
	int t)
{
	const uint8_t *act = tile->act[t];
	bool is_pair = i + 1 < tile->n / 256;
	const uint8_t *second = if_there(is_pair, act + 256 * (i + 1));
	const uint8_t *sums = act + tile->sum_off + 32 * i;
	const float *d = (const float *)(act + tile->d_off) + i;
	const __m256i one = _mm256_set1_epi16(1);
	__m256i a, b, lo, hi;

	TR_UNROLL
	for (int part = 0; part < 8; part++) {
		a = tr_avx2_load(act + 256 * i + 32 * part);
		b = tr_avx2_load(second + 32 * part);
		lanes_put(to->x[2 * part], _mm256_permute2x128_si256(a, b, 0x20));
		lanes_put(to->x[2 * part + 1], _mm256_permute2x128_si256(a, b, 0x31));
	}
	a = tr_avx2_load(sums);
	b = tr_avx2_load(if_there(is_pair, sums + 32));
	to->d[0] = d[0];
	memcpy(to->d + 1, if_there(is_pair, d + 1), sizeof(*d));
	lo = _mm256_permute2x128_si256(a, b, 0x20);
	hi = _mm256_permute2x128_si256(a, b, 0x31);
	if (ty->per_part)
		lo = _mm256_packs_epi32(_mm256_madd_epi16(lo, one), _mm256_madd_epi16(hi, one));
	lanes_put(to->sums[0], lo);
	lanes_put(to->sums[1], hi);
}

/* Bytes 0 to 7, or 8 to 15, of each half as numbers of 16 bits. */
TR_INLINE __m256i widen(__m256i bytes, bool high)
{
	__m256i v = high ? _mm256_unpackhi_epi8(bytes, bytes) : _mm256_unpacklo_epi8(bytes, bytes);

	return _mm256_srai_epi16(v, 8);
}

/* Sums of groups times what they count, in two halves. */
TR_INLINE __m256i count(const struct k *ty, __m256i bytes, const struct k_act *x)
{
	__m256i v = _mm256_madd_epi16(widen(bytes, false), lanes_get(x->sums[0]));

	if (ty->per_part)
		return v;
	return _mm256_add_epi32(
		v, _mm256_madd_epi16(widen(bytes, true), lanes_get(x->sums[1])));
}

TR_INLINE __m256i times(__m256i v, int off)
{
	if (off == 9)
		return _mm256_add_epi32(_mm256_slli_epi32(v, 3), v);
	return _mm256_slli_epi32(v, __builtin_ctz((unsigned)off));
}

/* 16 codes of two blocks, and what is needed of their signs. */
struct k_codes {
	__m256i codes, signs;
};

TR_INLINE struct k_codes take_codes(const struct k *ty, const uint8_t *first,
	const uint8_t *second, int g)
{
	struct k_codes c;

	c.codes = ty->codes(first, second, g);
	if (ty->signs)
		c.signs = ty->signs(first, second, g);
	if (ty->is_signed) {
		c.signs = c.codes;
		c.codes = _mm256_abs_epi8(c.codes);
	}
	return c;
}

/* Sums of pairs. */
TR_INLINE __m256i pairs(const struct k *ty, struct k_codes c, const int8_t x[32])
{
	__m256i v = lanes_get(x);

	return _mm256_maddubs_epi16(
		c.codes, ty->signs || ty->is_signed ? _mm256_sign_epi8(v, c.signs) : v);
}

/* Exact sums of two blocks of a row, and of its minimums, each in four words of a half. */
TR_INLINE void multiply(const struct k *ty, const uint8_t *first, const uint8_t *second,
	const struct k_act *x, __m256i sum[K_ACTS], __m256i sum_min[K_ACTS], int nt)
{
	__m256i min, bytes = ty->scales(first, second, &min), v[K_ACTS];
	__m256i scales[2] = { widen(bytes, false), widen(bytes, true) };
	/* Of two groups with the same scale sums of pairs are added up first. */
	int step = ty->per_part && !ty->is_signed ? 2 : 1;

	TR_UNROLL
	for (int t = 0; t < nt; t++)
		sum[t] = _mm256_setzero_si256();
	_Pragma("GCC unroll 16")
	for (int i = 0; i < 16; i++) {
		/* Groups that come from the same bytes follow each other. */
		int g = ty->per_part ? i : i / 8 * 8 + i % 4 * 2 + i / 4 % 2;
		int at = ty->per_part ? g / 2 : g;
		const short word = (short)(2 * (at % 8) | (2 * (at % 8) + 1) << 8);
		__m256i scale = _mm256_shuffle_epi8(scales[at / 8], _mm256_set1_epi16(word));
		struct k_codes c = take_codes(ty, first, second, g);

		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256i p = pairs(ty, c, x[t].x[g]);

			v[t] = g % step ? _mm256_add_epi16(v[t], p) : p;
			if ((g + 1) % step == 0)
				sum[t] = tr_avx2_now(_mm256_add_epi32(
					sum[t], _mm256_madd_epi16(v[t], scale)));
		}
	}
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		if (ty->off)
			sum[t] = _mm256_sub_epi32(
				sum[t], times(count(ty, bytes, &x[t]), ty->off));
		if (ty->has_min)
			sum_min[t] = count(ty, min, &x[t]);
	}
}

/* Two blocks of four rows. */
struct k_pair {
	const uint8_t *w[2][4];
};

TR_INLINE void take_rows(struct k_pair *p, const struct k *ty, const struct tr_tile *tile, size_t i,
	struct grid256 unpacked[2][4])
{
	bool is_pair = i + 1 < tile->n / 256;

	TR_UNROLL
	for (int r = 0; r < 4; r++) {
		p->w[0][r] = tile->w[r] + i * ty->bytes;
		p->w[1][r] = if_there(is_pair, p->w[0][r] + ty->bytes);
	}
	for (int b = 0; b < 8 && ty->unpack; b++) {
		ty->unpack(p->w[b / 4][b % 4], &unpacked[b / 4][b % 4]);
		by_memory(&unpacked[b / 4][b % 4]);
		p->w[b / 4][b % 4] = (const uint8_t *)&unpacked[b / 4][b % 4];
	}
}

/* d of two blocks of four rows, or, where there are minimums, dmin. */
TR_INLINE __m256 scale_of(const struct k *ty, __m256i words, bool dmin)
{
	__m256 d = tr_avx2_halves(words, dmin || (!ty->has_min && ty->d_at));

	return ty->unit != 0 ? _mm256_mul_ps(d, _mm256_set1_ps(ty->unit)) : d;
}

/* Exact sums of row r of a pair. */
TR_INLINE void sum_row(const struct k *ty, const struct tr_tile *tile, size_t i,
	const struct k_pair *p, const struct k_act *x, __m256i v[4][K_ACTS],
	__m256i m[4][K_ACTS], int r, int nt)
{
	if (r % 2 == 0) /* not all of it at once */
		tr_tile_prefetch(tile, (i + (size_t)r / 2) * ty->bytes, ty->bytes, 4);
	multiply(ty, p->w[0][r], p->w[1][r], x, v[r], m[r], nt);
}

/* Products of a pair of blocks of four rows, added to acc. */
TR_INLINE void add_pair(const struct k *ty, __m256 acc[K_ACTS], const struct tr_tile *tile, size_t i,
	const struct k_pair *p, const struct k_act *x, int nt)
{
	__m256i v[4][K_ACTS], m[4][K_ACTS], words;

	/* Unrolled, so that each load of codes goes on in one row: processors foresee the addresses
	 * of an instruction. In a loop Q4_K has 23.5 GB/s, not 26.5. Code for two activations is too
	 * long for that: Q5_K 84 GFLOP/s, in a loop 102. */
	if (nt == 1) {
		TR_UNROLL
		for (int r = 0; r < 4; r++)
			sum_row(ty, tile, i, p, x, v, m, r, nt);
	} else {
		_Pragma("GCC unroll 1")
		for (int r = 0; r < 4; r++)
			sum_row(ty, tile, i, p, x, v, m, r, nt);
	}
	words = tr_avx2_words(p->w, d_pair_at(ty->d_at, ty->has_min));
	TR_UNROLL
	for (int t = 0; t < nt; t++) {
		__m256 d_x = tr_avx2_by_block(x[t].d);
		__m256i of[4] = { v[0][t], v[1][t], v[2][t], v[3][t] };

		acc[t] = _mm256_fmadd_ps(_mm256_mul_ps(scale_of(ty, words, false), d_x),
			_mm256_cvtepi32_ps(tr_avx2_sums(of, false, 0)), acc[t]);
		if (!ty->has_min)
			continue;
		TR_UNROLL
		for (int r = 0; r < 4; r++)
			of[r] = m[r][t];
		acc[t] = _mm256_fnmadd_ps(_mm256_mul_ps(scale_of(ty, words, true), d_x),
			_mm256_cvtepi32_ps(tr_avx2_sums(of, false, 0)), acc[t]);
	}
}

TR_INLINE void tile(const void *type, const struct tr_tile *tile,
	float sum[TR_TILE_ROWS][TR_TILE_ACTS], int nr, int nt)
{
	const struct k *ty = type;
	__m256 acc[K_ACTS], acc_next[K_ACTS];
	struct grid256 unpacked[2][4];

	(void)nr;
	TR_UNROLL
	for (int t = 0; t < nt; t++)
		acc[t] = acc_next[t] = _mm256_setzero_ps();
	for (size_t i = 0; i < tile->n / 256; i += 2) {
		struct k_pair p;
		struct k_act x[K_ACTS];

		TR_UNROLL
		for (int t = 0; t < nt; t++)
			take_act(&x[t], ty, tile, i, t);
		take_rows(&p, ty, tile, i, unpacked);
		add_pair(ty, acc, tile, i, &p, x, nt);
		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256 turn = acc[t];

			acc[t] = acc_next[t];
			acc_next[t] = turn;
		}
	}
	TR_UNROLL
	for (int t = 0; t < nt; t++)
		tr_avx2_join(sum, t, acc[t], acc_next[t]);
}

/* --- panels ------------------------------------------------------------------------------------- */

/* Byte `at` of each word as a number of 16 bits, twice; or bytes `at` and `at` + 1. */
TR_INLINE __m256i lane_bytes(__m256i words, int at, bool two)
{
	const __m256i first = _mm256_setr_epi32(
		0, 0x04000400, 0x08000800, 0x0c000c00, 0, 0x04000400, 0x08000800, 0x0c000c00);
	int pick = at << 8 | (two ? at + 1 : at) << 24;

	/* To the high bytes; what is in the low ones goes by the shift. */
	words = _mm256_shuffle_epi8(words, _mm256_add_epi8(first, _mm256_set1_epi32(pick)));
	return _mm256_srai_epi16(words, 8);
}

TR_INLINE void lane_scales(const struct k *ty, struct lanes_panel *to, const uint8_t *const w[2][4])
{
	__m256i scales[4], mins[4], words[4];
	int off = ty->signs ? K_SIGNED_OFF : ty->off;

	TR_UNROLL
	for (int r = 0; r < 4; r++)
		scales[r] = ty->scales(w[0][r], w[1][r], &mins[r]);
	lanes_turn(words, scales);
	_Pragma("GCC unroll 16")
	for (int g = 0; g < 16; g++) {
		int at = ty->per_part ? g / 2 : g;

		lanes_put(to->scales[g], lane_bytes(words[at / 4], at % 4, false));
	}
	if (!ty->has_min && !off)
		return;
	if (ty->has_min)
		lanes_turn(words, mins);
	TR_UNROLL
	for (int p = 0; p < 8; p++) {
		int at = ty->per_part ? p : 2 * p;
		__m256i count = lane_bytes(words[at / 4], at % 4, !ty->per_part);

		if (!ty->has_min)
			count = _mm256_mullo_epi16(count, _mm256_set1_epi16((short)-off));
		lanes_put(to->counts[p], count);
	}
}

TR_INLINE void lane_codes(const struct k *ty, struct lanes_panel *to, const uint8_t *const w[2][4])
{
	_Pragma("GCC unroll 16")
	for (int g = 0; g < 16; g++) {
		__m256i v[4], words[4];

		TR_UNROLL
		for (int r = 0; r < 4; r++) {
			v[r] = ty->codes(w[0][r], w[1][r], g);
			if (ty->signs)
				v[r] = _mm256_add_epi8(_mm256_set1_epi8(K_SIGNED_OFF),
					_mm256_sign_epi8(v[r], ty->signs(w[0][r], w[1][r], g)));
		}
		lanes_turn(words, v);
		TR_UNROLL
		for (int j = 0; j < 4; j++)
			lanes_put_codes(to, ty->lane, 4 * g + j, words[j]);
	}
}

TR_INLINE void unpack_lanes(const void *type, struct lanes_panel *to,
	const struct lanes_rows *rows, const struct lanes_strip *s, size_t i)
{
	const struct k *ty = type;
	struct grid256 unpacked[LANE_ROWS];
	const uint8_t *w[2][4];
	__m256i words;

	lanes_prefetch(s, rows, i * ty->bytes, ty->bytes);
	TR_UNROLL
	for (int r = 0; r < LANE_ROWS; r++)
		w[r / 4][r % 4] = rows->w[r / 4][r % 4] + i * ty->bytes;
	for (int r = 0; r < LANE_ROWS && ty->unpack; r++) {
		ty->unpack(w[r / 4][r % 4], &unpacked[r]);
		by_memory(&unpacked[r]);
		w[r / 4][r % 4] = (const uint8_t *)&unpacked[r];
	}
	words = tr_avx2_words(w, d_pair_at(ty->d_at, ty->has_min));
	_mm256_store_ps(to->d[0], scale_of(ty, words, false));
	if (ty->has_min)
		_mm256_store_ps(to->m[0], scale_of(ty, words, true));
	lane_scales(ty, to, w);
	lane_codes(ty, to, w);
}

/* Sums of groups by what they count. */
TR_INLINE void count_groups(__m256i sum[LANE_TILE], const struct lanes_panel *p,
	const uint8_t *const groups[LANE_TILE], int nt)
{
	TR_UNROLL
	for (int i = 0; i < 8; i++) {
		__m256i count = lanes_get(p->counts[i]);

		TR_UNROLL
		for (int t = 0; t < nt; t++) {
			__m256i v;
			int two;

			memcpy(&two, groups[t] + 4 * i, sizeof(two));
			v = _mm256_madd_epi16(count, _mm256_set1_epi32(two));
			sum[t] = tr_avx2_now(i ? _mm256_add_epi32(sum[t], v) : v);
		}
	}
}

TR_INLINE void meet_lanes(const void *type, const struct lanes_panel *p,
	const struct lanes_strip *s, size_t t, size_t i, lanes_sums sums, int nt)
{
	const struct k *ty = type;
	const uint8_t *groups[LANE_TILE];
	const int8_t *q[LANE_TILE];
	__m256i sum[LANE_TILE], sum_min[LANE_TILE], pairs[LANE_TILE];

	TR_UNROLL
	for (int a = 0; a < nt; a++) {
		const uint8_t *act = s->act + (t + (size_t)a) * s->act_bytes;

		q[a] = (const int8_t *)act + LANE_VALUES * i;
		groups[a] = act + s->sum_off + 32 * i;
		sum[a] = _mm256_setzero_si256();
	}
	if (ty->has_min)
		count_groups(sum_min, p, groups, nt);
	else if (ty->off || ty->signs)
		count_groups(sum, p, groups, nt);
	_Pragma("GCC unroll 1")
	for (int k = 0; k < LANE_VALUES / 4; k += ty->lane.fit) {
		__m256i scale = lanes_get(p->scales[k / 4]);

		lanes_pairs(pairs, p, ty->lane, q, k, nt);
		TR_UNROLL
		for (int a = 0; a < nt; a++)
			sum[a] = _mm256_add_epi32(sum[a], _mm256_madd_epi16(pairs[a], scale));
	}
	TR_UNROLL
	for (int a = 0; a < nt; a++) {
		const uint8_t *act = s->act + (t + (size_t)a) * s->act_bytes;
		__m256 d_x = _mm256_broadcast_ss((const float *)(act + s->d_off) + i);
		float *to = sums[t + (size_t)a][i % 4];
		__m256 v = _mm256_load_ps(to);

		v = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(p->d[0]), d_x),
			_mm256_cvtepi32_ps(sum[a]), v);
		if (ty->has_min)
			v = _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_load_ps(p->m[0]), d_x),
				_mm256_cvtepi32_ps(sum_min[a]), v);
		_mm256_store_ps(to, v);
	}
}

#define K_DOT(name, least)                                                                         \
	TR_AVX2_DEFINE_DOT(tr_avx2_dot_##name, tile, NULL, unpack_lanes, meet_lanes, &name,        \
		TR_ACT_Q8_256, least)

#endif
