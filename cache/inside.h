/* inside.h - what the files of the cache share. */
#ifndef TR_CACHE_INSIDE_H
#define TR_CACHE_INSIDE_H

#include "base/sync.h"
#include "cache/cache.h"
#include "cache/entry.h"
#include "cache/load.h"
#include "cache/order.h"
#include "cache/place.h"
#include "cache/prefetch.h"

struct use_counts {
	uint64_t hits;
	uint64_t misses;
	uint64_t bytes;
};

static inline void tr_count_use(struct use_counts *u, uint64_t bytes)
{
	u->hits++;
	u->bytes += bytes;
}

/* Reads ahead of need. See ahead.c. */
struct tr_ahead {
	struct tr_prefetch control;
	uint32_t max_flying; /* constant after open */
	uint32_t n_flying;   /* reads ahead that have not ended, cancelled ones included */
	uint32_t n_due;
	uint32_t *due;	     /* [reach_max] units read ahead whose use is still to come */
	uint32_t *expected;  /* [n_unit] units with an expectation */
	uint32_t n_expected;
};

/* Threads that prepare memory: two, so that one touches pages while the other registers. */
#define TR_FILL_THREADS 2

/* See fill.c. */
struct tr_fill {
	pthread_t thread[TR_FILL_THREADS];
	unsigned n_thread;
	pthread_cond_t wanted; /* with cache->lock: a region can be claimed, or stop */
	bool stop;
};

struct tr_cache {
	/* Constant after open. */
	struct tr_cache_cfg cfg; /* stores, policy point to the copies below */
	struct tr_store *stores[TR_MAX_TIER];
	char policy[4096]; /* a spec may begin with a path */
	uint32_t n_unit;
	uint64_t slot_bytes;

	struct tr_mutex lock;
	pthread_cond_t loaded; /* a load ended, or the reaper left io */

	/* Guarded by lock. */
	struct tr_entries entries;
	struct tr_loads loads;
	struct tr_want *want; /* [n_unit] scratch: the set */
	bool reaping;	      /* a thread waits inside io */
	struct use_counts dram;
	struct use_counts store[TR_MAX_TIER];
	struct use_counts disk;
	struct use_counts warm; /* loads before the first set */
	struct use_counts promoted;
	uint64_t promote_ns;
	uint32_t *copying; /* [n_promote] scratch: the copies of a token */
	uint64_t n_join;
	struct tr_ahead ahead;
	struct tr_fill fill;
	uint64_t n_staged, n_stage_used; /* units staged, and those that got their slot */
	uint64_t wait_ns;
};

/* The tier of persistent memory that has the unit, and where; 0: none. Without the lock, since a first
 * touch checks a checksum. */
uint32_t tr_cache_find(struct tr_cache *c, uint32_t id, const void *part[TR_N_PART]);

/* Its home is the model file. */
static inline bool tr_cache_is_in_file(const struct tr_cache *c, uint32_t id)
{
	return !c->cfg.home || c->cfg.home[id] == TR_HOME_FILE;
}

static inline bool tr_cache_is_above(const struct tr_cache *c, uint32_t id)
{
	return c->cfg.above && c->cfg.above(c->cfg.above_ctx, id);
}

/* The load of the slot that its entry has. */
static inline struct tr_load *tr_cache_load_of(struct tr_cache *c, uint32_t id)
{
	return &c->loads.load[c->entries.entry[id].slot];
}

/* The slot that its entry has. */
void *tr_cache_slot(struct tr_cache *c, uint32_t id);

/* The reads of a unit into the slot that its entry has join the batch of c->loads. */
void tr_cache_read(struct tr_cache *c, uint32_t id, enum tr_io_prio prio);
void tr_cache_read_into(struct tr_cache *c, uint32_t slot, uint32_t id, enum tr_io_prio prio);
/* A unit's reads have ended: counts it and moves its entry on. */
void tr_cache_end_load(struct tr_cache *c, struct tr_load *load);

/* --- stage.c; the lock is held ---------------------------------------------------------------- */

/* RESERVED -> LOADING; READY or FAILED at once if the unit was staged and its bytes are there. The
 * reads, where any are needed, join the batch. */
void tr_stage_begin_load(struct tr_cache *c, uint32_t id, enum tr_io_prio prio);
/* All reads of a load have ended. True when that is no end of an entry's load. */
bool tr_stage_end_load(struct tr_cache *c, struct tr_load *load);
/* Calls back what has not started. True while others have not ended. */
bool tr_stage_stop(struct tr_cache *c);
/* Gives all staged slots back. Lets the lock go while reads end. */
void tr_stage_drain(struct tr_cache *c);

/* --- copy.c ----------------------------------------------------------------------------------- */

/* RESERVED -> LOADING. The lock is held. */
void tr_copy_begin(struct tr_cache *c, const uint32_t *ids, size_t n);

#define TR_COPY_MAX 16 /* units at a time */

/* LOADING -> READY, or out where no store has it. n at most TR_COPY_MAX. Without the lock. */
void tr_copy_run(struct tr_cache *c, const uint32_t *ids, size_t n, struct use_counts *count);

/* --- fill.c ----------------------------------------------------------------------------------- */

int tr_fill_init(struct tr_cache *c, struct tr_err *err);
void tr_fill_fini(struct tr_cache *c);
/* A slot was taken; the lock is held. */
void tr_fill_note(struct tr_cache *c);

/* --- ahead.c; the lock is held ---------------------------------------------------------------- */

int tr_ahead_init(struct tr_cache *c, struct tr_err *err);
void tr_ahead_fini(struct tr_cache *c);

/* The unit was pinned for use: if it came ahead of need, it has paid. */
void tr_ahead_note_use(struct tr_cache *c, uint32_t id);
/* The set of this unit's layer has been acquired: what was due for it and is not pinned was missed. */
void tr_ahead_pass(struct tr_cache *c, uint32_t id_of_layer);
/* Calls back all reads ahead that have not started, since a set found no slot. */
void tr_ahead_yield(struct tr_cache *c);
/* All reads of a load have ended. True when it goes on: it was cancelled, but is wanted after all. */
bool tr_ahead_end_load(struct tr_cache *c, struct tr_load *load);
/* An entry leaves DRAM that came ahead and was not used. */
void tr_ahead_note_unused(void *cache, uint32_t id);
int tr_ahead_check(struct tr_cache *c, struct tr_err *err);

#endif
