/*
 * slot.h - the memory of the DRAM tier: equal slots, cut from large regions.
 *
 *	region 0                      region 1
 *	+--------+--------+--------+  +--------+--------+
 *	| slot 0 | slot 1 | slot 2 |  | slot 3 | slot 4 |
 *	+--------+--------+--------+  +--------+--------+
 *
 * Address space is taken at open, pages when a slot is first filled, or before that by who claims a
 * region to prepare it. Free slots are a stack that starts in ascending order, so memory that was
 * touched is used again before fresh memory is.
 *
 * On several NUMA nodes the rows of each part of a slot come from the nodes that compute them. A part
 * lies at the same place in every slot, but for the few KiB by which windows of direct reads differ.
 * Placing needs a mapping per part and node, of which the kernel allows 65,530, so a region is placed
 * and touched as a whole when it is claimed or, if that did not happen, when its first slot is taken,
 * and is one mapping again after that. Cuts are
 * on base pages; the kernel uses huge ones for what lies between.
 *
 * No lock: the owner's lock guards take, give and claim; the rest is constant after open.
 */
#ifndef TR_CACHE_SLOT_H
#define TR_CACHE_SLOT_H

#include "base/topo.h"

#define TR_NO_SLOT UINT32_MAX

struct tr_slots;

/* Bytes from one slot to the next when each holds bytes: rounded up to 4096, or to 2 MiB (so that
 * slots share no huge page) where that costs at most a sixteenth. */
uint64_t tr_slot_stride(uint64_t bytes);

/* n slots of bytes each, on NUMA node numa_node (-1: any). bytes 0: numbers without memory, for a
 * replay; they can be taken and given. */
int tr_slots_open(
	struct tr_slots **slots, uint32_t n, uint64_t bytes, int numa_node, struct tr_err *err);
/* A matrix in each slot, whose rows are shared by the nodes. */
struct tr_slot_part {
	uint64_t off; /* in the slot */
	uint64_t n_row;
	uint64_t row_bytes;
};

#define TR_SLOT_PARTS 3

/* Says, before any slot is taken, what slots hold. topo must outlive the slots. */
void tr_slots_place(struct tr_slots *slots, const struct tr_topo *topo,
	const struct tr_slot_part part[TR_SLOT_PARTS]);
void tr_slots_close(struct tr_slots *slots);

uint32_t tr_slots_n_free(const struct tr_slots *slots);
void *tr_slot_addr(const struct tr_slots *slots, uint32_t slot);

/*
 * The next region to be prepared: touched, registered for I/O. Each is claimed once, in the order in
 * which slots are taken, but only those that hold slots taken before and what lies ahead_bytes behind
 * these, one region at least. TR_NO_SLOT: none now. place says that the claimer has to place the
 * rows, for which no lock is needed; slots may be taken meanwhile.
 */
uint32_t tr_slots_claim(struct tr_slots *slots, uint64_t ahead_bytes, bool *place);
bool tr_slots_is_claimable(const struct tr_slots *slots, uint64_t ahead_bytes);
void tr_slots_place_region(const struct tr_slots *slots, uint32_t region);
void *tr_slots_region(const struct tr_slots *slots, uint32_t region, uint64_t *bytes);

/* TR_NO_SLOT when none is free. */
uint32_t tr_slot_take(struct tr_slots *slots);
void tr_slot_give(struct tr_slots *slots, uint32_t slot);

#endif
