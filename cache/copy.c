/*
 * copy.c - from persistent memory to slots, as a token ends.
 *
 * Nobody computes then, so a copy has all the bandwidth there is, and none of the next token waits for
 * it: the copies of a token are READY before the next one begins. Hence who is in DRAM never depends on
 * how fast a copy was, and a replay has the same. What it costs is bounded by their number (promote.h).
 * Who copies is the caller's business; the lock is not held meanwhile.
 */
#include "base/mem.h"
#include "cache/inside.h"

#include <string.h>

static void copy_here(const struct tr_copy_job *copies, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(copies[i].to, copies[i].from, copies[i].bytes);
}

void tr_copy_begin(struct tr_cache *c, const uint32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		tr_loads_begin(&c->loads, c->entries.entry[ids[i]].slot, ids[i], c);
		tr_entries_begin_load(&c->entries, ids[i]);
	}
}

/* Adds the parts of a unit to copies[n..); returns how many there are then. */
static size_t add(struct tr_cache *c, uint32_t id, struct tr_copy_job *copies, size_t n)
{
	const void *from[TR_N_PART], *to[TR_N_PART];
	uint32_t tier = tr_cache_find(c, id, from);

	if (!tier)
		return n;
	tr_mutex_lock(&c->lock);
	tr_loads_parts(&c->loads, id, tr_cache_slot(c, id), to);
	tr_mutex_unlock(&c->lock);
	for (int p = 0; p < TR_N_PART; p++)
		copies[n++] = (struct tr_copy_job){ from[p], (void *)to[p],
			c->cfg.catalog->units[id].part[p].bytes, tier };
	return n;
}

static void end(struct tr_cache *c, uint32_t id, bool ok, struct use_counts *count)
{
	if (ok)
		tr_count_use(count, c->cfg.catalog->units[id].bytes);
	tr_entries_end_load(&c->entries, id, ok);
}

void tr_copy_run(struct tr_cache *c, const uint32_t *ids, size_t n, struct use_counts *count)
{
	struct tr_copy_job copies[TR_COPY_MAX * TR_N_PART];
	bool ok[TR_COPY_MAX];
	size_t n_copy = 0, before;

	for (size_t i = 0; i < n; i++) {
		before = n_copy;
		n_copy = add(c, ids[i], copies, n_copy);
		ok[i] = n_copy > before;
	}
	if (c->cfg.copy)
		c->cfg.copy(c->cfg.copy_ctx, copies, n_copy);
	else
		copy_here(copies, n_copy);
	tr_mutex_lock(&c->lock);
	for (size_t i = 0; i < n; i++)
		end(c, ids[i], ok[i], count);
	pthread_cond_broadcast(&c->loaded);
	tr_mutex_unlock(&c->lock);
}

void tr_cache_tick(struct tr_cache *c)
{
	uint64_t start_ns;
	uint32_t n;

	tr_mutex_lock(&c->lock);
	if (c->entries.promote.n_offered) /* a copy may not share its slot with a read */
		tr_stage_drain(c);
	n = tr_order_tick(&c->entries, c->copying);
	tr_copy_begin(c, c->copying, n);
	tr_mutex_unlock(&c->lock);
	if (!n)
		return;
	start_ns = tr_now_ns(c->cfg.clock);
	for (uint32_t i = 0; i < n; i += TR_COPY_MAX)
		tr_copy_run(c, c->copying + i, TR_MIN(n - i, (uint32_t)TR_COPY_MAX), &c->promoted);
	tr_mutex_lock(&c->lock);
	c->promote_ns += tr_now_ns(c->cfg.clock) - start_ns;
	tr_mutex_unlock(&c->lock);
}
