#include "test.h"
#include "compute/exp.h"
#include "compute/kernels.h"
#include "kernels_data.h"

static void exp_is_right_to_one_ulp(void **state)
{
	double worst = 0;

	(void)state;
	for (uint64_t u = 0; u < 1ull << 32; u += 997) {
		uint32_t bits = (uint32_t)u;
		double want, ulp;
		int e;
		float x;

		memcpy(&x, &bits, sizeof(x));
		if (!(x >= TR_EXP_LO && x <= TR_EXP_HI))
			continue;
		want = exp((double)x);
		frexp(want, &e);
		ulp = fabs((double)tr_expf(x) - want) / ldexp(1, e - 24);
		worst = ulp > worst ? ulp : worst;
	}
	if (worst > 1)
		fail_msg("off by %g ulp", worst);
}

static void exp_ends_where_it_says(void **state)
{
	float y;

	(void)state;
	assert_true(tr_expf(0.0f) == 1 && tr_expf(-0.0f) == 1 && tr_expf(0x1p-149f) == 1);
	assert_true(isfinite(tr_expf(TR_EXP_HI)) && tr_expf(TR_EXP_HI) > 3.4e38f);
	assert_true(isinf(tr_expf(nextafterf(TR_EXP_HI, INFINITY))));
	assert_true(tr_expf(TR_EXP_LO) >= 0x1p-126f);
	y = tr_expf(nextafterf(TR_EXP_LO, -INFINITY));
	assert_true(y == 0 && !signbit(y));
	assert_true(isinf(tr_expf(INFINITY)) && tr_expf(-INFINITY) == 0 && isnan(tr_expf(NAN)));
}

static void sigmoid_and_silu_are_right_and_saturate(void **state)
{
	static const float x[] = { -200, -88.8f, -87.5f, -20, -1, -0.0f, 0, 0x1p-30f, 1, 20,
		90, 200 };
	enum { N = sizeof(x) / sizeof(x[0]) };
	const struct tr_kernels *k;
	float s[N], g[N], up[N];

	(void)state;
	for (int i = 0; i < N; i++)
		up[i] = 2;
	for_each_isa(k) {
		k->sigmoid(s, x, N);
		k->silu_mul(g, x, up, N);
		for (int i = 0; i < N; i++) {
			double want = 1 / (1 + exp(-(double)x[i]));

			assert_true(fabs((double)s[i] - want) <= 3e-7 * want + 1e-37);
			assert_true(fabs((double)g[i] - 2 * (double)x[i] * want) <=
				6e-7 * fabs((double)x[i]) * want + 1e-35);
		}
		assert_true(s[0] == 0 && s[N - 1] == 1 && g[N - 1] == 400);
		assert_true(g[0] == 0 && signbit(g[0]));
	}
}

/* One block as kernels.h words it. */
static float canonical_quantise(const float *x, size_t n, char *q)
{
	float amax = 0;
	int finite = 1;

	for (size_t i = 0; i < n; i++) {
		finite &= !!isfinite(x[i]);
		amax = fmaxf(amax, fabsf(x[i]));
	}
	if (!finite || amax < TR_ACT_TINY) {
		memset(q, 0, n);
		return finite ? 0 : NAN;
	}
	for (size_t i = 0; i < n; i++)
		q[i] = (char)nearbyintf(x[i] * (127.0f / amax));
	return amax / 127.0f;
}

static void canonical_act(enum tr_act_kind kind, const float *x, size_t n, char *act)
{
	size_t block = kind == TR_ACT_Q8_32 ? 32 : 256;
	float *d = (float *)(act + tr_act_d_off(kind, n));
	int16_t *sum = (int16_t *)(act + tr_act_sum_off(n));

	for (size_t b = 0; b < n / block; b++)
		d[b] = canonical_quantise(x + b * block, block, act + b * block);
	for (size_t g = 0; kind == TR_ACT_Q8_256 && g < n / 16; g++) {
		int total = 0;

		for (size_t i = 16 * g; i < 16 * g + 16; i++)
			total += (int8_t)act[i];
		sum[g] = (int16_t)total;
	}
}

/* Quantises n values as kind in every set; all sections are as they should be. */
static void check_quantise(enum tr_act_kind kind, const float *x, size_t n)
{
	size_t bytes = tr_act_bytes(kind, n), d_off = tr_act_d_off(kind, n);
	char *want = aligned_alloc(64, bytes), *got = aligned_alloc(64, bytes);
	const struct tr_kernels *k;

	assert_non_null(want);
	assert_non_null(got);
	memset(want, 0x5a, bytes);
	if (kind != TR_ACT_F32)
		canonical_act(kind, x, n, want);
	for_each_isa(k) {
		memset(got, 0x5a, bytes);
		k->quantise(kind, x, n, got);
		if (kind == TR_ACT_F32) {
			assert_memory_equal(got, x, n * sizeof(float));
			continue;
		}
		for (size_t b = 0; b < n / (kind == TR_ACT_Q8_32 ? 32 : 256); b++) {
			float *d = (float *)(got + d_off) + b, *w = (float *)(want + d_off) + b;

			assert_true(same_float(*d, *w));
			*d = *w;
		}
		assert_memory_equal(got, want, bytes);
	}
	free(want);
	free(got);
}

static void activations_are_quantised_alike(void **state)
{
	float x[1024];
	uint64_t seed = 6;

	(void)state;
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 1024; i++)
			x[i] = ldexpf(rnd_float(&seed), round * 6 - 125);
		/* Exact halves in units of the scale: 63.5 rounds to 64, 62.5 to 62. */
		x[256] = 127;
		x[257] = 63.5f;
		x[258] = -62.5f;
		/* Around the ties of another scale, where a division by d gives other codes. */
		x[512] = 1 + fabsf(rnd_float(&seed));
		for (int i = 1; i < 256; i++) {
			x[512 + i] = ((float)(i % 127) + 0.5f) * (x[512] / 127);
			if (i > 127)
				x[512 + i] = nextafterf(-x[512 + i], 0);
		}
		if (round % 4 == 1)
			x[800] = round % 8 == 1 ? INFINITY : NAN;
		for (size_t n = 32; n <= 1024; n += 224)
			check_quantise(TR_ACT_Q8_32, x, n);
		for (size_t n = 256; n <= 1024; n += 256)
			check_quantise(TR_ACT_Q8_256, x, n);
		check_quantise(TR_ACT_F32, x, 37);
	}
}

static void quantising_has_its_corner_cases(void **state)
{
	const struct tr_kernels *k;
	float x[256] = { 0 }, *d;
	int8_t *q;
	int16_t *sum;
	char *act = aligned_alloc(64, tr_act_bytes(TR_ACT_Q8_256, 256));

	(void)state;
	assert_non_null(act);
	q = (int8_t *)act;
	for_each_isa(k) {
		/* Eight blocks of 32: zeros, NaN, infinity, tiny, the smallest that counts, the
		 * greatest float, its negative, ties. */
		memset(x, 0, sizeof(x));
		x[33] = NAN;
		x[34] = 1;
		x[70] = -INFINITY;
		x[96] = 0x1.fffffep-121f;
		x[97] = 0x1p-149f;
		x[128] = -0x1p-120f;
		x[129] = 0x1p-121f;
		x[160] = 0x1.fffffep127f;
		x[161] = 0x1p127f;
		x[192] = -0x1.fffffep127f;
		x[224] = 127;
		x[225] = 0.5f;
		x[226] = 1.5f;
		x[227] = -2.5f;
		x[228] = -126.5f;
		k->quantise(TR_ACT_Q8_32, x, 256, act);
		d = (float *)(act + tr_act_d_off(TR_ACT_Q8_32, 256));
		assert_true(d[0] == 0 && isnan(d[1]) && isnan(d[2]) && d[3] == 0);
		assert_true(d[4] == 0x1p-120f / 127 && d[5] == 0x1.fffffep127f / 127);
		assert_true(d[6] == d[5] && d[7] == 1);
		for (int i = 0; i < 128; i++)
			assert_int_equal(q[i], 0);
		assert_int_equal(q[128], -127);
		assert_int_equal(q[129], 64);
		assert_int_equal(q[160], 127);
		assert_int_equal(q[161], 64);
		assert_int_equal(q[192], -127);
		assert_int_equal(q[225], 0);
		assert_int_equal(q[226], 2);
		assert_int_equal(q[227], -2);
		assert_int_equal(q[228], -126);

		for (int i = 0; i < 256; i++)
			x[i] = i < 16 ? -3.0f : (float)(i / 16) / 15;
		k->quantise(TR_ACT_Q8_256, x, 256, act);
		d = (float *)(act + tr_act_d_off(TR_ACT_Q8_256, 256));
		sum = (int16_t *)(act + tr_act_sum_off(256));
		assert_true(d[0] == 3.0f / 127);
		assert_int_equal(sum[0], -127 * 16);
		for (int g = 1; g < 16; g++)
			assert_int_equal(sum[g], 16 * q[16 * g]);
		assert_int_equal(q[255], 42);
		x[255] = NAN;
		k->quantise(TR_ACT_Q8_256, x, 256, act);
		assert_true(isnan(d[0]));
		for (int g = 0; g < 16; g++)
			assert_int_equal(sum[g], 0);
	}
	free(act);
}

static void check_floats(const char *isa, const char *what, size_t n, const float *got,
	const float *want, size_t n_check)
{
	for (size_t i = 0; i < n_check; i++)
		if (!same_float(got[i], want[i]))
			fail_msg("%s %s n %zu at %zu: %a, not %a", isa, what, n, i, (double)got[i],
				(double)want[i]);
}

#define MAX_N 131

struct vectors {
	float x[MAX_N], y[MAX_N];
	uint16_t h[MAX_N];
};

static void make_vectors(struct vectors *v, int special, uint64_t *seed)
{
	static const float odd[] = { 0.0f, -0.0f, INFINITY, -INFINITY, 0x1p-149f, -0x1p-130f, 88.8f,
		-87.4f, -103.0f, 65519.0f, 65520.0f, 0x1.002p-14f, 0x1p-25f, 0x1.8p-25f, 1e30f,
		NAN };

	for (int i = 0; i < MAX_N; i++) {
		v->x[i] = ldexpf(rnd_float(seed), (int)(rnd(seed) % 12) - 5);
		v->y[i] = ldexpf(rnd_float(seed), (int)(rnd(seed) % 12) - 5);
		v->h[i] = tr_f32_to_f16(rnd_float(seed));
		if (special && rnd(seed) % 3 == 0)
			v->x[i] = odd[rnd(seed) % (sizeof(odd) / sizeof(odd[0]))];
		if (special && rnd(seed) % 3 == 0)
			v->h[i] = (uint16_t)(rnd(seed) >> 7);
	}
}

static void check_vectors(const struct tr_kernels *k, const struct vectors *v, size_t n)
{
	const struct tr_kernels *s = tr_kernels_get(TR_ISA_SCALAR);
	float got[MAX_N + 1], want[MAX_N + 1], sum[2];
	uint16_t h[2][MAX_N + 1];

#define BOTH(what, ...)                                                                            \
	do {                                                                                       \
		const struct tr_kernels *set = k;                                                  \
		float *o = got;                                                                    \
		memcpy(got, v->y, sizeof(v->y));                                                   \
		memcpy(want, v->y, sizeof(v->y));                                                  \
		got[MAX_N] = want[MAX_N] = -77;                                                    \
		__VA_ARGS__;                                                                       \
		set = s;                                                                           \
		o = want;                                                                          \
		__VA_ARGS__;                                                                       \
		check_floats(k->name, what, n, got, want, MAX_N + 1);                              \
	} while (0)
	BOTH("dot_f32", o[0] = set->dot_f32(v->x, v->y, n));
	BOTH("dot_f16", o[0] = set->dot_f16(v->h, v->y, n));
	BOTH("sum_squares", o[0] = set->sum_squares(v->x, n));
	BOTH("max", o[0] = set->max(v->x, n));
	BOTH("axpy_f32", set->axpy_f32(o, 0.3f, v->x, n));
	BOTH("axpy_f16", set->axpy_f16(o, 0.3f, v->h, n));
	BOTH("add", set->add(o, v->x, n));
	BOTH("scale", set->scale(o, -1.7f, n));
	BOTH("mul_scaled", set->mul_scaled(o, v->x, 0.7f, v->y, n));
	BOTH("mul_scaled in place", set->mul_scaled(o, o, 0.7f, v->x, n));
	BOTH("silu_mul", set->silu_mul(o, v->x, v->y, n));
	BOTH("silu_mul in place", set->silu_mul(o, o, v->x, n));
	BOTH("sigmoid", set->sigmoid(o, v->x, n));
	BOTH("exp_sum", sum[o == want] = set->exp_sum(o, v->x, 0.25f, n));
	check_floats(k->name, "exp_sum", n, &sum[0], &sum[1], 1);
#undef BOTH
	memset(h, 0x5a, sizeof(h));
	k->to_f16(h[0], v->x, n);
	s->to_f16(h[1], v->x, n);
	assert_memory_equal(h[0], h[1], sizeof(h[0]));
}

static void vector_functions_have_the_same_bits_in_every_set(void **state)
{
	const struct tr_kernels *k;
	struct vectors v;
	uint64_t seed = 7;

	(void)state;
	for (size_t n = 0; n <= MAX_N; n++)
		for (int special = 0; special < 2; special++) {
			make_vectors(&v, special, &seed);
			for_each_isa(k)
				check_vectors(k, &v, n);
		}
}

static void blocks_of_q8_0_are_unpacked_alike(void **state)
{
	const struct tr_quant *q = tr_quant_by_id(TR_QUANT_Q8_0);
	float want[8 * 32], got[8 * 32];
	uint64_t seed = 8;

	(void)state;
	for (int fill = 0; fill < N_FILL; fill++)
		for (size_t n = 32; n <= 8 * 32; n += 32) {
			uint8_t *blocks = new_rows(q, (enum fill)fill, 1, n, &seed);
			const struct tr_kernels *k;

			q->dequant(blocks, want, n);
			for_each_isa(k) {
				memset(got, 0xff, sizeof(got));
				k->from_q8_0(got, blocks, n);
				check_floats(k->name, "from_q8_0", n, got, want, n);
			}
			free_rows(blocks);
		}
}

#define MAX_ROWS 19
#define MAX_QUERIES 14
#define ROOM 150

/* Rows of both types, queries and weights, at odd places and strides. */
struct panels {
	float x[MAX_ROWS * ROOM + 1], query[MAX_QUERIES * ROOM + 1], weight[MAX_QUERIES * 40 + 1];
	uint16_t h[MAX_ROWS * ROOM + 1];
	float out[2][MAX_QUERIES * ROOM];
};

static float panel_value(int special, uint64_t *seed)
{
	static const float odd[] = { 0.0f, -0.0f, INFINITY, 0x1p-149f, -0x1p-140f, 1e30f, NAN };

	if (special && rnd(seed) % 20 == 0)
		return odd[rnd(seed) % (sizeof(odd) / sizeof(odd[0]))];
	return ldexpf(rnd_float(seed), (int)(rnd(seed) % 12) - 5);
}

static void make_panels(struct panels *p, int special, uint64_t *seed)
{
	for (size_t i = 0; i < sizeof(p->x) / sizeof(p->x[0]); i++) {
		p->x[i] = panel_value(special, seed);
		p->h[i] = tr_f32_to_f16(panel_value(special, seed));
	}
	for (size_t i = 0; i < sizeof(p->query) / sizeof(p->query[0]); i++)
		p->query[i] = panel_value(special, seed);
	for (size_t i = 0; i < sizeof(p->weight) / sizeof(p->weight[0]); i++)
		p->weight[i] = panel_value(special, seed);
	for (size_t i = 0; i < MAX_QUERIES * ROOM; i++)
		p->out[0][i] = panel_value(special, seed);
}

/* Both functions against the ones for single rows, and nothing else is written. */
static void check_panels(const struct tr_kernels *k, struct panels *p, bool half, size_t n_row,
	size_t n_query, size_t n)
{
	const struct tr_kernels *s = tr_kernels_get(TR_ISA_SCALAR);
	struct tr_panel rows = { p->x + 1, half, ROOM - 1, n_row };
	struct tr_panel queries = { p->query + 1, false, ROOM - 3, n_query };
	struct tr_panel weights = { p->weight + 1, false, 37, n_query };
	struct tr_ahead ahead = { p->x, n % 2 ? sizeof(p->x) : 0 };
	float first[MAX_QUERIES * ROOM], *want = p->out[1];

	if (half)
		rows.x = p->h + 1;
	memcpy(first, p->out[0], sizeof(first));
	memcpy(want, first, sizeof(first));
	for (size_t q = 0; q < n_query; q++)
		for (size_t r = 0; r < n_row; r++) {
			const float *x = p->query + 1 + q * queries.stride;
			size_t at = 1 + r * rows.stride;

			want[q * 40 + r] = half ? s->dot_f16(p->h + at, x, n) :
						  s->dot_f32(p->x + at, x, n);
		}
	k->dots(p->out[0], 40, &rows, &queries, n, ahead);
	check_floats(k->name, "dots", n, p->out[0], want, MAX_QUERIES * ROOM);

	memcpy(want, first, sizeof(first));
	memcpy(p->out[0], first, sizeof(first));
	for (size_t q = 0; q < n_query; q++)
		for (size_t r = 0; r < n_row; r++) {
			float w = p->weight[1 + q * weights.stride + r];
			size_t at = 1 + r * rows.stride;

			if (half)
				s->axpy_f16(want + q * ROOM, w, p->h + at, n);
			else
				s->axpy_f32(want + q * ROOM, w, p->x + at, n);
		}
	k->mix(p->out[0], ROOM, &rows, &weights, n, ahead);
	check_floats(k->name, "mix", n, p->out[0], want, MAX_QUERIES * ROOM);
	memcpy(p->out[0], first, sizeof(first));
}

static void many_rows_have_the_bits_of_single_rows(void **state)
{
	static const size_t widths[] = { 0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 72, 95, 131, 136 };
	const struct tr_kernels *k;
	struct panels *p = malloc(sizeof(*p));
	uint64_t seed = 8;

	(void)state;
	assert_non_null(p);
	for (int special = 0; special < 2; special++) {
		make_panels(p, special, &seed);
		for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++)
			for (size_t n_query = 0; n_query <= MAX_QUERIES; n_query++)
				for (size_t n_row = 0; n_row <= MAX_ROWS; n_row++)
					for_each_isa(k) {
						check_panels(k, p, false, n_row, n_query,
							widths[w]);
						check_panels(k, p, true, n_row, n_query,
							widths[w]);
					}
	}
	free(p);
}

static void exp_has_the_same_bits_in_every_set(void **state)
{
	const struct tr_kernels *k;
	float x[64], y[64];
	uint64_t bits = 0;

	(void)state;
	while (bits < 1ull << 32) {
		for (int i = 0; i < 64; i++, bits += 9973) {
			uint32_t u = (uint32_t)bits;

			memcpy(&x[i], &u, sizeof(u));
		}
		for_each_isa(k) {
			k->exp_sum(y, x, 0, 64);
			for (int i = 0; i < 64; i++)
				if (!same_float(y[i], tr_expf(x[i])))
					fail_msg("%s: exp(%a) is %a", k->name, (double)x[i],
						(double)y[i]);
		}
	}
}

static void vector_functions_do_what_they_say(void **state)
{
	const struct tr_kernels *k;

	(void)state;
	for_each_isa(k) {
		static const float x[3] = { 1, 2, -3 };
		static const uint16_t h[3] = { 0x3c00, 0x4000, 0xc200 };
		float y[3] = { 10, 20, 30 };
		uint16_t to[3];

		assert_true(k->dot_f32(x, y, 3) == -40 && k->dot_f16(h, y, 3) == -40);
		assert_true(k->sum_squares(x, 3) == 14 && k->max(x, 3) == 2);
		k->axpy_f32(y, 2, x, 3);
		assert_true(y[0] == 12 && y[1] == 24 && y[2] == 24);
		k->axpy_f16(y, 2, h, 3);
		assert_true(y[0] == 14 && y[1] == 28 && y[2] == 18);
		k->add(y, x, 3);
		assert_true(y[0] == 15 && y[1] == 30 && y[2] == 15);
		k->scale(y, 0.5f, 3);
		assert_true(y[0] == 7.5f && y[1] == 15 && y[2] == 7.5f);
		k->mul_scaled(y, y, 2, x, 3);
		assert_true(y[0] == 15 && y[1] == 60 && y[2] == -45);
		k->to_f16(to, x, 3);
		assert_memory_equal(to, h, sizeof(h));
		assert_true(k->exp_sum(y, x, 2, 3) == y[0] + y[2] + y[1]);
		assert_true(y[0] == tr_expf(-1) && y[1] == 1 && y[2] == tr_expf(-5));
	}
}

static void max_passes_over_nan_and_returns_plus_zero(void **state)
{
	const struct tr_kernels *k;

	(void)state;
	for_each_isa(k) {
		float x[40];

		for (int i = 0; i < 40; i++)
			x[i] = i % 2 ? NAN : -5;
		x[38] = -2;
		assert_true(k->max(x, 40) == -2 && k->max(x, 38) == -5);
		assert_true(k->max(x + 1, 1) == -INFINITY);
		x[3] = -0.0f;
		assert_true(k->max(x, 40) == 0 && !signbit(k->max(x, 40)));
		assert_true(k->max(x, 4) == 0 && !signbit(k->max(x, 4)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exp_is_right_to_one_ulp),
		cmocka_unit_test(exp_ends_where_it_says),
		cmocka_unit_test(sigmoid_and_silu_are_right_and_saturate),
		cmocka_unit_test(activations_are_quantised_alike),
		cmocka_unit_test(quantising_has_its_corner_cases),
		cmocka_unit_test(blocks_of_q8_0_are_unpacked_alike),
		cmocka_unit_test(vector_functions_have_the_same_bits_in_every_set),
		cmocka_unit_test(many_rows_have_the_bits_of_single_rows),
		cmocka_unit_test(exp_has_the_same_bits_in_every_set),
		cmocka_unit_test(vector_functions_do_what_they_say),
		cmocka_unit_test(max_passes_over_nan_and_returns_plus_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
