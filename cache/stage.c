/*
 * stage.c - reads for a prefill, a layer before it asks.
 *
 *	tr_cache_stage         the unit is reserved ----------> LOADING, or READY if all is there
 *	  |                      |
 *	  v                      |
 *	staged, in flight ----> staged, there
 *	  |                      |
 *	  +--- the slot is needed by another unit: read over, once the read in flight has ended
 *
 * A prefill of many tokens uses nearly every expert of a layer, so there is little to predict; but if
 * reads began with the layer's set, disk and processors would take turns. Staged units lie in free
 * slots and are no entries yet (entry.h), so what the cache decides, and what a replay of it decides,
 * does not depend on them or on when their reads end.
 *
 * The load of a slot tells what is being read there: tr_load.staged from tr_cache_stage until the
 * slot is given to an entry, which is its unit or another. An entry of another unit is LOADING
 * meanwhile; the end of the old read starts its own.
 *
 * Under cache->lock.
 */
#include "base/mem.h"
#include "cache/inside.h"

static struct tr_load *load_in(struct tr_cache *c, uint32_t slot)
{
	return &c->loads.load[slot];
}

void tr_cache_stage(struct tr_cache *c, uint32_t first, uint32_t n)
{
	tr_assert(first + n <= c->n_unit);
	tr_mutex_lock(&c->lock);
	for (uint32_t id = first; id < first + n; id++) {
		uint32_t slot;

		if (!tr_cache_is_in_file(c, id) || tr_cache_is_above(c, id) ||
			!tr_entries_stage(&c->entries, id))
			continue;
		slot = c->entries.stage[c->entries.n_staged - 1].slot;
		tr_cache_read_into(c, slot, id, TR_IO_BACKGROUND);
		load_in(c, slot)->staged = true;
		c->n_staged++;
	}
	tr_loads_submit(&c->loads);
	tr_mutex_unlock(&c->lock);
}

/* The slot has the unit's bytes, or will have them. */
static void adopt(struct tr_cache *c, struct tr_load *load)
{
	c->n_stage_used++;
	if (load->n_left)
		tr_load_promote(&c->loads, load);
	else
		tr_cache_end_load(c, load);
}

void tr_stage_begin_load(struct tr_cache *c, uint32_t id, enum tr_io_prio prio)
{
	struct tr_load *load = tr_cache_load_of(c, id);
	bool staged = load->staged;

	load->staged = false;
	tr_entries_begin_load(&c->entries, id);
	if (staged && load->id == id)
		adopt(c, load);
	else if (staged && load->n_left)
		tr_load_cancel(&c->loads, load);
	else
		tr_cache_read(c, id, prio);
}

bool tr_stage_end_load(struct tr_cache *c, struct tr_load *load)
{
	uint32_t owner = c->entries.owner[load - c->loads.load];

	if (owner == load->id)
		return false;
	if (owner != TR_NO_ID) {
		tr_cache_read(c, owner, TR_IO_DEMAND);
		tr_loads_submit(&c->loads);
	} else if (load->failed) {
		load->staged = false;
		tr_entries_unstage(&c->entries, load->id);
	}
	return true;
}

bool tr_stage_stop(struct tr_cache *c)
{
	bool flying = false;

	for (uint32_t i = 0; i < c->entries.n_staged; i++) {
		struct tr_load *load = load_in(c, c->entries.stage[i].slot);

		if (load->n_left)
			tr_load_cancel(&c->loads, load);
		flying |= load->n_left > 0;
	}
	return flying;
}

void tr_stage_drain(struct tr_cache *c)
{
	while (tr_stage_stop(c)) {
		tr_mutex_unlock(&c->lock);
		tr_io_wait(c->cfg.io);
		tr_mutex_lock(&c->lock);
	}
	while (c->entries.n_staged) {
		const struct tr_stage *last = &c->entries.stage[c->entries.n_staged - 1];

		load_in(c, last->slot)->staged = false;
		tr_entries_unstage(&c->entries, last->id);
	}
}
