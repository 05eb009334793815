#include "test.h"
#include "base/mem.h"
#include "compute/kernels.h"
#include "kernels_data.h"

#include <math.h>

#define MAX_ROW 9
#define MAX_ACT 5

#define for_each_type(q)                                                                           \
	for (uint32_t id_ = 0; id_ < TR_QUANT_ID_END; id_++)                                       \
		if (((q) = tr_quant_by_id(id_)))

static void every_set_has_every_type(void **state)
{
	const struct tr_kernels *k;
	const struct tr_quant *q;

	(void)state;
	for_each_isa(k) {
		assert_int_equal(k->isa, isa_);
		for (uint32_t id = 0; id < TR_QUANT_ID_END; id++) {
			q = tr_quant_by_id(id);
			assert_int_equal(k->dot[id] != NULL, q != NULL);
		}
	}
}

static void sets_are_chosen_by_name(void **state)
{
	const struct tr_kernels *k, *got;
	struct tr_err err;

	(void)state;
	assert_non_null(tr_kernels_get(TR_ISA_SCALAR));
	assert_null(tr_kernels_get(TR_N_ISA));
	for_each_isa(k) {
		assert_int_equal(tr_kernels_by_name(&got, k->name, &err), 0);
		assert_ptr_equal(got, k);
		assert_true(tr_kernels_best()->isa >= k->isa);
	}
	assert_int_equal(tr_kernels_by_name(&got, NULL, &err), 0);
	assert_ptr_equal(got, tr_kernels_best());
	assert_int_equal(tr_kernels_by_name(&got, "auto", &err), 0);
	assert_ptr_equal(got, tr_kernels_best());
	assert_int_equal(tr_kernels_by_name(&got, "sse9", &err), TR_E_INVALID);
	assert_err_has(&err, "sse9");
	assert_err_has(&err, "available: auto, scalar");
	if (!tr_kernels_get(TR_ISA_AVX512)) {
		assert_int_equal(tr_kernels_by_name(&got, "avx512", &err), TR_E_UNSUPPORTED);
		assert_err_has(&err, "'avx512'");
		assert_err_has(&err, "available: auto, scalar");
	}
}

static void sections_of_activations_are_aligned(void **state)
{
	(void)state;
	assert_int_equal(tr_act_bytes(TR_ACT_F32, 5), 64);
	assert_int_equal(tr_act_bytes(TR_ACT_F32, 17), 128);
	assert_int_equal(tr_act_d_off(TR_ACT_Q8_32, 96), 128);
	assert_int_equal(tr_act_bytes(TR_ACT_Q8_32, 96), 192);
	assert_int_equal(tr_act_d_off(TR_ACT_Q8_256, 256), 256);
	assert_int_equal(tr_act_sum_off(256), 320);
	assert_int_equal(tr_act_bytes(TR_ACT_Q8_256, 256), 384);
	assert_int_equal(tr_act_sum_off(7168), 7168 + 128);
	assert_int_equal(tr_act_bytes(TR_ACT_Q8_256, 7168), 7168 + 128 + 896);
}

static void dots_are_near_the_real_product(void **state)
{
	const struct tr_kernels *k = tr_kernels_get(TR_ISA_SCALAR);
	const struct tr_quant *q;
	uint64_t seed = 1;

	(void)state;
	for_each_type(q) {
		size_t n = q->block_values == 1 ? 301 : 7 * q->block_values;
		uint8_t *rows = new_rows(q, FILL_RANDOM, 1, n, &seed);
		char *act = new_acts(k, q->act, 1, n, NULL, &seed);
		float *w = malloc(n * sizeof(float)), y;
		double want = 0, size = 0;

		assert_non_null(w);
		q->dequant(rows, w, n);
		for (size_t i = 0; i < n; i++) {
			double p = (double)w[i] * act_value(q->act, act, n, i);

			want += p;
			size += fabs(p);
		}
		k->dot[q->id](&y, 1, rows, 0, 1, act, 0, 1, n, NULL);
		if (!(fabs((double)y - want) <= 1e-6 * size))
			fail_msg("%s: %.9g, not %.9g (error %.3g of the summands)", q->name,
				(double)y, want, fabs((double)y - want) / size);
		free(w);
		free(act);
		free_rows(rows);
	}
}

/* out is what the last n_row rows and n_act activations gave; the rest of it is untouched. */
static void check_shape(const struct tr_kernels *k, const struct tr_quant *q, enum fill fill,
	size_t n, int n_row, int n_act, const float *out, float want[MAX_ACT][MAX_ROW])
{
	for (int t = 0; t < MAX_ACT; t++) {
		for (int r = 0; r <= MAX_ROW; r++) {
			int in = t < n_act && r < n_row;
			float w = in ? want[MAX_ACT - n_act + t][MAX_ROW - n_row + r] : -77;
			float got = out[t * (MAX_ROW + 1) + r];

			if (!same_float(got, w))
				fail_msg("%s %s fill %d n %zu, %d x %d at %d, %d: %a, not %a",
					k->name, q->name, fill, n, n_row, n_act, r, t, (double)got,
					(double)w);
		}
	}
}

/* Everything of one type and length, in all shapes and all sets, against canonical_dot. */
static void check_shapes(const struct tr_quant *q, enum fill fill, size_t n, uint64_t *seed)
{
	const struct tr_kernels *k = tr_kernels_get(TR_ISA_SCALAR);
	size_t row_bytes = n / q->block_values * q->block_bytes, act_bytes;
	uint8_t *rows = new_rows(q, fill, MAX_ROW, n, seed);
	char *acts = new_acts(k, q->act, MAX_ACT, n, NULL, seed);
	float want[MAX_ACT][MAX_ROW], out[MAX_ACT * (MAX_ROW + 1)];
	const void *nothing = (const void *)TR_CACHE_LINE; /* what comes next is never read */

	act_bytes = tr_act_bytes(q->act, n);
	for (int t = 0; t < MAX_ACT; t++)
		for (int r = 0; r < MAX_ROW; r++)
			want[t][r] = canonical_dot(q, rows + (size_t)r * row_bytes,
				acts + (size_t)t * act_bytes, n);
	for_each_isa(k) {
		for (int shape = 0; shape < MAX_ACT * MAX_ROW; shape++) {
			int n_act = shape / MAX_ROW + 1, n_row = shape % MAX_ROW + 1;

			for (int i = 0; i < MAX_ACT * (MAX_ROW + 1); i++)
				out[i] = -77;
			/* The last rows and activations, so that reading on leaves the block. */
			k->dot[q->id](out, MAX_ROW + 1,
				rows + (size_t)(MAX_ROW - n_row) * row_bytes, row_bytes,
				(size_t)n_row, acts + (size_t)(MAX_ACT - n_act) * act_bytes,
				act_bytes, (size_t)n_act, n, nothing);
			check_shape(k, q, fill, n, n_row, n_act, out, want);
		}
	}
	free(acts);
	free_rows(rows);
}

static void dots_have_the_canonical_bits_in_every_set(void **state)
{
	static const size_t n_block[] = { 1, 2, 3, 4, 5, 8, 11, 12, 15 };
	static const size_t n_float[] = { 1, 5, 15, 16, 17, 31, 33, 48, 64, 100, 257 };
	const struct tr_quant *q;
	uint64_t seed = 2;

	(void)state;
	for_each_type(q) {
		if (q->block_values == 1) {
			for (size_t i = 0; i < sizeof(n_float) / sizeof(n_float[0]); i++)
				check_shapes(q, FILL_RANDOM, n_float[i], &seed);
			continue;
		}
		for (int fill = 0; fill < N_FILL; fill++)
			for (size_t i = 0; i < sizeof(n_block) / sizeof(n_block[0]); i++)
				check_shapes(q, (enum fill)fill, n_block[i] * q->block_values,
					&seed);
	}
}

static void dots_of_a_long_row_have_the_canonical_bits(void **state)
{
	const struct tr_kernels *k;
	const struct tr_quant *q;
	uint64_t seed = 3;

	(void)state;
	for_each_type(q) {
		size_t n = 7168;
		uint8_t *rows = new_rows(q, FILL_RANDOM, 1, n, &seed);
		char *act = new_acts(tr_kernels_get(TR_ISA_SCALAR), q->act, 1, n, NULL, &seed);
		float y, want = canonical_dot(q, rows, act, n);

		for_each_isa(k) {
			k->dot[q->id](&y, 1, rows, 0, 1, act, 0, 1, n, NULL);
			if (!same_float(y, want))
				fail_msg("%s %s: %a, not %a", k->name, q->name, (double)y,
					(double)want);
		}
		free(act);
		free_rows(rows);
	}
}

/* As many activations as fill whole strips of a kernel, and one fewer or more; rows likewise. */
static void many_activations_have_the_canonical_bits(void **state)
{
	enum { N_ROW = 19, N_MANY = 65 };
	static const size_t n_act[] = { 15, 16, 17, 31, 32, 33, 64, N_MANY };
	const struct tr_kernels *k;
	const struct tr_quant *q;
	uint64_t seed = 7;

	(void)state;
	for_each_type(q) {
		size_t n = 512, row_bytes = n / q->block_values * q->block_bytes;
		size_t act_bytes = tr_act_bytes(q->act, n);
		uint8_t *rows = new_rows(q, FILL_RANDOM, N_ROW, n, &seed);
		char *acts = new_acts(tr_kernels_get(TR_ISA_SCALAR), q->act, N_MANY, n, NULL,
			&seed);
		static float want[N_MANY * N_ROW], out[N_MANY * N_ROW];

		for (size_t i = 0; i < TR_ARRAY_LEN(want); i++)
			want[i] = canonical_dot(q, rows + i % N_ROW * row_bytes,
				acts + i / N_ROW * act_bytes, n);
		for_each_isa(k) {
			for (size_t a = 0; a < TR_ARRAY_LEN(n_act); a++) {
				memset(out, 0xff, sizeof(out));
				k->dot[q->id](out, N_ROW, rows, row_bytes, N_ROW, acts, act_bytes,
					n_act[a], n, NULL);
				for (size_t i = 0; i < n_act[a] * N_ROW; i++)
					if (!same_float(out[i], want[i]))
						fail_msg("%s %s, %zu acts at %zu: %a, not %a",
							k->name, q->name, n_act[a], i,
							(double)out[i], (double)want[i]);
			}
		}
		free(acts);
		free_rows(rows);
	}
}

static void rows_and_activations_may_be_apart(void **state)
{
	const struct tr_kernels *k;
	const struct tr_quant *q;
	uint64_t seed = 4;

	(void)state;
	for_each_type(q) {
		size_t n = 256, row_bytes = n / q->block_values * q->block_bytes;
		size_t act_bytes = tr_act_bytes(q->act, n);
		uint8_t *rows = new_rows(q, FILL_RANDOM, 6, n, &seed);
		char *acts = new_acts(tr_kernels_get(TR_ISA_SCALAR), q->act, 6, n, NULL, &seed);
		float out[3 * 3];

		for_each_isa(k) {
			k->dot[q->id](
				out, 3, rows, 2 * row_bytes, 3, acts, 2 * act_bytes, 3, n, NULL);
			for (size_t t = 0; t < 3; t++)
				for (size_t r = 0; r < 3; r++)
					assert_true(same_float(out[3 * t + r],
						canonical_dot(q, rows + 2 * r * row_bytes,
							acts + 2 * t * act_bytes, n)));
		}
		free(acts);
		free_rows(rows);
	}
}

static void a_poisoned_block_makes_the_dot_nan(void **state)
{
	const struct tr_kernels *k;
	const struct tr_quant *q;
	uint64_t seed = 5;

	(void)state;
	for_each_type(q) {
		size_t n = 512;
		uint8_t *rows = new_rows(q, FILL_RANDOM, 1, n, &seed);
		float *x, y;
		char *act = new_acts(tr_kernels_get(TR_ISA_SCALAR), q->act, 1, n, &x, &seed);

		x[300] = NAN;
		for_each_isa(k) {
			k->quantise(q->act, x, n, act);
			k->dot[q->id](&y, 1, rows, 0, 1, act, 0, 1, n, NULL);
			assert_true(isnan(y));
		}
		free(x);
		free(act);
		free_rows(rows);
	}
}

/* Sums of 2^24 and two ones tell the order: a one alone is lost, two together are not. */
static void sums_are_added_in_the_canonical_order(void **state)
{
	static const struct {
		int big, one, other;
		float sum;
	} cases[] = {
		{ 0, 16, 32, 0x1p24f },	      /* one lane takes them one by one */
		{ 16, 0, 32, 0x1p24f },	      /* 1, then 2^24 + 1, and again */
		{ 32, 0, 16, 0x1p24f + 2 },   /* in ascending order */
		{ 0, 1, 17, 0x1p24f + 2 },    /* lane 1 has both */
		{ 0, 8, 12, 0x1p24f },	      /* 8 meets 0 first, 12 meets 4 */
		{ 0, 4, 12, 0x1p24f + 2 },    /* 4 meets 12 first */
		{ 0, 2, 6, 0x1p24f + 2 },     /* 2 meets 6 before 0 */
		{ 0, 4, 2, 0x1p24f },	      /* 4 and 2 come to 0 one by one */
		{ 0, 1, 3, 0x1p24f + 2 },     /* 1 meets 3 before 0 */
	};
	const struct tr_kernels *k;

	(void)state;
	for_each_isa(k) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			float x[48] = { 0 }, root[48] = { 0 }, one[48], logs[48], e[48];
			uint16_t half[48];

			for (int j = 0; j < 48; j++) {
				one[j] = 1;
				half[j] = 0x3c00;
				logs[j] = -INFINITY;
			}
			x[cases[i].big] = 0x1p24f;
			x[cases[i].one] = x[cases[i].other] = 1;
			root[cases[i].big] = 0x1p12f;
			root[cases[i].one] = root[cases[i].other] = 1;
			assert_true(k->dot_f32(x, one, 48) == cases[i].sum);
			assert_true(k->dot_f16(half, x, 48) == cases[i].sum);
			assert_true(k->sum_squares(root, 48) == cases[i].sum);
			/* exp(24 ln 2) is not 2^24 to the bit: the same tree, other numbers. */
			logs[cases[i].big] = 0x1.0a2b24p+4f;
			logs[cases[i].one] = logs[cases[i].other] = 0;
			assert_true(k->exp_sum(e, logs, 0, 48) ==
				tr_kernels_get(TR_ISA_SCALAR)->exp_sum(e, logs, 0, 48));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_set_has_every_type),
		cmocka_unit_test(sets_are_chosen_by_name),
		cmocka_unit_test(sections_of_activations_are_aligned),
		cmocka_unit_test(dots_are_near_the_real_product),
		cmocka_unit_test(dots_have_the_canonical_bits_in_every_set),
		cmocka_unit_test(dots_of_a_long_row_have_the_canonical_bits),
		cmocka_unit_test(many_activations_have_the_canonical_bits),
		cmocka_unit_test(rows_and_activations_may_be_apart),
		cmocka_unit_test(a_poisoned_block_makes_the_dot_nan),
		cmocka_unit_test(sums_are_added_in_the_canonical_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
