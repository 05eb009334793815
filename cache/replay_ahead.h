/*
 * replay_ahead.h - what a run would have read ahead of need, beside a replay.
 *
 * Asks the engine's own control (prefetch.h) which of the experts that a predictor expects and the
 * cache does not have would be read, and settles each when its layer comes. Time stands still: no
 * read is called back or late, and none changes what the cache holds. So it tells what could be had
 * early, and what would be read in vain; whether there is time for it is another's business.
 */
#ifndef TR_CACHE_REPLAY_AHEAD_H
#define TR_CACHE_REPLAY_AHEAD_H

#include "cache/prefetch.h"

struct tr_replay_ahead {
	struct tr_prefetch control;
	uint32_t n_expert;
	float *expect; /* [unit] probability that was given for the layer's next visit; 0: none */
	bool *absent;  /* [unit] then */
	bool *due;     /* [unit] asked for, not settled */
	uint32_t *top; /* [n_wide] */
	uint32_t n_wide;
};

/* n_unit units, n_expert a layer, n_used of these a token; at most `budget` of them at one time. */
int tr_replay_ahead_init(struct tr_replay_ahead *a, uint32_t n_unit, uint32_t n_expert,
	uint32_t n_used, uint32_t budget, struct tr_err *err);
void tr_replay_ahead_fini(struct tr_replay_ahead *a);

/* The layer of units first .. is expected to use p[n_expert]; can_read[n_expert]: not in memory. */
void tr_replay_ahead_expect(
	struct tr_replay_ahead *a, uint32_t first, const float *p, const bool *can_read);

/* The layer uses these units, ascending. Returns how many of them had been asked for; *n_vain, how
 * many had that are not among them. */
uint32_t tr_replay_ahead_pass(struct tr_replay_ahead *a, uint32_t first, const uint32_t *unit,
	uint32_t n_unit, uint32_t *n_vain);

void tr_replay_ahead_token(struct tr_replay_ahead *a);

#endif
