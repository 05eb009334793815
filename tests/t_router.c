#include "test.h"
#include "compute/rope.h"
#include "compute/router.h"

#include <math.h>

static const struct tr_kernels *k;
static float scratch[128];

static int scalar(void **state)
{
	(void)state;
	k = tr_kernels_get(TR_ISA_SCALAR);
	return 0;
}

static void bias_selects_but_does_not_weigh(void **state)
{
	const struct tr_router r = { TR_GATING_SIGMOID, 4, 2, 1, 1, false, 1 };
	const float logits[] = { 0, 2, 1, -3 }, bias[] = { 0, -5, 0, 5 };
	uint32_t ids[2];
	float w[2];

	(void)state;
	tr_router_pick(&r, k, logits, bias, scratch, ids, w);
	assert_int_equal(ids[0], 3);
	assert_int_equal(ids[1], 2);
	assert_float_equal(w[0], 1 / (1 + exp(3)), 1e-6);
	assert_float_equal(w[1], 1 / (1 + exp(-1)), 1e-6);
}

static void ties_go_to_the_lowest_index(void **state)
{
	const struct tr_router r = { TR_GATING_SOFTMAX, 6, 3, 1, 1, false, 1 };
	const float logits[] = { 1, 2, 2, 1, 2, 1 };
	uint32_t ids[3];
	float w[3];

	(void)state;
	tr_router_pick(&r, k, logits, NULL, scratch, ids, w);
	assert_int_equal(ids[0], 1);
	assert_int_equal(ids[1], 2);
	assert_int_equal(ids[2], 4);
}

static void weights_are_normalised_and_scaled(void **state)
{
	const struct tr_router r = { TR_GATING_SIGMOID, 3, 2, 1, 1, true, 2.5f };
	const float logits[] = { 0, 0, -100 };
	uint32_t ids[2];
	float w[2];

	(void)state;
	tr_router_pick(&r, k, logits, NULL, scratch, ids, w);
	assert_float_equal(w[0], 1.25, 1e-6);
	assert_float_equal(w[1], 1.25, 1e-6);
}

static void vanishing_weights_are_not_divided_by_zero(void **state)
{
	const struct tr_router r = { TR_GATING_SIGMOID, 2, 1, 1, 1, true, 1 };
	const float logits[] = { -200, -300 };
	uint32_t id;
	float w;

	(void)state;
	tr_router_pick(&r, k, logits, NULL, scratch, &id, &w);
	assert_true(isfinite(w) && w >= 0);
}

static void softmax_over_the_chosen_sums_to_one(void **state)
{
	const struct tr_router r = { TR_GATING_SOFTMAX_TOPK, 4, 2, 1, 1, false, 1 };
	const float logits[] = { 3, -1, 2, 7 };
	uint32_t ids[2];
	float w[2];

	(void)state;
	tr_router_pick(&r, k, logits, NULL, scratch, ids, w);
	assert_int_equal(ids[0], 3);
	assert_int_equal(ids[1], 0);
	assert_float_equal(w[0], exp(7) / (exp(7) + exp(3)), 1e-6);
	assert_float_equal(w[0] + w[1], 1, 1e-6);
}

static void only_experts_of_the_best_groups_take_part(void **state)
{
	/* Groups of two; scores add up to 0.9, 1.6, 1.5, 0.2: the last two of expert 0's rivals win. */
	const struct tr_router r = { TR_GATING_SOFTMAX_TOPK, 8, 3, 4, 2, false, 1 };
	const float logits[] = { 0.9f, 0, 0.8f, 0.8f, 0.75f, 0.75f, 0.1f, 0.1f };
	uint32_t ids[3];
	float w[3];

	(void)state;
	tr_router_pick(&r, k, logits, NULL, scratch, ids, w);
	assert_int_equal(ids[0], 2);
	assert_int_equal(ids[1], 3);
	assert_int_equal(ids[2], 4);
}

static void broken_scores_still_give_distinct_experts(void **state)
{
	const struct tr_router r = { TR_GATING_SIGMOID, 4, 3, 1, 1, true, 1 };
	const float logits[] = { NAN, NAN, NAN, NAN };
	uint32_t ids[3];
	float w[3];

	(void)state;
	tr_router_pick(&r, k, logits, NULL, scratch, ids, w);
	assert_true(ids[0] < 4 && ids[1] < 4 && ids[2] < 4);
	assert_true(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

/* Angles per position of Kimi K2.5: base 50000, factor 64, original context 4096. */
static void yarn_frequencies_are_those_of_k25(void **state)
{
	static const struct {
		uint32_t pair;
		double freq;
	} want[] = { { 0, 1 }, { 7, 0.0937779 }, { 8, 0.066874 }, { 9, 0.0437767 },
		{ 12, 0.0116192 }, { 16, 0.0015373 }, { 19, 1.58375e-4 }, { 20, 1.80702e-5 },
		{ 31, 4.38221e-7 } };
	struct tr_rope r = { .n_rot = 64, .freq_base = 50000, .yarn = true, .factor = 64,
		.orig_ctx = 4096, .beta_fast = 32, .beta_slow = 1, .magnitude = 1 };
	size_t i;

	(void)state;
	assert_int_equal(tr_rope_init(&r), 0);
	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_true(fabs(r.freq[want[i].pair] / want[i].freq - 1) < 5e-6);
	tr_rope_fini(&r);
}

static void rotation_turns_neighbouring_pairs(void **state)
{
	struct tr_rope r = { .n_rot = 4, .freq_base = 100, .factor = 1, .magnitude = 1 };
	float table[2 * 4], x[4] = { 1, 0, 0, 2 };

	(void)state;
	assert_int_equal(tr_rope_init(&r), 0);
	tr_rope_table(&r, 3, 2, table);
	tr_rope_rotate_pairs(x, table, 4);
	assert_float_equal(x[0], cos(3), 1e-6);
	assert_float_equal(x[1], sin(3), 1e-6);
	assert_float_equal(x[2], -2 * sin(0.3), 1e-6);
	assert_float_equal(x[3], 2 * cos(0.3), 1e-6);
	assert_float_equal(table[4], cos(4), 1e-6);
	tr_rope_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bias_selects_but_does_not_weigh),
		cmocka_unit_test(ties_go_to_the_lowest_index),
		cmocka_unit_test(weights_are_normalised_and_scaled),
		cmocka_unit_test(vanishing_weights_are_not_divided_by_zero),
		cmocka_unit_test(softmax_over_the_chosen_sums_to_one),
		cmocka_unit_test(only_experts_of_the_best_groups_take_part),
		cmocka_unit_test(broken_scores_still_give_distinct_experts),
		cmocka_unit_test(yarn_frequencies_are_those_of_k25),
		cmocka_unit_test(rotation_turns_neighbouring_pairs),
	};

	return cmocka_run_group_tests(tests, scalar, NULL);
}
