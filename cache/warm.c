/*
 * warm.c - the hot units of a profile, in DRAM before the first token.
 *
 * All reads are submitted at once, hottest first, so that the disk has a deep queue and an interrupted
 * start has the best of it. What lies in persistent memory is copied while they fly. Nobody pins these
 * entries: each settles by itself as its load ends. A load that fails leaves its slot, which nothing
 * else takes before the end, so the reason can be told.
 */
#include "base/mem.h"
#include "cache/inside.h"

#include <stdlib.h>

/* The hot units that may be in DRAM, in their order. */
static uint32_t pick(const struct tr_cache *c, uint32_t *ids)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->cfg.n_hot; i++)
		if (!tr_cache_is_above(c, c->cfg.hot[i]) &&
			(c->entries.promote.cfg.n_max || tr_cache_is_in_file(c, c->cfg.hot[i])))
			ids[n++] = c->cfg.hot[i];
	return n;
}

static void begin_read(struct tr_cache *c, uint32_t id)
{
	tr_cache_read(c, id, TR_IO_DEMAND);
	tr_cache_load_of(c, id)->warm = true;
	tr_entries_begin_load(&c->entries, id);
}

/* Submits all reads. Leaves those to be copied in ids[0..*n). Returns the bytes of both. */
static uint64_t begin(struct tr_cache *c, uint32_t *ids, uint32_t *n)
{
	uint32_t n_copy = 0;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < *n; i++) {
		bytes += c->cfg.catalog->units[ids[i]].bytes;
		if (tr_cache_is_in_file(c, ids[i]))
			begin_read(c, ids[i]);
		else
			ids[n_copy++] = ids[i];
	}
	tr_loads_submit(&c->loads);
	tr_copy_begin(c, ids, n_copy);
	*n = n_copy;
	return bytes;
}

static void cancel_locked(struct tr_cache *c)
{
	for (uint32_t slot = 0; slot < c->entries.cfg.n_slot; slot++) {
		struct tr_load *l = &c->loads.load[slot];

		if (l->warm && c->entries.entry[l->id].state == TR_ENTRY_LOADING)
			tr_load_cancel(&c->loads, l);
	}
}

static int explain_locked(struct tr_cache *c, struct tr_err *err)
{
	for (uint32_t slot = 0; slot < c->entries.cfg.n_slot; slot++) {
		const struct tr_load *l = &c->loads.load[slot];

		if (l->warm && l->failed && !l->cancelled)
			return tr_load_explain(&c->loads, l, err);
	}
	return 0;
}

struct told {
	tr_progress_fn *progress;
	void *ctx;
	uint64_t total;
	bool stopped;
};

/* Lets the caller know, and stop. */
static void tell(struct tr_cache *c, struct told *t)
{
	uint64_t done;

	tr_mutex_lock(&c->lock);
	done = c->warm.bytes;
	tr_mutex_unlock(&c->lock);
	if (t->stopped || !t->progress || !t->progress(t->ctx, "warm", done, t->total, "bytes"))
		return;
	t->stopped = true;
	tr_mutex_lock(&c->lock);
	cancel_locked(c);
	tr_mutex_unlock(&c->lock);
}

/* Copies that are not made any more leave as if they had failed. */
static void copy(struct tr_cache *c, const uint32_t *ids, uint32_t n, struct told *t)
{
	uint32_t i = 0, k;

	for (; i < n && !t->stopped; i += k) {
		k = TR_MIN(n - i, (uint32_t)TR_COPY_MAX);
		tr_copy_run(c, ids + i, k, &c->warm);
		tell(c, t);
	}
	tr_mutex_lock(&c->lock);
	for (; i < n; i++)
		tr_entries_end_load(&c->entries, ids[i], false);
	tr_mutex_unlock(&c->lock);
}

static void wait(struct tr_cache *c, struct told *t)
{
	bool loading;

	for (;;) {
		tr_mutex_lock(&c->lock);
		loading = c->entries.n_in[TR_ENTRY_LOADING] > 0;
		tr_mutex_unlock(&c->lock);
		if (!loading)
			return;
		tr_io_wait(c->cfg.io);
		tell(c, t);
	}
}

int tr_cache_warm(struct tr_cache *c, tr_progress_fn *progress, void *ctx, struct tr_err *err)
{
	uint32_t *ids = tr_calloc(TR_MAX(c->cfg.n_hot, 1u), sizeof(*ids)), n;
	struct told told = { .progress = progress, .ctx = ctx };
	int rc;

	if (!ids)
		return tr_err_set(err, TR_E_NOMEM, "warm start: no memory for %u experts",
			c->cfg.n_hot);
	tr_mutex_lock(&c->lock);
	n = tr_order_warm(&c->entries, ids, pick(c, ids));
	told.total = begin(c, ids, &n);
	tr_mutex_unlock(&c->lock);
	copy(c, ids, n, &told);
	wait(c, &told);
	tr_mutex_lock(&c->lock);
	rc = explain_locked(c, err);
	tr_mutex_unlock(&c->lock);
	free(ids);
	return told.stopped && !rc ? tr_err_set(err, TR_E_INTERRUPTED, "loading was interrupted") : rc;
}
