/*
 * cache.c - acquire, wait, release: who gets an expert, from which tier, and when.
 *
 *	acquire(ids)
 *	  |  in DRAM? ------------- yes --> pin --> READY, or LOADING if a load is in flight (join)
 *	  |  no
 *	  |  in a store? ---------- yes --> READY in place; no slot, no pin
 *	  |  no
 *	  |  a slot to be had? ---- no ---> NONE: the caller releases and comes again for the rest
 *	  |  yes
 *	  +--> reserve, read three windows into the slot --> LOADING
 *	                                                        |
 *	         wait / poll: io reaps, read_done counts down   v
 *	         last read of a unit ------------------> READY or FAILED
 *
 * A set is taken in two walks in ascending id order: first everything resident is pinned, so that
 * no member of the set can be the victim of another; then misses get slots until none can be had.
 * All reads of the set are submitted as one batch at the end.
 *
 * Decided here: what counts as a use of which tier, and who waits. The walks over a set are in
 * order.c, entry table, victims and policy in entry.c, reads ahead of need in ahead.c, copies from
 * persistent memory in copy.c, windows and reads in load.c, memory in slot.c.
 *
 * Locks. cache->lock (TR_RANK_CACHE) guards everything that changes. It is held while reads are
 * submitted, so that a LOADING entry always has its reads with io; never while waiting, and io
 * calls read_done without it. Stores are asked before it is taken, since a first touch checks a
 * checksum. One thread of the cache at a time (reaper) waits inside io; the others sleep on
 * loaded, which is signalled after each completion, so that nobody sleeps through the end of his
 * own load.
 *
 * Limits: 32-bit ids, TR_MAX_TIER tiers. A unit has TR_N_PART parts, each in one file.
 */
#include "cache/inside.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- open and close --------------------------------------------------------------------------- */

static int check_cfg(const struct tr_cache_cfg *cfg, struct tr_err *err)
{
	if (cfg->n_store + 2 > TR_MAX_TIER)
		return tr_err_set(err, TR_E_LIMIT, "%zu persistent memories: at most %d",
			cfg->n_store, TR_MAX_TIER - 2);
	if (cfg->catalog->n_unit >= TR_NO_ID)
		return tr_err_set(err, TR_E_LIMIT, "%zu experts: at most %u", cfg->catalog->n_unit,
			TR_NO_ID - 1);
	if (cfg->policy && strlen(cfg->policy) >= sizeof(((struct tr_cache *)0)->policy))
		return tr_err_set(err, TR_E_LIMIT, "policy '%.40s...' has %zu bytes: at most %zu",
			cfg->policy, strlen(cfg->policy),
			sizeof(((struct tr_cache *)0)->policy) - 1);
	return 0;
}

static void copy_cfg(struct tr_cache *c, const struct tr_cache_cfg *cfg)
{
	c->cfg = *cfg;
	for (size_t i = 0; i < cfg->n_store; i++)
		c->stores[i] = cfg->stores[i];
	snprintf(c->policy, sizeof(c->policy), "%s", cfg->policy ? cfg->policy : "lru");
	c->cfg.stores = c->stores;
	c->cfg.policy = c->policy;
}

/* A slot is as large as a plan takes it to be, which is made before the files are open. */
static uint32_t slot_align(const struct tr_cache_cfg *cfg)
{
	uint64_t align = tr_loads_align(cfg->catalog, cfg->files);

	return (uint32_t)TR_MAX(align, (uint64_t)TR_STORE_EXTENT_ALIGN);
}

int tr_cache_open(struct tr_cache **out, const struct tr_cache_cfg *cfg, struct tr_err *err)
{
	struct tr_entries_cfg entries = { .numa_node = cfg->numa_node,
		.unused = tr_ahead_note_unused };
	struct tr_cache *c;
	int rc = check_cfg(cfg, err);

	if (rc)
		return rc;
	c = tr_calloc(1, sizeof(*c));
	if (!c)
		return tr_err_set(err, TR_E_NOMEM, "expert cache: no memory");
	copy_cfg(c, cfg);
	entries.policy = c->cfg.policy;
	entries.unused_ctx = c;
	entries.miss_cost = cfg->miss_cost;
	entries.hot = cfg->hot;
	entries.n_hot = cfg->n_hot;
	entries.n_promote = cfg->n_promote;
	c->n_unit = (uint32_t)cfg->catalog->n_unit;
	c->slot_bytes = tr_cache_slot_bytes_for(cfg->catalog, slot_align(cfg));
	entries.slot_bytes = c->slot_bytes;
	entries.n_id = c->n_unit;
	entries.n_layer_id = cfg->catalog->n_expert;
	tr_order_size(&entries, cfg->dram_bytes / c->slot_bytes, cfg->min_slot);
	c->want = tr_calloc(c->n_unit, sizeof(*c->want));
	c->copying = tr_calloc(TR_MAX(cfg->n_promote, 1u), sizeof(*c->copying));
	if (!c->want || !c->copying) {
		rc = tr_err_set(
			err, TR_E_NOMEM, "expert cache: no memory for %u experts", c->n_unit);
		goto fail;
	}
	rc = tr_entries_init(&c->entries, &entries, err);
	if (rc)
		goto fail;
	rc = tr_loads_init(&c->loads, cfg->catalog, cfg->io,
		c->entries.policy.ops->uncached ? cfg->files_paged : cfg->files, entries.n_slot,
		err);
	if (rc)
		goto fail_loads;
	if (cfg->topo && cfg->topo->bind)
		tr_loads_place(&c->loads, c->entries.slots, cfg->topo);
	rc = tr_ahead_init(c, err);
	if (rc)
		goto fail_ahead;
	tr_mutex_init(&c->lock, TR_RANK_CACHE);
	pthread_cond_init(&c->loaded, NULL);
	rc = tr_fill_init(c, err);
	if (rc) {
		tr_cache_close(c);
		return rc;
	}
	*out = c;
	return 0;
fail_ahead:
	tr_loads_fini(&c->loads);
fail_loads:
	tr_entries_fini(&c->entries);
fail:
	free(c->copying);
	free(c->want);
	free(c);
	return rc;
}

/* And stops what nobody waits for. */
static bool is_loading(struct tr_cache *c)
{
	bool loading;

	tr_mutex_lock(&c->lock);
	loading = tr_stage_stop(c) || c->entries.n_in[TR_ENTRY_LOADING] > 0;
	tr_mutex_unlock(&c->lock);
	return loading;
}

void tr_cache_close(struct tr_cache *c)
{
	if (!c)
		return;
	while (is_loading(c))
		tr_io_wait(c->cfg.io);
	for (uint32_t id = 0; id < c->n_unit; id++)
		tr_assert(!c->entries.entry[id].pins);
	tr_fill_fini(c);
	tr_ahead_fini(c);
	tr_loads_fini(&c->loads);
	tr_entries_fini(&c->entries);
	pthread_cond_destroy(&c->loaded);
	tr_mutex_fini(&c->lock);
	free(c->copying);
	free(c->want);
	free(c);
}

uint32_t tr_cache_n_slot(const struct tr_cache *c)
{
	return c->entries.cfg.n_slot;
}

uint64_t tr_cache_slot_bytes(const struct tr_cache *c)
{
	return c->slot_bytes;
}

/* --- acquire ---------------------------------------------------------------------------------- */

uint32_t tr_cache_find(struct tr_cache *c, uint32_t id, const void *part[TR_N_PART])
{
	for (size_t i = 0; i < c->cfg.n_store; i++)
		if (tr_store_get(c->cfg.stores[i], id, part))
			return 1 + (uint32_t)i;
	return 0;
}

/* READY in place when a store has the unit. Called without the lock. */
static void look_in_stores(struct tr_cache *c, struct tr_handle *h)
{
	uint32_t tier = tr_cache_find(c, h->id, h->part);

	if (!tier)
		return;
	h->tier = tier;
	h->state = TR_HANDLE_READY;
}

static enum tr_handle_state handle_state(const struct tr_entry *e)
{
	if (e->state == TR_ENTRY_READY)
		return TR_HANDLE_READY;
	return e->state == TR_ENTRY_FAILED ? TR_HANDLE_FAILED : TR_HANDLE_LOADING;
}

/* The handle of an entry that has a pin for it. */
static void point_to_entry(struct tr_cache *c, struct tr_handle *h)
{
	const struct tr_entry *e = &c->entries.entry[h->id];

	h->gen = e->gen;
	h->tier = 0;
	h->state = handle_state(e);
	tr_loads_parts(&c->loads, h->id, tr_slot_addr(c->entries.slots, e->slot), h->part);
}

/* One use: a hit in the tier that serves it, a miss in DRAM if that is another, a miss in every
 * store if it goes on to disk. Called before the loads of the set begin. */
static void note_use(struct tr_cache *c, const struct tr_handle *h, const struct tr_want *w)
{
	const struct tr_entry *e = &c->entries.entry[h->id];
	uint64_t bytes = c->cfg.catalog->units[h->id].bytes;

	if (w->taken == TR_TAKEN_PIN && e->state == TR_ENTRY_READY) {
		tr_count_use(&c->dram, bytes);
		return;
	}
	c->dram.misses++;
	if (h->state == TR_HANDLE_READY) {
		tr_count_use(&c->store[h->tier - 1], bytes);
		return;
	}
	for (size_t i = 0; i < c->cfg.n_store; i++)
		c->store[i].misses++;
	c->n_join += e->state == TR_ENTRY_LOADING;
}

void tr_cache_end_load(struct tr_cache *c, struct tr_load *load)
{
	if (!load->failed)
		tr_count_use(load->warm ? &c->warm : &c->disk,
			c->cfg.catalog->units[load->id].bytes);
	tr_entries_end_load(&c->entries, load->id, !load->failed);
	pthread_cond_broadcast(&c->loaded);
}

/* Called by io, without locks, once for each read. */
static void read_done(struct tr_io_req *req)
{
	struct tr_load *load = req->ctx;
	struct tr_cache *c = load->owner;

	tr_mutex_lock(&c->lock);
	load->end_ns = tr_now_ns(c->cfg.clock);
	if (tr_load_note(load, req) && !tr_stage_end_load(c, load) && !tr_ahead_end_load(c, load))
		tr_cache_end_load(c, load);
	tr_mutex_unlock(&c->lock);
}

void *tr_cache_slot(struct tr_cache *c, uint32_t id)
{
	tr_fill_note(c);
	return tr_slot_addr(c->entries.slots, c->entries.entry[id].slot);
}

void tr_cache_read(struct tr_cache *c, uint32_t id, enum tr_io_prio prio)
{
	tr_cache_read_into(c, c->entries.entry[id].slot, id, prio);
}

void tr_cache_read_into(struct tr_cache *c, uint32_t slot, uint32_t id, enum tr_io_prio prio)
{
	tr_fill_note(c);
	tr_loads_add(&c->loads, slot, id, tr_slot_addr(c->entries.slots, slot), prio, read_done, c);
	c->loads.load[slot].begin_ns = tr_now_ns(c->cfg.clock);
}

static void want_set(struct tr_cache *c, const struct tr_handle *handles, size_t n)
{
	tr_assert(n <= c->n_unit);
	for (size_t i = 0; i < n; i++) {
		tr_assert(handles[i].id < c->n_unit);
		c->want[i] = (struct tr_want){ .id = handles[i].id,
			.idx = (uint32_t)i,
			.elsewhere = handles[i].state == TR_HANDLE_READY };
	}
	tr_order_sort(c->want, n);
}

static unsigned order_flags(unsigned flags)
{
	return (flags & TR_ACQUIRE_SCAN ? TR_ORDER_SCAN : 0) |
		(flags & TR_ACQUIRE_RETRY ? TR_ORDER_RETRY : 0);
}

static void act_on(struct tr_cache *c, const struct tr_want *w, struct tr_handle *h, bool is_retry)
{
	if (!is_retry)
		note_use(c, h, w);
	if (w->taken == TR_TAKEN_PIN) {
		point_to_entry(c, h);
		tr_ahead_note_use(c, h->id);
	} else if (w->taken == TR_TAKEN_SLOT) {
		tr_stage_begin_load(c, h->id, TR_IO_DEMAND);
		point_to_entry(c, h);
		h->state = TR_HANDLE_LOADING; /* a miss, even if its bytes are there */
	}
}

/* True when a member of the set got no slot. */
static bool waits_for_slot(const struct tr_cache *c, const struct tr_handle *handles, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (handles[c->want[i].idx].state == TR_HANDLE_NONE)
			return true;
	return false;
}

size_t tr_cache_acquire(struct tr_cache *c, const uint32_t *ids, size_t n, unsigned flags,
	struct tr_handle *handles)
{
	size_t n_taken = 0;

	for (size_t i = 0; i < n; i++) {
		handles[i] = (struct tr_handle){ .id = ids[i] };
		look_in_stores(c, &handles[i]);
	}
	tr_mutex_lock(&c->lock);
	want_set(c, handles, n);
	tr_order_take(&c->entries, c->want, n, order_flags(flags));
	for (size_t i = 0; i < n; i++)
		act_on(c, &c->want[i], &handles[c->want[i].idx], flags & TR_ACQUIRE_RETRY);
	tr_loads_submit(&c->loads);
	if (waits_for_slot(c, handles, n))
		tr_ahead_yield(c);
	if (n && !(flags & (TR_ACQUIRE_SCAN | TR_ACQUIRE_RETRY)))
		tr_ahead_pass(c, ids[0]);
	tr_mutex_unlock(&c->lock);
	for (size_t i = 0; i < n; i++)
		n_taken += handles[i].state != TR_HANDLE_NONE;
	return n_taken;
}

/* --- poll, wait, release ---------------------------------------------------------------------- */

/* The entry that the handle pins. A handle that was released or copied before has none. */
static struct tr_entry *pinned_entry(struct tr_cache *c, const struct tr_handle *h)
{
	struct tr_entry *e = &c->entries.entry[h->id];

	tr_assert(h->tier == 0 && e->pins > 0 && e->gen == h->gen);
	return e;
}

static size_t refresh(struct tr_cache *c, struct tr_handle *handles, size_t n)
{
	size_t n_loading = 0;

	for (size_t i = 0; i < n; i++) {
		if (handles[i].state == TR_HANDLE_LOADING)
			handles[i].state = handle_state(pinned_entry(c, &handles[i]));
		n_loading += handles[i].state == TR_HANDLE_LOADING;
	}
	return n_loading;
}

size_t tr_cache_poll(struct tr_cache *c, struct tr_handle *handles, size_t n)
{
	size_t n_loading;
	bool reaping;

	tr_mutex_lock(&c->lock);
	reaping = c->reaping;
	tr_mutex_unlock(&c->lock);
	if (!reaping)
		tr_io_poll(c->cfg.io);
	tr_mutex_lock(&c->lock);
	n_loading = refresh(c, handles, n);
	tr_mutex_unlock(&c->lock);
	return n_loading;
}

/* Lets completions come in, here or in the thread that waits inside io already. */
static void wait_for_io_locked(struct tr_cache *c)
{
	if (c->reaping) {
		tr_mutex_wait(&c->lock, &c->loaded);
		return;
	}
	c->reaping = true;
	tr_mutex_unlock(&c->lock);
	tr_io_wait(c->cfg.io);
	tr_mutex_lock(&c->lock);
	c->reaping = false;
	pthread_cond_broadcast(&c->loaded);
}

static size_t count_loading(const struct tr_handle *handles, size_t n)
{
	size_t n_loading = 0;

	for (size_t i = 0; i < n; i++)
		n_loading += handles[i].state == TR_HANDLE_LOADING;
	return n_loading;
}

size_t tr_cache_wait(struct tr_cache *c, struct tr_handle *handles, size_t n)
{
	size_t n_before = count_loading(handles, n), n_loading;
	uint64_t start_ns;

	if (!n_before)
		return 0;
	start_ns = tr_now_ns(c->cfg.clock);
	tr_mutex_lock(&c->lock);
	while ((n_loading = refresh(c, handles, n)) == n_before)
		wait_for_io_locked(c);
	c->wait_ns += tr_now_ns(c->cfg.clock) - start_ns;
	tr_mutex_unlock(&c->lock);
	return n_loading;
}

void tr_cache_release(struct tr_cache *c, struct tr_handle *handles, size_t n)
{
	tr_mutex_lock(&c->lock);
	for (size_t i = 0; i < n; i++) {
		if (handles[i].state == TR_HANDLE_NONE || handles[i].tier)
			continue;
		pinned_entry(c, &handles[i]);
		tr_entries_unpin(&c->entries, handles[i].id);
	}
	for (size_t i = 0; i < n; i++) {
		if (handles[i].state != TR_HANDLE_NONE && !handles[i].tier)
			tr_entries_settle(&c->entries, handles[i].id);
		handles[i].state = TR_HANDLE_NONE;
	}
	tr_mutex_unlock(&c->lock);
}

bool tr_cache_hold(struct tr_cache *c, uint32_t id, struct tr_handle *h)
{
	*h = (struct tr_handle){ .id = id };
	look_in_stores(c, h);
	if (h->state == TR_HANDLE_READY)
		return true;
	tr_mutex_lock(&c->lock);
	if (c->entries.entry[id].state == TR_ENTRY_READY && !c->entries.entry[id].ahead) {
		tr_entries_pin(&c->entries, id);
		point_to_entry(c, h);
	}
	tr_mutex_unlock(&c->lock);
	return h->state == TR_HANDLE_READY;
}

/* --- the rest --------------------------------------------------------------------------------- */

int tr_cache_explain(struct tr_cache *c, const struct tr_handle *h, struct tr_err *err)
{
	int rc;

	tr_mutex_lock(&c->lock);
	tr_assert(h->state == TR_HANDLE_FAILED);
	rc = tr_load_explain(&c->loads, &c->loads.load[pinned_entry(c, h)->slot], err);
	tr_mutex_unlock(&c->lock);
	return rc;
}

static struct tr_tier_stats *add_tier(
	struct tr_stats *out, const char *kind, const char *where, const struct use_counts *uses)
{
	struct tr_tier_stats *t = &out->tier[out->n_tier++];

	*t = (struct tr_tier_stats){
		.hits = uses->hits, .misses = uses->misses, .bytes = uses->bytes
	};
	snprintf(t->name, sizeof(t->name), "%s%s", kind, where);
	return t;
}

/* A policy from a shared object is told by the name of its file. */
static const char *without_folder(const char *spec)
{
	size_t n = strcspn(spec, ",");

	while (n && spec[n - 1] != '/')
		n--;
	return spec + n;
}

static void tier_stats_locked(const struct tr_cache *c, struct tr_stats *out)
{
	struct tr_tier_stats *t = add_tier(out, "dram", "", &c->dram);

	snprintf(t->policy, sizeof(t->policy), "%.*s", (int)sizeof(t->policy) - 1,
		without_folder(c->policy));
	t->capacity_bytes = c->cfg.dram_bytes;
	t->used_bytes = tr_entries_n_resident(&c->entries) * c->slot_bytes;
	for (size_t i = 0; i < c->cfg.n_store; i++) {
		t = add_tier(out, "pmem:", tr_store_dir(c->cfg.stores[i]), &c->store[i]);
		t->capacity_bytes = t->used_bytes = tr_store_bytes(c->cfg.stores[i]);
	}
	t = add_tier(out, "nvme", "", &c->disk);
	t->used_bytes = c->cfg.catalog->bytes;
	t->joins = c->n_join;
	t->wait_ns = c->wait_ns;
	out->evictions = c->entries.n_entered[TR_ENTRY_EVICTING];
	out->warm_units = c->warm.hits;
	out->warm_bytes = c->warm.bytes;
	out->promoted_units = c->promoted.hits;
	out->promoted_bytes = c->promoted.bytes;
	out->promote_ns = c->promote_ns;
	out->staged = c->n_staged;
	out->staged_used = c->n_stage_used;
	tr_prefetch_stats(&c->ahead.control, &out->prefetch);
}

void tr_cache_stats(const struct tr_cache *c, struct tr_stats *out)
{
	struct tr_mutex *lock = (struct tr_mutex *)&c->lock;
	struct tr_io_stats io;

	out->n_tier = 0;
	tr_mutex_lock(lock);
	tier_stats_locked(c, out);
	tr_mutex_unlock(lock);
	memcpy(out->policy, out->tier[0].policy, sizeof(out->policy));
	tr_io_stats(c->cfg.io, &io);
	snprintf(out->io_method, sizeof(out->io_method), "%s", io.method);
	out->io_retries = io.retries;
	out->io_fallbacks = io.fallbacks;
}

void tr_cache_unit_counts(const struct tr_cache *c, uint64_t *loads, uint64_t *evictions)
{
	struct tr_mutex *lock = (struct tr_mutex *)&c->lock;

	tr_mutex_lock(lock);
	for (uint32_t id = 0; id < c->n_unit; id++) {
		loads[id] = c->entries.entry[id].n_load;
		evictions[id] = c->entries.entry[id].n_evict;
	}
	tr_mutex_unlock(lock);
}

bool tr_cache_read_time(struct tr_cache *c, const struct tr_handle *h, uint64_t *begin_ns,
	uint64_t *end_ns)
{
	const struct tr_load *load;

	tr_assert(h->state == TR_HANDLE_READY && !h->tier);
	tr_mutex_lock(&c->lock);
	load = tr_cache_load_of(c, h->id);
	*begin_ns = load->begin_ns;
	*end_ns = load->end_ns;
	tr_mutex_unlock(&c->lock);
	return *begin_ns != 0;
}

bool tr_cache_peek(struct tr_cache *c, uint32_t tier, uint32_t id, const void *part[TR_N_PART])
{
	const struct tr_entry *e = &c->entries.entry[id];
	bool there;

	if (tier)
		return tr_store_get(c->cfg.stores[tier - 1], id, part);
	tr_mutex_lock(&c->lock);
	there = e->state == TR_ENTRY_READY;
	if (there)
		tr_loads_parts(&c->loads, id, tr_slot_addr(c->entries.slots, e->slot), part);
	tr_mutex_unlock(&c->lock);
	return there;
}

bool tr_cache_check(struct tr_cache *c, struct tr_err *err)
{
	bool ok;

	tr_mutex_lock(&c->lock);
	ok = tr_entries_check(&c->entries, err) && !tr_ahead_check(c, err);
	tr_mutex_unlock(&c->lock);
	return ok;
}
