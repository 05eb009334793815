#include "test.h"
#include "base/mem.h"
#include "cache/place.h"

#define N_LAYER 7
#define N_EXPERT 48
#define N_UNIT (N_LAYER * N_EXPERT)

#define TIER(cap, align) { .cap_bytes = (cap), .extent_align = (align), .speed = TR_SPEED_PMEM }

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
		const struct tr_place_tier tiers[] = { TIER(kib << 10, 4096),
			TIER(kib << 9, 4096), TIER((5000 - kib) << 8, 1) };

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
		const struct tr_place_tier tiers[] = { TIER(kib << 10, 4096), TIER(kib << 9, 4096) };

		check_plan(&mixed, tiers, 1);
		check_plan(&mixed, tiers, 2);
	}
}

static void tiers_fill_in_proportion_to_their_size(void **state)
{
	struct tr_catalog c = catalog_of(4096, N_LAYER, 0);
	/* Together more than the model: who is filled how far is a choice. */
	const struct tr_place_tier tiers[] = { TIER(300 * 4096, 4096), TIER(150 * 4096, 4096) };
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
	const struct tr_place_tier tiers[] = { TIER(101 * 4096 + 5, 4096),
		TIER(50 * 4096 + 4095, 4096) };
	uint32_t home[N_UNIT];

	(void)state;
	assert_int_equal(tr_place_plan(home, &c, tiers, 2, NULL), 0);
	assert_int_equal(used(home, 0, 4096), 101 * 4096);
	assert_int_equal(used(home, 1, 4096), 50 * 4096);
}

static void no_capacity_means_the_model_file(void **state)
{
	struct tr_catalog c = catalog_of(10000, N_LAYER, 0);
	const struct tr_place_tier tiers[] = { TIER(0, 4096), TIER(9999, 4096) };
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
	const struct tr_place_tier tiers[] = { TIER(1 << 20, 4096), TIER(UINT64_MAX, 4096) };
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
		struct tr_place_tier tier = TIER(kib << 10, 4096);

		assert_int_equal(tr_place_plan(home, &c, &tier, 1, NULL), 0);
		tier.cap_bytes = used(home, 0, 4096);
		assert_int_equal(tr_place_plan(again, &c, &tier, 1, NULL), 0);
		assert_memory_equal(home, again, sizeof(home));
	}
}

static void a_crooked_alignment_is_refused(void **state)
{
	struct tr_catalog c = catalog_of(10000, N_LAYER, 0);
	const struct tr_place_tier tier = TIER(1 << 20, 3000);
	uint32_t home[N_UNIT];
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_place_plan(home, &c, &tier, 1, &err), TR_E_INVALID);
	assert_err_has(&err, "3000");
}

static void a_model_without_experts_has_an_empty_plan(void **state)
{
	const struct tr_catalog c = { .n_layer = 2 };
	const struct tr_place_tier tier = TIER(1 << 20, 4096);

	(void)state;
	assert_int_equal(tr_place_plan(NULL, &c, &tier, 1, NULL), 0);
}

/* --- by use ----------------------------------------------------------------------------------- */

static float rates[N_UNIT];

static uint32_t draw(uint64_t *seed, uint32_t n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % n;
}

/* Skewed as routing is: a few are used often. */
static void draw_rates(uint64_t *seed, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float x = (float)draw(seed, 1000) / 1000;

		rates[i] = x * x * x;
	}
}

static struct tr_place_use use_of(const struct tr_place_tier *tiers, size_t n, uint64_t n_dram)
{
	return (struct tr_place_use){ rates, n_dram, tiers, n, TR_SPEED_DRAM, TR_SPEED_NVME };
}

static void dealing_by_use_is_never_slower_and_keeps_the_shares(void **state)
{
	struct tr_catalog c = catalog_of(9000, 3, 14000);
	uint32_t home[N_UNIT], plan[N_UNIT];
	uint64_t seed = 3;
	double before = 0, after = 0;

	(void)state;
	for (uint64_t kib = 0; kib < 4000; kib += 151) {
		const struct tr_place_tier tiers[] = { TIER(kib << 10, 4096),
			{ kib << 9, 4096, { 6.5e9, 400e-9 } } };
		struct tr_place_use use = use_of(tiers, 2, draw(&seed, 120));

		draw_rates(&seed, N_UNIT);
		assert_int_equal(tr_place_plan(plan, &c, tiers, 2, NULL), 0);
		memcpy(home, plan, sizeof(home));
		assert_int_equal(tr_place_by_use(home, &c, &use, NULL), 0);
		for (size_t l = 0; l < N_LAYER; l++) {
			double is = tr_place_finish(home, &c, &use, l);
			double was = tr_place_finish(plan, &c, &use, l);

			assert_true(is <= was);
			before += was;
			after += is;
			for (uint32_t t = 0; t < 2; t++)
				assert_int_equal(share(home, l, t), share(plan, l, t));
		}
		for (uint32_t t = 0; t < 2; t++)
			assert_true(used(home, t, 4096) <= tiers[t].cap_bytes);
	}
	assert_true(after < before * 0.6);
}

static void even_use_leaves_the_plan(void **state)
{
	struct tr_catalog c = catalog_of(9000, 3, 14000);
	const struct tr_place_tier tiers[] = { TIER(1 << 20, 4096), TIER(1 << 19, 4096) };
	struct tr_place_use use = use_of(tiers, 2, 50);
	uint32_t home[N_UNIT], plan[N_UNIT];

	(void)state;
	for (size_t i = 0; i < N_UNIT; i++)
		rates[i] = 4.0f / N_EXPERT;
	assert_int_equal(tr_place_plan(plan, &c, tiers, 2, NULL), 0);
	memcpy(home, plan, sizeof(home));
	assert_int_equal(tr_place_by_use(home, &c, &use, NULL), 0);
	assert_memory_equal(home, plan, sizeof(home));
}

enum { FEW = 8 };

/* Tries every way to deal home[at..FEW), whose tiers are exchanged in all ways. */
static void try_all(uint32_t *home, size_t at, const struct tr_catalog *c,
	const struct tr_place_use *use, double *best)
{
	if (at == FEW)
		*best = TR_MIN(*best, tr_place_finish(home, c, use, 0));
	for (size_t i = at; i < FEW; i++) {
		uint32_t mine = home[at];

		if (i > at && home[i] == mine)
			continue;
		home[at] = home[i];
		home[i] = mine;
		try_all(home, at + 1, c, use, best);
		home[i] = home[at];
		home[at] = mine;
	}
}

/* Exchanges of two can end short of the best: so far off at most, and seldom. */
static void dealing_is_close_to_the_best_of_all_deals(void **state)
{
	static struct tr_moe_layer layer;
	struct tr_catalog c = catalog_of(1 << 20, N_LAYER, 0);
	uint64_t seed = 11;
	unsigned n_exact = 0;
	double excess = 0;

	(void)state;
	c.n_moe_layer = 1;
	c.n_expert = c.n_unit = FEW;
	c.moe_layers = &layer;
	for (int round = 0; round < 100; round++) {
		const struct tr_place_tier tiers[] = { TIER(3 << 20, 4096),
			{ 2 << 20, 4096, { round % 2 ? 28.8e9 : 9e9, 305e-9 } } };
		struct tr_place_use use = use_of(tiers, 2, (uint64_t)round % 3);
		uint32_t home[FEW];
		double best = 1e9, got;

		use.file.bytes_per_s = round % 4 < 2 ? 3.5e9 : 20e9;
		draw_rates(&seed, FEW);
		assert_int_equal(tr_place_plan(home, &c, tiers, 2, NULL), 0);
		assert_int_equal(tr_place_by_use(home, &c, &use, NULL), 0);
		got = tr_place_finish(home, &c, &use, 0);
		try_all(home, 0, &c, &use, &best);
		assert_true(got >= best * (1 - 1e-9) && got <= best * 1.30);
		n_exact += got <= best * (1 + 1e-9);
		excess += got / best - 1;
	}
	assert_true(n_exact >= 75);
	assert_true(excess < 100 * 0.02);
}

static void the_most_used_go_to_the_fastest_lanes(void **state)
{
	static struct tr_moe_layer layer;
	static const float rate[FEW] = { 0.1f, 0.9f, 0.2f, 0.8f, 0.3f, 0.7f, 0.05f, 0.6f };
	/* DRAM keeps two of those in the file: 1 and 3, the most used. */
	static const uint32_t golden[FEW] = { TR_HOME_FILE, TR_HOME_FILE, 0, TR_HOME_FILE, 0, 0,
		TR_HOME_FILE, 0 };
	struct tr_catalog c = catalog_of(1 << 20, N_LAYER, 0);
	const struct tr_place_tier tier = TIER(4 << 20, 4096);
	struct tr_place_use use = use_of(&tier, 1, 2);
	uint32_t home[FEW];

	(void)state;
	c.n_moe_layer = 1;
	c.n_expert = c.n_unit = FEW;
	c.moe_layers = &layer;
	memcpy(rates, rate, sizeof(rate));
	assert_int_equal(tr_place_plan(home, &c, &tier, 1, NULL), 0);
	assert_int_equal(tr_place_by_use(home, &c, &use, NULL), 0);
	assert_memory_equal(home, golden, sizeof(home));
}

static void a_miss_costs_what_its_home_takes_more_than_dram(void **state)
{
	struct tr_catalog c = catalog_of(1 << 20, 3, 2 << 20);
	const struct tr_place_tier tier = TIER(20 << 20, 4096);
	struct tr_place_use use = use_of(&tier, 1, 0);
	uint32_t home[N_UNIT];
	float cost[N_UNIT];

	(void)state;
	c.unit_bytes_max = 2 << 20;
	for (size_t i = 0; i < N_UNIT; i++)
		home[i] = i % 2 ? TR_HOME_FILE : 0;
	tr_place_miss_cost(cost, &c, home, &use);
	assert_true(cost[N_UNIT - 1] == 1);
	assert_true(cost[1] > 0.5f && cost[1] < 0.7f);
	assert_true(cost[0] > 0.02f && cost[0] < cost[N_UNIT - 2] && cost[N_UNIT - 2] < 0.1f);
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
		cmocka_unit_test(dealing_by_use_is_never_slower_and_keeps_the_shares),
		cmocka_unit_test(even_use_leaves_the_plan),
		cmocka_unit_test(dealing_is_close_to_the_best_of_all_deals),
		cmocka_unit_test(the_most_used_go_to_the_fastest_lanes),
		cmocka_unit_test(a_miss_costs_what_its_home_takes_more_than_dram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
