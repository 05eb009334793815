/*
 * order.h - what becomes of a set of units: who is a hit, who gets a slot, who has to wait.
 *
 * The decisions of the cache without its reads. cache.c acts on them; a replay (replay.c) only
 * counts them, so that both take the same ones. Guarded by the lock that guards the entries.
 */
#ifndef TR_CACHE_ORDER_H
#define TR_CACHE_ORDER_H

#include "cache/entry.h"

enum tr_taken {
	TR_TAKEN_NONE, /* no slot could be had, or a lower tier serves it */
	TR_TAKEN_PIN,  /* was resident; has a pin more */
	TR_TAKEN_SLOT, /* RESERVED, one pin; its load is to be begun */
};

struct tr_want {
	uint32_t id;
	uint32_t idx;	/* the caller's */
	bool elsewhere; /* a lower tier has it at once, so it needs no slot */
	enum tr_taken taken;
};

/* Ascending by id. No id may be there twice. */
void tr_order_sort(struct tr_want *want, size_t n);

enum {
	TR_ORDER_SCAN = 1,  /* a prefill */
	TR_ORDER_RETRY = 2, /* the uses were noted already */
};

/*
 * One set, sorted. First walk: what is resident is used and pinned, so that no member of the set
 * can be the victim of another. Second walk: the others are used, and get slots until none can be
 * had.
 */
void tr_order_take(struct tr_entries *t, struct tr_want *want, size_t n, unsigned flags);

/*
 * Before the first set: slots for as many of ids[0..n), hottest first, as may be kept. They enter the
 * policy coldest first, so that where only recency counts the coldest are the first to go. Returns
 * their number k; ids[0..k) are RESERVED without a pin, their loads are to be begun.
 */
uint32_t tr_order_warm(struct tr_entries *t, const uint32_t *ids, uint32_t n);

/*
 * A token ends. The policy is told; then, of the units that the token used in place, those that earn a
 * copy get slots: see promote.h. Returns their number k, at most n_promote;
 * ids[0..k) are RESERVED without a pin.
 */
uint32_t tr_order_tick(struct tr_entries *t, uint32_t *ids);

#define TR_ORDER_MIN_SLOT 2 /* unless the caller says more */

/* Slots of a cache that may keep n_keep entries, and of its ring for scans. min_slot 0: the above.
 */
void tr_order_size(struct tr_entries_cfg *cfg, uint64_t n_keep, uint32_t min_slot);

#endif
