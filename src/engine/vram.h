/*
 * vram.h - the VRAM tier: experts in the memory of a device, brought there beside decoding.
 *
 *	       end of a token                feeder                     copy stream
 *	earn a copy, slot, source held --> ring of pinned memory --> slot --> event
 *	                                                                       |
 *	       end of a later token: here, if the event has passed <-----------+
 *
 * Who is here is decided by cache/vram.h. A copy is made from where the expert lies in DRAM or persistent
 * memory, by a thread of low priority and a stream of low priority; nobody waits for it. It is bounded
 * in bytes a token, and the next ones are picked when all before have ended. The bytes it is made from
 * are held (tr_cache_hold) until they are in the ring.
 *
 * Calls come from the thread that runs the engine. The feeder shares with it a list of copies, under a
 * lock, and has the copy stream for itself from start to close.
 */
#ifndef TR_ENGINE_VRAM_H
#define TR_ENGINE_VRAM_H

#include "cache/cache.h"
#include "cache/vram.h"
#include "engine/gpu.h"

struct tr_vram_tier;

struct tr_vram_tier_cfg {
	struct tr_gpu *gpu;
	struct tr_vram_cfg vram;
	/* Optional: a unit is here; from when to when it was sent, of the real clock. */
	void (*sent)(void *ctx, uint32_t id, uint64_t begin_ns, uint64_t end_ns);
	void *sent_ctx;
};

/* Cuts the slots from the arena. */
int tr_vram_tier_open(struct tr_vram_tier **tier, const struct tr_vram_tier_cfg *cfg,
	struct tr_err *err);
/* Before the cache is closed. */
void tr_vram_tier_close(struct tr_vram_tier *tier);

/* The cache that copies are made from. Starts the feeder; no upload (gpu.h) may follow. */
int tr_vram_tier_start(struct tr_vram_tier *tier, struct tr_cache *cache, struct tr_err *err);

/* --- while loading, before start -------------------------------------------------------------- */

struct tr_vram_warm_cfg {
	const struct tr_catalog *catalog;
	struct tr_cache *cache; /* serves what lies in persistent memory */
	struct tr_io *io;
	struct tr_file *files; /* [n_shard] of the model */
	tr_progress_fn *progress; /* told of phase "warm" */
	void *progress_ctx;
};

/* Brings in the hot units of the profile, as many as fit. */
int tr_vram_tier_warm(struct tr_vram_tier *tier, const struct tr_vram_warm_cfg *cfg,
	struct tr_err *err);

/* Its steps: which units, ids[n_unit]; the parts of one; the end of all, rc that of the uploads. */
uint32_t tr_vram_tier_warm_begin(struct tr_vram_tier *tier, uint32_t *ids);
int tr_vram_tier_upload(struct tr_vram_tier *tier, uint32_t id, const void *const part[TR_N_PART],
	struct tr_err *err);
int tr_vram_tier_warm_end(struct tr_vram_tier *tier, const uint32_t *ids, uint32_t n, int rc,
	struct tr_err *err);

/* It was brought in then. */
bool tr_vram_tier_was_warm(const struct tr_vram_tier *tier, uint32_t id);

/* --- running ---------------------------------------------------------------------------------- */

/* It is here, so the device can compute it. For tr_cache_cfg.above, too: ctx is the tier. */
bool tr_vram_tier_has(void *tier, uint32_t id);
/* Where its parts are, as addresses of the device. */
void tr_vram_tier_parts(const struct tr_vram_tier *tier, uint32_t id, const uint8_t *part[TR_N_PART]);

/* A set of one layer, ascending, whoever serves it. Counts; what is here does not change until tick. */
void tr_vram_tier_take(struct tr_vram_tier *tier, const uint32_t *ids, size_t n, bool scan);

/* A token ends and no set is in work. Tells what of the copies of an earlier token is still under way. Fails
 * when the device does; once gpu->is_lost, nothing is here any more and all is well. */
int tr_vram_tier_tick(struct tr_vram_tier *tier, struct tr_vram_late *late, struct tr_err *err);

/* Waits until what is on its way is here; for tests and measurements. */
int tr_vram_tier_settle(struct tr_vram_tier *tier, struct tr_err *err);

struct tr_vram_tier_stats {
	struct tr_vram_counts counts;
	uint64_t capacity_bytes;
	uint64_t warm_units, warm_bytes;
	uint64_t late; /* copies that were not over as the token after theirs ended */
};

/* By the feeder: bytes, and the time in which some were on their way. */
void tr_vram_tier_sent(struct tr_vram_tier *tier, uint64_t *bytes, uint64_t *ns);
void tr_vram_tier_stats(const struct tr_vram_tier *tier, struct tr_vram_tier_stats *out);

#endif
