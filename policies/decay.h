/*
 * decay.h - residents in the order of their decayed uses times a factor.
 *
 * A use d tokens ago counts 2^(-lambda d). Instead of shrinking all counts as tokens end, later
 * uses are given more weight: `unit` grows by 2^lambda a token, and the order is the same. Before
 * it leaves the range of a double everything is scaled down by a power of two and ordered anew,
 * every 512 / lambda tokens. Counts cover the full history, resident or not. Equal ranks go by
 * recency.
 */
#ifndef TR_POLICIES_DECAY_H
#define TR_POLICIES_DECAY_H

#include "policies/heap.h"

struct tr_decay {
	struct tr_heap order;
	double *weight;	     /* [n_id] sum of the units of all uses */
	const float *factor; /* [n_id] or NULL: all 1 */
	double unit;
	double growth;	/* of unit, a token */
	uint64_t clock; /* uses and insertions so far */
};

/* 0 or TR_E_NOMEM; as after fini then. factor outlives the order. */
int tr_decay_init(struct tr_decay *d, uint32_t n_id, const float *factor, double lambda);
void tr_decay_fini(struct tr_decay *d);
void tr_decay_set(struct tr_decay *d, double lambda);

/* The calls of policy.h. */
void tr_decay_hit(struct tr_decay *d, uint32_t id, unsigned flags);
void tr_decay_miss(struct tr_decay *d, uint32_t id, unsigned flags);
void tr_decay_insert(struct tr_decay *d, uint32_t id, unsigned flags);
void tr_decay_remove(struct tr_decay *d, uint32_t id);
void tr_decay_tick(struct tr_decay *d);

#endif
