/* t_ahead.c - reads ahead of need: joined, cancelled, missed, wasted; what they may not evict. */
#include "cache_bed.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>

/* Layers of the bed: units 0 to 15, and 16 to 31. */
enum { UNIT_BYTES = TR_N_PART * PART_BYTES };

static struct tr_prefetch_stats counts(const struct bed *b)
{
	struct tr_stats s;

	tr_cache_stats(b->cache, &s);
	return s.prefetch;
}

static void open_ahead(struct bed *b, uint32_t n_slot)
{
	b->cfg.prefetch = true;
	b->cfg.prefetch_waste = 1e9;
	if (!b->cfg.prefetch_bytes)
		b->cfg.prefetch_bytes = 1u << 30;
	open_cache(b, "lru", n_slot, 0);
}

static void prefetch(struct bed *b, const uint32_t *ids, size_t n, float p)
{
	float ps[N_UNIT];

	for (size_t i = 0; i < n; i++)
		ps[i] = p;
	tr_cache_prefetch(b->cache, ids, ps, n);
	check(b);
}

/* Lets reads end. */
static void let_pass(struct bed *b)
{
	for (int i = 0; i < 20; i++) {
		tr_io_sim_advance(&b->sim, 100000000);
		tr_cache_poll(b->cache, b->h, 0);
		check(b);
	}
}

/* Two uses of what was read ahead widen the reach to 8 and more. */
static void gain_trust(struct bed *b)
{
	prefetch(b, SET(0, 1), 1);
	let_pass(b);
	use(b, SET(0, 1), 0);
	prefetch(b, SET(2, 3), 1);
	let_pass(b);
	use(b, SET(2, 3), 0);
}

static void what_arrived_ahead_is_a_hit(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 8);
	prefetch(b, SET(3, 5), 0.9f);
	let_pass(b);
	assert_int_equal(acquire(b, SET(3, 5), 0, b->h), 2);
	assert_ready(b, b->h, 2);
	release(b, b->h, 2);
	assert_int_equal(tier(b, "dram").hits, 2);
	assert_int_equal(tier(b, "nvme").hits, 2);
	assert_int_equal(counts(b).issued, 2);
	assert_int_equal(counts(b).useful, 2);
	assert_int_equal(counts(b).late, 0);
	assert_int_equal(counts(b).bytes, 2 * UNIT_BYTES);
}

static void demand_joins_a_read_ahead(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 8);
	prefetch(b, SET(3), 0.9f);
	assert_int_equal(acquire(b, SET(3), 0, b->h), 1);
	assert_int_equal(b->h[0].state, TR_HANDLE_LOADING);
	wait_all(b, b->h, 1);
	assert_ready(b, b->h, 1);
	release(b, b->h, 1);
	assert_int_equal(tier(b, "nvme").hits, 1);
	assert_int_equal(tier(b, "nvme").joins, 1);
	assert_int_equal(counts(b).late, 1);
	assert_int_equal(counts(b).useful, 0);
}

static void joined_read_goes_before_other_background(void **state)
{
	struct bed *b = *state;
	size_t before;

	b->depth = b->background_depth = 1;
	open_ahead(b, 32);
	gain_trust(b);
	before = b->sim.n_seen;
	prefetch(b, SET(16, 17, 18), 0.9f);
	acquire(b, SET(18), 0, b->h);
	wait_all(b, b->h, 1);
	assert_ready(b, b->h, 1);
	/* the piece that was in flight, then the joined unit */
	assert_int_equal(b->sim.seen[before].prio, TR_IO_BACKGROUND);
	for (size_t i = 1; i <= TR_N_PART; i++)
		assert_int_equal(b->sim.seen[before + i].prio, TR_IO_DEMAND);
	release(b, b->h, 1);
	let_pass(b);
}

static void background_stays_behind_demand(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 1;
	open_ahead(b, 32);
	gain_trust(b);
	prefetch(b, SET(16, 17, 18), 0.9f);
	acquire(b, SET(8, 9), 0, b->h);
	wait_all(b, b->h, 2);
	assert_int_equal(counts(b).late + counts(b).useful, 4);
	for (size_t i = b->sim.n_seen - 2 * TR_N_PART; i < b->sim.n_seen; i++)
		if (b->sim.seen[i].file == &b->file[0])
			assert_int_equal(b->sim.seen[i].prio, TR_IO_DEMAND);
	release(b, b->h, 2);
	let_pass(b);
}

static void cancelled_read_frees_its_slot(void **state)
{
	struct bed *b = *state;
	uint64_t used;

	b->depth = b->background_depth = 1;
	open_ahead(b, 32);
	gain_trust(b);
	used = tier(b, "dram").used_bytes;
	prefetch(b, SET(16, 17, 18), 0.9f);
	assert_int_equal(tier(b, "dram").used_bytes, used + 3 * tr_cache_slot_bytes(b->cache));
	/* 16 has started; 17 and 18 are not expected any more */
	prefetch(b, SET(20), 0.9f);
	assert_int_equal(counts(b).cancelled, 2);
	let_pass(b);
	assert_int_equal(tier(b, "dram").used_bytes, used + 2 * tr_cache_slot_bytes(b->cache));
	assert_int_equal(counts(b).issued, 4 + 4);
	use(b, SET(16, 20), 0);
	assert_int_equal(counts(b).useful, 6);
	use(b, SET(17, 18), 0);
}

static void cancelled_read_that_is_wanted_is_read_again(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 1;
	open_ahead(b, 32);
	gain_trust(b);
	prefetch(b, SET(16, 17), 0.9f);
	prefetch(b, SET(16), 0.9f);
	assert_int_equal(counts(b).cancelled, 1);
	/* io has not reported the cancelled read yet */
	assert_int_equal(acquire(b, SET(17), 0, b->h), 1);
	assert_int_equal(b->h[0].state, TR_HANDLE_LOADING);
	wait_all(b, b->h, 1);
	assert_ready(b, b->h, 1);
	release(b, b->h, 1);
	assert_int_equal(counts(b).failed, 0);
}

static void pinned_entries_are_never_evicted(void **state)
{
	struct bed *b = *state;
	struct tr_handle h[8];

	open_ahead(b, 8);
	acquire(b, SET(0, 1, 2, 3, 4, 5, 6, 7), 0, h);
	wait_all(b, h, 8);
	prefetch(b, SET(16, 17), 1);
	assert_int_equal(counts(b).issued, 0);
	assert_ready(b, h, 8);
	release(b, h, 8);
	prefetch(b, SET(16, 17), 1);
	assert_int_equal(counts(b).issued, 2);
	let_pass(b);
}

static void what_is_expected_more_is_not_evicted(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 4);
	use(b, SET(16, 17, 18, 19), 0);
	prefetch(b, SET(16, 17, 18), 0.9f);
	prefetch(b, SET(3), 0.8f);
	let_pass(b);
	assert_int_equal(counts(b).issued, 1);
	assert_true(in_dram(b, 16) && in_dram(b, 17) && in_dram(b, 18) && in_dram(b, 3));
	prefetch(b, SET(3, 4), 0.8f);
	assert_int_equal(counts(b).issued, 1);
}

static void sets_find_slots_while_reads_ahead_hold_theirs(void **state)
{
	struct bed *b = *state;

	b->depth = b->background_depth = 1;
	open_ahead(b, 4);
	prefetch(b, SET(16, 17, 18, 19), 1);
	assert_int_equal(counts(b).issued, 1);
	assert_int_equal(acquire(b, SET(0, 1, 2, 3), 0, b->h), 3);
	wait_all(b, b->h, 4);
	release(b, b->h, 4);
	let_pass(b);
}

static void queued_reads_ahead_yield_to_a_set(void **state)
{
	struct bed *b = *state;
	uint32_t ids[16];

	b->depth = b->background_depth = 1;
	open_ahead(b, 16);
	gain_trust(b);
	prefetch(b, SET(16, 17, 18, 19), 1);
	assert_int_equal(counts(b).issued, 8);
	for (uint32_t i = 0; i < 16; i++)
		ids[i] = i;
	assert_int_equal(acquire(b, ids, 16, 0, b->h), 12);
	assert_int_equal(counts(b).cancelled, 3);
	wait_all(b, b->h, 16);
	release(b, b->h, 16);
	let_pass(b);
}

static void budget_bounds_what_is_read_ahead(void **state)
{
	struct bed *b = *state;

	b->cfg.prefetch_bytes = 3 * tr_cache_slot_bytes_for(&b->catalog, ALIGN);
	open_ahead(b, 32);
	gain_trust(b);
	prefetch(b, SET(16, 17, 18, 19, 20), 1);
	assert_int_equal(counts(b).issued, 4 + 3);
	let_pass(b);
	prefetch(b, SET(4, 5), 1);
	assert_int_equal(counts(b).issued, 4 + 3);
	use(b, SET(16, 17, 18), 0);
	prefetch(b, SET(4, 5, 6, 7), 1);
	assert_int_equal(counts(b).issued, 4 + 3 + 3);
	let_pass(b);
}

static void unused_ones_are_wasted_when_evicted(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 4);
	prefetch(b, SET(3), 1);
	let_pass(b);
	prefetch(b, SET(4), 1);
	let_pass(b);
	use(b, SET(0), 0);
	assert_int_equal(counts(b).wasted, 0);
	use(b, SET(5, 6, 7), 0);
	assert_int_equal(counts(b).wasted, 2);
	assert_int_equal(counts(b).wasted_bytes, 2 * UNIT_BYTES);
	assert_true(in_dram(b, 0));
}

static void due_entries_are_the_last_victims(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 4);
	prefetch(b, SET(16), 1);
	let_pass(b);
	use(b, SET(0, 1, 2, 3), TR_ACQUIRE_RETRY);
	assert_int_equal(counts(b).wasted, 1);
	prefetch(b, SET(16), 1);
	let_pass(b);
	use(b, SET(4, 5, 6), 0);
	use(b, SET(7, 8, 9), 0);
	use(b, SET(16), 0);
	assert_int_equal(counts(b).useful, 1);
}

static void a_late_use_rescues(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 8);
	prefetch(b, SET(3), 1);
	let_pass(b);
	use(b, SET(0), 0);
	assert_int_equal(counts(b).useful, 0);
	use(b, SET(3), 0);
	assert_int_equal(counts(b).useful, 1);
	assert_int_equal(counts(b).wasted, 0);
}

static void failed_read_ahead_does_no_harm(void **state)
{
	struct bed *b = *state;

	rule(b, (struct tr_io_sim_rule){
			.file = &b->file[1], .off = TR_IO_SIM_ANY, .times = 1, .os_errno = EINVAL });
	open_ahead(b, 8);
	prefetch(b, SET(16), 1);
	let_pass(b);
	assert_int_equal(counts(b).failed, 1);
	assert_int_equal(tier(b, "dram").used_bytes, 0);
	use(b, SET(16), 0);
}

static void nothing_is_read_ahead_where_nothing_is_kept(void **state)
{
	struct bed *b = *state;

	b->cfg.prefetch = true;
	open_cache(b, "none", 8, 0);
	assert_int_equal(tr_cache_reach(b->cache), 0);
	prefetch(b, SET(3, 4), 1);
	assert_int_equal(counts(b).issued, 0);
	use(b, SET(3), 0);
}

static void below_four_slots_nothing_is_read_ahead(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 3);
	prefetch(b, SET(3, 4), 1);
	assert_int_equal(counts(b).issued, 0);
}

static void what_a_store_has_can_be_promoted(void **state)
{
	struct bed *b = *state;

	b->store.has[3] = true;
	b->cfg.n_store = 1;
	open_ahead(b, 8);
	prefetch(b, SET(3), 1);
	assert_int_equal(acquire(b, SET(3), 0, b->h), 1);
	assert_int_equal(b->h[0].tier, 1);
	release(b, b->h, 1);
	let_pass(b);
	use(b, SET(3), 0);
	assert_int_equal(tier(b, "dram").hits, 1);
}

static void close_ends_reads_ahead(void **state)
{
	struct bed *b = *state;

	open_ahead(b, 8);
	prefetch(b, SET(3, 4), 1);
}

/* --- threads ---------------------------------------------------------------------------------- */

struct worker {
	struct bed *b;
	uint64_t seed;
	pthread_t thread;
};

static uint32_t draw(uint64_t *seed, uint32_t n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % n;
}

static void work_once(struct worker *w)
{
	uint32_t layer = draw(&w->seed, N_LAYER), first = draw(&w->seed, N_EXPERT - N_USED);
	uint32_t ids[N_USED], guess[3];
	float p[3] = { 0.9f, 0.8f, 0.7f };
	struct tr_handle h[N_USED];
	size_t n = 0;

	for (uint32_t i = 0; i < N_USED; i++)
		ids[i] = layer * N_EXPERT + first + i;
	for (uint32_t i = 0; i < 3; i++)
		guess[i] = (1 - layer) * N_EXPERT + draw(&w->seed, N_EXPERT);
	for (size_t left = N_USED; left; left -= n) {
		n = tr_cache_acquire(w->b->cache, ids + N_USED - left, 1, 0, h);
		tr_cache_prefetch(w->b->cache, guess, p, 3);
		while (tr_cache_wait(w->b->cache, h, n))
			;
		for (size_t i = 0; i < n; i++)
			if (h[i].state != TR_HANDLE_READY || !content_is_right(w->b, &h[i]))
				abort();
		tr_cache_release(w->b->cache, h, n);
	}
	tr_cache_note_token(w->b->cache, 1000);
}

static void *work(void *arg)
{
	for (int i = 0; i < 400; i++)
		work_once(arg);
	return NULL;
}

static void threads_agree(void **state)
{
	struct bed *b = *state;
	struct worker w[3];

	b->depth = 4;
	b->background_depth = 1;
	open_ahead(b, 12);
	for (size_t i = 0; i < TR_ARRAY_LEN(w); i++) {
		w[i] = (struct worker){ .b = b, .seed = i };
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (size_t i = 0; i < TR_ARRAY_LEN(w); i++)
		pthread_join(w[i].thread, NULL);
	check(b);
	assert_true(counts(b).issued > 0);
	assert_true(counts(b).useful + counts(b).late > 0);
}

#define ahead_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ahead_test(what_arrived_ahead_is_a_hit),
		ahead_test(demand_joins_a_read_ahead),
		ahead_test(joined_read_goes_before_other_background),
		ahead_test(background_stays_behind_demand),
		ahead_test(cancelled_read_frees_its_slot),
		ahead_test(cancelled_read_that_is_wanted_is_read_again),
		ahead_test(pinned_entries_are_never_evicted),
		ahead_test(what_is_expected_more_is_not_evicted),
		ahead_test(sets_find_slots_while_reads_ahead_hold_theirs),
		ahead_test(queued_reads_ahead_yield_to_a_set),
		ahead_test(budget_bounds_what_is_read_ahead),
		ahead_test(unused_ones_are_wasted_when_evicted),
		ahead_test(due_entries_are_the_last_victims),
		ahead_test(a_late_use_rescues),
		ahead_test(failed_read_ahead_does_no_harm),
		ahead_test(nothing_is_read_ahead_where_nothing_is_kept),
		ahead_test(below_four_slots_nothing_is_read_ahead),
		ahead_test(what_a_store_has_can_be_promoted),
		ahead_test(close_ends_reads_ahead),
		ahead_test(threads_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
