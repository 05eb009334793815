/*
 * entry.c - the entry table: states, pins, victims.
 *
 *	        reserve            begin_load           end_load
 *	EMPTY ----------> RESERVED ----------> LOADING ----------> READY
 *	  ^                                       |                  |
 *	  |                                       | end_load         | victim, or not to be kept
 *	  |             last pin goes             v                  v
 *	  +-------------------------------------FAILED            EVICTING
 *	  +----------------------------------------------------------+
 *
 * set_state is the only place that changes a state; it checks the step and counts. EVICTING is left
 * within the call that enters it. A resident entry is one that is not EMPTY: it has a slot, and the
 * policy knows it.
 *
 * Victims. A free slot is taken first. Otherwise the policy is asked for the first in its order
 * that is READY and has no pin; if none is, there is no slot to be had. A scan may evict entries
 * that decoding uses only until its ring is full, then it takes victims from its own entries.
 *
 * A copy of what is used in place takes only a victim that is expected to save less, see promote.h.
 *
 * Free slots may be *staged*: a unit that a scan will probably want is read into one before it is an
 * entry. To everything above and below this is a free slot.
 *
 * Entries that came ahead of need are *due* until their layer's next visit. A due entry is a victim
 * only when nothing else is: its read would have been for nothing. To bring one in, only what is
 * expected less may go.
 */
#include "cache/entry.h"
#include "base/mem.h"

#include <stdlib.h>

#define BIT(state) (1u << (state))

static const uint8_t may_become[TR_N_ENTRY_STATE] = {
	[TR_ENTRY_EMPTY] = BIT(TR_ENTRY_RESERVED),
	[TR_ENTRY_RESERVED] = BIT(TR_ENTRY_LOADING),
	[TR_ENTRY_LOADING] = BIT(TR_ENTRY_READY) | BIT(TR_ENTRY_FAILED),
	[TR_ENTRY_READY] = BIT(TR_ENTRY_EVICTING),
	[TR_ENTRY_EVICTING] = BIT(TR_ENTRY_EMPTY),
	[TR_ENTRY_FAILED] = BIT(TR_ENTRY_EMPTY),
};

static void set_state(struct tr_entries *t, uint32_t id, enum tr_entry_state state)
{
	struct tr_entry *e = &t->entry[id];

	tr_assert(may_become[e->state] & BIT(state));
	t->n_in[e->state]--;
	t->n_in[state]++;
	t->n_entered[state]++;
	e->n_load += state == TR_ENTRY_READY;
	e->n_evict += state == TR_ENTRY_EVICTING;
	e->state = state;
}

static bool uncached(const struct tr_entries *t)
{
	return t->policy.ops->uncached;
}

/* Where entries without a pin are not kept, copies would not be either. */
static int init_promote(struct tr_entries *t, struct tr_err *err)
{
	struct tr_promote_cfg cfg = { .n_id = t->cfg.n_id,
		.n_max = TR_MIN(t->cfg.n_promote, t->cfg.n_slot),
		.gain = t->cfg.miss_cost,
		.copy_cost = t->cfg.copy_cost };

	if (uncached(t) || t->cfg.n_keep < t->cfg.n_slot)
		cfg.n_max = 0;
	if (!tr_promote_init(&t->promote, &cfg))
		return 0;
	return tr_err_set(err, TR_E_NOMEM, "expert cache: no memory to count uses of %u experts",
		cfg.n_id);
}

int tr_entries_init(struct tr_entries *t, const struct tr_entries_cfg *cfg, struct tr_err *err)
{
	struct tr_policy_cfg policy_cfg = {
		.n_id = cfg->n_id,
		.n_slot = cfg->n_slot,
		.n_layer_id = cfg->n_layer_id,
		.miss_cost = cfg->miss_cost,
		.pins = cfg->hot,
		.n_pin = cfg->n_hot,
		.future = cfg->future,
		.n_future = cfg->n_future,
	};
	int rc;

	*t = (struct tr_entries){ .cfg = *cfg };
	t->entry = tr_calloc(cfg->n_id, sizeof(*t->entry));
	t->owner = tr_calloc(cfg->n_slot, sizeof(*t->owner));
	t->stage = tr_calloc(cfg->n_slot, sizeof(*t->stage));
	if (!t->entry || !t->owner || !t->stage) {
		rc = tr_err_set(
			err, TR_E_NOMEM, "expert cache: no memory for %u entries", cfg->n_id);
		goto fail;
	}
	for (uint32_t id = 0; id < cfg->n_id; id++) {
		t->entry[id].slot = TR_NO_SLOT;
		t->entry[id].stage_at = TR_NO_ID;
	}
	for (uint32_t slot = 0; slot < cfg->n_slot; slot++)
		t->owner[slot] = TR_NO_ID;
	t->n_in[TR_ENTRY_EMPTY] = cfg->n_id;
	rc = tr_policy_open(&t->policy, cfg->policy, &policy_cfg, err);
	if (!rc)
		rc = init_promote(t, err);
	if (!rc)
		rc = tr_slots_open(&t->slots, cfg->n_slot, cfg->slot_bytes, cfg->numa_node, err);
	if (!rc)
		return 0;
fail:
	tr_entries_fini(t);
	return rc;
}

void tr_entries_fini(struct tr_entries *t)
{
	tr_slots_close(t->slots);
	tr_promote_fini(&t->promote);
	tr_policy_close(&t->policy);
	free(t->stage);
	free(t->owner);
	free(t->entry);
}

static void set_scan(struct tr_entries *t, struct tr_entry *e, bool scan)
{
	t->n_scan += scan;
	t->n_scan -= e->scan;
	e->scan = scan;
}

void tr_entries_note_use(struct tr_entries *t, uint32_t id, unsigned flags)
{
	const struct tr_policy_ops *ops = t->policy.ops;
	struct tr_entry *e = &t->entry[id];

	if (e->scan && !(flags & TR_POLICY_SCAN))
		set_scan(t, e, false);
	if (uncached(t))
		return;
	if (!(flags & TR_POLICY_SCAN))
		tr_promote_note_use(&t->promote, id);
	if (e->state != TR_ENTRY_EMPTY)
		ops->hit(t->policy.state, id, flags);
	else if (ops->miss)
		ops->miss(t->policy.state, id, flags);
}

void tr_entries_pin(struct tr_entries *t, uint32_t id)
{
	tr_assert(t->entry[id].state != TR_ENTRY_EMPTY);
	t->entry[id].pins++;
}

void tr_entries_unpin(struct tr_entries *t, uint32_t id)
{
	tr_assert(t->entry[id].pins > 0);
	t->entry[id].pins--;
}

static void set_ahead(struct tr_entries *t, struct tr_entry *e, bool ahead, bool missed)
{
	t->n_due -= tr_entry_is_due(e);
	e->ahead = ahead;
	e->missed = missed;
	t->n_due += tr_entry_is_due(e);
}

void tr_entries_arrive(struct tr_entries *t, uint32_t id)
{
	set_ahead(t, &t->entry[id], false, false);
}

void tr_entries_miss(struct tr_entries *t, uint32_t id)
{
	set_ahead(t, &t->entry[id], true, true);
}

/* EVICTING or FAILED -> EMPTY */
static void give_slot(struct tr_entries *t, uint32_t id)
{
	struct tr_entry *e = &t->entry[id];

	tr_assert(!e->pins);
	if (e->ahead && t->cfg.unused)
		t->cfg.unused(t->cfg.unused_ctx, id);
	set_ahead(t, e, false, false);
	t->owner[e->slot] = TR_NO_ID;
	tr_slot_give(t->slots, e->slot);
	e->slot = TR_NO_SLOT;
	set_scan(t, e, false);
	set_state(t, id, TR_ENTRY_EMPTY);
}

static void evict(struct tr_entries *t, uint32_t id)
{
	set_state(t, id, TR_ENTRY_EVICTING);
	if (!uncached(t))
		t->policy.ops->evict(t->policy.state, id);
	give_slot(t, id);
}

static bool evictable(void *ctx, uint32_t id)
{
	const struct tr_entries *t = ctx;

	return t->entry[id].state == TR_ENTRY_READY && !t->entry[id].pins;
}

static bool evictable_scan(void *ctx, uint32_t id)
{
	const struct tr_entries *t = ctx;

	return t->entry[id].scan && evictable(ctx, id);
}

static bool evictable_not_due(void *ctx, uint32_t id)
{
	const struct tr_entries *t = ctx;

	return !tr_entry_is_due(&t->entry[id]) && evictable(ctx, id);
}

struct bound {
	const struct tr_entries *t;
	float p;
};

static bool evictable_below(void *ctx, uint32_t id)
{
	const struct bound *b = ctx;

	return b->t->entry[id].expect < b->p && evictable_not_due((void *)b->t, id);
}

struct bid {
	const struct tr_entries *t;
	uint32_t id;
};

static bool evictable_for_copy(void *ctx, uint32_t id)
{
	const struct bid *b = ctx;

	return evictable_not_due((void *)b->t, id) && tr_promote_pays(&b->t->promote, b->id, id);
}

static bool evict_first(
	struct tr_entries *t, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t victim = TR_NO_ID;

	if (!uncached(t))
		victim = t->policy.ops->victim(t->policy.state, incoming, ok, ctx);
	if (victim == TR_NO_ID)
		return false;
	tr_assert(ok(ctx, victim));
	evict(t, victim);
	return true;
}

static bool evict_one(struct tr_entries *t, uint32_t incoming, tr_policy_evictable_fn *ok)
{
	if (ok == evictable && t->n_due && evict_first(t, incoming, evictable_not_due, t))
		return true;
	return evict_first(t, incoming, ok, t);
}

void tr_entries_settle(struct tr_entries *t, uint32_t id)
{
	struct tr_entry *e = &t->entry[id];

	if (e->pins)
		return;
	if (e->state == TR_ENTRY_FAILED) {
		if (!uncached(t))
			t->policy.ops->remove(t->policy.state, id);
		give_slot(t, id);
	} else if (e->state == TR_ENTRY_READY && uncached(t)) {
		evict(t, id);
	} else if (e->state == TR_ENTRY_READY) {
		while (tr_entries_n_resident(t) > t->cfg.n_keep)
			if (!evict_one(t, TR_NO_ID, evictable))
				break;
	}
}

/* --- slots ------------------------------------------------------------------------------------ */

static uint32_t n_free(const struct tr_entries *t)
{
	return tr_slots_n_free(t->slots) + t->n_staged;
}

bool tr_entries_stage(struct tr_entries *t, uint32_t id)
{
	struct tr_entry *e = &t->entry[id];

	if (e->state != TR_ENTRY_EMPTY || e->stage_at != TR_NO_ID || uncached(t) ||
		!tr_slots_n_free(t->slots))
		return false;
	e->stage_at = t->n_staged;
	t->stage[t->n_staged++] = (struct tr_stage){ id, tr_slot_take(t->slots) };
	return true;
}

static uint32_t take_staged(struct tr_entries *t, uint32_t at)
{
	struct tr_stage s = t->stage[at];

	t->entry[s.id].stage_at = TR_NO_ID;
	t->stage[at] = t->stage[--t->n_staged];
	if (at < t->n_staged)
		t->entry[t->stage[at].id].stage_at = at;
	return s.slot;
}

void tr_entries_unstage(struct tr_entries *t, uint32_t id)
{
	tr_slot_give(t->slots, take_staged(t, t->entry[id].stage_at));
}

/* Its own if it is staged; that of another only when nothing else is free, the last first, whose read
 * is the least likely to have begun. */
static uint32_t take_slot(struct tr_entries *t, uint32_t id)
{
	uint32_t at = t->entry[id].stage_at;

	if (at == TR_NO_ID && tr_slots_n_free(t->slots))
		return tr_slot_take(t->slots);
	return take_staged(t, at == TR_NO_ID ? t->n_staged - 1 : at);
}

/* EMPTY -> RESERVED with a slot that is free now. */
static void enter(struct tr_entries *t, uint32_t id, unsigned flags)
{
	struct tr_entry *e = &t->entry[id];

	e->slot = take_slot(t, id);
	t->owner[e->slot] = id;
	e->gen++;
	set_scan(t, e, flags & TR_POLICY_SCAN);
	set_ahead(t, e, flags & TR_POLICY_PREFETCH, false);
	set_state(t, id, TR_ENTRY_RESERVED);
	if (!uncached(t))
		t->policy.ops->insert(t->policy.state, id, flags);
}

bool tr_entries_reserve(struct tr_entries *t, uint32_t id, unsigned flags)
{
	bool ring_full = flags & TR_POLICY_SCAN && t->n_scan >= t->cfg.scan_ring;

	tr_assert(t->entry[id].state == TR_ENTRY_EMPTY);
	if (!n_free(t) && !evict_one(t, id, ring_full ? evictable_scan : evictable))
		return false;
	enter(t, id, flags);
	t->entry[id].pins = 1;
	return true;
}

bool tr_entries_reserve_ahead(struct tr_entries *t, uint32_t id, float p)
{
	struct bound bound = { t, p };

	tr_assert(t->entry[id].state == TR_ENTRY_EMPTY && t->entry[id].stage_at == TR_NO_ID);
	if (uncached(t) || t->cfg.n_keep < t->cfg.n_slot)
		return false;
	if (!tr_slots_n_free(t->slots) &&
		(t->n_staged || !evict_first(t, id, evictable_below, &bound)))
		return false;
	enter(t, id, TR_POLICY_PREFETCH);
	return true;
}

bool tr_entries_reserve_copy(struct tr_entries *t, uint32_t id)
{
	struct bid bid = { t, id };

	tr_assert(t->entry[id].state == TR_ENTRY_EMPTY);
	if (!tr_slots_n_free(t->slots) && !evict_first(t, id, evictable_for_copy, &bid))
		return false;
	enter(t, id, 0);
	return true;
}

void tr_entries_begin_load(struct tr_entries *t, uint32_t id)
{
	set_state(t, id, TR_ENTRY_LOADING);
}

void tr_entries_end_load(struct tr_entries *t, uint32_t id, bool ok)
{
	set_state(t, id, ok ? TR_ENTRY_READY : TR_ENTRY_FAILED);
	tr_entries_settle(t, id);
}

/* --- check ------------------------------------------------------------------------------------ */

static int check_entry(const struct tr_entries *t, uint32_t id, struct tr_err *err)
{
	const struct tr_entry *e = &t->entry[id];
	bool resident = e->state != TR_ENTRY_EMPTY;

	if (e->state == TR_ENTRY_RESERVED || e->state == TR_ENTRY_EVICTING)
		return tr_err_set(
			err, TR_E_INVALID, "entry %u rests in passing state %d", id, (int)e->state);
	if (resident != (e->slot != TR_NO_SLOT))
		return tr_err_set(err, TR_E_INVALID, "entry %u: state %d, slot %u", id,
			(int)e->state, e->slot);
	if (resident && (e->slot >= t->cfg.n_slot || t->owner[e->slot] != id))
		return tr_err_set(
			err, TR_E_INVALID, "entry %u: slot %u is not its own", id, e->slot);
	if (e->stage_at != TR_NO_ID && (resident || e->stage_at >= t->n_staged ||
		t->stage[e->stage_at].id != id || t->owner[t->stage[e->stage_at].slot] != TR_NO_ID))
		return tr_err_set(err, TR_E_INVALID, "entry %u: state %d, staged as %u of %u", id,
			(int)e->state, e->stage_at, t->n_staged);
	if (!resident && (e->pins || e->scan || e->ahead))
		return tr_err_set(err, TR_E_INVALID, "entry %u is empty with %u pins, scan %d, "
			"ahead %d", id, e->pins, e->scan, e->ahead);
	if ((e->ahead && e->pins) || (e->missed && !e->ahead))
		return tr_err_set(err, TR_E_INVALID, "entry %u: ahead %d, missed %d with %u pins", id,
			e->ahead, e->missed, e->pins);
	if (!e->pins &&
		(e->state == TR_ENTRY_FAILED || (e->state == TR_ENTRY_READY && uncached(t))))
		return tr_err_set(err, TR_E_INVALID, "entry %u in state %d stays without a pin", id,
			(int)e->state);
	return 0;
}

static int check_counts(const struct tr_entries *t, struct tr_err *err)
{
	uint32_t n_in[TR_N_ENTRY_STATE] = { 0 }, n_scan = 0, n_due = 0, n_idle = 0, n_owned = 0;
	uint32_t n_staged = 0;

	for (uint32_t id = 0; id < t->cfg.n_id; id++) {
		n_in[t->entry[id].state]++;
		n_scan += t->entry[id].scan;
		n_staged += t->entry[id].stage_at != TR_NO_ID;
		n_due += tr_entry_is_due(&t->entry[id]);
		n_idle += t->entry[id].state == TR_ENTRY_READY && !t->entry[id].pins;
	}
	for (uint32_t slot = 0; slot < t->cfg.n_slot; slot++)
		n_owned += t->owner[slot] != TR_NO_ID;
	for (unsigned s = 0; s < TR_N_ENTRY_STATE; s++)
		if (n_in[s] != t->n_in[s])
			return tr_err_set(err, TR_E_INVALID, "%u entries in state %u, counted %u",
				n_in[s], s, t->n_in[s]);
	if (n_scan != t->n_scan)
		return tr_err_set(
			err, TR_E_INVALID, "%u scan entries, counted %u", n_scan, t->n_scan);
	if (n_due != t->n_due)
		return tr_err_set(
			err, TR_E_INVALID, "%u entries due, counted %u", n_due, t->n_due);
	if (n_staged != t->n_staged)
		return tr_err_set(err, TR_E_INVALID, "%u staged entries, counted %u", n_staged,
			t->n_staged);
	if (n_owned != tr_entries_n_resident(t) ||
		n_owned + n_free(t) != t->cfg.n_slot)
		return tr_err_set(err, TR_E_INVALID, "%u slots owned, %u free, %u entries, of %u",
			n_owned, n_free(t), tr_entries_n_resident(t),
			t->cfg.n_slot);
	if (n_idle > t->cfg.n_keep)
		return tr_err_set(err, TR_E_INVALID, "%u entries stay without a pin, of %u", n_idle,
			t->cfg.n_keep);
	return 0;
}

struct offered {
	const struct tr_entries *t;
	uint8_t *seen;
	uint32_t n;
	bool wrong;
};

static bool note_offer(void *ctx, uint32_t id)
{
	struct offered *o = ctx;

	if (id >= o->t->cfg.n_id || o->seen[id] || o->t->entry[id].state == TR_ENTRY_EMPTY)
		o->wrong = true;
	else
		o->seen[id] = 1;
	o->n++;
	return false;
}

/* The policy offers every resident, once, and nothing else. */
static int check_policy(struct tr_entries *t, struct tr_err *err)
{
	const struct tr_policy_ops *ops = t->policy.ops;
	struct offered o = { .t = t };

	if (uncached(t))
		return 0;
	if (ops->check && !ops->check(t->policy.state))
		return tr_err_set(err, TR_E_INVALID, "policy %s is broken inside", ops->name);
	o.seen = tr_calloc(t->cfg.n_id, 1);
	if (!o.seen)
		return tr_err_set(err, TR_E_NOMEM, "no memory to check %u entries", t->cfg.n_id);
	ops->victim(t->policy.state, TR_NO_ID, note_offer, &o);
	free(o.seen);
	if (o.wrong || o.n != tr_entries_n_resident(t))
		return tr_err_set(err, TR_E_INVALID, "policy %s offers %u entries, resident are %u",
			ops->name, o.n, tr_entries_n_resident(t));
	return 0;
}

bool tr_entries_check(struct tr_entries *t, struct tr_err *err)
{
	for (uint32_t id = 0; id < t->cfg.n_id; id++)
		if (check_entry(t, id, err))
			return false;
	return !check_counts(t, err) && !check_policy(t, err);
}
