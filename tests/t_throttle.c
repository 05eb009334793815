/* t_throttle.c - limits of tiers, on a clock that only moves when somebody sleeps. */
#include "test.h"
#include "base/mem.h"
#include "engine/throttle.h"

static uint64_t now_ns;

static uint64_t look(void *ctx)
{
	(void)ctx;
	return now_ns;
}

static void sleep_until(void *ctx, uint64_t ns)
{
	(void)ctx;
	now_ns = TR_MAX(now_ns, ns);
}

static const struct tr_clock owned = { .now_ns = look, .sleep_until = sleep_until };

static struct tr_throttle init(const char *text, size_t n_tier)
{
	struct tr_throttle t;
	struct tr_err err;

	if (tr_throttle_init(&t, text, n_tier, &owned, &err))
		fail_msg("%s: %s", text, err.msg);
	return t;
}

static uint64_t wait_for(struct tr_throttle *t, uint64_t dram, uint64_t pmem)
{
	uint64_t bytes[TR_MAX_TIER] = { dram, pmem }, start = now_ns;

	tr_throttle_wait(t, start, bytes);
	return now_ns - start;
}

static void names_go_to_their_tiers(void **state)
{
	struct tr_throttle t = init("pmem=30G,nvme=3.5G,dram=80G", 4);

	(void)state;
	assert_true(t.memory);
	assert_true(t.tier[0].bytes_per_s == 80.0 * (1 << 30));
	assert_true(t.tier[1].bytes_per_s == 30.0 * (1 << 30));
	assert_true(t.tier[2].bytes_per_s == 30.0 * (1 << 30));
	assert_true(t.tier[3].bytes_per_s == 3.5 * (1 << 30));
	assert_false(init("nvme=1G", 2).memory);
	assert_false(init(NULL, 2).memory);
}

static void bad_limits_are_refused_by_name(void **state)
{
	static const char *const bad[][2] = {
		{ "tape=3G", "tape" }, { "dram=fast", "fast" }, { "dram=50%", "50%" },
		{ "nvme=1K", "1K" },   { "nvme=0", "less than 1M" }, { "3G", "3G" },
		{ "dram=80G,", "''" },
	};
	struct tr_throttle t;
	struct tr_err err;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		assert_true(tr_throttle_init(&t, bad[i][0], 2, &owned, &err) < 0);
		assert_err_has(&err, "--throttle");
		assert_err_has(&err, bad[i][1]);
	}
}

static void bytes_take_their_time(void **state)
{
	struct tr_throttle t = init("dram=1G", 3);

	(void)state;
	now_ns = 5000;
	assert_int_equal(wait_for(&t, 1 << 20, 1 << 30), 976563); /* 2^-10 s */
	assert_int_equal(wait_for(&t, 0, 1 << 30), 0);
}

static void tiers_work_at_the_same_time(void **state)
{
	struct tr_throttle t = init("dram=4G,pmem=1G", 3);

	(void)state;
	now_ns = 0;
	assert_int_equal(wait_for(&t, 1 << 20, 1 << 20), 976563);
	assert_int_equal(wait_for(&t, 8 << 20, 1 << 20), 1953125);
}

static void slower_computing_is_not_slowed_further(void **state)
{
	struct tr_throttle t = init("dram=1G", 3);
	uint64_t bytes[TR_MAX_TIER] = { 1 << 20 };

	(void)state;
	now_ns = 2000000; /* computing began at 0 */
	tr_throttle_wait(&t, 0, bytes);
	assert_int_equal(now_ns, 2000000);
}

static void a_step_loses_less_than_a_nanosecond(void **state)
{
	struct tr_throttle t = init("dram=3G", 2);

	(void)state;
	now_ns = 0;
	for (int i = 0; i < 3072; i++)
		wait_for(&t, 1 << 20, 0);
	assert_in_range(now_ns, 1000000000, 1000000000 + 3072);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_go_to_their_tiers),
		cmocka_unit_test(bad_limits_are_refused_by_name),
		cmocka_unit_test(bytes_take_their_time),
		cmocka_unit_test(tiers_work_at_the_same_time),
		cmocka_unit_test(slower_computing_is_not_slowed_further),
		cmocka_unit_test(a_step_loses_less_than_a_nanosecond),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
