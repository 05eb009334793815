/*
 * laps.h - where one stretch of a pass through the layers ends and the next begins.
 *
 * The one hook of the forward pass for those who want to know what the time goes to: the timeline
 * of a token (timeline.h) and the live status (live.h). It says at the end of each stretch what
 * that was. One clock read serves both; where nobody wants to know now (no live view, no token
 * being taken down) there is none.
 *
 * For the thread that runs the engine.
 */
#ifndef TR_ENGINE_LAPS_H
#define TR_ENGINE_LAPS_H

#include "base/clock.h"
#include "tierra.h"

struct tr_live_pub;
struct tr_timeline;

struct tr_laps {
	const struct tr_clock *clock;
	struct tr_timeline *timeline; /* NULL: none */
	struct tr_live_pub *live;     /* NULL: nobody watches */
};

/* Somebody wants to know now. laps NULL: nobody ever. */
bool tr_laps_open(const struct tr_laps *laps);

/* What has gone by since the last end was of that kind. */
void tr_laps_end_at(
	const struct tr_laps *laps, uint64_t now_ns, enum tr_span_kind kind, uint32_t layer);

/* Multiplied experts, by the tier of a handle, and n_read that had to be read: of the time line;
 * bytes by lane, not all 0, of the live status. */
struct tr_lap_experts {
	uint32_t n[TR_MAX_TIER], n_read;
	uint64_t bytes[TR_N_LANE];
};

void tr_laps_experts_at(const struct tr_laps *laps, uint64_t now_ns, uint32_t layer,
	const struct tr_lap_experts *experts);

/* The last end; 0 where no token is taken down. */
uint64_t tr_laps_now(const struct tr_laps *laps);
/* Beside the stretches of the token: that kind of work on n went from begin_ns to end_ns. */
void tr_laps_beside(const struct tr_laps *laps, enum tr_span_kind kind, uint32_t layer, uint32_t n,
	uint64_t begin_ns, uint64_t end_ns);

static inline void tr_lap(const struct tr_laps *laps, enum tr_span_kind kind, uint32_t layer)
{
	if (tr_laps_open(laps))
		tr_laps_end_at(laps, tr_now_ns(laps->clock), kind, layer);
}

#endif
