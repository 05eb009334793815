/*
 * kernels_data.c - see kernels_data.h.
 *
 * canonical_dot takes nothing from src/compute but the layout of activations. The integers that
 * are multiplied come from the decoder of the type, run on a copy of the block whose scale is
 * unit_of() and whose minimum factor is 0, and the minimums from one with 0 and 1.
 */
#include "test.h"
#include "kernels_data.h"
#include "model/quants/blocks.h"

#include <math.h>

enum { D_E8M0 = -1 /* in the first byte */, D_IQ1_M = -2 /* in the scales */ };

static const struct scales {
	uint32_t id;
	int d_off; /* or one of the below */
	int m_off; /* -1: none */
} scales[] = {
	{ TR_QUANT_Q4_0, offsetof(struct tr_block_q4_0, d), -1 },
	{ TR_QUANT_Q4_1, offsetof(struct tr_block_q4_1, d), offsetof(struct tr_block_q4_1, m) },
	{ TR_QUANT_Q5_0, offsetof(struct tr_block_q5_0, d), -1 },
	{ TR_QUANT_Q5_1, offsetof(struct tr_block_q5_1, d), offsetof(struct tr_block_q5_1, m) },
	{ TR_QUANT_Q8_0, offsetof(struct tr_block_q8_0, d), -1 },
	{ TR_QUANT_Q2_K, offsetof(struct tr_block_q2_k, d), offsetof(struct tr_block_q2_k, dmin) },
	{ TR_QUANT_Q3_K, offsetof(struct tr_block_q3_k, d), -1 },
	{ TR_QUANT_Q4_K, offsetof(struct tr_block_q4_k, d), offsetof(struct tr_block_q4_k, dmin) },
	{ TR_QUANT_Q5_K, offsetof(struct tr_block_q5_k, d), offsetof(struct tr_block_q5_k, dmin) },
	{ TR_QUANT_Q6_K, offsetof(struct tr_block_q6_k, d), -1 },
	{ TR_QUANT_IQ4_NL, offsetof(struct tr_block_iq4_nl, d), -1 },
	{ TR_QUANT_IQ4_XS, offsetof(struct tr_block_iq4_xs, d), -1 },
	{ TR_QUANT_IQ1_S, offsetof(struct tr_block_iq1_s, d), -1 },
	{ TR_QUANT_IQ1_M, D_IQ1_M, -1 },
	{ TR_QUANT_IQ2_XXS, offsetof(struct tr_block_iq2_xxs, d), -1 },
	{ TR_QUANT_IQ2_XS, offsetof(struct tr_block_iq2_xs, d), -1 },
	{ TR_QUANT_IQ2_S, offsetof(struct tr_block_iq2_s, d), -1 },
	{ TR_QUANT_IQ3_XXS, offsetof(struct tr_block_iq3_xxs, d), -1 },
	{ TR_QUANT_IQ3_S, offsetof(struct tr_block_iq3_s, d), -1 },
	{ TR_QUANT_MXFP4, D_E8M0, -1 },
};

static const struct scales *scales_of(uint32_t id)
{
	for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++)
		if (scales[i].id == id)
			return &scales[i];
	return NULL;
}

/* The scale that makes all values integers. */
static float unit_of(uint32_t id)
{
	switch (id) {
	case TR_QUANT_IQ1_S:
	case TR_QUANT_IQ1_M:
	case TR_QUANT_IQ2_XXS:
	case TR_QUANT_IQ2_XS:
	case TR_QUANT_IQ2_S:
		return 8;
	case TR_QUANT_IQ3_XXS:
		return 4;
	default:
		return 1;
	}
}

uint32_t rnd(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) << 1 ^ (uint32_t)(*seed >> 40);
}

float rnd_float(uint64_t *seed)
{
	return (float)(int32_t)rnd(seed) * 0x1p-31f;
}

static void put_f16(uint8_t *at, float v)
{
	uint16_t h = tr_f32_to_f16(v);

	memcpy(at, &h, sizeof(h));
}

static float get_f16(const uint8_t *at)
{
	uint16_t h;

	memcpy(&h, at, sizeof(h));
	return tr_f16_to_f32(h);
}

/* The block's scale becomes v, of which E8M0 takes the exponent. */
static void put_d(const struct scales *s, uint8_t *block, float v)
{
	if (s->d_off == D_E8M0)
		block[0] = (uint8_t)(128 + ilogbf(v));
	else if (s->d_off == D_IQ1_M)
		tr_iq1_m_put_d((struct tr_block_iq1_m *)block, tr_f32_to_f16(v));
	else
		put_f16(block + s->d_off, v);
}

static float get_d(const struct scales *s, const uint8_t *block)
{
	if (s->d_off == D_E8M0)
		return ldexpf(1, block[0] - 128);
	if (s->d_off == D_IQ1_M)
		return tr_f16_to_f32(tr_iq1_m_d((const struct tr_block_iq1_m *)block));
	return get_f16(block + s->d_off);
}

static void fill_floats(const struct tr_quant *q, uint8_t *at, size_t n, uint64_t *seed)
{
	for (size_t i = 0; i < n; i++) {
		float f = ldexpf(rnd_float(seed), (int)(rnd(seed) % 8) - 4);
		uint32_t u;

		if (q->id == TR_QUANT_F16) {
			put_f16(at + 2 * i, f);
			continue;
		}
		memcpy(&u, &f, sizeof(u));
		if (q->id == TR_QUANT_BF16)
			memcpy(at + 2 * i, (char *)&u + 2, 2);
		else
			memcpy(at + 4 * i, &u, 4);
	}
}

uint8_t *new_rows(const struct tr_quant *q, enum fill fill, size_t n_row, size_t n,
	uint64_t *seed)
{
	static const uint8_t byte[N_FILL] = { [FILL_FF] = 0xff, [FILL_80] = 0x80 };
	const struct scales *s = scales_of(q->id);
	size_t n_block = n_row * (n / q->block_values), bytes = n_block * q->block_bytes;
	uint8_t *rows = malloc(bytes + 1);

	assert_non_null(rows);
	rows++;
	if (!s) {
		fill_floats(q, rows, n_row * n, seed);
		return rows;
	}
	for (size_t i = 0; i < bytes; i++)
		rows[i] = fill == FILL_RANDOM ? (uint8_t)(rnd(seed) >> 8) : byte[fill];
	for (size_t b = 0; b < n_block; b++) {
		uint8_t *at = rows + b * q->block_bytes;

		put_d(s, at, s->d_off == D_E8M0 ? ldexpf(1, (int)(rnd(seed) % 20) - 10)
						: rnd_float(seed) / 16);
		if (s->m_off >= 0)
			put_f16(at + s->m_off, rnd_float(seed) / 4);
	}
	return rows;
}

void free_rows(uint8_t *rows)
{
	free(rows - 1);
}

char *new_acts(const struct tr_kernels *k, enum tr_act_kind kind, size_t n_act, size_t n,
	float **x_out, uint64_t *seed)
{
	size_t bytes = tr_act_bytes(kind, n);
	char *acts = aligned_alloc(64, n_act * bytes);
	float *x = malloc(n_act * n * sizeof(float));

	assert_non_null(acts);
	assert_non_null(x);
	for (size_t i = 0; i < n_act * n; i++)
		x[i] = rnd_float(seed) * (i % 7 == 3 ? 30 : 1);
	for (size_t t = 0; t < n_act; t++)
		k->quantise(kind, x + t * n, n, acts + t * bytes);
	if (x_out)
		*x_out = x;
	else
		free(x);
	return acts;
}

static float act_scale(enum tr_act_kind kind, const char *act, size_t n, size_t i)
{
	const float *d = (const float *)(act + tr_act_d_off(kind, n));

	return d[i / (kind == TR_ACT_Q8_32 ? 32 : 256)];
}

double act_value(enum tr_act_kind kind, const char *act, size_t n, size_t i)
{
	if (kind == TR_ACT_F32)
		return (double)((const float *)act)[i];
	return (double)act[i] * (double)act_scale(kind, act, n, i);
}

static float tree(const float l[16])
{
	return (((l[0] + l[8]) + (l[4] + l[12])) + ((l[2] + l[10]) + (l[6] + l[14]))) +
	       (((l[1] + l[9]) + (l[5] + l[13])) + ((l[3] + l[11]) + (l[7] + l[15])));
}

static float canonical_float_dot(const struct tr_quant *q, const uint8_t *row, const char *act,
	size_t n)
{
	const float *x = (const float *)act;
	float lane[16] = { 0 }, w;

	for (size_t i = 0; i < n; i++) {
		q->dequant(row + i * q->block_bytes, &w, 1);
		lane[i % 16] = fmaf(w, x[i], lane[i % 16]);
	}
	return tree(lane);
}

/* The integers of a block, w as without minimum, and the minimums (sign as decoded). */
static void decode_integers(const struct tr_quant *q, const uint8_t *block, float *w, float *min,
	float *d, float *m)
{
	const struct scales *s = scales_of(q->id);
	float unit = unit_of(q->id);
	uint8_t copy[256];

	memcpy(copy, block, q->block_bytes);
	*d = get_d(s, block) / unit;
	*m = s->m_off < 0 ? 0 : get_f16(block + s->m_off);
	if (s->m_off >= 0) {
		put_d(s, copy, 0);
		put_f16(copy + s->m_off, 1);
		q->dequant(copy, min, q->block_values);
		put_f16(copy + s->m_off, 0);
	}
	put_d(s, copy, unit);
	q->dequant(copy, w, q->block_values);
}

float canonical_dot(const struct tr_quant *q, const uint8_t *row, const char *act, size_t n)
{
	int has_min = q->act != TR_ACT_F32 && scales_of(q->id)->m_off >= 0;
	int sign = q->act == TR_ACT_Q8_256 ? -1 : 1; /* of minimums */
	float acc[4] = { 0 }, w[256], min[256], d, m;

	if (q->act == TR_ACT_F32)
		return canonical_float_dot(q, row, act, n);
	for (size_t first = 0; first < n; first += q->block_values, row += q->block_bytes) {
		float d_x = act_scale(q->act, act, n, first);
		float *to = &acc[first / q->block_values % 4];
		int sum = 0, sum_min = 0;

		decode_integers(q, row, w, min, &d, &m);
		for (size_t i = 0; i < q->block_values; i++) {
			int x = (signed char)act[first + i];

			sum += (int)w[i] * x;
			sum_min += has_min ? sign * (int)min[i] * x : 0;
		}
		*to = fmaf(d * d_x, (float)sum, *to);
		if (has_min)
			*to = fmaf((float)sign * (m * d_x), (float)sum_min, *to);
	}
	return (acc[0] + acc[2]) + (acc[1] + acc[3]);
}

int same_float(float a, float b)
{
	return (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof(a));
}
