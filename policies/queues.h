/*
 * queues.h - the lists that a policy keeps its ids on, and which of them an id is on.
 *
 * An id is on one list or none. The front of a list is the end that goes first. Whether an id is
 * resident is the policy's matter: lists of ghosts hold ids that are not. An id that came in by
 * prediction is fresh until its first use, which then counts as a newcomer's, not as a reuse.
 */
#ifndef TR_POLICIES_QUEUES_H
#define TR_POLICIES_QUEUES_H

#include "policies/list.h"

enum { TR_MAX_QUEUE = 5, TR_NO_QUEUE = TR_MAX_QUEUE };

struct tr_queues {
	struct tr_links links;
	struct tr_list list[TR_MAX_QUEUE];
	uint8_t *on;	/* [n_id] index of list, or TR_NO_QUEUE */
	uint8_t *fresh; /* [n_id] */
};

static inline void tr_queues_fini(struct tr_queues *q)
{
	tr_links_fini(&q->links);
	free(q->on);
	free(q->fresh);
	*q = (struct tr_queues){ 0 };
}

/* 0 or TR_E_NOMEM; the queues are then as after fini. */
static inline int tr_queues_init(struct tr_queues *q, uint32_t n_id)
{
	*q = (struct tr_queues){ 0 };
	q->on = tr_calloc(n_id, sizeof(*q->on));
	q->fresh = tr_calloc(n_id, sizeof(*q->fresh));
	if (tr_links_init(&q->links, n_id) || !q->on || !q->fresh) {
		tr_queues_fini(q);
		return TR_E_NOMEM;
	}
	for (uint32_t id = 0; id < n_id; id++)
		q->on[id] = TR_NO_QUEUE;
	for (unsigned i = 0; i < TR_MAX_QUEUE; i++)
		q->list[i] = TR_LIST_EMPTY;
	return 0;
}

/* Takes id off the list that it is on, if any. */
static inline void tr_queues_drop(struct tr_queues *q, uint32_t id)
{
	if (q->on[id] != TR_NO_QUEUE)
		tr_list_remove(&q->links, &q->list[q->on[id]], id);
	q->on[id] = TR_NO_QUEUE;
	q->fresh[id] = 0;
}

/* Puts id, taken off the list that it was on, at the back or front of list `to`. */
static inline void tr_queues_back(struct tr_queues *q, unsigned to, uint32_t id)
{
	tr_queues_drop(q, id);
	tr_list_push_back(&q->links, &q->list[to], id);
	q->on[id] = (uint8_t)to;
}

static inline void tr_queues_front(struct tr_queues *q, unsigned to, uint32_t id)
{
	tr_queues_drop(q, id);
	tr_list_push_front(&q->links, &q->list[to], id);
	q->on[id] = (uint8_t)to;
}

/* Drops from the front of a list until it has at most n. */
static inline void tr_queues_trim(struct tr_queues *q, unsigned list, uint32_t n)
{
	while (q->list[list].n > n)
		tr_queues_drop(q, q->list[list].front);
}

static inline uint32_t tr_queues_n(const struct tr_queues *q, unsigned list)
{
	return q->list[list].n;
}

static inline uint32_t tr_queues_first_ok(
	const struct tr_queues *q, unsigned list, tr_policy_evictable_fn *ok, void *ctx)
{
	return tr_list_first_ok(&q->links, &q->list[list], ok, ctx);
}

/* True at the first use of an id that came in by prediction. */
static inline bool tr_queues_first_use(struct tr_queues *q, uint32_t id)
{
	bool fresh = q->fresh[id];

	q->fresh[id] = 0;
	return fresh;
}

static inline bool tr_queues_check(const struct tr_queues *q)
{
	uint32_t n_on = 0, n = 0;

	for (unsigned i = 0; i < TR_MAX_QUEUE; i++) {
		const struct tr_list *list = &q->list[i];

		if (!tr_list_check(&q->links, list))
			return false;
		for (uint32_t id = list->front; id != TR_NO_ID; id = q->links.next[id])
			if (q->on[id] != i)
				return false;
		n += list->n;
	}
	for (uint32_t id = 0; id < q->links.n_id; id++)
		n_on += q->on[id] != TR_NO_QUEUE;
	return n == n_on;
}

#endif
