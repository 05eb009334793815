/* t_stage.c - reads for a prefill before it asks: whose slot, whose bytes, and that nothing else is
 * different for them. */
#include "cache_bed.h"
#include "base/mem.h"

#include <errno.h>

/* Layers of the bed: units 0 to 15, and 16 to 31. */

static struct tr_stats stats(const struct bed *b)
{
	struct tr_stats s;

	tr_cache_stats(b->cache, &s);
	return s;
}

static void stage(struct bed *b, uint32_t first, uint32_t n)
{
	tr_cache_stage(b->cache, first, n);
	check(b);
}

static void let_pass(struct bed *b)
{
	for (int i = 0; i < 20; i++) {
		tr_io_sim_advance(&b->sim, 100000000);
		tr_cache_poll(b->cache, b->h, 0);
		check(b);
	}
}

static void what_arrived_is_a_miss_that_needs_no_read(void **state)
{
	struct bed *b = *state;
	size_t n_seen;

	open_cache(b, "lru", 16, 0);
	stage(b, 16, 4);
	let_pass(b);
	assert_int_equal(tier(b, "dram").used_bytes, 0);
	n_seen = b->sim.n_seen;
	use(b, SET(16, 18), TR_ACQUIRE_SCAN);
	assert_int_equal(b->sim.n_seen, n_seen);
	assert_int_equal(tier(b, "dram").misses, 2);
	assert_int_equal(tier(b, "nvme").hits, 2);
	assert_int_equal(stats(b).staged, 4);
	assert_int_equal(stats(b).staged_used, 2);
	use(b, SET(16, 18), 0);
	assert_int_equal(tier(b, "dram").hits, 2);
}

static void a_set_joins_reads_in_flight(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 1;
	open_cache(b, "lru", 16, 0);
	stage(b, 16, 4);
	acquire(b, SET(17, 18, 19), TR_ACQUIRE_SCAN, b->h);
	for (int i = 0; i < 3; i++)
		assert_int_equal(b->h[i].state, TR_HANDLE_LOADING);
	wait_all(b, b->h, 3);
	assert_ready(b, b->h, 3);
	release(b, b->h, 3);
	let_pass(b);
	assert_int_equal(b->sim.n_seen, 4 * TR_N_PART);
	/* the one that was in flight, then those that somebody waits for */
	assert_int_equal(b->sim.seen[0].prio, TR_IO_BACKGROUND);
	for (int i = 1; i <= 3 * TR_N_PART; i++)
		assert_int_equal(b->sim.seen[i].prio, TR_IO_DEMAND);
}

static void others_take_the_slot_when_no_other_is_free(void **state)
{
	struct bed *b = *state;

	open_cache(b, "lru", 6, 0);
	use(b, SET(0, 1), 0);
	stage(b, 16, 16); /* four find a slot */
	assert_int_equal(stats(b).staged, 4);
	let_pass(b);
	use(b, SET(2, 3, 4, 5), 0);
	assert_int_equal(evictions(b), 0);
	assert_int_equal(stats(b).staged_used, 0);
	use(b, SET(0, 1, 2, 3, 4, 5), 0);
	assert_int_equal(tier(b, "dram").hits, 6);
}

static void a_slot_that_is_read_into_is_read_over_afterwards(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 2;
	open_cache(b, "lru", 4, 0);
	stage(b, 16, 4); /* 16 has started */
	assert_int_equal(acquire(b, SET(0, 1, 2, 3), 0, b->h), 4);
	wait_all(b, b->h, 4);
	assert_ready(b, b->h, 4);
	release(b, b->h, 4);
	assert_int_equal(tier(b, "nvme").hits, 4);
	use(b, SET(0, 1, 2, 3), 0);
	assert_int_equal(tier(b, "dram").hits, 4);
}

static void a_unit_whose_slot_was_taken_is_read_elsewhere(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 1;
	open_cache(b, "lru", 4, 0);
	stage(b, 16, 4);
	assert_int_equal(acquire(b, SET(0, 1, 2), 0, b->h), 3);
	wait_all(b, b->h, 3);
	release(b, b->h, 3);
	use(b, SET(16, 17, 18, 19), 0);
	assert_int_equal(evictions(b), 3);
	assert_int_equal(stats(b).staged_used, 1);
}

static void a_released_handle_leaves_its_slot_to_both_reads(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 1;
	open_cache(b, "lru", 2, 0);
	stage(b, 16, 2);
	assert_int_equal(acquire(b, SET(0, 1), 0, b->h), 2);
	release(b, b->h, 2);
	let_pass(b);
	use(b, SET(0, 1), 0);
	assert_int_equal(tier(b, "dram").hits, 2);
}

static void failed_reads_leave_no_trace(void **state)
{
	struct bed *b = *state;

	rule(b, (struct tr_io_sim_rule){
			.file = &b->file[1], .off = TR_IO_SIM_ANY, .times = 1, .os_errno = EBADF });
	open_cache(b, "lru", 16, 0);
	stage(b, 16, 4);
	let_pass(b);
	use(b, SET(16, 17, 18, 19), TR_ACQUIRE_SCAN);
	assert_int_equal(tier(b, "nvme").hits, 4);
	assert_int_equal(stats(b).staged_used, 3);
}

static void a_failure_is_reported_to_who_joined(void **state)
{
	struct bed *b = *state;
	struct tr_err err;

	rule(b, (struct tr_io_sim_rule){
			.file = &b->file[1], .off = TR_IO_SIM_ANY, .times = 1, .os_errno = EBADF });
	open_cache(b, "lru", 16, 0);
	stage(b, 16, 1);
	acquire(b, SET(16), TR_ACQUIRE_SCAN, b->h);
	wait_all(b, b->h, 1);
	assert_int_equal(b->h[0].state, TR_HANDLE_FAILED);
	assert_int_equal(tr_cache_explain(b->cache, b->h, &err), TR_E_IO);
	release(b, b->h, 1);
	use(b, SET(16), 0);
}

static void nothing_is_staged_that_is_there_or_has_no_slot(void **state)
{
	struct bed *b = *state;

	open_cache(b, "lru", 4, 0);
	use(b, SET(16, 17, 18), 0);
	stage(b, 16, 16);
	assert_int_equal(stats(b).staged, 1);
	stage(b, 16, 16);
	assert_int_equal(stats(b).staged, 1);
	let_pass(b);
	use(b, SET(16, 17, 18, 19), 0);
	assert_int_equal(evictions(b), 0);
}

static void uncached_policies_stage_nothing(void **state)
{
	struct bed *b = *state;

	open_cache(b, "none", 16, 4);
	stage(b, 16, 16);
	assert_int_equal(stats(b).staged, 0);
}

static void close_ends_reads_that_nobody_wants(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 1;
	open_cache(b, "lru", 16, 0);
	stage(b, 16, 16);
	tr_cache_close(b->cache);
	b->cache = NULL;
	assert_true(b->sim.n_seen <= TR_N_PART);
}

struct outcome {
	uint64_t hits, misses, loads, evictions;
	bool there[N_UNIT];
};

static uint32_t draw(uint64_t *x)
{
	*x = *x * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*x >> 33);
}

/* Scans of both layers and decoding in turns; staged or not, decisions are the same. */
static void play(struct bed *b, const char *policy, bool staged, struct outcome *out)
{
	uint64_t x = 7;

	open_cache(b, policy, 13, 4);
	for (int round = 0; round < 60; round++) {
		uint32_t ids[4], first = round & 1 ? 16 : 0;
		unsigned flags = draw(&x) % 3 ? TR_ACQUIRE_SCAN : 0;

		for (uint32_t i = 0; i < 4; i++)
			ids[i] = first + i * 4 + draw(&x) % 4;
		if (staged && draw(&(uint64_t){ (uint64_t)round }) % 2)
			stage(b, first, N_EXPERT);
		if (staged && round % 3 == 0)
			let_pass(b);
		use(b, ids, 4, flags);
	}
	let_pass(b);
	*out = (struct outcome){ tier(b, "dram").hits, tier(b, "dram").misses,
		tier(b, "nvme").hits, evictions(b), { false } };
	for (uint32_t id = 0; id < N_UNIT; id++)
		out->there[id] = tr_cache_peek(b->cache, 0, id, b->h[0].part);
	tr_cache_close(b->cache);
	tr_io_close(b->io);
	b->cache = NULL;
	b->io = NULL;
}

static void decisions_are_those_without_staging(void **state)
{
	static const char *const policies[] = { "lru", "lfu", "sieve" };
	struct bed *b = *state;
	struct outcome with, without;

	for (size_t i = 0; i < TR_ARRAY_LEN(policies); i++) {
		play(b, policies[i], false, &without);
		play(b, policies[i], true, &with);
		assert_memory_equal(&with, &without, sizeof(with));
	}
}

#define stage_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		stage_test(what_arrived_is_a_miss_that_needs_no_read),
		stage_test(a_set_joins_reads_in_flight),
		stage_test(others_take_the_slot_when_no_other_is_free),
		stage_test(a_slot_that_is_read_into_is_read_over_afterwards),
		stage_test(a_unit_whose_slot_was_taken_is_read_elsewhere),
		stage_test(a_released_handle_leaves_its_slot_to_both_reads),
		stage_test(failed_reads_leave_no_trace),
		stage_test(a_failure_is_reported_to_who_joined),
		stage_test(nothing_is_staged_that_is_there_or_has_no_slot),
		stage_test(uncached_policies_stage_nothing),
		stage_test(close_ends_reads_that_nobody_wants),
		stage_test(decisions_are_those_without_staging),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
