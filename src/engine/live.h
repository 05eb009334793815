/*
 * live.h - keeps the live status of an engine (struct tr_live) as the forward pass goes along.
 *
 * The thread that runs the engine says what each stretch was as it ends (laps.h), and as these are the only
 * calls that come often enough, they also see to it that a status is written when 100 ms have passed.
 * Nothing is allocated. All calls do nothing when live is NULL.
 */
#ifndef TR_ENGINE_LIVE_H
#define TR_ENGINE_LIVE_H

#include "base/clock.h"
#include "cache/cache.h"

struct tr_live_pub;
struct tr_live_file;

struct tr_live_cfg {
	const struct tr_clock *clock;
	/* Fills in stats. */
	void (*stats)(void *ctx, struct tr_stats *out);
	void *ctx;
	const char *model; /* file name */
	uint32_t n_ctx;
	const struct tr_catalog *catalog;
};

/* Takes over file, also on failure; NULL: nothing is written, for tests. */
int tr_live_new(struct tr_live_pub **live, const struct tr_live_cfg *cfg, struct tr_live_file *file,
	struct tr_err *err);
void tr_live_free(struct tr_live_pub *live);

/* Loading or a prefill is at done of total. */
void tr_live_progress(struct tr_live_pub *live, const char *step, uint64_t done, uint64_t total,
	const char *unit);
/* Loading is over: stats are there, lanes begin. */
void tr_live_ready(struct tr_live_pub *live);

/* What has passed since the last call goes to that lane. now_ns: of the clock. */
void tr_live_lap(struct tr_live_pub *live, uint64_t now_ns, enum tr_lane lane);
/* The same to lanes in proportion to bytes, not all 0. */
void tr_live_split(struct tr_live_pub *live, uint64_t now_ns, const uint64_t bytes[TR_N_LANE]);

/* A set of a MoE layer (its index) was acquired. */
void tr_live_acquired(
	struct tr_live_pub *live, uint32_t moe_layer, const struct tr_handle *handles, size_t n);

/* Some of n_feed tokens (1: decoding) begin their way through the layers; n_tok are through, n_past
 * in all. What is between is nothing of the engine. */
void tr_live_begin(struct tr_live_pub *live, uint64_t now_ns, size_t n_feed);
void tr_live_end(struct tr_live_pub *live, size_t n_tok, uint64_t n_past);

/* The status as it is now. */
const struct tr_live *tr_live_now(struct tr_live_pub *live);

#endif
