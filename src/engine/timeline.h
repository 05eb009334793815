/*
 * timeline.h - how decoding went: hits over time, and what some tokens spent their time on.
 *
 * The forward pass says at the end of each stretch what it was (a lap, see laps.h), so that the spans of
 * a token follow each other without a gap and add up to it; what happens beside them (reads) is added with
 * its own times. All times are ns of the caller's clock. Two bounded stores:
 *
 *   - the history: points of as many tokens each. When all are taken, pairs are joined.
 *   - whole tokens: the last one, the slowest, and every k-th, from which the median one is chosen;
 *     when N_KEEP are kept every other is dropped and k doubles.
 *
 * No lock: one call at a time runs an engine. Without memory, spans are left out and counted as
 * lost.
 */
#ifndef TR_ENGINE_TIMELINE_H
#define TR_ENGINE_TIMELINE_H

#include "base/err.h"

struct tr_timeline;

/* n_tier: as in tr_stats. */
int tr_timeline_new(struct tr_timeline **timeline, size_t n_tier, struct tr_err *err);
void tr_timeline_free(struct tr_timeline *t);

/* So many tokens are on their way through the layers. If it is one, laps are taken down until the
 * end; a pass that failed has no end. */
void tr_timeline_begin(struct tr_timeline *t, uint64_t now_ns, size_t n_tok);
/* The last lap was the end of the token. served[TR_MAX_TIER]: uses by decoding that each tier has
 * served so far. */
void tr_timeline_end(struct tr_timeline *t, const uint64_t *served);

/* What has gone by since the last lap was of that kind. */
void tr_timeline_lap(struct tr_timeline *t, uint64_t now_ns, enum tr_span_kind kind, uint32_t layer);
/* The same of multiplied experts, n[TR_MAX_TIER] that tiers had and n_read that had to be read. */
void tr_timeline_experts(struct tr_timeline *t, uint64_t now_ns, uint32_t layer, const uint32_t *n,
	uint32_t n_read);
/* An expert was read from the last tier in that time. Nothing when it had ended
 * before since_ns: then it was there when it was asked for. Returns whether it had not. */
bool tr_timeline_read(struct tr_timeline *t, uint32_t layer, uint32_t expert, uint64_t begin_ns,
	uint64_t end_ns, uint64_t since_ns);
/* The device, which is the tier before the last, was at n in that time. */
void tr_timeline_device(struct tr_timeline *t, enum tr_span_kind kind, uint32_t layer, uint32_t n,
	uint64_t begin_ns, uint64_t end_ns);
/* Of the last lap; for since_ns. */
uint64_t tr_timeline_now(const struct tr_timeline *t);

/* t may be NULL. */
bool tr_timeline_is_open(const struct tr_timeline *t);

void tr_timeline_history(const struct tr_timeline *t, struct tr_history *out);
/* NULL when no token was decoded. */
const struct tr_token_spans *tr_timeline_token(
	const struct tr_timeline *t, enum tr_token_kind kind);

#endif
