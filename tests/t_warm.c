/* t_warm.c - a cache that begins with the hot experts of a profile. */
#include "cache_bed.h"
#include "base/mem.h"

#include <errno.h>

static const uint32_t hot[] = { 20, 3, 17, 8, 1 };

static void open_hot(struct bed *b, const char *policy, uint32_t n_slot)
{
	b->cfg.hot = hot;
	b->cfg.n_hot = TR_ARRAY_LEN(hot);
	open_cache(b, policy, n_slot, 0);
}

static void warm(struct bed *b)
{
	struct tr_err err;

	if (tr_cache_warm(b->cache, NULL, NULL, &err))
		fail_msg("%s", err.msg);
	check(b);
}

static struct tr_stats stats(const struct bed *b)
{
	struct tr_stats s;

	tr_cache_stats(b->cache, &s);
	return s;
}

static void the_hottest_are_there_before_the_first_use(void **state)
{
	struct bed *b = *state;

	open_hot(b, "lru", 3);
	warm(b);
	assert_int_equal(stats(b).warm_units, 3);
	assert_int_equal(stats(b).warm_bytes, 3 * TR_N_PART * PART_BYTES);
	assert_int_equal(acquire(b, SET(3, 17, 20), 0, b->h), 3);
	assert_ready(b, b->h, 3);
	release(b, b->h, 3);
	assert_int_equal(tier(b, "dram").hits, 3);
}

static void warm_loads_are_no_uses_and_no_misses(void **state)
{
	struct bed *b = *state;

	open_hot(b, "lru", 4);
	warm(b);
	assert_int_equal(tier(b, "dram").misses + tier(b, "dram").hits, 0);
	assert_int_equal(tier(b, "nvme").hits + tier(b, "nvme").bytes, 0);
	assert_int_equal(tier(b, "nvme").wait_ns, 0);
	assert_int_equal(evictions(b), 0);
	use(b, SET(5), 0);
	assert_int_equal(tier(b, "dram").misses, 1);
	assert_int_equal(tier(b, "nvme").hits, 1);
	assert_int_equal(stats(b).warm_units, 4);
}

static void the_coldest_of_the_warm_is_the_first_to_go(void **state)
{
	struct bed *b = *state;

	open_hot(b, "lru", 3);
	warm(b);
	use(b, SET(5), 0);
	assert_true(in_dram(b, 20) && in_dram(b, 3));
	assert_false(in_dram(b, 17));
}

static void every_policy_that_keeps_takes_warm_entries(void **state)
{
	struct bed *b = *state;

	for (size_t i = 0; i < tr_n_policy(); i++) {
		struct tr_policy_info info;

		tr_policy_info(i, &info);
		if (!strcmp(info.name, "belady"))
			continue;
		open_hot(b, info.name, 4);
		warm(b);
		assert_int_equal(stats(b).warm_units, strcmp(info.name, "none") ? 4 : 0);
		for (uint32_t id = 0; id + 2 < N_EXPERT; id++)
			use(b, SET(id, id + 2), 0);
		tr_cache_close(b->cache);
		tr_io_close(b->io);
		b->cache = NULL;
		b->io = NULL;
	}
}

static void nothing_is_read_where_nothing_is_kept(void **state)
{
	struct bed *b = *state;

	open_hot(b, "lru", 0);
	warm(b);
	assert_int_equal(stats(b).warm_units, 0);
}

static void what_lies_in_persistent_memory_is_left_there(void **state)
{
	static uint32_t home[N_UNIT];
	struct bed *b = *state;

	for (uint32_t id = 0; id < N_UNIT; id++)
		home[id] = id == 3 ? 0 : TR_HOME_FILE;
	b->store.has[3] = true;
	b->cfg.n_store = 1;
	b->cfg.home = home;
	open_hot(b, "lru", 3);
	warm(b);
	assert_int_equal(acquire(b, SET(3, 8, 17, 20), 0, b->h), 4);
	assert_int_equal(b->h[0].tier, 1);
	for (int i = 1; i < 4; i++)
		assert_int_equal(b->h[i].tier, 0);
	assert_int_equal(tier(b, "dram").hits, 3);
	release(b, b->h, 4);
}

struct told {
	unsigned n, stop_at;
	uint64_t done, total;
};

static int note(void *ctx, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	struct told *t = ctx;

	assert_string_equal(phase, "warm");
	assert_string_equal(unit, "bytes");
	assert_true(done >= t->done && done <= total);
	t->done = done;
	t->total = total;
	return ++t->n == t->stop_at;
}

static void progress_is_told_up_to_the_end(void **state)
{
	struct bed *b = *state;
	struct told told = { 0 };

	open_hot(b, "lru", 5);
	assert_int_equal(tr_cache_warm(b->cache, note, &told, NULL), 0);
	assert_true(told.n > 1);
	assert_int_equal(told.done, 5 * TR_N_PART * PART_BYTES);
	assert_int_equal(told.total, told.done);
}

static void an_interrupted_start_calls_back_what_has_not_begun(void **state)
{
	struct bed *b = *state;
	struct told told = { .stop_at = 1 };
	struct tr_err err;

	b->depth = 3;
	open_hot(b, "lru", 5);
	assert_int_equal(tr_cache_warm(b->cache, note, &told, &err), TR_E_INTERRUPTED);
	check(b);
	assert_true(stats(b).warm_units < 5);
	use(b, SET(1, 3, 8), 0);
}

static void a_read_that_fails_is_explained(void **state)
{
	struct bed *b = *state;
	struct tr_err err;

	rule(b, (struct tr_io_sim_rule){ .file = &b->file[1],
			.off = TR_ALIGN_DOWN(b->unit[17].part[0].off, (uint64_t)ALIGN),
			.times = UINT32_MAX,
			.os_errno = EIO });
	open_hot(b, "lru", 4);
	assert_int_equal(tr_cache_warm(b->cache, NULL, NULL, &err), TR_E_IO);
	assert_err_has(&err, "layer 2 expert 1 gate");
	check(b);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_hottest_are_there_before_the_first_use),
		test(warm_loads_are_no_uses_and_no_misses),
		test(the_coldest_of_the_warm_is_the_first_to_go),
		test(every_policy_that_keeps_takes_warm_entries),
		test(nothing_is_read_where_nothing_is_kept),
		test(what_lies_in_persistent_memory_is_left_there),
		test(progress_is_told_up_to_the_end),
		test(an_interrupted_start_calls_back_what_has_not_begun),
		test(a_read_that_fails_is_explained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
