/*
 * slot.h - the memory of the DRAM tier: equal slots, cut from large regions.
 *
 *	region 0                      region 1
 *	+--------+--------+--------+  +--------+--------+
 *	| slot 0 | slot 1 | slot 2 |  | slot 3 | slot 4 |
 *	+--------+--------+--------+  +--------+--------+
 *
 * Address space is taken at open, pages only when a slot is first filled. Free slots are a stack
 * that starts in ascending order, so memory that was touched is used again before fresh memory is.
 *
 * No lock: the owner's lock guards take and give; the rest is constant after open.
 */
#ifndef TR_CACHE_SLOT_H
#define TR_CACHE_SLOT_H

#include "base/err.h"

#define TR_NO_SLOT UINT32_MAX

struct tr_slots;

/* Bytes from one slot to the next when each holds bytes: rounded up to 4096, or to 2 MiB (so that
 * slots share no huge page) where that costs at most a sixteenth. */
uint64_t tr_slot_stride(uint64_t bytes);

/* n slots of bytes each, on NUMA node numa_node (-1: any). bytes 0: numbers without memory, for a
 * replay; they can be taken and given. */
int tr_slots_open(
	struct tr_slots **slots, uint32_t n, uint64_t bytes, int numa_node, struct tr_err *err);
void tr_slots_close(struct tr_slots *slots);

uint32_t tr_slots_n_free(const struct tr_slots *slots);
void *tr_slot_addr(const struct tr_slots *slots, uint32_t slot);

/* The region that the slot lies in. */
void tr_slot_region(const struct tr_slots *slots, uint32_t slot, void **base, uint64_t *bytes);
/* True for the first call for any slot of a region: time to register it for I/O. */
bool tr_slot_region_is_new(struct tr_slots *slots, uint32_t slot);

/* TR_NO_SLOT when none is free. */
uint32_t tr_slot_take(struct tr_slots *slots);
void tr_slot_give(struct tr_slots *slots, uint32_t slot);

#endif
