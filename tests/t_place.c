#include "test.h"
#include "base/mem.h"
#include "cache/place.h"

#define N_LAYER 7
#define N_EXPERT 48
#define N_UNIT (N_LAYER * N_EXPERT)

static struct tr_unit units[N_UNIT];
static struct tr_moe_layer layers[N_LAYER];

/* big_from: layers from this one on have experts of big bytes, as mixed quantisation gives them. */
static struct tr_catalog catalog_of(uint64_t bytes, size_t big_from, uint64_t big)
{
	struct tr_catalog c = { .n_layer = N_LAYER, .n_expert = N_EXPERT, .n_used = 4,
		.n_moe_layer = N_LAYER, .moe_layers = layers, .n_unit = N_UNIT, .units = units };

	for (uint32_t i = 0; i < N_UNIT; i++) {
		units[i].layer = i / N_EXPERT;
		units[i].expert = i % N_EXPERT;
		units[i].bytes = units[i].layer >= big_from ? big : bytes;
		c.bytes += units[i].bytes;
	}
	return c;
}

static uint64_t used(const uint32_t *home, uint32_t tier, uint64_t align)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < N_UNIT; i++)
		if (home[i] == tier)
			sum += (units[i].bytes + align - 1) / align * align;
	return sum;
}

/* Experts of a layer that are in the tier, or in any tier for TR_HOME_FILE. */
static unsigned share(const uint32_t *home, size_t layer, uint32_t tier)
{
	unsigned n = 0;

	for (size_t e = 0; e < N_EXPERT; e++) {
		uint32_t h = home[layer * N_EXPERT + e];

		n += tier == TR_HOME_FILE ? h != TR_HOME_FILE : h == tier;
	}
	return n;
}

static unsigned spread(const uint32_t *home, uint32_t tier)
{
	unsigned lo = UINT32_MAX, hi = 0;

	for (size_t l = 0; l < N_LAYER; l++) {
		unsigned n = share(home, l, tier);

		lo = TR_MIN(lo, n);
		hi = TR_MAX(hi, n);
	}
	return hi - lo;
}

static void check_plan(const struct tr_catalog *c, const struct tr_place_tier *tiers, size_t n)
{
	uint32_t home[N_UNIT], again[N_UNIT];

	assert_int_equal(tr_place_plan(home, c, tiers, n, NULL), 0);
	for (uint32_t t = 0; t < n; t++) {
		assert_true(used(home, t, tiers[t].extent_align) <= tiers[t].cap_bytes);
		assert_true(spread(home, t) <= 1);
	}
	assert_true(spread(home, TR_HOME_FILE) <= 1);
	memset(again, 0xee, sizeof(again));
	assert_int_equal(tr_place_plan(again, c, tiers, n, NULL), 0);
	assert_memory_equal(home, again, sizeof(home));
}

static void every_layer_gets_the_same_share_and_nothing_overflows(void **state)
{
	struct tr_catalog even = catalog_of(10000, N_LAYER, 0);

	(void)state;
	for (uint64_t kib = 0; kib < 5000; kib += 37) {
		const struct tr_place_tier tiers[] = { { kib << 10, 4096 }, { kib << 9, 4096 },
			{ (5000 - kib) << 8, 1 } };

		check_plan(&even, tiers, 1);
		check_plan(&even, tiers, 2);
		check_plan(&even, tiers, 3);
	}
}

static void layers_of_different_size_still_get_the_same_share(void **state)
{
	struct tr_catalog mixed = catalog_of(9000, 3, 14000);

	(void)state;
	for (uint64_t kib = 0; kib < 5000; kib += 41) {
		const struct tr_place_tier tiers[] = { { kib << 10, 4096 }, { kib << 9, 4096 } };

		check_plan(&mixed, tiers, 1);
		check_plan(&mixed, tiers, 2);
	}
}

static void tiers_fill_in_proportion_to_their_size(void **state)
{
	struct tr_catalog c = catalog_of(4096, N_LAYER, 0);
	/* Together more than the model: who is filled how far is a choice. */
	const struct tr_place_tier tiers[] = { { 300 * 4096, 4096 }, { 150 * 4096, 4096 } };
	uint32_t home[N_UNIT];

	(void)state;
	assert_int_equal(tr_place_plan(home, &c, tiers, 2, NULL), 0);
	assert_int_equal(used(home, 0, 4096) + used(home, 1, 4096), N_UNIT * 4096);
	assert_in_range(used(home, 0, 4096) / 4096, 224 - N_LAYER, 224 + N_LAYER);
	assert_int_equal(spread(home, 0), 0);
}

static void full_tiers_leave_less_than_a_unit_free(void **state)
{
	struct tr_catalog c = catalog_of(4096, N_LAYER, 0);
	const struct tr_place_tier tiers[] = { { 101 * 4096 + 5, 4096 }, { 50 * 4096 + 4095, 4096 } };
	uint32_t home[N_UNIT];

	(void)state;
	assert_int_equal(tr_place_plan(home, &c, tiers, 2, NULL), 0);
	assert_int_equal(used(home, 0, 4096), 101 * 4096);
	assert_int_equal(used(home, 1, 4096), 50 * 4096);
}

static void no_capacity_means_the_model_file(void **state)
{
	struct tr_catalog c = catalog_of(10000, N_LAYER, 0);
	const struct tr_place_tier tiers[] = { { 0, 4096 }, { 9999, 4096 } };
	uint32_t home[N_UNIT];

	(void)state;
	for (size_t n = 0; n <= 2; n++) {
		memset(home, 0, sizeof(home));
		assert_int_equal(tr_place_plan(home, &c, tiers, n, NULL), 0);
		for (size_t i = 0; i < N_UNIT; i++)
			assert_int_equal(home[i], TR_HOME_FILE);
	}
}

static void room_without_limit_takes_every_expert(void **state)
{
	struct tr_catalog c = catalog_of(10000, N_LAYER, 0);
	const struct tr_place_tier tiers[] = { { 1 << 20, 4096 }, { UINT64_MAX, 4096 } };
	uint32_t home[N_UNIT];

	(void)state;
	assert_int_equal(tr_place_plan(home, &c, tiers, 2, NULL), 0);
	for (size_t i = 0; i < N_UNIT; i++)
		assert_int_equal(home[i], 1);
}

static void a_tier_given_back_what_it_holds_gets_the_same_plan(void **state)
{
	struct tr_catalog c = catalog_of(9000, 3, 14000);
	uint32_t home[N_UNIT], again[N_UNIT];

	(void)state;
	for (uint64_t kib = 1; kib < 4000; kib += 97) {
		struct tr_place_tier tier = { kib << 10, 4096 };

		assert_int_equal(tr_place_plan(home, &c, &tier, 1, NULL), 0);
		tier.cap_bytes = used(home, 0, 4096);
		assert_int_equal(tr_place_plan(again, &c, &tier, 1, NULL), 0);
		assert_memory_equal(home, again, sizeof(home));
	}
}

static void a_crooked_alignment_is_refused(void **state)
{
	struct tr_catalog c = catalog_of(10000, N_LAYER, 0);
	const struct tr_place_tier tier = { 1 << 20, 3000 };
	uint32_t home[N_UNIT];
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_place_plan(home, &c, &tier, 1, &err), TR_E_INVALID);
	assert_err_has(&err, "3000");
}

static void a_model_without_experts_has_an_empty_plan(void **state)
{
	const struct tr_catalog c = { .n_layer = 2 };
	const struct tr_place_tier tier = { 1 << 20, 4096 };

	(void)state;
	assert_int_equal(tr_place_plan(NULL, &c, &tier, 1, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_layer_gets_the_same_share_and_nothing_overflows),
		cmocka_unit_test(layers_of_different_size_still_get_the_same_share),
		cmocka_unit_test(tiers_fill_in_proportion_to_their_size),
		cmocka_unit_test(full_tiers_leave_less_than_a_unit_free),
		cmocka_unit_test(no_capacity_means_the_model_file),
		cmocka_unit_test(room_without_limit_takes_every_expert),
		cmocka_unit_test(a_tier_given_back_what_it_holds_gets_the_same_plan),
		cmocka_unit_test(a_crooked_alignment_is_refused),
		cmocka_unit_test(a_model_without_experts_has_an_empty_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
