#include "test.h"
#include "base/mem.h"
#include "tests/bench/synth_blocks.h"

#include <math.h>

#define N_VALUE (1u << 18)

static const struct tr_quant *next_type(uint32_t *id)
{
	while (*id < TR_QUANT_ID_END) {
		const struct tr_quant *q = tr_quant_by_id((*id)++);

		if (q)
			return q;
	}
	return NULL;
}

static double mean_of(const struct tr_quant *q, const uint8_t *blocks, size_t n)
{
	float x[256];
	double sum = 0;

	for (size_t b = 0; b < n; b++) {
		q->dequant(blocks + b * q->block_bytes, x, q->block_values);
		for (uint32_t i = 0; i < q->block_values; i++)
			sum += (double)x[i];
	}
	return sum / ((double)n * q->block_values);
}

/* 0.0022: a K type's half-precision scale is then among the smallest, and rounds by percents. */
static void every_type_has_the_deviation_asked_for(void **state)
{
	static const float sigmas[] = { 1, 0.022f, 0.0022f };
	const struct tr_quant *q;
	size_t n_type = 0;

	(void)state;
	for (uint32_t id = 0; (q = next_type(&id)); n_type++) {
		size_t n = N_VALUE / q->block_values;
		uint8_t *blocks = tr_calloc(n, q->block_bytes);

		assert_non_null(blocks);
		for (size_t i = 0; i < TR_ARRAY_LEN(sigmas); i++) {
			struct synth_rng rng = synth_rng(7, id);
			double want = (double)sigmas[i], rms;

			assert_int_equal(synth_blocks(q, sigmas[i], blocks, n, &rng), 0);
			rms = synth_rms(q, blocks, n);
			if (fabs(rms / want - 1) > 0.06)
				fail_msg("%s: %g instead of %g", q->name, rms, want);
			if (fabs(mean_of(q, blocks, n)) > 0.02 * want)
				fail_msg("%s: mean %g with deviation %g", q->name,
					mean_of(q, blocks, n), want);
		}
		free(blocks);
	}
	assert_int_equal(n_type, 23);
}

static void a_stream_depends_on_seed_and_number(void **state)
{
	struct synth_rng a = synth_rng(1, 1), b = synth_rng(1, 1);
	struct synth_rng c = synth_rng(1, 2), d = synth_rng(2, 1);
	uint64_t first = synth_u64(&a);

	(void)state;
	assert_true(first == synth_u64(&b));
	assert_true(first != synth_u64(&c));
	assert_true(first != synth_u64(&d));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_has_the_deviation_asked_for),
		cmocka_unit_test(a_stream_depends_on_seed_and_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
