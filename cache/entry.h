/*
 * entry.h - which units are in DRAM: entry table, slots, pins and the policy, kept in agreement.
 *
 * Knows no files and no reads: the cache says when a load was submitted and how it ended. No lock
 * of its own; everything is guarded by the cache lock.
 */
#ifndef TR_CACHE_ENTRY_H
#define TR_CACHE_ENTRY_H

#include "cache/cache.h"
#include "cache/promote.h"
#include "cache/slot.h"
#include "policies/policy.h"

struct tr_entry {
	enum tr_entry_state state; /* changed by set_state alone */
	uint32_t slot;		   /* TR_NO_SLOT when EMPTY */
	uint32_t gen;		   /* loads of this unit so far */
	uint32_t n_load;	   /* times it became READY */
	uint32_t n_evict;	   /* times it was EVICTING */
	uint32_t pins;
	bool scan;   /* brought in by a scan and not used by decoding since */
	bool ahead;  /* brought in by prediction and not used since */
	bool missed; /* ahead, and its layer went by without it */
	bool absent; /* was not in DRAM when it was expected first */
	uint32_t stage_at; /* its place in tr_entries.stage, TR_NO_ID: not staged */
	float expect; /* probability that its layer's next visit uses it; 0: not known */
};

static inline bool tr_entry_is_due(const struct tr_entry *e)
{
	return e->ahead && !e->missed;
}

struct tr_entries_cfg {
	uint32_t n_id;
	uint32_t n_slot;
	uint32_t n_layer_id; /* ids of one layer, for the policy; 0: not known */
	uint32_t n_keep;    /* entries that may stay without a pin, at most n_slot */
	uint32_t scan_ring; /* slots that a scan may take by eviction */
	uint64_t slot_bytes;
	int numa_node;
	const char *policy;
	const float *miss_cost; /* for the policy; outlives the entries */
	const uint32_t *hot;	/* the same: ids worth keeping, hottest first */
	uint32_t n_hot;
	uint32_t n_promote;	/* copies a token of what a lower tier serves in place */
	double copy_cost;	/* of these: see promote.h; 0: of one from persistent memory */
	const uint32_t *future; /* for the policy, as in policy.h; used by init only */
	uint64_t n_future;
	/* Optional: an entry that was ahead leaves DRAM without having been used. */
	void (*unused)(void *ctx, uint32_t id);
	void *unused_ctx;
};

/* An empty unit and the free slot that it is read into already. */
struct tr_stage {
	uint32_t id;
	uint32_t slot;
};

struct tr_entries {
	struct tr_entries_cfg cfg;
	struct tr_entry *entry; /* [n_id] */
	uint32_t *owner;	/* [n_slot] the unit in the slot, TR_NO_ID: free */
	struct tr_slots *slots;
	struct tr_stage *stage; /* [n_slot] in the order of staging, but for holes filled from the end */
	uint32_t n_staged;
	struct tr_policy policy;
	struct tr_promote promote;
	uint32_t n_scan;		      /* entries with scan set */
	uint32_t n_due;			      /* entries ahead and not missed */
	uint32_t n_in[TR_N_ENTRY_STATE];      /* entries now in the state */
	uint64_t n_entered[TR_N_ENTRY_STATE]; /* times the state was entered */
};

int tr_entries_init(struct tr_entries *t, const struct tr_entries_cfg *cfg, struct tr_err *err);
void tr_entries_fini(struct tr_entries *t);

static inline uint32_t tr_entries_n_resident(const struct tr_entries *t)
{
	return t->cfg.n_id - t->n_in[TR_ENTRY_EMPTY];
}

/* Tells the policy of a use. flags: TR_POLICY_*. */
void tr_entries_note_use(struct tr_entries *t, uint32_t id, unsigned flags);

void tr_entries_pin(struct tr_entries *t, uint32_t id);
/* settle must follow once all pins of a release are gone. */
void tr_entries_unpin(struct tr_entries *t, uint32_t id);
/* What becomes of an entry without pins: failed ones leave, and so does what may not be kept. */
void tr_entries_settle(struct tr_entries *t, uint32_t id);

/* EMPTY -> RESERVED with one pin and a slot: a free one, or that of a victim. False when there is
 * neither; nothing has changed then. flags: TR_POLICY_*. */
bool tr_entries_reserve(struct tr_entries *t, uint32_t id, unsigned flags);
/* The same for a unit expected with probability p, without a pin: takes only a victim that is
 * expected less and not due itself. False also when entries without a pin are not kept. */
bool tr_entries_reserve_ahead(struct tr_entries *t, uint32_t id, float p);
/* The same for a unit that was used in place, if a copy pays. */
bool tr_entries_reserve_copy(struct tr_entries *t, uint32_t id);
/*
 * Staging brings bytes early and changes no decision: the unit stays EMPTY, unknown to the policy, and
 * its slot counts as free. The unit gets that slot when it is reserved; others get it when no
 * other slot is free. False when the unit is resident or staged or every free slot is staged.
 */
bool tr_entries_stage(struct tr_entries *t, uint32_t id);
/* Gives the slot back. */
void tr_entries_unstage(struct tr_entries *t, uint32_t id);

/* An entry that is ahead was used, or its layer went by. */
void tr_entries_arrive(struct tr_entries *t, uint32_t id);
void tr_entries_miss(struct tr_entries *t, uint32_t id);
/* RESERVED -> LOADING */
void tr_entries_begin_load(struct tr_entries *t, uint32_t id);
/* LOADING -> READY or FAILED, then settle if nobody waits for it. */
void tr_entries_end_load(struct tr_entries *t, uint32_t id, bool ok);

/* Walks everything. See tr_cache_check. */
bool tr_entries_check(struct tr_entries *t, struct tr_err *err);

#endif
