/*
 * vram.h - which experts the memory of a device has. Pure: slots are numbers, bytes are copied by others.
 *
 * Experts of one size share a *class* of equal slots; the room is dealt to the classes in proportion to
 * the bytes of their experts. Each class has an entry table like the DRAM cache's (entry.h), with the
 * policy of this tier, and earns its units as DRAM earns copies from persistent memory (promote.h): by
 * decoding's uses elsewhere, at the end of a token, and only what is used often enough.
 *
 * A unit is here when its copy has ended; until then, and when it is given up, the tiers below serve it,
 * which know nothing of this one: see "A tier above" in README.md. When copies end is the caller's to say:
 * an engine knows it from its device, a replay from the trace.
 *
 * No lock: for the thread that runs the engine.
 */
#ifndef TR_CACHE_VRAM_H
#define TR_CACHE_VRAM_H

#include "cache/entry.h"
#include "cache/order.h"

#define TR_VRAM_MAX_CLASS 8
#define TR_VRAM_ALIGN	  256 /* of slots, and of parts in a slot */

struct tr_vram_class {
	uint64_t slot_bytes;
	uint32_t n_layer; /* MoE layers whose units are of this class */
	uint32_t n_slot;
};

struct tr_vram_plan {
	size_t n_class;
	struct tr_vram_class class[TR_VRAM_MAX_CLASS];
	uint64_t bytes;	    /* of all slots */
	uint32_t n_slot;
	uint64_t all_bytes; /* for a slot for every unit */
	uint64_t room_bytes; /* that it was made for */
};

/* Where the parts of a unit of the layer begin in its slot, and where they end. */
uint64_t tr_vram_layout(const struct tr_moe_layer *layer, uint64_t off[TR_N_PART]);

/* takes[n_moe_layer]: the device can compute the layer's experts. bytes: room for slots. */
void tr_vram_make_plan(struct tr_vram_plan *plan, const struct tr_catalog *catalog, const bool *takes,
	uint64_t bytes);

struct tr_vram_cfg {
	const struct tr_catalog *catalog; /* outlives it, as does all below */
	const struct tr_vram_plan *plan;
	const bool *takes;     /* as for the plan */
	const char *policy;
	const uint32_t *hot;   /* [n_hot] of a profile, the most worth having first */
	uint32_t n_hot;
	uint64_t token_bytes;  /* copied as a token ends, at most, but one unit of each class; 0: none */
	uint32_t n_dram_slot;  /* that the DRAM cache may keep: copies hold a quarter of them at most */
	bool all_in_place;     /* no unit is copied from DRAM, so there is nothing to hold */
};

struct tr_vram;

int tr_vram_new(struct tr_vram **vram, const struct tr_vram_cfg *cfg, struct tr_err *err);
void tr_vram_free(struct tr_vram *vram);

/* Units that may be under way at a time. */
uint32_t tr_vram_max_copies(const struct tr_vram *vram);

/* It is here. */
bool tr_vram_has(const struct tr_vram *vram, uint32_t id);
/* The class and slot of a unit that is here or on its way. */
void tr_vram_where(const struct tr_vram *vram, uint32_t id, size_t *class, uint32_t *slot);

/* The set of a layer: ids ascending, all of the layer. Counts uses; ask has() then. scan: of a prefill. */
void tr_vram_take(struct tr_vram *vram, const uint32_t *ids, size_t n, bool scan);

/* Before the first set: the units to bring in, ids[n_hot] has room for them. All are on their way then. */
uint32_t tr_vram_warm(struct tr_vram *vram, uint32_t *ids);

/* What a unit could be copied from as a token ends. */
enum tr_vram_source {
	TR_VRAM_NO_SOURCE,
	TR_VRAM_FROM_DRAM, /* whose slot is held meanwhile */
	TR_VRAM_IN_PLACE,  /* persistent memory */
};
typedef enum tr_vram_source tr_vram_source_fn(void *ctx, uint32_t id);

/* A token ends and no set is in work: picks units to copy, of those that have a source, at most max_copies.
 * source NULL: none now. Their slots are theirs from now on. */
uint32_t tr_vram_tick(struct tr_vram *vram, tr_vram_source_fn *source, void *ctx, uint32_t *ids);

/* Copies that were under way as a token began and still are as it ends, which is a matter of time. A trace
 * has it, and a replay so the same units at the same tokens. */
struct tr_vram_late {
	uint32_t n_held; /* the last so many: what they are made from is held */
	uint32_t n_left; /* the last so many: they are not here yet */
};

/* Its copy has ended. Not ok: it is not here, and its slot is free. */
void tr_vram_end_copy(struct tr_vram *vram, uint32_t id, bool ok);

struct tr_vram_counts {
	uint64_t hits, misses;	  /* uses that it served, and those that went further down */
	uint64_t bytes;		  /* of hits */
	uint64_t copied_units, copied_bytes;
	uint64_t evictions;
	uint64_t used_bytes;	  /* slots that are here or on their way */
};

void tr_vram_counts(const struct tr_vram *vram, struct tr_vram_counts *out);

/* For tests: as tr_cache_check. */
bool tr_vram_check(struct tr_vram *vram, struct tr_err *err);

#endif
