/*
 * warm.c - the hot units of a profile, read before the first token.
 *
 * All reads are submitted at once, hottest first, so that the disk has a deep queue and an interrupted
 * start has the best of it. Nobody pins these entries: each settles by itself as its load ends. A load
 * that fails leaves its slot, which nothing else takes before the end, so the reason can be told.
 */
#include "base/mem.h"
#include "cache/inside.h"

#include <stdlib.h>

/* The hot units that are read from the model file, in their order. */
static uint32_t pick(const struct tr_cache *c, uint32_t *ids)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->cfg.n_hot; i++)
		if (!c->cfg.home || c->cfg.home[c->cfg.hot[i]] == TR_HOME_FILE)
			ids[n++] = c->cfg.hot[i];
	return n;
}

static struct tr_load *load_of(struct tr_cache *c, uint32_t id)
{
	return &c->loads.load[c->entries.entry[id].slot];
}

/* The bytes that will be read. */
static uint64_t submit(struct tr_cache *c, const uint32_t *ids, uint32_t n)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		tr_cache_read(c, ids[i], TR_IO_DEMAND);
		load_of(c, ids[i])->warm = true;
		tr_entries_begin_load(&c->entries, ids[i]);
		bytes += c->cfg.catalog->units[ids[i]].bytes;
	}
	tr_loads_submit(&c->loads);
	return bytes;
}

static void cancel_locked(struct tr_cache *c, const uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (c->entries.entry[ids[i]].state == TR_ENTRY_LOADING)
			tr_load_cancel(&c->loads, load_of(c, ids[i]));
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

static int wait(struct tr_cache *c, const uint32_t *ids, uint32_t n, uint64_t total,
	tr_progress_fn *progress, void *ctx, struct tr_err *err)
{
	bool stopped = false, loading = n > 0;
	uint64_t done;
	int rc;

	while (loading) {
		tr_io_wait(c->cfg.io);
		tr_mutex_lock(&c->lock);
		loading = c->entries.n_in[TR_ENTRY_LOADING] > 0;
		done = c->warm.bytes;
		tr_mutex_unlock(&c->lock);
		if (stopped || !progress || !progress(ctx, "warm", done, total, "bytes"))
			continue;
		stopped = true;
		tr_mutex_lock(&c->lock);
		cancel_locked(c, ids, n);
		tr_mutex_unlock(&c->lock);
	}
	tr_mutex_lock(&c->lock);
	rc = explain_locked(c, err);
	tr_mutex_unlock(&c->lock);
	return stopped && !rc ? tr_err_set(err, TR_E_INTERRUPTED, "loading was interrupted") : rc;
}

int tr_cache_warm(struct tr_cache *c, tr_progress_fn *progress, void *ctx, struct tr_err *err)
{
	uint32_t *ids = tr_calloc(TR_MAX(c->cfg.n_hot, 1u), sizeof(*ids)), n;
	uint64_t total;
	int rc;

	if (!ids)
		return tr_err_set(err, TR_E_NOMEM, "warm start: no memory for %u experts",
			c->cfg.n_hot);
	tr_mutex_lock(&c->lock);
	n = tr_order_warm(&c->entries, ids, pick(c, ids));
	total = submit(c, ids, n);
	tr_mutex_unlock(&c->lock);
	rc = wait(c, ids, n, total, progress, ctx, err);
	free(ids);
	return rc;
}
