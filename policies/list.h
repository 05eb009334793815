/*
 * list.h - doubly linked lists of ids in flat arrays.
 *
 * The links of all lists of a policy share two arrays indexed by id, so an id is on at most one
 * list of one tr_links at a time. The front is the cold end: the next to go. Everything is O(1)
 * but tr_list_first_ok, which walks over what is refused, and tr_list_check.
 */
#ifndef TR_POLICIES_LIST_H
#define TR_POLICIES_LIST_H

#include "base/mem.h"
#include "policies/policy.h"

#include <stdlib.h>

struct tr_links {
	uint32_t n_id;
	uint32_t *prev; /* towards the front; TR_NO_ID at the front */
	uint32_t *next; /* towards the back; TR_NO_ID at the back; the id itself: on no list */
};

struct tr_list {
	uint32_t front;
	uint32_t back;
	uint32_t n;
};

#define TR_LIST_EMPTY ((struct tr_list){ TR_NO_ID, TR_NO_ID, 0 })

static inline void tr_links_fini(struct tr_links *l)
{
	free(l->prev);
	free(l->next);
}

/* 0 or TR_E_NOMEM; links are then as after fini. */
static inline int tr_links_init(struct tr_links *l, uint32_t n_id)
{
	l->n_id = n_id;
	l->prev = tr_calloc(n_id, sizeof(*l->prev));
	l->next = tr_calloc(n_id, sizeof(*l->next));
	if (!l->prev || !l->next) {
		tr_links_fini(l);
		l->prev = l->next = NULL;
		return TR_E_NOMEM;
	}
	for (uint32_t id = 0; id < n_id; id++)
		l->next[id] = id;
	return 0;
}

static inline bool tr_links_linked(const struct tr_links *l, uint32_t id)
{
	return l->next[id] != id;
}

/* Puts id between two neighbours, either of which may be TR_NO_ID for the end of the list. */
static inline void tr_list_insert(
	struct tr_links *l, struct tr_list *list, uint32_t id, uint32_t prev, uint32_t next)
{
	l->prev[id] = prev;
	l->next[id] = next;
	if (prev == TR_NO_ID)
		list->front = id;
	else
		l->next[prev] = id;
	if (next == TR_NO_ID)
		list->back = id;
	else
		l->prev[next] = id;
	list->n++;
}

static inline void tr_list_push_front(struct tr_links *l, struct tr_list *list, uint32_t id)
{
	tr_list_insert(l, list, id, TR_NO_ID, list->front);
}

static inline void tr_list_push_back(struct tr_links *l, struct tr_list *list, uint32_t id)
{
	tr_list_insert(l, list, id, list->back, TR_NO_ID);
}

/* id must be on this list. */
static inline void tr_list_remove(struct tr_links *l, struct tr_list *list, uint32_t id)
{
	uint32_t prev = l->prev[id], next = l->next[id];

	if (prev == TR_NO_ID)
		list->front = next;
	else
		l->next[prev] = next;
	if (next == TR_NO_ID)
		list->back = prev;
	else
		l->prev[next] = prev;
	l->next[id] = id;
	list->n--;
}

/* The first from the front that ok() accepts, or TR_NO_ID. */
static inline uint32_t tr_list_first_ok(
	const struct tr_links *l, const struct tr_list *list, tr_policy_evictable_fn *ok, void *ctx)
{
	for (uint32_t id = list->front; id != TR_NO_ID; id = l->next[id])
		if (ok(ctx, id))
			return id;
	return TR_NO_ID;
}

/* True when the links agree in both directions and n is the length. */
static inline bool tr_list_check(const struct tr_links *l, const struct tr_list *list)
{
	uint32_t prev = TR_NO_ID, n = 0;

	for (uint32_t id = list->front; id != TR_NO_ID; prev = id, id = l->next[id])
		if (id >= l->n_id || l->prev[id] != prev || n++ == list->n)
			return false;
	return list->back == prev && n == list->n;
}

#endif
