/* t_prefetch.c - budget, reach, waste and the comparison of token times, by numbers alone. */
#include "test.h"
#include "cache/prefetch.h"

enum { BYTES = 100 };

static struct tr_prefetch make(enum tr_prefetch_mode mode, double waste, uint64_t budget,
	uint32_t reach)
{
	struct tr_prefetch_cfg cfg = { mode, waste, budget, reach };
	struct tr_prefetch p;

	tr_prefetch_init(&p, &cfg);
	return p;
}

static bool admit(struct tr_prefetch *p, float probability, uint64_t bytes)
{
	if (!tr_prefetch_allows(p, probability, bytes))
		return false;
	tr_prefetch_begin(p, probability, bytes);
	return true;
}

static uint32_t admit_all(struct tr_prefetch *p, float probability)
{
	uint32_t n = 0;

	while (n < 1000 && admit(p, probability, BYTES))
		n++;
	return n;
}

static void settle_all(struct tr_prefetch *p, enum tr_prefetch_end end)
{
	while (p->n_standing)
		tr_prefetch_settle(p, end, BYTES);
}

static void off_admits_nothing(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_OFF, 1, 1000000, 64);

	(void)state;
	assert_false(admit(&p, 1, BYTES));
	p = make(TR_PREFETCH_AUTO, 1, 1000000, 0);
	assert_false(admit(&p, 1, BYTES));
	tr_prefetch_token(&p, 5);
	assert_false(p.on);
}

static void reach_grows_fast_and_shrinks_slowly(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 1e9, 1000000, 64);
	uint32_t n_use = 0, n_miss = 0;

	(void)state;
	assert_int_equal(admit_all(&p, 1), 2);
	settle_all(&p, TR_PREFETCH_USEFUL);
	assert_int_equal(p.reach, 8);
	for (; p.reach < 64; n_use++) {
		assert_true(admit(&p, 1, BYTES));
		tr_prefetch_settle(&p, TR_PREFETCH_LATE, BYTES);
	}
	for (; p.reach > 8; n_miss++) {
		assert_true(admit(&p, 1, BYTES));
		tr_prefetch_settle(&p, TR_PREFETCH_MISSED, BYTES);
	}
	assert_int_equal(n_use, 3);
	assert_in_range(n_miss, 12, 24);
	for (int i = 0; i < 100; i++) {
		assert_true(admit(&p, 1, BYTES));
		tr_prefetch_settle(&p, TR_PREFETCH_MISSED, BYTES);
	}
	assert_int_equal(p.reach, 1);
}

static void budget_is_kept(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 1e9, 3 * BYTES + 50, 64);

	(void)state;
	p.reach = 64;
	assert_int_equal(admit_all(&p, 1), 3);
	tr_prefetch_settle(&p, TR_PREFETCH_CANCELLED, BYTES);
	assert_int_equal(admit_all(&p, 1), 1);
	assert_false(admit(&p, 1, 51));
	assert_true(admit(&p, 1, 50));
}

/* Doubtful ones would spend what sure ones have earned, and then those could not go. */
static void doubtful_ones_wait_however_much_is_earned(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 0.2, 1000000, 64);

	(void)state;
	p.reach = 64;
	p.n_used = 1000;
	assert_false(admit(&p, 0.5f, BYTES));
	assert_false(admit(&p, 0.83f, BYTES));
	assert_int_equal(admit_all(&p, 0.84f), 64);
	p = make(TR_PREFETCH_ON, 1, 1000000, 64);
	assert_false(admit(&p, 0.49f, BYTES));
	assert_true(admit(&p, 0.51f, BYTES));
}

static void reads_called_back_in_time_are_no_misses(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 0.2, 1000000, 64);

	(void)state;
	p.called_back = 1000;
	assert_true(admit(&p, 0.1f, BYTES));
	tr_prefetch_settle(&p, TR_PREFETCH_CANCELLED, BYTES);
	p.called_back = 0;
	assert_false(admit(&p, 0.1f, BYTES));
	p.called_back = p.missed = 1000;
	assert_false(admit(&p, 0.7f, BYTES));
	assert_true(admit(&p, 0.72f, BYTES));
}

static void misses_stay_below_their_share_of_uses(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 0.2, 1000000, 64);
	uint64_t x = 1, n_use = 0, n_miss = 0;

	(void)state;
	/* Half of what the predictor is sure of comes true, then nearly all. */
	for (int phase = 0; phase < 2; phase++) {
		for (int token = 0; token < 5000; token++) {
			for (uint32_t n = admit_all(&p, 0.95f); n; n--) {
				bool used = (x = x * 6364136223846793005u + 1) >> 33 & 1 ||
					(phase && x >> 34 & 15);

				n_use += used;
				n_miss += !used;
				tr_prefetch_settle(&p,
					used ? TR_PREFETCH_USEFUL : TR_PREFETCH_MISSED,
					BYTES);
			}
			tr_prefetch_token(&p, 1000);
		}
		/* the bad predictor got a try now and then, no more */
		if (!phase)
			assert_in_range(n_miss, 10, 1000);
	}
	assert_true(n_use > 5000);
	assert_true((double)n_miss <= 0.2 * (double)n_use);
}

/* The predictor is sure of what comes true one time in so many; reads are few. */
static void assert_limit_holds(uint64_t one_in)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 0.2, 1000000, 64);
	uint64_t x = 1, n_use = 0, n_miss = 0;

	for (uint64_t token = 0; token < 3000; token++) {
		for (uint32_t n = token % 3 ? 0 : admit_all(&p, 0.99f); n; n--) {
			bool used = ((x = x * 6364136223846793005u + 1) >> 33) % 1000003 % one_in == 0;

			n_use += used;
			n_miss += !used;
			tr_prefetch_settle(&p, used ? TR_PREFETCH_USEFUL : TR_PREFETCH_MISSED,
				BYTES);
			assert_true((double)n_miss <= 0.2 * (double)n_use + 1 + token / 256);
		}
		tr_prefetch_token(&p, 1000);
	}
	assert_true(n_miss > 1);
}

static void the_limit_on_waste_holds_whatever_the_predictor_says(void **state)
{
	(void)state;
	assert_limit_holds(2);
	assert_limit_holds(10);
	assert_limit_holds(1000);
}

static void rescued_misses_are_uses(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 0.2, 1000000, 64);
	struct tr_prefetch_stats s;

	(void)state;
	p.n_used = 5;
	assert_int_equal(admit_all(&p, 1), 2);
	settle_all(&p, TR_PREFETCH_MISSED);
	assert_int_equal(p.reach, 1);
	assert_false(admit(&p, 0.9f, BYTES));
	tr_prefetch_rescue(&p);
	assert_true(admit(&p, 0.9f, BYTES));
	tr_prefetch_settle(&p, TR_PREFETCH_FAILED, BYTES);
	tr_prefetch_waste(&p, BYTES);
	tr_prefetch_stats(&p, &s);
	assert_int_equal(s.issued, 3);
	assert_int_equal(s.useful, 1);
	assert_int_equal(s.wasted, 1);
	assert_int_equal(s.failed, 1);
	assert_int_equal(s.wasted_bytes, BYTES);
	assert_int_equal(s.bytes, 3 * BYTES);
	assert_string_equal(s.mode, "on");
}

static void probabilities_are_translated_for_absent_units(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 0.2, 1000000, 64);

	(void)state;
	assert_float_equal(tr_prefetch_translate(&p, 0.9f), 0.45, 1e-6);
	for (int i = 0; i < 20000; i++) {
		tr_prefetch_learn(&p, 0.9f, i % 2);
		tr_prefetch_learn(&p, 0.1f, false);
		tr_prefetch_learn(&p, 1.0f, true);
	}
	assert_float_equal(tr_prefetch_translate(&p, 0.9f), 0.5, 0.01);
	assert_float_equal(tr_prefetch_translate(&p, 0.1f), 0, 0.01);
	assert_float_equal(tr_prefetch_translate(&p, 1), 1, 0.01);
	assert_float_equal(tr_prefetch_translate(&p, 0.7f), 0.35, 1e-6);
}

/* Tokens take on_ns with and off_ns without reading ahead; an outlier now and then. */
static void decode(struct tr_prefetch *p, uint64_t on_ns, uint64_t off_ns, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		tr_prefetch_token(p, (p->on ? on_ns : off_ns) * (i % 7 ? 1 : 20));
}

static void what_is_slower_is_switched_off(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_AUTO, 0.2, 1000000, 64);
	uint32_t len = 2 * TR_PREFETCH_ROUNDS * TR_PREFETCH_WINDOW;

	(void)state;
	assert_true(p.on);
	decode(&p, 110, 100, len);
	assert_int_equal(p.stats.comparisons, 1);
	assert_false(p.on);
	assert_int_equal(p.stats.on_ns, 110);
	assert_int_equal(p.stats.off_ns, 100);
	assert_false(admit(&p, 1, BYTES));
	decode(&p, 110, 100, TR_PREFETCH_HOLD - 1);
	assert_false(p.on);
	assert_int_equal(p.stats.tokens_on, len / 2);
}

static void what_is_faster_is_switched_on_again(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_AUTO, 0.2, 1000000, 64);
	uint32_t len = 2 * TR_PREFETCH_ROUNDS * TR_PREFETCH_WINDOW;

	(void)state;
	decode(&p, 110, 100, len + TR_PREFETCH_HOLD);
	assert_true(p.comparing);
	decode(&p, 90, 100, len);
	assert_true(p.on);
	assert_false(p.comparing);
	assert_int_equal(p.stats.comparisons, 2);
	decode(&p, 90, 100, TR_PREFETCH_HOLD - 1);
	assert_true(p.on);
	assert_true(p.stats.switches >= 2 * TR_PREFETCH_ROUNDS);
}

static void windows_of_both_ways_are_equally_long(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_AUTO, 0.2, 1000000, 64);
	uint32_t n_on = 0;

	(void)state;
	while (!p.stats.comparisons) {
		n_on += p.on;
		tr_prefetch_token(&p, 1);
	}
	assert_int_equal(n_on, TR_PREFETCH_ROUNDS * TR_PREFETCH_WINDOW);
	assert_int_equal(p.stats.tokens, 2 * TR_PREFETCH_ROUNDS * TR_PREFETCH_WINDOW);
	assert_int_equal(p.n_sample[0], TR_PREFETCH_SAMPLES);
	assert_int_equal(p.n_sample[1], TR_PREFETCH_SAMPLES);
}

static void on_stays_on(void **state)
{
	struct tr_prefetch p = make(TR_PREFETCH_ON, 0.2, 1000000, 64);

	(void)state;
	decode(&p, 200, 100, 2000);
	assert_true(p.on);
	assert_int_equal(p.stats.comparisons, 0);
	assert_int_equal(p.stats.tokens_on, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(off_admits_nothing),
		cmocka_unit_test(reach_grows_fast_and_shrinks_slowly),
		cmocka_unit_test(budget_is_kept),
		cmocka_unit_test(doubtful_ones_wait_however_much_is_earned),
		cmocka_unit_test(reads_called_back_in_time_are_no_misses),
		cmocka_unit_test(misses_stay_below_their_share_of_uses),
		cmocka_unit_test(the_limit_on_waste_holds_whatever_the_predictor_says),
		cmocka_unit_test(rescued_misses_are_uses),
		cmocka_unit_test(probabilities_are_translated_for_absent_units),
		cmocka_unit_test(what_is_slower_is_switched_off),
		cmocka_unit_test(what_is_faster_is_switched_on_again),
		cmocka_unit_test(windows_of_both_ways_are_equally_long),
		cmocka_unit_test(on_stays_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
