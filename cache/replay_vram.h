/*
 * replay_vram.h - the memory of a device in a replay: vram.c's decisions without a device.
 *
 * A run takes a copy for over when its device says so. A replay takes it for over at the end of the
 * token after the one that earned it, but for those that the trace has as late. So the run that was
 * recorded is replayed exactly; of another size or policy as many copies are late.
 */
#ifndef TR_CACHE_REPLAY_VRAM_H
#define TR_CACHE_REPLAY_VRAM_H

#include "cache/trace.h"
#include "cache/vram.h"

struct tr_replay_vram;

/* The cache below. */
struct tr_replay_below {
	tr_vram_source_fn *source;
	void (*hold)(void *ctx, uint32_t id);
	void (*release)(void *ctx, uint32_t id);
	void *ctx;
	uint32_t n_keep;   /* experts that it may keep */
	bool all_in_place; /* nothing is read from the file */
};

/* opts->vram is not NULL. The trace outlives it. Has what a profile brings before the first set. */
int tr_replay_vram_new(struct tr_replay_vram **vram, const struct tr_trace *trace,
	const struct tr_replay_opts *opts, const struct tr_replay_below *below, struct tr_err *err);
void tr_replay_vram_free(struct tr_replay_vram *vram);

/* NULL has nothing. */
bool tr_replay_vram_has(const struct tr_replay_vram *vram, uint32_t id);
/* A set, ascending. counting: it is counted in hits, misses, bytes. */
void tr_replay_vram_take(
	struct tr_replay_vram *vram, const struct tr_trace_set *set, bool counting);
/* A step ends, and set n_set of the trace is the next. */
void tr_replay_vram_tick(struct tr_replay_vram *vram, size_t n_set);

/* Copies, late ones and evictions count from here on. */
void tr_replay_vram_restart(struct tr_replay_vram *vram);
void tr_replay_vram_stats(const struct tr_replay_vram *vram, struct tr_replay_vram_stats *out);

#endif
