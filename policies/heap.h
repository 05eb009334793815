/*
 * heap.h - ids in the order of a key that changes: a binary heap in flat arrays.
 *
 * The id with the lowest rank is first; equal ranks go by stamp, lowest first. put, remove: O(log
 * n). first_ok walks in key order without changing the heap: O(k log k) where k - 1 are refused.
 */
#ifndef TR_POLICIES_HEAP_H
#define TR_POLICIES_HEAP_H

#include "policies/policy.h"

struct tr_heap {
	uint32_t n_id;
	uint32_t n;
	uint32_t *at;	    /* [n] ids, children of i at 2i + 1 and 2i + 2 */
	uint32_t *pos;	    /* [n_id] index into at, TR_NO_ID: not in the heap */
	double *rank;	    /* [n_id] */
	uint64_t *stamp;    /* [n_id] */
	uint32_t *frontier; /* [n_id] scratch of first_ok: positions, themselves a heap */
};

/* 0 or TR_E_NOMEM; the heap is then as after fini. */
int tr_heap_init(struct tr_heap *h, uint32_t n_id);
void tr_heap_fini(struct tr_heap *h);

/* Puts id in, or moves it to where its new key belongs. */
void tr_heap_put(struct tr_heap *h, uint32_t id, double rank, uint64_t stamp);
/* id must be in the heap. */
void tr_heap_remove(struct tr_heap *h, uint32_t id);
uint32_t tr_heap_first_ok(struct tr_heap *h, tr_policy_evictable_fn *ok, void *ctx);
bool tr_heap_check(const struct tr_heap *h);

static inline bool tr_heap_has(const struct tr_heap *h, uint32_t id)
{
	return h->pos[id] != TR_NO_ID;
}

#endif
