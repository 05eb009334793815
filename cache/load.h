/*
 * load.h - how the parts of a unit lie in a slot, and the reads that bring them there.
 *
 *	file:  ....|gate....|.......|up......|....      a window: the part, rounded out to what
 *	           ^window              ^window           direct I/O can read
 *	slot:  |window of gate|window of up|window of down|      |
 *
 * Each part is read with its window into the slot; the part starts (part.off - window.off) bytes
 * behind the start of its window. There is one set of reads a slot. No lock of its own: guarded by
 * the cache lock, but for what io writes into requests in flight.
 */
#ifndef TR_CACHE_LOAD_H
#define TR_CACHE_LOAD_H

#include "cache/slot.h"
#include "io/io.h"
#include "model/catalog.h"

struct tr_load {
	struct tr_io_req req[TR_N_PART];
	void *owner; /* the cache */
	uint32_t id;
	uint32_t n_left; /* reads not done */
	uint64_t begin_ns, end_ns; /* of the reads, by the cache's clock; 0: filled otherwise */
	bool failed;
	bool ahead;	/* of need; set by ahead.c */
	bool warm;	/* before the first set; set by warm.c */
	bool staged;	/* the slot is not its unit's yet; set by stage.c */
	bool cancelled; /* before any of it was read */
};

struct tr_loads {
	const struct tr_catalog *catalog;
	struct tr_io *io;
	struct tr_file *files; /* [n_shard] */
	uint64_t align;	       /* of windows within a slot */
	struct tr_load *load;  /* [n_slot] */
	size_t n_batch;
	struct tr_io_req **batch; /* [n_slot * TR_N_PART] reads to be submitted together */
};

/* Alignment that reads of the catalogue's parts from these files need. */
uint64_t tr_loads_align(const struct tr_catalog *catalog, const struct tr_file *files);

int tr_loads_init(struct tr_loads *l, const struct tr_catalog *catalog, struct tr_io *io,
	struct tr_file *files, uint32_t n_slot, struct tr_err *err);
void tr_loads_fini(struct tr_loads *l);

/* Tells slots how the rows of the parts lie in them. Where layers differ in their types, as the layers
 * do of which there are most; others have rows on a node that does not compute them. */
void tr_loads_place(const struct tr_loads *l, struct tr_slots *slots, const struct tr_topo *topo);

/* Where the parts of the unit are when it is in the slot at base. */
void tr_loads_parts(const struct tr_loads *l, uint32_t id, void *base, const void *part[TR_N_PART]);

/* The slot is to be filled with the unit, by reads or otherwise. */
struct tr_load *tr_loads_begin(struct tr_loads *l, uint32_t slot, uint32_t id, void *owner);

/* Adds the reads of a unit to the batch. Each calls done with ctx pointing to the tr_load. */
void tr_loads_add(struct tr_loads *l, uint32_t slot, uint32_t id, void *base,
	enum tr_io_prio prio, tr_io_done_fn *done, void *owner);
void tr_loads_submit(struct tr_loads *l);

/* Calls back the reads of a load, if none has started. */
bool tr_load_cancel(struct tr_loads *l, struct tr_load *load);
/* Somebody waits for a load that was to be read in the background. */
void tr_load_promote(struct tr_loads *l, struct tr_load *load);

/* A read is done. True when it was the last of its load. */
bool tr_load_note(struct tr_load *load, const struct tr_io_req *req);
/* Why the load failed. */
int tr_load_explain(const struct tr_loads *l, const struct tr_load *load, struct tr_err *err);

#endif
