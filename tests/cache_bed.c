#include "cache_bed.h"
#include "base/mem.h"

/* --- stores: linked with --wrap, so that the test says what is in them ------------------------ */

bool __wrap_tr_store_get(struct tr_store *store, uint32_t unit, const void *part[TR_N_PART]);
const char *__wrap_tr_store_dir(const struct tr_store *store);
uint64_t __wrap_tr_store_bytes(const struct tr_store *store);

bool __wrap_tr_store_get(struct tr_store *store, uint32_t unit, const void *part[TR_N_PART])
{
	for (int p = 0; p < TR_N_PART && store->has[unit]; p++)
		part[p] = store->bytes[unit][p];
	return store->has[unit];
}

const char *__wrap_tr_store_dir(const struct tr_store *store)
{
	(void)store;
	return "/pmem";
}

uint64_t __wrap_tr_store_bytes(const struct tr_store *store)
{
	(void)store;
	return 12345;
}

/* Experts of a layer stacked matrix by matrix, at odd offsets; the last ends at the end of file. */
static void make_catalog(struct bed *b)
{
	for (uint32_t id = 0; id < N_UNIT; id++) {
		struct tr_unit *u = &b->unit[id];

		u->layer = 1 + id / N_EXPERT;
		u->expert = id % N_EXPERT;
		u->bytes = TR_N_PART * PART_BYTES;
		for (uint32_t p = 0; p < TR_N_PART; p++)
			u->part[p] = (struct tr_extent){ id / N_EXPERT,
				100 + (p * N_EXPERT + u->expert) * PART_BYTES, PART_BYTES };
		for (int p = 0; p < TR_N_PART; p++)
			tr_io_sim_pattern(NULL, NULL, u->part[p].off, b->store.bytes[id][p],
				PART_BYTES);
	}
	b->catalog = (struct tr_catalog){ .n_layer = 1 + N_LAYER,
		.n_expert = N_EXPERT,
		.n_used = N_USED,
		.n_unit = N_UNIT,
		.units = b->unit,
		.bytes = (uint64_t)N_UNIT * TR_N_PART * PART_BYTES,
		.unit_bytes_max = TR_N_PART * PART_BYTES };
}

int setup(void **state)
{
	struct bed *b = tr_calloc(1, sizeof(*b));

	if (!b)
		return -1;
	tr_io_sim_init(&b->sim);
	b->sim.latency_ns = 100000;
	b->sim.bytes_per_s = 1000000000;
	for (int i = 0; i < N_LAYER; i++) {
		b->file[i] = (struct tr_file){ .path = (char *)(i ? "two.gguf" : "one.gguf"),
			.fd = -1,
			.direct = true,
			.align_mem = 512,
			.align_off = ALIGN,
			.bytes = 100 + PER_LAYER,
			.reg_idx = -1 };
		b->paged[i] = b->file[i];
		b->paged[i].direct = false;
		b->paged[i].align_mem = b->paged[i].align_off = 1;
	}
	make_catalog(b);
	b->stores[0] = &b->store;
	b->cfg = (struct tr_cache_cfg){ .catalog = &b->catalog,
		.clock = &b->sim.clock,
		.files = b->file,
		.files_paged = b->paged,
		.numa_node = -1,
		.stores = b->stores };
	*state = b;
	return 0;
}

int teardown(void **state)
{
	struct bed *b = *state;

	tr_cache_close(b->cache);
	tr_io_close(b->io);
	tr_io_sim_fini(&b->sim);
	free(b);
	return 0;
}

void open_cache(struct bed *b, const char *policy, uint32_t n_slot, uint32_t min_slot)
{
	struct tr_io_cfg io = { .method = "sim",
		.method_arg = &b->sim,
		.clock = &b->sim.clock,
		.depth = b->depth,
		.background_depth = b->background_depth };
	struct tr_err err;

	if (tr_io_open(&b->io, &io, &err))
		fail_msg("%s", err.msg);
	b->cfg.io = b->io;
	b->cfg.policy = policy;
	b->cfg.min_slot = min_slot;
	b->cfg.dram_bytes = n_slot * tr_cache_slot_bytes_for(&b->catalog, ALIGN);
	if (tr_cache_open(&b->cache, &b->cfg, &err))
		fail_msg("%s", err.msg);
}

void rule(struct bed *b, struct tr_io_sim_rule r)
{
	b->sim.rule[b->sim.n_rule++] = r;
}

void check(struct bed *b)
{
	struct tr_err err;

	if (!tr_cache_check(b->cache, &err))
		fail_msg("%s", err.msg);
}


size_t acquire(
	struct bed *b, const uint32_t *ids, size_t n, unsigned flags, struct tr_handle *h)
{
	size_t n_taken = tr_cache_acquire(b->cache, ids, n, flags, h);

	check(b);
	return n_taken;
}

void wait_all(struct bed *b, struct tr_handle *h, size_t n)
{
	while (tr_cache_wait(b->cache, h, n))
		;
	check(b);
}

void release(struct bed *b, struct tr_handle *h, size_t n)
{
	tr_cache_release(b->cache, h, n);
	check(b);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(h[i].state, TR_HANDLE_NONE);
}

bool content_is_right(const struct bed *b, const struct tr_handle *h)
{
	uint8_t want[PART_BYTES];

	for (int p = 0; p < TR_N_PART; p++) {
		tr_io_sim_pattern(NULL, NULL, b->unit[h->id].part[p].off, want, PART_BYTES);
		if (memcmp(h->part[p], want, PART_BYTES) != 0)
			return false;
	}
	return true;
}

void assert_ready(const struct bed *b, const struct tr_handle *h, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(h[i].state, TR_HANDLE_READY);
		assert_true(content_is_right(b, &h[i]));
	}
}

/* A whole use of a set that fits. */
void use(struct bed *b, const uint32_t *ids, size_t n, unsigned flags)
{
	assert_int_equal(acquire(b, ids, n, flags, b->h), n);
	wait_all(b, b->h, n);
	assert_ready(b, b->h, n);
	release(b, b->h, n);
}

struct tr_tier_stats tier(const struct bed *b, const char *name)
{
	struct tr_stats s;

	tr_cache_stats(b->cache, &s);
	for (size_t i = 0; i < s.n_tier; i++)
		if (!strcmp(s.tier[i].name, name))
			return s.tier[i];
	fail_msg("no tier %s", name);
	return s.tier[0];
}

uint64_t evictions(const struct bed *b)
{
	struct tr_stats s;

	tr_cache_stats(b->cache, &s);
	return s.evictions;
}

/* Resident now? Looks without a trace in policy or counts. */
bool in_dram(struct bed *b, uint32_t id)
{
	struct tr_handle h[N_UNIT];
	uint64_t loads = tier(b, "nvme").hits;

	assert_int_equal(tr_cache_acquire(b->cache, &id, 1, TR_ACQUIRE_RETRY, h), 1);
	while (tr_cache_wait(b->cache, h, 1))
		;
	tr_cache_release(b->cache, h, 1);
	return tier(b, "nvme").hits == loads;
}
