/*
 * cache.h - where an expert is, and how it gets to where it can be computed.
 *
 * The cache knows every unit of the catalogue. Its home is either persistent memory (mapped, computed
 * in place) or the model file on disk (must be read into a DRAM slot). A slot cache in DRAM sits
 * above; a policy says who leaves it.
 *
 * Use: acquire a set, compute what is ready, wait for the rest, release. A handle is a pin: the bytes
 * it points to stay until it is released, exactly once. Sets larger than the free slots are taken in
 * part; the caller computes, releases and acquires the rest.
 *
 * Thread-safe; TR_RANK_CACHE guards entries, pins, policy and counters and is taken before
 * TR_RANK_IO. No call but wait blocks.
 */
#ifndef TR_CACHE_CACHE_H
#define TR_CACHE_CACHE_H

#include "cache/place.h"
#include "cache/store.h"
#include "io/io.h"
#include "model/catalog.h"

struct tr_cache;

/* Entry of a unit in the DRAM tier. Changed by one function, which counts. */
enum tr_entry_state {
	TR_ENTRY_EMPTY,	   /* not in DRAM */
	TR_ENTRY_RESERVED, /* has a slot, reads not submitted yet */
	TR_ENTRY_LOADING,  /* reads in flight */
	TR_ENTRY_READY,	   /* bytes valid */
	TR_ENTRY_EVICTING, /* chosen as a victim, slot being taken */
	TR_ENTRY_FAILED,   /* a read failed; becomes EMPTY when the last pin goes */
	TR_N_ENTRY_STATE,
};

enum tr_handle_state {
	TR_HANDLE_NONE,	   /* not acquired: no slot was free, or released */
	TR_HANDLE_LOADING, /* pinned; bytes on their way */
	TR_HANDLE_READY,   /* pinned; part[] valid until release */
	TR_HANDLE_FAILED,  /* pinned; the read failed, see tr_cache_explain; release it */
};

struct tr_handle {
	uint32_t id;
	uint32_t gen; /* of the entry when it was pinned */
	enum tr_handle_state state;
	uint32_t tier; /* index of the tier that serves it: 0 DRAM, 1 + i persistent memory i */
	const void *part[TR_N_PART];
};

/* A part of a unit on its way from persistent memory to a slot. */
struct tr_copy_job {
	const void *from;
	void *to;
	uint64_t bytes;
	uint32_t tier; /* that it comes from, as in a handle */
};

/* Copies all of them, and returns when it has. */
typedef void tr_copy_fn(void *ctx, const struct tr_copy_job *copies, size_t n);

struct tr_cache_cfg {
	const struct tr_catalog *catalog;
	struct tr_io *io;
	const struct tr_clock *clock;
	struct tr_file *files;	     /* [n_shard] the model file, direct */
	struct tr_file *files_paged; /* [n_shard] the same, buffered: for the policy `none` */
	uint64_t dram_bytes;	     /* slots take at most this, but at least min_slot slots exist */
	uint32_t min_slot;	     /* 0: 2 */
	int numa_node;		     /* -1: any */
	const struct tr_topo *topo;  /* whose rows lie where; NULL: anywhere. Outlives the cache */
	const char *policy;	     /* spec of the DRAM tier; NULL: lru */
	struct tr_store *const *stores; /* persistent memory, [n_store] */
	size_t n_store;
	const uint32_t *home;	     /* [n_unit] of the plan; NULL: all in the model file */
	const float *miss_cost;	     /* [n_unit] for the policy; NULL: all 1. Outlives the cache */
	const uint32_t *hot;	     /* [n_hot] of a profile, the most worth having first; the same */
	uint32_t n_hot;
	uint32_t n_promote;	     /* copies from persistent memory a token, at most; 0: none */
	tr_copy_fn *copy;	     /* makes them; NULL: the thread that calls */
	void *copy_ctx;
	/* Optional: a tier above has the unit now, so it is not brought in but by an acquire. Called by
	 * the threads that call warm and stage. */
	bool (*above)(void *ctx, uint32_t id);
	void *above_ctx;
	bool prefetch;		     /* reads ahead of need are allowed */
	bool prefetch_auto;	     /* and switched off and on by the time of tokens */
	double prefetch_waste;	     /* wasted reads per useful one, at most; 0: 0.2 */
	uint64_t prefetch_bytes;     /* read ahead and not yet used; 0: an eighth of the slots */
};

int tr_cache_open(struct tr_cache **cache, const struct tr_cache_cfg *cfg, struct tr_err *err);
/* All handles must be released. */
void tr_cache_close(struct tr_cache *cache);

/* Slots that exist, and the bytes each takes (windows of direct I/O included). */
uint32_t tr_cache_n_slot(const struct tr_cache *cache);
uint64_t tr_cache_slot_bytes(const struct tr_cache *cache);
/* Bytes of a slot for a catalogue and file alignment, before a cache exists. */
uint64_t tr_cache_slot_bytes_for(const struct tr_catalog *catalog, uint32_t align);

/*
 * Before the first acquire: brings in the hot units, as many as may be kept. Those in persistent memory
 * are copied, or left there when n_promote is 0. They are no uses and no misses. Blocks; progress is
 * told of phase "warm" and may end it with TR_E_INTERRUPTED. The policy `none` keeps nothing, so nothing
 * is read.
 */
int tr_cache_warm(struct tr_cache *cache, tr_progress_fn *progress, void *ctx, struct tr_err *err);

enum {
	TR_ACQUIRE_SCAN = 1,  /* prefill: see TR_POLICY_SCAN */
	TR_ACQUIRE_RETRY = 2, /* the rest of a set whose uses were counted already */
};

/*
 * Pins the units ids[0..n), no id twice, which form one set (one layer of one token, or the union of
 * a chunk). handles[i] is for ids[i]. Units resident when the set arrives are pinned first; then
 * misses get slots in ascending id order until none can be had, and all their reads are submitted as
 * one batch. Returns the number of handles that are not TR_HANDLE_NONE. Never blocks.
 */
size_t tr_cache_acquire(struct tr_cache *cache, const uint32_t *ids, size_t n, unsigned flags,
	struct tr_handle *handles);

/* Brings handles[].state up to date without blocking. Returns how many are LOADING. */
size_t tr_cache_poll(struct tr_cache *cache, struct tr_handle *handles, size_t n);

/* Blocks until at least one of the LOADING handles is READY or FAILED (at once if none is
 * LOADING). The time is counted as wait. Returns how many are still LOADING. */
size_t tr_cache_wait(struct tr_cache *cache, struct tr_handle *handles, size_t n);

/* Unpins; handles become NONE. Those that are NONE already are passed over. */
void tr_cache_release(struct tr_cache *cache, struct tr_handle *handles, size_t n);

/* Pins a unit to read its bytes, if it is READY in DRAM or in a store. That is no use: nothing is counted,
 * and policies do not hear of it. False, and the handle NONE, when it is neither. */
bool tr_cache_hold(struct tr_cache *cache, uint32_t id, struct tr_handle *handle);

/* Why a FAILED handle failed: layer, expert, file, offset, error. Returns TR_E_IO. */
int tr_cache_explain(struct tr_cache *cache, const struct tr_handle *handle, struct tr_err *err);

/*
 * The units that the next visit of a layer is expected to use: ids[0..n) of that one layer with their
 * probabilities, descending. Replaces what was said of the layer before. Units that are not in DRAM
 * are read ahead with background priority as far as budget, reach and measured benefit allow (see
 * prefetch.h); those on their way that are no longer expected are called back if their reads have
 * not started. What is resident and expected is not given up for what is expected less. The caller
 * leaves out units that are better used where they are. Never blocks.
 */
void tr_cache_prefetch(struct tr_cache *cache, const uint32_t *ids, const float *p, size_t n);
/*
 * A prefill will probably want most of the units [first, first + n), which are of one layer, soon:
 * those not in DRAM whose home is the model file are read with background priority into free slots,
 * as far as there are any. Nothing is evicted for them and no policy hears of it. When a unit is then
 * acquired it is a miss like any other, but its read is under way or over. Never blocks.
 */
void tr_cache_stage(struct tr_cache *cache, uint32_t first, uint32_t n);

/* Units that may be under way ahead of need; 0 while tr_cache_prefetch would read nothing. */
uint32_t tr_cache_reach(struct tr_cache *cache);

/* Tells the policy, if it listens, with which probability units are used `ahead` layers from now. */
void tr_cache_hint(struct tr_cache *cache, uint32_t first_id, const float *p, size_t n,
	uint32_t ahead);
bool tr_cache_takes_hints(const struct tr_cache *cache);

/* A token ends and no handle is held but by tr_cache_hold: policies decay, and of the units that it used in persistent memory
 * those that earn it are copied. Returns when they are READY. */
void tr_cache_tick(struct tr_cache *cache);
/* A token was decoded in so many ns: says whether reading ahead pays. */
void tr_cache_note_token(struct tr_cache *cache, uint64_t ns);

/* Tiers in order: "dram", each store, "nvme". Fills tier[], n_tier, evictions, policy, io fields. */
void tr_cache_stats(const struct tr_cache *cache, struct tr_stats *out);

/* By unit, since the cache was opened: loads into DRAM that ended well, reads ahead included, and
 * times it left. */
void tr_cache_unit_counts(const struct tr_cache *cache, uint64_t *loads, uint64_t *evictions);

/* When the reads that brought the unit of a READY handle of DRAM were asked for and when the last of
 * them arrived, by cfg.clock; false, and 0, when it came otherwise. */
bool tr_cache_read_time(struct tr_cache *cache, const struct tr_handle *handle, uint64_t *begin_ns,
	uint64_t *end_ns);

/* Where the parts of a unit lie if that tier (as in a handle) has it now. Counts nothing and pins
 * nothing: they stay until the next acquire, prefetch or release. */
bool tr_cache_peek(struct tr_cache *cache, uint32_t tier, uint32_t id, const void *part[TR_N_PART]);

/* For tests: walks entries, slots, pins and policy. False and a message when they disagree. */
bool tr_cache_check(struct tr_cache *cache, struct tr_err *err);

#endif
