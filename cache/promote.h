/*
 * promote.h - which units that are computed in persistent memory earn a copy in DRAM. Pure: no slots, no
 * bytes.
 *
 * What was used so often lately is taken to be used as often in the next tokens. A copy pays when the
 * time that those uses save is more than the copy itself takes and more than the entry that has to leave
 * for it would have saved. At most n_max copies are made a token, the most worth having first.
 *
 * A unit is offered by its use in place, and chosen from at the end of that token or not at all. Guarded
 * by the lock that guards the entries.
 */
#ifndef TR_CACHE_PROMOTE_H
#define TR_CACHE_PROMOTE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct tr_promote_cfg {
	uint32_t n_id;
	uint32_t n_max;	   /* copies a token; 0: none is ever made, and nothing is allocated */
	const float *gain; /* [n_id] what a use saves in DRAM, in any unit; NULL: all 1. Outlives it */
	double copy_cost;  /* what a copy takes, in uses saved; 0: from persistent memory to DRAM */
};

struct tr_promote {
	struct tr_promote_cfg cfg;
	double *uses;	   /* [n_id] decayed sum, in multiples of unit */
	double unit;	   /* what a use counts now; grows, so that nothing has to shrink */
	uint32_t *offered; /* [n_id] of this token; after ranking, the most worth having first */
	uint32_t n_offered;
	bool *is_offered; /* [n_id] */
};

/* 0 or TR_E_NOMEM; as after fini then. */
int tr_promote_init(struct tr_promote *p, const struct tr_promote_cfg *cfg);
void tr_promote_fini(struct tr_promote *p);

/* A use by decoding, wherever it was served. */
void tr_promote_note_use(struct tr_promote *p, uint32_t id);
/* It was served in place. */
void tr_promote_offer(struct tr_promote *p, uint32_t id);

/* Takes back the offers of this token that has() denies; NULL denies all. */
void tr_promote_filter(struct tr_promote *p, bool (*has)(void *ctx, uint32_t id), void *ctx);

/* A token ends: leaves in offered[] those that pay where a slot is free, in order, at most n_max. Returns
 * how many. */
uint32_t tr_promote_rank(struct tr_promote *p);
/* The copy pays even if the victim has to go. */
bool tr_promote_pays(const struct tr_promote *p, uint32_t id, uint32_t victim);
/* After the copies of a token were chosen: uses grow older, offers lapse. */
void tr_promote_tick(struct tr_promote *p);

#endif
