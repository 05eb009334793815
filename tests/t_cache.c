/* t_cache.c - the cache on a simulated device in virtual time, with stores that the test owns. */
#include "cache_bed.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- loads ------------------------------------------------------------------------------------ */

static void parts_arrive_at_odd_offsets(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, N_UNIT, 0);
	assert_int_equal(tr_cache_n_slot(b->cache), N_UNIT);
	for (uint32_t id = 0; id < N_UNIT; id++)
		use(b, SET(id), 0);
	assert_int_equal(tier(b, "nvme").hits, N_UNIT);
	assert_int_equal(tier(b, "nvme").bytes, b->catalog.bytes);
	assert_int_equal(tier(b, "dram").used_bytes, N_UNIT * tr_cache_slot_bytes(b->cache));
	assert_int_equal(tier(b, "dram").capacity_bytes, b->cfg.dram_bytes);
}

static void parts_that_touch_are_read_apart(void **state)
{
	struct bed *b = *state;

	for (uint32_t id = 0; id < N_UNIT; id++)
		for (uint32_t p = 0; p < TR_N_PART; p++)
			b->unit[id].part[p].off =
				100 + (id % N_EXPERT * TR_N_PART + p) * PART_BYTES;
	open_cache(b, NULL, 2, 0);
	use(b, SET(0, N_UNIT - 1), 0);
}

static void second_acquire_joins_load(void **state)
{
	struct bed *b = *state;
	struct tr_handle first[1], second[1];

	open_cache(b, NULL, 4, 0);
	assert_int_equal(acquire(b, SET(5), 0, first), 1);
	assert_int_equal(acquire(b, SET(5), 0, second), 1);
	assert_int_equal(second[0].state, TR_HANDLE_LOADING);
	wait_all(b, second, 1);
	assert_int_equal(tr_cache_poll(b->cache, first, 1), 0);
	assert_ready(b, first, 1);
	assert_ready(b, second, 1);
	assert_ptr_equal(first[0].part[0], second[0].part[0]);
	assert_int_equal(tier(b, "nvme").hits, 1);
	assert_int_equal(tier(b, "nvme").joins, 1);
	assert_int_equal(tier(b, "dram").hits, 0);
	assert_int_equal(tier(b, "dram").misses, 2);
	release(b, first, 1);
	assert_ready(b, second, 1);
	release(b, second, 1);
}

static void hits_are_ready_while_misses_fly(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 4, 0);
	use(b, SET(2), 0);
	assert_int_equal(acquire(b, SET(1, 2, 3), 0, b->h), 3);
	assert_int_equal(b->h[0].state, TR_HANDLE_LOADING);
	assert_int_equal(b->h[1].state, TR_HANDLE_READY);
	assert_int_equal(b->h[2].state, TR_HANDLE_LOADING);
	assert_int_equal(tr_cache_wait(b->cache, b->h, 3), 1);
	assert_int_equal(b->h[0].state, TR_HANDLE_READY);
	wait_all(b, b->h, 3);
	assert_ready(b, b->h, 3);
	release(b, b->h, 3);
}

static void poll_reaps_without_blocking(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 4, 0);
	acquire(b, SET(1), 0, b->h);
	assert_int_equal(tr_cache_poll(b->cache, b->h, 1), 1);
	tr_io_sim_advance(&b->sim, 10000000);
	assert_int_equal(tr_cache_poll(b->cache, b->h, 1), 0);
	assert_ready(b, b->h, 1);
	assert_int_equal(tr_cache_wait(b->cache, b->h, 1), 0);
	release(b, b->h, 1);
}

static void waiting_is_counted_in_virtual_time(void **state)
{
	struct bed *b = *state;
	uint64_t read_ns = 3 * 8192; /* three windows at a byte a nanosecond */

	open_cache(b, NULL, 4, 0);
	use(b, SET(0), 0);
	assert_int_equal(tier(b, "nvme").wait_ns, 100000 + read_ns);
	use(b, SET(0), 0);
	assert_int_equal(tier(b, "nvme").wait_ns, 100000 + read_ns);
}

static void short_read_is_resubmitted(void **state)
{
	struct bed *b = *state;

	rule(b, (struct tr_io_sim_rule){ .off = TR_IO_SIM_ANY, .times = 2, .short_bytes = 4096 });
	open_cache(b, NULL, 4, 0);
	use(b, SET(3), 0);
	assert_int_equal(b->sim.n_seen, TR_N_PART + 2);
}

static void eio_is_retried(void **state)
{
	struct bed *b = *state;
	struct tr_stats s;

	rule(b, (struct tr_io_sim_rule){ .off = TR_IO_SIM_ANY, .times = 2, .os_errno = EIO });
	open_cache(b, NULL, 4, 0);
	use(b, SET(3), 0);
	tr_cache_stats(b->cache, &s);
	assert_int_equal(s.io_retries, 2);
	assert_string_equal(s.io_method, "sim");
	assert_string_equal(s.policy, "lru");
}

static void failed_read_is_reported_and_entry_becomes_empty(void **state)
{
	struct bed *b = *state;
	struct tr_handle late[1];
	struct tr_err err;

	/* up of unit 17 = layer 2, expert 1; one try and three more */
	rule(b, (struct tr_io_sim_rule){ .file = &b->file[1],
			.off = TR_ALIGN_DOWN(b->unit[17].part[TR_PART_UP].off, (uint64_t)ALIGN),
			.times = 4,
			.os_errno = EIO });
	open_cache(b, NULL, 4, 0);
	acquire(b, SET(17, 18), 0, b->h);
	wait_all(b, b->h, 2);
	assert_int_equal(b->h[0].state, TR_HANDLE_FAILED);
	assert_int_equal(b->h[1].state, TR_HANDLE_READY);
	assert_int_equal(tr_cache_explain(b->cache, &b->h[0], &err), TR_E_IO);
	assert_err_has(&err, "layer 2 expert 1 up");
	assert_err_has(&err, "two.gguf");
	assert_err_has(&err, strerror(EIO));
	acquire(b, SET(17), 0, late);
	assert_int_equal(late[0].state, TR_HANDLE_FAILED);
	release(b, b->h, 2);
	assert_int_equal(tr_cache_explain(b->cache, late, &err), TR_E_IO);
	release(b, late, 1);
	assert_int_equal(tier(b, "nvme").hits, 1);
	use(b, SET(17), 0);
	assert_int_equal(tier(b, "nvme").hits, 2);
}

static void failed_load_leaves_no_trace_in_the_policy(void **state)
{
	struct bed *b = *state;

	rule(b, (struct tr_io_sim_rule){
			.off = TR_ALIGN_DOWN(b->unit[1].part[0].off, (uint64_t)ALIGN),
			.times = 8,
			.os_errno = EIO });
	open_cache(b, "lfu", 2, 0);
	for (int i = 0; i < 2; i++) {
		acquire(b, SET(1), 0, b->h);
		wait_all(b, b->h, 1);
		assert_int_equal(b->h[0].state, TR_HANDLE_FAILED);
		release(b, b->h, 1);
	}
	use(b, SET(1), 0);
	use(b, SET(2), 0);
	use(b, SET(2), 0);
	use(b, SET(3), 0);
	assert_true(in_dram(b, 2));
	assert_true(in_dram(b, 3));
}

static void file_that_shrank_is_reported(void **state)
{
	struct bed *b = *state;
	struct tr_err err;

	b->file[0].bytes -= 1;
	open_cache(b, NULL, 4, 0);
	acquire(b, SET(N_EXPERT - 1), 0, b->h);
	wait_all(b, b->h, 1);
	assert_int_equal(b->h[0].state, TR_HANDLE_FAILED);
	tr_cache_explain(b->cache, b->h, &err);
	assert_err_has(&err, "expert 15 down");
	release(b, b->h, 1);
}

static void load_that_nobody_waits_for_ends_well(void **state)
{
	struct bed *b = *state;

	rule(b, (struct tr_io_sim_rule){ .file = &b->file[1],
			.off = TR_IO_SIM_ANY,
			.times = UINT32_MAX,
			.os_errno = EIO });
	open_cache(b, NULL, 4, 0);
	acquire(b, SET(1, 17), 0, b->h);
	release(b, b->h, 2);
	tr_io_sim_advance(&b->sim, 1000000000);
	while (tr_io_wait(b->io))
		;
	check(b);
	assert_true(in_dram(b, 1));
	assert_int_equal(tier(b, "dram").used_bytes, tr_cache_slot_bytes(b->cache));
}

static void close_waits_for_loads(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 4, 0);
	acquire(b, SET(1, 2), 0, b->h);
	release(b, b->h, 2);
	tr_cache_close(b->cache);
	b->cache = NULL;
	assert_int_equal(tr_io_wait(b->io), 0);
}

/* --- slots and victims ------------------------------------------------------------------------ */

static void victim_skips_pinned(void **state)
{
	struct bed *b = *state;
	struct tr_handle pin[1];

	open_cache(b, NULL, 3, 0);
	use(b, SET(1), 0);
	use(b, SET(2), 0);
	use(b, SET(3), 0);
	acquire(b, SET(1), TR_ACQUIRE_RETRY, pin);
	use(b, SET(4), 0);
	assert_ready(b, pin, 1);
	release(b, pin, 1);
	assert_int_equal(evictions(b), 1);
	assert_true(in_dram(b, 1));
	assert_true(in_dram(b, 3));
	assert_true(in_dram(b, 4));
	assert_false(in_dram(b, 2));
}

static void out_of_slots_takes_part_of_the_set(void **state)
{
	struct bed *b = *state;
	struct tr_handle rest[2];

	open_cache(b, NULL, 3, 0);
	assert_int_equal(acquire(b, SET(1, 2, 3, 4, 5), 0, b->h), 3);
	assert_int_equal(b->h[3].state, TR_HANDLE_NONE);
	assert_int_equal(b->h[4].state, TR_HANDLE_NONE);
	assert_int_equal(acquire(b, SET(4, 5), TR_ACQUIRE_RETRY, rest), 0);
	wait_all(b, b->h, 5);
	assert_int_equal(acquire(b, SET(4, 5), TR_ACQUIRE_RETRY, rest), 0);
	release(b, b->h, 5);
	assert_int_equal(acquire(b, SET(4, 5), TR_ACQUIRE_RETRY, rest), 2);
	wait_all(b, rest, 2);
	assert_ready(b, rest, 2);
	release(b, rest, 2);
	assert_int_equal(tier(b, "dram").misses, 5);
	assert_int_equal(tier(b, "nvme").hits, 5);
	assert_int_equal(tier(b, "nvme").joins, 0);
}

static void residents_of_a_set_are_pinned_before_victims_are_chosen(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 4, 0);
	use(b, SET(4), 0);
	use(b, SET(5), 0);
	use(b, SET(6, 7), 0);
	assert_int_equal(acquire(b, SET(0, 4), 0, b->h), 2);
	assert_int_equal(b->h[1].state, TR_HANDLE_READY);
	wait_all(b, b->h, 2);
	release(b, b->h, 2);
	assert_true(in_dram(b, 4));
	assert_true(in_dram(b, 6));
	assert_true(in_dram(b, 7));
	assert_false(in_dram(b, 5));
}

static void misses_take_slots_in_ascending_id_order(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 2, 0);
	assert_int_equal(acquire(b, SET(9, 3, 7, 1), 0, b->h), 2);
	assert_int_equal(b->h[0].state, TR_HANDLE_NONE);
	assert_int_equal(b->h[1].state, TR_HANDLE_LOADING);
	assert_int_equal(b->h[2].state, TR_HANDLE_NONE);
	assert_int_equal(b->h[3].state, TR_HANDLE_LOADING);
	assert_int_equal(b->h[1].id, 3);
	assert_int_equal(
		b->sim.seen[0].off, TR_ALIGN_DOWN(b->unit[1].part[0].off, (uint64_t)ALIGN));
	assert_int_equal(
		b->sim.seen[TR_N_PART].off, TR_ALIGN_DOWN(b->unit[3].part[0].off, (uint64_t)ALIGN));
	wait_all(b, b->h, 4);
	release(b, b->h, 4);
}

static void zero_dram_keeps_nothing(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 0, 4);
	assert_int_equal(tr_cache_n_slot(b->cache), 4);
	for (int i = 0; i < 3; i++)
		use(b, SET(1, 2, 3, 4), 0);
	assert_int_equal(tier(b, "dram").hits, 0);
	assert_int_equal(tier(b, "dram").used_bytes, 0);
	assert_int_equal(tier(b, "dram").capacity_bytes, 0);
	assert_int_equal(tier(b, "nvme").hits, 12);
	assert_int_equal(tr_cache_acquire(b->cache, SET(1, 2, 3, 4, 5), 0, b->h), 4);
	tr_cache_release(b->cache, b->h, 5);
}

static void dram_below_min_slot_keeps_what_fits(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 1, 4);
	use(b, SET(1, 2, 3, 4), 0);
	assert_int_equal(tier(b, "dram").used_bytes, tr_cache_slot_bytes(b->cache));
	use(b, SET(1, 2, 3, 4), 0);
	assert_int_equal(tier(b, "dram").hits, 1);
	assert_int_equal(tier(b, "nvme").hits, 7);
}

static void uncached_policy_drops_at_release(void **state)
{
	struct bed *b = *state;
	struct tr_handle second[1];

	open_cache(b, "none", 8, 4);
	acquire(b, SET(1, 2), 0, b->h);
	wait_all(b, b->h, 2);
	acquire(b, SET(1), 0, second);
	assert_ready(b, second, 1);
	release(b, b->h, 2);
	assert_ready(b, second, 1);
	assert_int_equal(tier(b, "dram").used_bytes, tr_cache_slot_bytes(b->cache));
	release(b, second, 1);
	assert_int_equal(tier(b, "dram").used_bytes, 0);
	use(b, SET(1), 0);
	assert_int_equal(tier(b, "nvme").hits, 3);
	for (size_t i = 0; i < b->sim.n_seen; i++)
		assert_ptr_equal(b->sim.seen[i].file, &b->paged[0]);
	assert_int_equal(b->sim.seen[0].off, b->unit[1].part[0].off);
}

/* Takes a set of any size in parts, as prefill does. */
static void scan(struct bed *b, uint32_t first, uint32_t n)
{
	uint32_t ids[N_UNIT], left = n, n_left;
	unsigned flags = TR_ACQUIRE_SCAN;

	for (uint32_t i = 0; i < n; i++)
		ids[i] = first + i;
	while (left) {
		assert_true(acquire(b, ids, left, flags, b->h) > 0);
		wait_all(b, b->h, left);
		n_left = 0;
		for (uint32_t i = 0; i < left; i++)
			if (b->h[i].state == TR_HANDLE_NONE)
				ids[n_left++] = b->h[i].id;
			else
				assert_ready(b, &b->h[i], 1);
		release(b, b->h, left);
		left = n_left;
		flags |= TR_ACQUIRE_RETRY;
	}
}

static void scan_does_not_wash_out(void **state)
{
	static const char *const policies[] = { "lru", "lfu" };
	struct bed *b = *state;

	for (size_t i = 0; i < TR_ARRAY_LEN(policies); i++) {
		open_cache(b, policies[i], 12, 4);
		for (uint32_t id = 0; id < 12; id++)
			use(b, SET(id), 0);
		scan(b, N_EXPERT, N_EXPERT);
		scan(b, 0, N_EXPERT);
		assert_int_equal(tier(b, "dram").misses, 12 + 16 + 8);
		for (uint32_t id = 4; id < 12; id++)
			assert_true(in_dram(b, id));
		tr_cache_close(b->cache);
		tr_io_close(b->io);
	}
	b->cache = NULL;
	b->io = NULL;
}

static void scan_uses_free_slots_and_decoding_takes_them_back(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 12, 2);
	scan(b, 0, 12);
	assert_int_equal(tier(b, "dram").used_bytes, 12 * tr_cache_slot_bytes(b->cache));
	use(b, SET(3), 0);
	for (uint32_t id = 16; id < 27; id++)
		use(b, SET(id), 0);
	assert_true(in_dram(b, 3));
	for (uint32_t id = 16; id < 27; id++)
		assert_true(in_dram(b, id));
}

static void handle_generation_grows_with_each_load(void **state)
{
	struct bed *b = *state;
	uint32_t gen;

	open_cache(b, NULL, 2, 0);
	acquire(b, SET(1), 0, b->h);
	gen = b->h[0].gen;
	release(b, b->h, 1);
	use(b, SET(1), 0);
	acquire(b, SET(1), 0, b->h);
	assert_int_equal(b->h[0].gen, gen);
	release(b, b->h, 1);
	use(b, SET(2, 3), 0);
	acquire(b, SET(1), 0, b->h);
	assert_int_equal(b->h[0].gen, gen + 1);
	release(b, b->h, 1);
}

static void releasing_a_copy_is_caught(void **state)
{
	struct bed *b = *state;
	struct tr_handle copy[1];
	int status = 0;
	pid_t child;

	open_cache(b, NULL, 2, 0);
	acquire(b, SET(1), 0, b->h);
	wait_all(b, b->h, 1);
	copy[0] = b->h[0];
	release(b, b->h, 1);
	use(b, SET(2, 3), 0);
	acquire(b, SET(1), 0, b->h);
	child = fork();
	if (!child) {
		close(STDERR_FILENO);
		tr_cache_release(b->cache, copy, 1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	release(b, b->h, 1);
}

/* --- stores ----------------------------------------------------------------------------------- */

static void store_serves_in_place_without_a_slot(void **state)
{
	struct bed *b = *state;

	b->cfg.n_store = 1;
	b->store.has[2] = b->store.has[3] = true;
	open_cache(b, NULL, 2, 0);
	assert_int_equal(acquire(b, SET(1, 2, 3), 0, b->h), 3);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(b->h[i].state, TR_HANDLE_READY);
		assert_int_equal(b->h[i].tier, 1);
		assert_ptr_equal(b->h[i].part[2], b->store.bytes[b->h[i].id][2]);
	}
	wait_all(b, b->h, 3);
	assert_ready(b, b->h, 1);
	assert_int_equal(b->h[0].tier, 0);
	release(b, b->h, 3);
	assert_int_equal(tier(b, "dram").misses, 3);
	assert_int_equal(tier(b, "pmem:/pmem").hits, 2);
	assert_int_equal(tier(b, "pmem:/pmem").misses, 1);
	assert_int_equal(tier(b, "pmem:/pmem").bytes, 2 * TR_N_PART * PART_BYTES);
	assert_int_equal(tier(b, "pmem:/pmem").used_bytes, 12345);
	assert_int_equal(tier(b, "nvme").hits, 1);
	assert_int_equal(tier(b, "dram").used_bytes, tr_cache_slot_bytes(b->cache));
}

static void unit_ready_in_dram_is_served_from_there(void **state)
{
	struct bed *b = *state;

	b->cfg.n_store = 1;
	open_cache(b, NULL, 2, 0);
	use(b, SET(1), 0);
	b->store.has[1] = true;
	acquire(b, SET(1), 0, b->h);
	assert_int_equal(b->h[0].tier, 0);
	assert_ready(b, b->h, 1);
	release(b, b->h, 1);
	assert_int_equal(tier(b, "dram").hits, 1);
	assert_int_equal(tier(b, "pmem:/pmem").hits, 0);
}

static void store_serves_while_dram_still_loads(void **state)
{
	struct bed *b = *state;
	struct tr_handle second[1];

	b->cfg.n_store = 1;
	open_cache(b, NULL, 2, 0);
	acquire(b, SET(1), 0, b->h);
	b->store.has[1] = true;
	acquire(b, SET(1), 0, second);
	assert_int_equal(second[0].state, TR_HANDLE_READY);
	assert_int_equal(second[0].tier, 1);
	release(b, second, 1);
	wait_all(b, b->h, 1);
	release(b, b->h, 1);
}

/* --- open ------------------------------------------------------------------------------------- */

static void bad_policies_are_refused(void **state)
{
	struct bed *b = *state;
	struct tr_cache *cache;
	char name[5000];
	struct tr_err err;

	open_cache(b, NULL, 2, 0);
	b->cfg.policy = "fifa";
	assert_int_equal(tr_cache_open(&cache, &b->cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "fifa");
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	b->cfg.policy = name;
	assert_int_equal(tr_cache_open(&cache, &b->cfg, &err), TR_E_LIMIT);
	b->cfg.policy = NULL;
	b->cfg.numa_node = 1000;
	assert_true(tr_cache_open(&cache, &b->cfg, &err) < 0);
	b->cfg.numa_node = -1;
	b->cfg.n_store = TR_MAX_TIER;
	assert_int_equal(tr_cache_open(&cache, &b->cfg, &err), TR_E_LIMIT);
}

static void model_without_experts_has_no_slots(void **state)
{
	struct bed *b = *state;

	b->catalog.n_unit = 0;
	open_cache(b, NULL, 4, 4);
	assert_int_equal(tr_cache_n_slot(b->cache), 0);
	assert_int_equal(tr_cache_acquire(b->cache, NULL, 0, 0, NULL), 0);
	check(b);
}

static void slots_are_no_more_than_units(void **state)
{
	struct bed *b = *state;

	open_cache(b, NULL, 1000, 0);
	assert_int_equal(tr_cache_n_slot(b->cache), N_UNIT);
}

/* --- counts ----------------------------------------------------------------------------------- */

static uint32_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

/* n different units of one layer, low experts more often, in any order. */
static void random_set(uint64_t *seed, uint32_t layer, uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		bool again = true;

		while (again) {
			uint32_t a = next_random(seed) % N_EXPERT, c = next_random(seed) % N_EXPERT;

			ids[i] = layer * N_EXPERT + TR_MIN(a, c);
			again = false;
			for (uint32_t k = 0; k < i; k++)
				again |= ids[k] == ids[i];
		}
	}
}

/* LRU over sets, as simple as can be: hits first, then misses, both ascending. */
static uint32_t model_lru(
	uint64_t last_use[N_UNIT], uint64_t *now, const uint32_t *ids, uint32_t n, uint32_t n_slot)
{
	bool in_set[N_UNIT] = { 0 }, missed[N_UNIT] = { 0 };
	uint32_t hits = 0, n_resident, worst;

	for (uint32_t i = 0; i < n; i++)
		in_set[ids[i]] = true;
	for (uint32_t id = 0; id < N_UNIT; id++) {
		if (in_set[id] && last_use[id]) {
			last_use[id] = ++*now;
			hits++;
		} else if (in_set[id]) {
			missed[id] = true;
		}
	}
	for (uint32_t id = 0; id < N_UNIT; id++) {
		if (!missed[id])
			continue;
		n_resident = 0;
		worst = N_UNIT;
		for (uint32_t k = 0; k < N_UNIT; k++) {
			n_resident += last_use[k] != 0;
			if (last_use[k] && !in_set[k] &&
				(worst == N_UNIT || last_use[k] < last_use[worst]))
				worst = k;
		}
		if (n_resident == n_slot)
			last_use[worst] = 0;
		last_use[id] = ++*now;
	}
	return hits;
}

static void counts_are_golden(void **state)
{
	uint64_t seed = 11, last_use[N_UNIT] = { 0 }, now = 0, hits = 0, uses = 0;
	struct bed *b = *state;
	uint32_t ids[N_USED];

	open_cache(b, "lru", 10, 4);
	for (uint32_t i = 0; i < 500; i++) {
		random_set(&seed, i % N_LAYER, ids, N_USED);
		hits += model_lru(last_use, &now, ids, N_USED, 10);
		uses += N_USED;
		use(b, ids, N_USED, 0);
	}
	assert_int_equal(tier(b, "dram").hits, hits);
	assert_int_equal(tier(b, "dram").hits, 644);
	assert_int_equal(tier(b, "dram").misses, uses - hits);
	assert_int_equal(tier(b, "dram").bytes, hits * TR_N_PART * PART_BYTES);
	assert_int_equal(tier(b, "nvme").hits, uses - hits);
	assert_int_equal(tier(b, "nvme").misses, 0);
	assert_int_equal(tier(b, "nvme").bytes, (uses - hits) * TR_N_PART * PART_BYTES);
	assert_int_equal(evictions(b), uses - hits - 10);
}

/* --- threads ---------------------------------------------------------------------------------- */

struct worker {
	struct bed *bed;
	uint64_t seed;
	uint64_t n_use;
	bool wrong;
};

static void work_once(struct worker *w)
{
	struct tr_handle h[N_USED];
	struct bed *b = w->bed;
	unsigned flags = next_random(&w->seed) % 4 ? 0 : TR_ACQUIRE_SCAN;
	uint32_t ids[N_USED], n = 1 + next_random(&w->seed) % N_USED;

	random_set(&w->seed, next_random(&w->seed) % N_LAYER, ids, n);
	w->n_use += n;
	tr_cache_acquire(b->cache, ids, n, flags, h);
	if (next_random(&w->seed) % 8)
		while (next_random(&w->seed) % 4 ? tr_cache_wait(b->cache, h, n)
						 : tr_cache_poll(b->cache, h, n))
			;
	for (uint32_t i = 0; i < n; i++)
		if (h[i].state == TR_HANDLE_READY && !content_is_right(b, &h[i]))
			w->wrong = true;
	tr_cache_release(b->cache, h, n);
	if (next_random(&w->seed) % 16 == 0 && !tr_cache_check(b->cache, NULL))
		w->wrong = true;
	if (next_random(&w->seed) % 16 == 0)
		tr_cache_tick(b->cache);
}

static void *work(void *arg)
{
	for (int i = 0; i < 1500; i++)
		work_once(arg);
	return NULL;
}

static void stress(struct bed *b, const char *policy, uint32_t n_slot)
{
	struct worker w[4];
	pthread_t thread[TR_ARRAY_LEN(w)];
	uint64_t n_use = 0;

	rule(b, (struct tr_io_sim_rule){ .off = TR_IO_SIM_ANY, .times = 50, .os_errno = EIO });
	open_cache(b, policy, n_slot, 4);
	for (size_t i = 0; i < TR_ARRAY_LEN(w); i++) {
		w[i] = (struct worker){ .bed = b, .seed = i };
		assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
	}
	for (size_t i = 0; i < TR_ARRAY_LEN(w); i++) {
		pthread_join(thread[i], NULL);
		assert_false(w[i].wrong);
		n_use += w[i].n_use;
	}
	check(b);
	assert_int_equal(tier(b, "dram").hits + tier(b, "dram").misses, n_use);
	assert_true(tier(b, "nvme").hits > 0);
}

static void threads_agree_under_lru(void **state)
{
	stress(*state, "lru", 10);
}

static void threads_agree_under_lfu(void **state)
{
	stress(*state, "lfu", 6);
}

static void threads_agree_without_a_cache(void **state)
{
	stress(*state, "none", 10);
}

static void threads_agree_without_dram(void **state)
{
	stress(*state, "lru", 0);
}

/* --- a real file ------------------------------------------------------------------------------ */

static void write_model(struct bed *b, char *path)
{
	int fd = mkstemp(path);
	uint8_t *bytes = malloc(b->file[0].bytes);

	assert_true(fd >= 0);
	assert_non_null(bytes);
	tr_io_sim_pattern(NULL, NULL, 0, bytes, b->file[0].bytes);
	assert_int_equal(write(fd, bytes, b->file[0].bytes), b->file[0].bytes);
	free(bytes);
	close(fd);
}

static void read_through(struct bed *b, const char *method, const char *policy)
{
	struct tr_io_cfg io = { .method = method, .clock = &tr_clock_real };
	struct tr_err err;

	if (tr_io_open(&b->io, &io, &err)) {
		assert_string_equal(method, "uring");
		print_message("not tried: %s\n", err.msg);
		return;
	}
	b->cfg.io = b->io;
	b->cfg.policy = policy;
	b->cfg.clock = &tr_clock_real;
	b->cfg.dram_bytes = 10 * tr_cache_slot_bytes_for(&b->catalog, b->file[0].align_off);
	assert_int_equal(tr_cache_open(&b->cache, &b->cfg, &err), 0);
	for (uint32_t id = 0; id + N_USED <= N_UNIT; id += 2)
		use(b, SET(id, id + 1, id + 2, id + 3), 0);
	if (strcmp(policy, "none") != 0)
		assert_int_equal(tier(b, "dram").hits, (N_UNIT - N_USED) / 2 * 2);
	tr_cache_close(b->cache);
	tr_io_close(b->io);
	b->cache = NULL;
	b->io = NULL;
}

static void experts_are_read_from_a_real_file_by_every_method(void **state)
{
	static const char *const methods[] = { "sync", "threads", "uring" };
	char path[] = "t_cache.XXXXXX";
	struct bed *b = *state;

	write_model(b, path);
	for (int i = 0; i < N_LAYER; i++) {
		assert_int_equal(tr_file_open(&b->file[i], path, true, NULL), 0);
		assert_int_equal(tr_file_open(&b->paged[i], path, false, NULL), 0);
	}
	unlink(path);
	for (size_t i = 0; i < TR_ARRAY_LEN(methods); i++) {
		read_through(b, methods[i], "lru");
		read_through(b, methods[i], "none");
	}
	for (int i = 0; i < N_LAYER; i++) {
		tr_file_close(&b->file[i]);
		tr_file_close(&b->paged[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(parts_arrive_at_odd_offsets),
		TEST(parts_that_touch_are_read_apart),
		TEST(second_acquire_joins_load),
		TEST(hits_are_ready_while_misses_fly),
		TEST(poll_reaps_without_blocking),
		TEST(waiting_is_counted_in_virtual_time),
		TEST(short_read_is_resubmitted),
		TEST(eio_is_retried),
		TEST(failed_read_is_reported_and_entry_becomes_empty),
		TEST(failed_load_leaves_no_trace_in_the_policy),
		TEST(file_that_shrank_is_reported),
		TEST(load_that_nobody_waits_for_ends_well),
		TEST(close_waits_for_loads),
		TEST(victim_skips_pinned),
		TEST(out_of_slots_takes_part_of_the_set),
		TEST(residents_of_a_set_are_pinned_before_victims_are_chosen),
		TEST(misses_take_slots_in_ascending_id_order),
		TEST(zero_dram_keeps_nothing),
		TEST(dram_below_min_slot_keeps_what_fits),
		TEST(uncached_policy_drops_at_release),
		TEST(scan_does_not_wash_out),
		TEST(scan_uses_free_slots_and_decoding_takes_them_back),
		TEST(handle_generation_grows_with_each_load),
		TEST(releasing_a_copy_is_caught),
		TEST(store_serves_in_place_without_a_slot),
		TEST(unit_ready_in_dram_is_served_from_there),
		TEST(store_serves_while_dram_still_loads),
		TEST(bad_policies_are_refused),
		TEST(model_without_experts_has_no_slots),
		TEST(slots_are_no_more_than_units),
		TEST(counts_are_golden),
		TEST(threads_agree_under_lru),
		TEST(threads_agree_under_lfu),
		TEST(threads_agree_without_a_cache),
		TEST(threads_agree_without_dram),
		TEST(experts_are_read_from_a_real_file_by_every_method),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
