/* t_promotion.c - copies from persistent memory to DRAM: when they come, for whom they make room, and
 * what is counted. All units lie in persistent memory unless a test says otherwise. */
#include "cache_bed.h"
#include "base/mem.h"

static uint32_t home[N_UNIT];

static void open_promoting(struct bed *b, const char *policy, uint32_t n_slot, uint32_t n_promote)
{
	for (uint32_t id = 0; id < N_UNIT; id++)
		home[id] = b->store.has[id] ? 0 : TR_HOME_FILE;
	b->cfg.n_store = 1;
	b->cfg.home = home;
	b->cfg.n_promote = n_promote;
	open_cache(b, policy, n_slot, 0);
}

static void all_in_store(struct bed *b)
{
	memset(b->store.has, true, sizeof(b->store.has));
}

static void tick(struct bed *b)
{
	tr_cache_tick(b->cache);
	check(b);
}

/* n tokens that use the set. */
static void tokens(struct bed *b, unsigned n, const uint32_t *ids, size_t n_id)
{
	for (unsigned i = 0; i < n; i++) {
		use(b, ids, n_id, 0);
		tick(b);
	}
}

static uint32_t tier_of(struct bed *b, uint32_t id)
{
	uint32_t t;

	assert_int_equal(acquire(b, &id, 1, TR_ACQUIRE_RETRY, b->h), 1);
	wait_all(b, b->h, 1);
	assert_ready(b, b->h, 1);
	t = b->h[0].tier;
	release(b, b->h, 1);
	return t;
}

static struct tr_stats stats(const struct bed *b)
{
	struct tr_stats s;

	tr_cache_stats(b->cache, &s);
	return s;
}

static void what_is_used_again_is_copied_as_its_token_ends(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 4, 2);
	tokens(b, 1, SET(3, 5));
	assert_int_equal(tier_of(b, 3), 1);
	use(b, SET(3, 6), 0);
	assert_int_equal(tier_of(b, 3), 1); /* its second use, too, is served in place */
	tick(b);
	assert_int_equal(tier_of(b, 3), 0);
	assert_int_equal(tier_of(b, 5), 1);
	assert_int_equal(stats(b).promoted_units, 1);
	assert_int_equal(stats(b).promoted_bytes, TR_N_PART * PART_BYTES);
}

static void a_copy_is_no_use_and_no_load_from_disk(void **state)
{
	struct bed *b = *state;
	uint64_t loads[N_UNIT], evicted[N_UNIT];

	all_in_store(b);
	open_promoting(b, "lru", 4, 2);
	tokens(b, 2, SET(3));
	assert_int_equal(tier(b, "dram").hits, 0);
	assert_int_equal(tier(b, "dram").misses, 2);
	assert_int_equal(tier(b, "pmem:/pmem").hits, 2);
	assert_int_equal(tier(b, "nvme").hits + tier(b, "nvme").bytes, 0);
	tokens(b, 1, SET(3));
	assert_int_equal(tier(b, "dram").hits, 1);
	assert_int_equal(tier(b, "pmem:/pmem").hits, 2);
	tr_cache_unit_counts(b->cache, loads, evicted);
	assert_int_equal(loads[3], 1);
}

static void no_token_brings_more_than_it_may(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 16, 3);
	tokens(b, 2, SET(1, 2, 3, 4, 5, 6, 7, 8));
	assert_int_equal(stats(b).promoted_units, 3);
	tokens(b, 1, SET(1, 2, 3, 4, 5, 6, 7, 8));
	assert_int_equal(stats(b).promoted_units, 6);
}

static void a_prefill_brings_nothing(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 4, 2);
	for (int i = 0; i < 4; i++) {
		use(b, SET(3, 4), TR_ACQUIRE_SCAN);
		tick(b);
	}
	assert_int_equal(stats(b).promoted_units, 0);
}

static void a_retry_is_not_another_use(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 4, 2);
	use(b, SET(3), 0);
	use(b, SET(3), TR_ACQUIRE_RETRY);
	tick(b);
	assert_int_equal(stats(b).promoted_units, 0);
}

static void only_what_is_used_less_makes_room(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 2, 2);
	tokens(b, 6, SET(1, 2));
	tokens(b, 2, SET(3)); /* in place still: 1 and 2 are worth more */
	assert_int_equal(tier_of(b, 1), 0);
	assert_int_equal(tier_of(b, 2), 0);
	assert_int_equal(tier_of(b, 3), 1);
	assert_int_equal(evictions(b), 0);
	tokens(b, 12, SET(2, 3));
	assert_int_equal(tier_of(b, 1), 1);
	assert_int_equal(tier_of(b, 2), 0);
	assert_int_equal(tier_of(b, 3), 0);
	assert_int_equal(evictions(b), 1);
}

/* A miss of 1 costs a read of the disk, one of 20 a slower memory. */
static void what_comes_from_disk_is_dearer_to_lose(void **state)
{
	static float cost[N_UNIT];
	struct bed *b = *state;

	for (uint32_t id = 0; id < N_UNIT; id++) {
		b->store.has[id] = id > 2;
		cost[id] = id > 2 ? 0.1f : 1;
	}
	b->cfg.miss_cost = cost;
	open_promoting(b, "lru", 2, 2);
	tokens(b, 1, SET(1, 2));
	tokens(b, 6, SET(20, 21));
	assert_int_equal(stats(b).promoted_units, 0);
	tokens(b, 20, SET(20, 21));
	assert_true(stats(b).promoted_units > 0);
	assert_int_equal(tier_of(b, 20), 0);
}

static void what_has_a_pin_stays(void **state)
{
	struct bed *b = *state;
	struct tr_handle held[2];

	all_in_store(b);
	open_promoting(b, "lru", 2, 2);
	tokens(b, 2, SET(1, 2));
	assert_int_equal(acquire(b, SET(1, 2), 0, held), 2);
	tokens(b, 30, SET(3));
	assert_int_equal(evictions(b), 0);
	assert_ready(b, held, 2);
	release(b, held, 2);
	tokens(b, 1, SET(3));
	assert_int_equal(evictions(b), 1);
	assert_int_equal(tier_of(b, 3), 0);
}

static void nothing_is_copied_unless_asked_for(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 4, 0);
	tokens(b, 9, SET(1, 2));
	assert_int_equal(stats(b).promoted_units, 0);
	assert_int_equal(tier(b, "dram").hits, 0);
}

static void nothing_is_copied_where_nothing_is_kept(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 0, 2);
	tokens(b, 9, SET(1, 2));
	assert_int_equal(stats(b).promoted_units, 0);
}

static void every_policy_that_keeps_takes_copies(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	for (size_t i = 0; i < tr_n_policy(); i++) {
		struct tr_policy_info info;

		tr_policy_info(i, &info);
		if (!strcmp(info.name, "belady"))
			continue;
		open_promoting(b, info.name, 4, 2);
		for (uint32_t id = 0; id + 2 < N_EXPERT; id++)
			tokens(b, 4, SET(id, id + 2, id + N_EXPERT));
		assert_int_equal(stats(b).promoted_units > 4, strcmp(info.name, "none") != 0);
		tr_cache_close(b->cache);
		tr_io_close(b->io);
		b->cache = NULL;
		b->io = NULL;
	}
}

/* The store lost it between use and copy: a damaged unit is not copied. */
static void what_no_store_has_any_more_is_not_copied(void **state)
{
	struct bed *b = *state;

	all_in_store(b);
	open_promoting(b, "lru", 4, 2);
	tokens(b, 1, SET(3));
	use(b, SET(3), 0);
	b->store.has[3] = false;
	tick(b);
	assert_int_equal(stats(b).promoted_units, 0);
	use(b, SET(3), 0); /* read from disk */
	assert_int_equal(tier(b, "nvme").hits, 1);
}

struct copies {
	unsigned n_call;
	size_t n;
};

static void copy(void *ctx, const struct tr_copy_job *copies, size_t n)
{
	struct copies *c = ctx;

	c->n_call++;
	c->n += n;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(copies[i].tier, 1);
		assert_int_equal(copies[i].bytes, PART_BYTES);
		memcpy(copies[i].to, copies[i].from, copies[i].bytes);
	}
}

static void the_caller_copies_if_he_wants_to(void **state)
{
	struct bed *b = *state;
	struct copies copies = { 0 };

	all_in_store(b);
	b->cfg.copy = copy;
	b->cfg.copy_ctx = &copies;
	open_promoting(b, "lru", 4, 2);
	tokens(b, 2, SET(3, 4));
	assert_int_equal(copies.n_call, 1);
	assert_int_equal(copies.n, 2 * TR_N_PART);
	assert_int_equal(tier_of(b, 3), 0);
}

static void a_warm_start_copies_the_hottest(void **state)
{
	static const uint32_t hot[] = { 20, 3, 17, 8, 1 };
	struct bed *b = *state;

	b->store.has[20] = b->store.has[17] = b->store.has[1] = true;
	b->cfg.hot = hot;
	b->cfg.n_hot = TR_ARRAY_LEN(hot);
	open_promoting(b, "lru", 4, 2);
	assert_int_equal(tr_cache_warm(b->cache, NULL, NULL, NULL), 0);
	check(b);
	assert_int_equal(stats(b).warm_units, 4);
	assert_int_equal(stats(b).warm_bytes, 4 * TR_N_PART * PART_BYTES);
	assert_int_equal(stats(b).promoted_units, 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(tier_of(b, hot[i]), 0);
	assert_int_equal(tier_of(b, 1), 1);
}

static int stop(void *ctx, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	(void)ctx;
	(void)phase;
	(void)unit;
	assert_true(done <= total);
	return 1;
}

static void an_interrupted_warm_start_leaves_no_half_made_copies(void **state)
{
	static uint32_t hot[N_UNIT];
	struct bed *b = *state;
	struct tr_err err;

	all_in_store(b);
	for (uint32_t i = 0; i < N_UNIT; i++)
		hot[i] = i;
	b->store.has[0] = false;
	b->cfg.hot = hot;
	b->cfg.n_hot = N_UNIT;
	open_promoting(b, "lru", N_UNIT, 2);
	assert_int_equal(tr_cache_warm(b->cache, stop, NULL, &err), TR_E_INTERRUPTED);
	check(b);
	assert_true(stats(b).warm_units < N_UNIT);
	use(b, SET(0, 1, 31), 0);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_is_used_again_is_copied_as_its_token_ends),
		test(a_copy_is_no_use_and_no_load_from_disk),
		test(no_token_brings_more_than_it_may),
		test(a_prefill_brings_nothing),
		test(a_retry_is_not_another_use),
		test(only_what_is_used_less_makes_room),
		test(what_comes_from_disk_is_dearer_to_lose),
		test(what_has_a_pin_stays),
		test(nothing_is_copied_unless_asked_for),
		test(nothing_is_copied_where_nothing_is_kept),
		test(every_policy_that_keeps_takes_copies),
		test(what_no_store_has_any_more_is_not_copied),
		test(the_caller_copies_if_he_wants_to),
		test(a_warm_start_copies_the_hottest),
		test(an_interrupted_warm_start_leaves_no_half_made_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
