/* t_device_matmul.c - quantisation and products on a device have the bits that src/compute has. */
#include "test.h"
#include "base/mem.h"
#include "device_bed.h"
#include "kernels_data.h"

#include <math.h>
#include <stdio.h>

#define MAX_ROW 19
#define MAX_ACT 70
#define N_MAT 2

#define for_each_type(q)                                                                           \
	for (uint32_t id_ = 0; id_ < TR_QUANT_ID_END; id_++)                                       \
		if (((q) = tr_quant_by_id(id_)) && tr_device_has_quant((enum tr_quant_id)id_))

static uint64_t fresh_seed(uint64_t seed)
{
	const char *text = getenv("TR_SEED");

	return text ? seed + strtoull(text, NULL, 10) : seed;
}

#define check(b, call)                                                                             \
	do {                                                                                       \
		struct tr_err err_;                                                                \
		if (call)                                                                          \
			fail_msg("%s: %s", (b)->name, err_.msg);                                   \
	} while (0)

/* --- quantise ---------------------------------------------------------------------------------- */

static void spoil(float *x, size_t n, size_t row)
{
	size_t at = n / 2;

	switch (row) {
	case 1:
		x[at] = NAN;
		break;
	case 2:
		x[at] = -INFINITY;
		break;
	case 3:
		for (size_t i = 0; i < n; i++)
			x[i] *= 0x1p-122f;
		break;
	case 4:
		for (size_t i = 0; i < n; i++)
			x[i] = i % 5 ? 0 : -0.0f;
		break;
	case 5:
		for (size_t i = 0; i < n; i++)
			x[i] = (float)(i % 255) - 127;
		x[0] = 254; /* halves to round */
		break;
	}
}

static void check_quantise(struct bed *b, enum tr_act_kind kind, size_t n, bool silu,
	uint64_t *seed)
{
	const struct tr_kernels *k = tr_kernels_get(TR_ISA_SCALAR);
	size_t n_row = 7, bytes = tr_act_bytes(kind, n), stride = n + 3;
	float *x = random_row(n_row * stride, seed), *up = random_row(n_row * stride, seed);
	float *y = tr_alloc(n, sizeof(float));
	uint8_t *want = malloc(n_row * bytes), *got = malloc(n_row * bytes);
	struct tr_dop_quantise a = { .kind = kind, .n = (uint32_t)n, .n_row = (uint32_t)n_row,
		.n_group = 1, .x_stride = stride, .act_bytes = bytes };

	memset(want, 0xff, n_row * bytes);
	for (size_t r = 0; r < n_row; r++) {
		spoil(x + r * stride, n, r);
		memcpy(y, x + r * stride, n * sizeof(*y));
		if (silu)
			k->silu_mul(y, y, up + r * stride, n);
		k->quantise(kind, y, n, want + r * bytes);
	}
	a.x = bed_put(b, x, n_row * stride * sizeof(*x));
	a.up = silu ? bed_put(b, up, n_row * stride * sizeof(*x)) : NULL;
	a.act = bed_room(b, n_row * bytes);
	check(b, tr_device_quantise(b->stream, &a, &err_));
	bed_get(b, got, a.act, n_row * bytes);
	if (kind == TR_ACT_F32)
		for (size_t r = 0; r < n_row; r++)
			bed_same_floats(b, "copied", (float *)(got + r * bytes),
				(float *)(want + r * bytes), n);
	else
		bed_same_bytes(b, silu ? "silu, quantised" : "quantised", got, want, n_row * bytes);
	free(x);
	free(up);
	free(y);
	free(want);
	free(got);
	bed_clear(b);
}

static void activations_are_quantised_as_on_the_cpu(void **state)
{
	static const size_t n[] = { 256, 512, 768, 2048, 7168 };
	uint64_t seed = fresh_seed(1);
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		for (size_t i = 0; i < TR_ARRAY_LEN(n); i++)
			for (int kind = 0; kind < TR_N_ACT_KIND; kind++) {
				check_quantise(&b, (enum tr_act_kind)kind, n[i], false, &seed);
				check_quantise(&b, (enum tr_act_kind)kind, n[i], true, &seed);
			}
		check_quantise(&b, TR_ACT_Q8_32, 32, false, &seed);
		check_quantise(&b, TR_ACT_Q8_32, 160, true, &seed);
		check_quantise(&b, TR_ACT_F32, 5, true, &seed);
	}
}

static void rows_of_groups_are_quantised_where_they_belong(void **state)
{
	const struct tr_kernels *k = tr_kernels_get(TR_ISA_SCALAR);
	uint64_t seed = fresh_seed(2);
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		size_t bytes = tr_act_bytes(TR_ACT_Q8_32, 96);
		float *x = random_row(3 * 2 * 100, &seed);
		uint8_t got[6 * 192], want[192];
		struct tr_dop_quantise a = { .kind = TR_ACT_Q8_32, .n = 96, .n_row = 2, .n_group = 3,
			.x_stride = 300, .x_group_stride = 100, .act_bytes = 3 * bytes,
			.act_group_bytes = bytes };

		assert_int_equal(bytes, 192);
		a.x = bed_put(&b, x, 600 * sizeof(*x));
		a.act = bed_room(&b, sizeof(got));
		check(&b, tr_device_quantise(b.stream, &a, &err_));
		bed_get(&b, got, a.act, sizeof(got));
		for (size_t g = 0; g < 3; g++)
			for (size_t i = 0; i < 2; i++) {
				memset(want, 0xff, sizeof(want));
				k->quantise(TR_ACT_Q8_32, x + g * 100 + i * 300, 96, want);
				bed_same_bytes(&b, "row of a group", got + (3 * i + g) * bytes, want,
					bytes);
			}
		free(x);
	}
}

/* --- matmul ------------------------------------------------------------------------------------ */

/* n_mat matrices of random blocks and their activations, on the device and here. */
static void check_matmul(struct bed *b, const struct tr_quant *q, enum fill fill, size_t n,
	uint32_t n_row, uint32_t n_act, uint64_t *seed)
{
	const struct tr_kernels *k = tr_kernels_get(TR_ISA_SCALAR);
	size_t row_bytes = n / q->block_values * q->block_bytes, bytes = tr_act_bytes(q->act, n);
	uint8_t *rows = new_rows(q, fill, N_MAT * n_row, n, seed);
	char *acts = new_acts(k, q->act, N_MAT * n_act, n, NULL, seed);
	static float got[N_MAT * MAX_ACT * (MAX_ROW + 1)], want[N_MAT * MAX_ACT * (MAX_ROW + 1)];
	struct tr_dop_matmul a = { .quant = (enum tr_quant_id)q->id, .n = (uint32_t)n,
		.n_row = n_row, .n_act = n_act, .n_mat = N_MAT, .row_bytes = row_bytes,
		.mat_bytes = n_row * row_bytes, .act_bytes = bytes, .act_mat_bytes = n_act * bytes,
		.out_stride = MAX_ROW + 1, .out_mat_stride = MAX_ACT * (MAX_ROW + 1) };
	char what[80];

	memset(want, 0xff, sizeof(want));
	for (uint32_t i = 0; i < N_MAT * n_act * n_row; i++) {
		uint32_t m = i / (n_act * n_row), t = i / n_row % n_act, r = i % n_row;

		want[m * a.out_mat_stride + t * a.out_stride + r] = canonical_dot(q,
			rows + (m * n_row + r) * row_bytes, acts + (m * n_act + t) * bytes, n);
	}
	a.w = bed_put(b, rows, N_MAT * n_row * row_bytes);
	a.act = bed_put(b, acts, N_MAT * n_act * bytes);
	a.out = bed_room(b, sizeof(got));
	check(b, tr_device_matmul(b->stream, &a, &err_));
	bed_get(b, got, a.out, sizeof(got));
	snprintf(what, sizeof(what), "%s fill %d n %zu, %u rows, %u activations", q->name, (int)fill,
		n, n_row, n_act);
	bed_same_floats(b, what, got, want, TR_ARRAY_LEN(got));
	bed_clear(b);
	free(acts);
	free_rows(rows);
}

static void products_have_the_canonical_bits_for_every_type(void **state)
{
	static const size_t n_block[] = { 1, 2, 3, 8, 11 };
	static const size_t n_float[] = { 1, 15, 16, 33, 257 };
	const struct tr_quant *q;
	uint64_t seed = fresh_seed(3);
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		for_each_type(q) {
			for (int fill = 0; fill < (q->block_values == 1 ? 1 : N_FILL); fill++)
				for (size_t i = 0; i < TR_ARRAY_LEN(n_block); i++)
					check_matmul(&b, q, (enum fill)fill,
						q->block_values == 1 ? n_float[i] :
								       n_block[i] * q->block_values,
						(uint32_t)(3 * i + 1 + i / 3), (uint32_t)(i % 2 * 4 + 1),
						&seed);
		}
	}
}

static void products_of_long_rows_have_the_canonical_bits(void **state)
{
	const struct tr_quant *q;
	uint64_t seed = fresh_seed(4);
	struct bed b;

	(void)state;
	for_each_device(b)
		for_each_type(q)
			check_matmul(&b, q, FILL_RANDOM, 7168, 3, 2, &seed);
}

static void any_number_of_rows_and_activations_is_computed(void **state)
{
	const struct tr_quant *q = tr_quant_by_name("Q4_K");
	uint64_t seed = fresh_seed(5);
	struct bed b;

	(void)state;
	assert_non_null(q);
	for_each_device(b)
		for (uint32_t shape = 0; shape < MAX_ROW * 6; shape++)
			check_matmul(&b, q, FILL_RANDOM, 256, shape % MAX_ROW + 1,
				shape / MAX_ROW + 1, &seed);
}

/* Those that go to tensor cores; tiles of 8 and of 32 activations and of 16 rows, whole and not. */
static void larger_batches_have_the_canonical_bits(void **state)
{
	static const struct {
		uint32_t n_row, n_act, n_block;
	} shapes[] = { { 16, 16, 1 }, { 19, 33, 2 }, { 3, 70, 5 }, { 17, 32, 4 } };
	const struct tr_quant *q;
	uint64_t seed = fresh_seed(6);
	struct bed b;

	(void)state;
	for_each_device(b)
		for_each_type(q)
			for (size_t i = 0; i < TR_ARRAY_LEN(shapes); i++)
				for (int fill = 0; fill < (q->block_values == 1 || i ? 1 : N_FILL); fill++)
					check_matmul(&b, q, (enum fill)fill,
						shapes[i].n_block * q->block_values, shapes[i].n_row,
						shapes[i].n_act, &seed);
}

static void every_type_that_the_cpu_multiplies_has_a_kernel(void **state)
{
	const struct tr_kernels *k = tr_kernels_get(TR_ISA_SCALAR);
	unsigned n = 0;

	(void)state;
	for (uint32_t id = 0; id < TR_QUANT_ID_END; id++) {
		if (tr_device_has_quant((enum tr_quant_id)id) != (k->dot[id] != NULL))
			fail_msg("type %u", id);
		n += k->dot[id] != NULL;
	}
	assert_true(n >= 23);
}

static void types_without_a_kernel_are_refused(void **state)
{
	struct tr_dop_matmul a = { .quant = TR_QUANT_ID_END - 1, .n = 256, .n_row = 1, .n_act = 1,
		.n_mat = 1 };
	struct tr_err err;
	char number[16];
	struct bed b;

	(void)state;
	while (tr_device_has_quant(a.quant))
		a.quant--;
	snprintf(number, sizeof(number), "(%d)", (int)a.quant);
	for_each_device(b)
	{
		assert_int_equal(tr_device_matmul(b.stream, &a, &err), TR_E_UNSUPPORTED);
		assert_err_has(&err, number);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(activations_are_quantised_as_on_the_cpu),
		cmocka_unit_test(rows_of_groups_are_quantised_where_they_belong),
		cmocka_unit_test(products_have_the_canonical_bits_for_every_type),
		cmocka_unit_test(products_of_long_rows_have_the_canonical_bits),
		cmocka_unit_test(any_number_of_rows_and_activations_is_computed),
		cmocka_unit_test(larger_batches_have_the_canonical_bits),
		cmocka_unit_test(every_type_that_the_cpu_multiplies_has_a_kernel),
		cmocka_unit_test(types_without_a_kernel_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
