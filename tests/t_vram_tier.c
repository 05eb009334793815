/*
 * t_vram_tier.c - experts on their way to a device and there: the bytes, when they are there, what is held
 * meanwhile, what fails. On the host device; the cache below reads from a simulated disk.
 */
#include "cache_bed.h"
#include "base/mem.h"
#include "engine/vram.h"

enum { ROWS = 50, ROW_BYTES = PART_BYTES / ROWS, UNIT_BYTES = TR_N_PART * PART_BYTES };

static struct tr_moe_layer layers[N_LAYER];
static bool takes[N_LAYER] = { true, true };
static struct tr_vram_plan plan;
static struct tr_gpu *gpu;
static struct tr_vram_tier *tier_;
static struct tr_vram_late late; /* as the last token ended */
static struct tr_err err;

/* A DRAM cache of n_slot, and VRAM for n_vram units of both layers. */
static void open_all(struct bed *b, const char *device, uint32_t n_slot, uint32_t n_vram)
{
	struct tr_vram_tier_cfg cfg = { 0 };

	for (uint32_t l = 0; l < N_LAYER; l++) {
		layers[l] = (struct tr_moe_layer){ .layer = 1 + l, .first_unit = l * N_EXPERT };
		for (int p = 0; p < TR_N_PART; p++) {
			layers[l].rows[p] = ROWS;
			layers[l].row_bytes[p] = ROW_BYTES;
		}
	}
	b->catalog.moe_layers = layers;
	b->catalog.n_moe_layer = N_LAYER;
	b->cfg.n_store = 1;
	open_cache(b, "lru", n_slot, 0);
	tr_vram_make_plan(&plan, &b->catalog, takes,
		n_vram * tr_vram_layout(&layers[0], (uint64_t[TR_N_PART]){ 0 }));
	assert_int_equal(plan.n_slot, n_vram);
	if (tr_gpu_open(&gpu, device, &err) || tr_gpu_start(gpu, 1 << 20, &err))
		fail_msg("%s", err.msg);
	cfg.gpu = gpu;
	cfg.vram = (struct tr_vram_cfg){ .catalog = &b->catalog, .plan = &plan, .takes = takes,
		.policy = "lru", .token_bytes = 1 << 20, .n_dram_slot = n_slot, .hot = b->cfg.hot, .n_hot = b->cfg.n_hot };
	if (tr_vram_tier_open(&tier_, &cfg, &err))
		fail_msg("%s", err.msg);
}

static void start(struct bed *b)
{
	assert_int_equal(tr_vram_tier_start(tier_, b->cache, &err), 0);
}

static int close_all(void **state)
{
	tr_vram_tier_close(tier_);
	tr_gpu_close(gpu);
	tier_ = NULL;
	gpu = NULL;
	return teardown(state);
}

/* A token that uses the set where it is: its units in VRAM are not asked of the cache. */
static int token(struct bed *b, const uint32_t *ids, size_t n)
{
	uint32_t below[N_EXPERT];
	size_t n_below = 0;

	tr_vram_tier_take(tier_, ids, n, false);
	for (size_t i = 0; i < n; i++)
		if (!tr_vram_tier_has(tier_, ids[i]))
			below[n_below++] = ids[i];
	use(b, below, n_below, 0);
	tr_cache_tick(b->cache);
	return tr_vram_tier_tick(tier_, &late, &err);
}

static void tokens(struct bed *b, unsigned n, const uint32_t *ids, size_t n_id)
{
	for (unsigned i = 0; i < n; i++)
		if (token(b, ids, n_id))
			fail_msg("%s", err.msg);
}

static void settle(void)
{
	if (tr_vram_tier_settle(tier_, &err))
		fail_msg("%s", err.msg);
}

static bool has(uint32_t id)
{
	return tr_vram_tier_has(tier_, id);
}

static void assert_content(const struct bed *b, uint32_t id)
{
	const uint8_t *part[TR_N_PART];
	uint8_t got[PART_BYTES], want[PART_BYTES];

	assert_true(has(id));
	tr_vram_tier_parts(tier_, id, part);
	for (int p = 0; p < TR_N_PART; p++) {
		assert_int_equal(tr_stream_copy(gpu->compute, TR_COPY_TO_HOST, got, part[p], PART_BYTES,
					 &err), 0);
		assert_int_equal(tr_stream_sync(gpu->compute, &err), 0);
		tr_io_sim_pattern(NULL, NULL, b->unit[id].part[p].off, want, PART_BYTES);
		assert_memory_equal(got, want, PART_BYTES);
	}
}

static struct tr_vram_tier_stats stats(void)
{
	struct tr_vram_tier_stats s;

	tr_vram_tier_stats(tier_, &s);
	return s;
}

static void copies_bring_the_bytes_from_dram_and_persistent_memory(void **state)
{
	struct bed *b = *state;

	b->store.has[5] = b->store.has[21] = true;
	open_all(b, "host", 16, 6);
	start(b);
	tokens(b, 4, SET(3, 5, 7));
	settle();
	tokens(b, 4, SET(16, 21));
	settle();
	for (uint32_t id = 0; id < N_UNIT; id++)
		if (id == 3 || id == 5 || id == 7 || id == 16 || id == 21)
			assert_content(b, id);
		else
			assert_false(has(id));
	assert_int_equal(stats().counts.copied_units, 5);
	assert_int_equal(stats().counts.copied_bytes, 5 * UNIT_BYTES);
}

/* What VRAM serves is not asked of DRAM, and its slot is used again by another unit. */
static void a_unit_in_vram_leaves_the_tiers_below_alone(void **state)
{
	struct bed *b = *state;
	uint64_t hits;

	open_all(b, "host", 16, 1);
	start(b);
	tokens(b, 4, SET(3));
	settle();
	hits = tier(b, "dram").hits;
	tokens(b, 10, SET(3));
	assert_int_equal(tier(b, "dram").hits, hits);
	assert_int_equal(stats().counts.hits, 10);
	for (int i = 0; i < 200 && has(3); i++)
		tokens(b, 1, SET(9));
	assert_false(has(3));
	settle();
	assert_content(b, 9);
	assert_int_equal(stats().counts.evictions, 1);
}

/* At 100 KB a second a copy takes 150 ms; ten tokens take none of them. */
static void nobody_waits_for_a_copy_and_it_is_not_there_before_its_end(void **state)
{
	struct bed *b = *state;
	uint64_t begin;

	open_all(b, "host,bw=100K", 16, 4);
	start(b);
	tokens(b, 4, SET(3));
	begin = tr_now_ns(&tr_clock_real);
	for (int i = 0; i < 10; i++) {
		tokens(b, 1, SET(3, 4));
		if (tr_now_ns(&tr_clock_real) - begin < 100000000)
			assert_false(has(3));
	}
	settle();
	assert_content(b, 3);
	assert_true(stats().late >= 1);
	assert_true(tr_now_ns(&tr_clock_real) - begin > 50000000);
}

static void what_is_copied_from_is_held_until_it_was_read(void **state)
{
	struct bed *b = *state;
	struct tr_handle h;

	open_all(b, "host,bw=100K", 4, 8);
	start(b);
	tokens(b, 4, SET(3));
	/* Enough others to make it leave, were it not held; nothing of its entry has moved. */
	for (uint32_t id = 8; id < 16; id++)
		use(b, &id, 1, 0);
	settle();
	assert_content(b, 3);
	for (uint32_t id = 8; id < 16; id++)
		use(b, &id, 1, 0);
	assert_false(tr_cache_hold(b->cache, 3, &h)); /* now it has left */
	check(b);
}

static void copies_hold_a_quarter_of_dram_at_most(void **state)
{
	struct bed *b = *state;

	open_all(b, "host,bw=100K", 8, 16);
	start(b);
	tokens(b, 4, SET(0, 1, 2, 3, 4, 5));
	settle();
	assert_int_equal(stats().counts.copied_units, 2);
}

static void a_failed_copy_is_told_at_the_end_of_a_token(void **state)
{
	struct bed *b = *state;
	int rc = 0;

	open_all(b, "host,fail=2", 16, 4);
	start(b);
	for (int i = 0; i < 2000 && !rc; i++)
		rc = token(b, SET(3, 4));
	if (!rc)
		rc = tr_vram_tier_settle(tier_, &err);
	assert_int_equal(rc, TR_E_IO);
	assert_err_has(&err, "operation 2 (copy) failed");
	assert_false(has(3) && has(4));
}

static void a_lost_device_has_nothing_and_holds_nothing(void **state)
{
	struct bed *b = *state;

	open_all(b, "host,bw=100K", 8, 4);
	start(b);
	tokens(b, 4, SET(3));
	gpu->is_lost = true;
	assert_int_equal(token(b, SET(3)), 0);
	assert_int_equal(tr_vram_tier_settle(tier_, &err), 0);
	assert_false(has(3));
	for (uint32_t id = 4; id < 16; id++)
		use(b, &id, 1, 0);
	assert_false(in_dram(b, 3));
}

static struct tr_vram_warm_cfg warm_cfg(struct bed *b)
{
	return (struct tr_vram_warm_cfg){ .catalog = &b->catalog, .cache = b->cache, .io = b->io,
		.files = b->file };
}

static void a_warm_start_reads_the_hottest_and_dram_leaves_them_out(void **state)
{
	static const uint32_t hot[] = { 30, 2, 17, 9, 4, 31, 0, 5, 6 };
	struct tr_vram_warm_cfg cfg;
	struct bed *b = *state;
	struct tr_handle h;

	b->store.has[2] = true;
	b->cfg.hot = hot;
	b->cfg.n_hot = TR_ARRAY_LEN(hot);
	b->cfg.above = tr_vram_tier_has;
	open_all(b, "host", 3, 6);
	tr_cache_close(b->cache); /* opened without the tier above */
	b->cfg.above_ctx = tier_;
	assert_int_equal(tr_cache_open(&b->cache, &b->cfg, &err), 0);
	cfg = warm_cfg(b);
	if (tr_vram_tier_warm(tier_, &cfg, &err))
		fail_msg("%s", err.msg);
	start(b);
	for (size_t i = 0; i < 6; i++)
		assert_content(b, hot[i]);
	assert_int_equal(stats().warm_units, 6);
	assert_int_equal(stats().warm_bytes, 6 * UNIT_BYTES);
	assert_int_equal(stats().counts.copied_units, 0);
	assert_int_equal(tr_cache_warm(b->cache, NULL, NULL, &err), 0);
	for (size_t i = 0; i < TR_ARRAY_LEN(hot); i++) { /* 2 is in the store */
		assert_int_equal(tr_cache_hold(b->cache, hot[i], &h), i >= 6 || hot[i] == 2);
		tr_cache_release(b->cache, &h, 1);
	}
	assert_true(tr_vram_tier_was_warm(tier_, 30) && !tr_vram_tier_was_warm(tier_, 5));
}

static void a_read_that_fails_ends_a_warm_start(void **state)
{
	static const uint32_t hot[] = { 3, 9, 17 };
	struct tr_vram_warm_cfg cfg;
	struct bed *b = *state;

	b->cfg.hot = hot;
	b->cfg.n_hot = TR_ARRAY_LEN(hot);
	rule(b, (struct tr_io_sim_rule){ .file = &b->file[1], .off = TR_IO_SIM_ANY,
		.times = UINT32_MAX, .os_errno = 5 });
	open_all(b, "host", 4, 6);
	cfg = warm_cfg(b);
	assert_int_equal(tr_vram_tier_warm(tier_, &cfg, &err), TR_E_IO);
	assert_err_has(&err, "two.gguf");
	assert_false(has(3));
}

static int stop_at_once(void *ctx, const char *phase, uint64_t done, uint64_t total,
	const char *unit)
{
	(void)ctx;
	assert_string_equal(phase, "warm");
	assert_string_equal(unit, "bytes");
	assert_true(done <= total);
	return 1;
}

static void a_warm_start_can_be_stopped(void **state)
{
	static const uint32_t hot[] = { 3, 9, 17, 18, 19, 20 };
	struct tr_vram_warm_cfg cfg;
	struct bed *b = *state;

	b->cfg.hot = hot;
	b->cfg.n_hot = TR_ARRAY_LEN(hot);
	open_all(b, "host", 4, 6);
	cfg = warm_cfg(b);
	cfg.progress = stop_at_once;
	assert_int_equal(tr_vram_tier_warm(tier_, &cfg, &err), TR_E_INTERRUPTED);
	assert_false(has(3));
}

#define with_bed(f) cmocka_unit_test_setup_teardown(f, setup, close_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_bed(copies_bring_the_bytes_from_dram_and_persistent_memory),
		with_bed(a_unit_in_vram_leaves_the_tiers_below_alone),
		with_bed(nobody_waits_for_a_copy_and_it_is_not_there_before_its_end),
		with_bed(what_is_copied_from_is_held_until_it_was_read),
		with_bed(copies_hold_a_quarter_of_dram_at_most),
		with_bed(a_failed_copy_is_told_at_the_end_of_a_token),
		with_bed(a_lost_device_has_nothing_and_holds_nothing),
		with_bed(a_warm_start_reads_the_hottest_and_dram_leaves_them_out),
		with_bed(a_read_that_fails_ends_a_warm_start),
		with_bed(a_warm_start_can_be_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
