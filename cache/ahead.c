/*
 * ahead.c - reads ahead of need.
 *
 *	tr_cache_prefetch            the layer's set is acquired
 *	  |                            |
 *	  v                            v
 *	due, LOADING --- read ---> due, READY ----- in the set -----> used: useful, or late if LOADING
 *	  |       |                    |
 *	  |       |                    +------- not in the set ----> missed: a use rescues it,
 *	  |       +--- not in the set, read has started ----^        eviction wastes it
 *	  |
 *	  +--- not started, and not expected, or its slot is needed: cancelled
 *
 * Whether to read is decided by prefetch.c, whom to evict by entry.c. At most a quarter of the
 * slots is in flight ahead of need, so that a set finds at least the others.
 *
 * A cancelled load keeps its slot until io reports it. A set that asks for it meanwhile joins it,
 * and the load is read anew as demand when the report comes.
 *
 * Under cache->lock, like all that changes entries.
 */
#include "base/mem.h"
#include "cache/inside.h"

#include <stdlib.h>

#define FLYING_SHARE 4
#define BUDGET_SHARE 8
#define WASTE_DEFAULT 0.2

int tr_ahead_init(struct tr_cache *c, struct tr_err *err)
{
	const struct tr_cache_cfg *cfg = &c->cfg;
	struct tr_ahead *a = &c->ahead;
	uint32_t n_slot = c->entries.cfg.n_slot;
	struct tr_prefetch_cfg control = {
		.mode = !cfg->prefetch ? TR_PREFETCH_OFF :
			cfg->prefetch_auto ? TR_PREFETCH_AUTO :
						   TR_PREFETCH_ON,
		.waste = cfg->prefetch_waste > 0 ? cfg->prefetch_waste : WASTE_DEFAULT,
		.budget_bytes = cfg->prefetch_bytes,
	};

	if (!control.budget_bytes)
		control.budget_bytes = TR_MAX(n_slot / BUDGET_SHARE, 1u) * c->slot_bytes;
	control.reach_max = (uint32_t)TR_MIN(control.budget_bytes / c->slot_bytes, n_slot);
	a->max_flying = n_slot / FLYING_SHARE;
	if (!a->max_flying || c->entries.policy.ops->uncached ||
		c->entries.cfg.n_keep < n_slot)
		control.reach_max = 0;
	tr_prefetch_init(&a->control, &control);
	a->due = tr_calloc(control.reach_max, sizeof(*a->due));
	a->expected = tr_calloc(c->n_unit, sizeof(*a->expected));
	if (a->due && a->expected)
		return 0;
	tr_ahead_fini(c);
	return tr_err_set(err, TR_E_NOMEM, "expert cache: no memory to read ahead");
}

void tr_ahead_fini(struct tr_cache *c)
{
	free(c->ahead.due);
	free(c->ahead.expected);
}

static struct tr_entry *entry(struct tr_cache *c, uint32_t id)
{
	return &c->entries.entry[id];
}

static bool same_layer(const struct tr_cache *c, uint32_t a, uint32_t b)
{
	return c->cfg.catalog->units[a].layer == c->cfg.catalog->units[b].layer;
}

/* --- units that are due ----------------------------------------------------------------------- */

/* Takes the i-th off the list. */
static void settle_at(struct tr_cache *c, uint32_t i, enum tr_prefetch_end end)
{
	struct tr_ahead *a = &c->ahead;
	uint32_t id = a->due[i];

	tr_prefetch_settle(&a->control, end, c->cfg.catalog->units[id].bytes);
	a->due[i] = a->due[--a->n_due];
}

static void settle(struct tr_cache *c, uint32_t id, enum tr_prefetch_end end)
{
	uint32_t i = 0;

	while (c->ahead.due[i] != id)
		i++;
	settle_at(c, i, end);
}

/* The i-th is called back, if its read has not started. */
static bool cancel_at(struct tr_cache *c, uint32_t i)
{
	uint32_t id = c->ahead.due[i];

	if (entry(c, id)->state != TR_ENTRY_LOADING || !tr_load_cancel(&c->loads, tr_cache_load_of(c, id)))
		return false;
	settle_at(c, i, TR_PREFETCH_CANCELLED);
	tr_entries_arrive(&c->entries, id);
	return true;
}

void tr_ahead_yield(struct tr_cache *c)
{
	for (uint32_t i = c->ahead.n_due; i-- > 0;)
		cancel_at(c, i);
}

void tr_ahead_note_use(struct tr_cache *c, uint32_t id)
{
	struct tr_entry *e = entry(c, id);
	bool loading = e->state == TR_ENTRY_LOADING;

	if (!e->ahead)
		return;
	if (tr_entry_is_due(e))
		settle(c, id, loading ? TR_PREFETCH_LATE : TR_PREFETCH_USEFUL);
	else
		tr_prefetch_rescue(&c->ahead.control);
	tr_entries_arrive(&c->entries, id);
	if (loading)
		tr_load_promote(&c->loads, tr_cache_load_of(c, id));
}

void tr_ahead_note_unused(void *cache, uint32_t id)
{
	struct tr_cache *c = cache;

	if (tr_entry_is_due(entry(c, id)))
		settle(c, id, TR_PREFETCH_MISSED);
	tr_prefetch_waste(&c->ahead.control, c->cfg.catalog->units[id].bytes);
}

bool tr_ahead_end_load(struct tr_cache *c, struct tr_load *load)
{
	struct tr_entry *e = entry(c, load->id);

	c->ahead.n_flying -= load->ahead;
	if (load->cancelled && e->pins) {
		tr_cache_read(c, load->id, TR_IO_DEMAND);
		tr_loads_submit(&c->loads);
		return true;
	}
	if (load->failed && e->ahead) {
		if (tr_entry_is_due(e))
			settle(c, load->id, TR_PREFETCH_FAILED);
		tr_entries_arrive(&c->entries, load->id);
	}
	return false;
}

/* --- what is expected ------------------------------------------------------------------------- */

/* Forgets what is expected of a layer. */
static void forget(struct tr_cache *c, uint32_t id_of_layer)
{
	struct tr_ahead *a = &c->ahead;
	uint32_t n = 0;

	for (uint32_t i = 0; i < a->n_expected; i++) {
		uint32_t id = a->expected[i];

		if (same_layer(c, id, id_of_layer))
			entry(c, id)->expect = 0;
		else
			a->expected[n++] = id;
	}
	a->n_expected = n;
}

static bool is_absent(struct tr_cache *c, uint32_t id)
{
	return entry(c, id)->state == TR_ENTRY_EMPTY || tr_entry_is_due(entry(c, id));
}

static void expect(struct tr_cache *c, const uint32_t *ids, const float *p, size_t n)
{
	struct tr_ahead *a = &c->ahead;

	forget(c, ids[0]);
	for (size_t i = 0; i < n; i++) {
		tr_assert(ids[i] < c->n_unit && same_layer(c, ids[i], ids[0]));
		if (p[i] <= 0 || entry(c, ids[i])->expect > 0)
			continue;
		entry(c, ids[i])->expect = p[i];
		entry(c, ids[i])->absent = is_absent(c, ids[i]);
		a->expected[a->n_expected++] = ids[i];
	}
}

/* Those of the set have pins now. */
static void learn(struct tr_cache *c, uint32_t id_of_layer)
{
	struct tr_ahead *a = &c->ahead;

	for (uint32_t i = 0; i < a->n_expected; i++) {
		const struct tr_entry *e = entry(c, a->expected[i]);

		if (e->absent && same_layer(c, a->expected[i], id_of_layer))
			tr_prefetch_learn(&a->control, e->expect, e->pins > 0);
	}
}

void tr_ahead_pass(struct tr_cache *c, uint32_t id_of_layer)
{
	struct tr_ahead *a = &c->ahead;

	for (uint32_t i = a->n_due; i-- > 0;) {
		uint32_t id = a->due[i];

		if (!same_layer(c, id, id_of_layer) || cancel_at(c, i))
			continue;
		settle_at(c, i, TR_PREFETCH_MISSED);
		tr_entries_miss(&c->entries, id);
	}
	learn(c, id_of_layer);
	forget(c, id_of_layer);
}

static void cancel_unexpected(struct tr_cache *c, uint32_t id_of_layer)
{
	struct tr_ahead *a = &c->ahead;

	for (uint32_t i = a->n_due; i-- > 0;)
		if (same_layer(c, a->due[i], id_of_layer) && !entry(c, a->due[i])->expect)
			cancel_at(c, i);
}

/* False when no other is to be tried. */
static bool read_ahead(struct tr_cache *c, uint32_t id, float given)
{
	struct tr_ahead *a = &c->ahead;
	float p = tr_prefetch_translate(&a->control, given);
	uint64_t bytes = c->cfg.catalog->units[id].bytes;

	if (entry(c, id)->state != TR_ENTRY_EMPTY || entry(c, id)->stage_at != TR_NO_ID)
		return true;
	if (a->n_flying == a->max_flying || !tr_prefetch_allows(&a->control, p, bytes) ||
		!tr_entries_reserve_ahead(&c->entries, id, given))
		return false;
	tr_prefetch_begin(&a->control, p, bytes);
	a->due[a->n_due++] = id;
	a->n_flying++;
	tr_cache_read(c, id, TR_IO_BACKGROUND);
	tr_cache_load_of(c, id)->ahead = true;
	tr_entries_begin_load(&c->entries, id);
	return true;
}

void tr_cache_prefetch(struct tr_cache *c, const uint32_t *ids, const float *p, size_t n)
{
	if (!n)
		return;
	tr_mutex_lock(&c->lock);
	expect(c, ids, p, n);
	cancel_unexpected(c, ids[0]);
	for (size_t i = 0; i < n; i++)
		if (!read_ahead(c, ids[i], p[i]))
			break;
	tr_loads_submit(&c->loads);
	tr_mutex_unlock(&c->lock);
}

uint32_t tr_cache_reach(struct tr_cache *c)
{
	uint32_t reach = 0;

	tr_mutex_lock(&c->lock);
	if (c->ahead.control.on && c->entries.n_in[TR_ENTRY_EMPTY])
		reach = c->ahead.control.reach;
	tr_mutex_unlock(&c->lock);
	return reach;
}

void tr_cache_note_token(struct tr_cache *c, uint64_t ns)
{
	tr_mutex_lock(&c->lock);
	tr_prefetch_token(&c->ahead.control, ns);
	tr_mutex_unlock(&c->lock);
}

/* --- hints ------------------------------------------------------------------------------------ */

bool tr_cache_takes_hints(const struct tr_cache *c)
{
	return c->entries.policy.ops->hint;
}

void tr_cache_hint(struct tr_cache *c, uint32_t first_id, const float *p, size_t n, uint32_t ahead)
{
	const struct tr_policy *policy = &c->entries.policy;

	if (!policy->ops->hint)
		return;
	tr_mutex_lock(&c->lock);
	for (size_t i = 0; i < n; i++)
		policy->ops->hint(policy->state, first_id + (uint32_t)i, p[i], ahead);
	tr_mutex_unlock(&c->lock);
}

/* --- check ------------------------------------------------------------------------------------ */

int tr_ahead_check(struct tr_cache *c, struct tr_err *err)
{
	struct tr_ahead *a = &c->ahead;
	uint32_t n_flying = 0;

	if (a->n_due != c->entries.n_due || a->n_due != a->control.n_standing)
		return tr_err_set(err, TR_E_INVALID, "%u units due, entries say %u, control %u",
			a->n_due, c->entries.n_due, a->control.n_standing);
	for (uint32_t i = 0; i < a->n_due; i++)
		if (!tr_entry_is_due(entry(c, a->due[i])))
			return tr_err_set(err, TR_E_INVALID, "unit %u is not due", a->due[i]);
	for (uint32_t id = 0; id < c->n_unit; id++)
		n_flying += entry(c, id)->state == TR_ENTRY_LOADING && tr_cache_load_of(c, id)->ahead;
	if (n_flying != a->n_flying)
		return tr_err_set(err, TR_E_INVALID, "%u reads ahead in flight, counted %u",
			n_flying, a->n_flying);
	return 0;
}
