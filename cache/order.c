/* order.c - two walks over a set in ascending id order; see order.h. */
#include "cache/order.h"
#include "base/mem.h"

#include <stdlib.h>

/* A scan may turn over one slot in so many, as a ring of its own. PostgreSQL gives its bulk reads
 * an eighth of the buffers at most, for the same reason. */
#define SCAN_RING_SHARE 8

void tr_order_size(struct tr_entries_cfg *cfg, uint64_t n_keep, uint32_t min_slot)
{
	uint32_t min = min_slot ? min_slot : TR_ORDER_MIN_SLOT;

	cfg->n_keep = (uint32_t)TR_MIN(n_keep, cfg->n_id);
	cfg->n_slot = TR_MIN(TR_MAX(cfg->n_keep, min), cfg->n_id);
	cfg->scan_ring = TR_MAX(min, cfg->n_slot / SCAN_RING_SHARE);
}

static int compare_id(const void *a, const void *b)
{
	const struct tr_want *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

void tr_order_sort(struct tr_want *want, size_t n)
{
	bool sorted = true;

	for (size_t i = 1; i < n; i++)
		sorted = sorted && want[i].id > want[i - 1].id;
	if (sorted)
		return;
	qsort(want, n, sizeof(*want), compare_id);
	for (size_t i = 1; i < n; i++)
		tr_assert(want[i].id != want[i - 1].id);
}

/* An entry on its way is left alone when a lower tier serves the unit at once. */
static void take_resident(struct tr_entries *t, struct tr_want *w, unsigned flags)
{
	enum tr_entry_state state = t->entry[w->id].state;

	if (state == TR_ENTRY_EMPTY)
		return;
	if (state == TR_ENTRY_READY || !w->elsewhere) {
		tr_entries_pin(t, w->id);
		w->taken = TR_TAKEN_PIN;
	}
	if (!(flags & TR_ORDER_RETRY))
		tr_entries_note_use(t, w->id, flags & TR_ORDER_SCAN ? TR_POLICY_SCAN : 0);
}

/* *more becomes false when no slot can be had. */
static void take_missing(struct tr_entries *t, struct tr_want *w, unsigned flags, bool *more)
{
	unsigned policy_flags = flags & TR_ORDER_SCAN ? TR_POLICY_SCAN : 0;

	if (t->entry[w->id].state != TR_ENTRY_EMPTY)
		return;
	if (!(flags & TR_ORDER_RETRY))
		tr_entries_note_use(t, w->id, policy_flags);
	if (w->elsewhere) {
		if (!flags)
			tr_promote_offer(&t->promote, w->id);
		return;
	}
	*more = *more && tr_entries_reserve(t, w->id, policy_flags);
	if (*more)
		w->taken = TR_TAKEN_SLOT;
}

void tr_order_take(struct tr_entries *t, struct tr_want *want, size_t n, unsigned flags)
{
	bool more = true;

	for (size_t i = 0; i < n; i++) {
		want[i].taken = TR_TAKEN_NONE;
		take_resident(t, &want[i], flags);
	}
	for (size_t i = 0; i < n; i++)
		take_missing(t, &want[i], flags, &more);
}

uint32_t tr_order_warm(struct tr_entries *t, const uint32_t *ids, uint32_t n)
{
	uint32_t k = t->policy.ops->uncached ? 0 : TR_MIN(n, t->cfg.n_keep);

	tr_assert(!tr_entries_n_resident(t));
	for (uint32_t i = k; i-- > 0;) {
		bool ok = tr_entries_reserve(t, ids[i], 0);

		tr_assert(ok);
		tr_entries_unpin(t, ids[i]);
	}
	return k;
}

/* Where one finds no slot, those after it, which are worth less, find none either. One that came to DRAM since
 * it was used needs none. */
uint32_t tr_order_tick(struct tr_entries *t, uint32_t *ids)
{
	const struct tr_policy *policy = &t->policy;
	uint32_t n = tr_promote_rank(&t->promote), k = 0;

	if (policy->ops->tick)
		policy->ops->tick(policy->state);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t id = t->promote.offered[i];

		if (t->entry[id].state != TR_ENTRY_EMPTY)
			continue;
		if (!tr_entries_reserve_copy(t, id))
			break;
		ids[k++] = id;
	}
	tr_promote_tick(&t->promote);
	return k;
}
