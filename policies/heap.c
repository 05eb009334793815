#include "policies/heap.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

int tr_heap_init(struct tr_heap *h, uint32_t n_id)
{
	*h = (struct tr_heap){ .n_id = n_id };
	h->at = tr_calloc(n_id, sizeof(*h->at));
	h->pos = tr_calloc(n_id, sizeof(*h->pos));
	h->rank = tr_calloc(n_id, sizeof(*h->rank));
	h->stamp = tr_calloc(n_id, sizeof(*h->stamp));
	h->frontier = tr_calloc(n_id, sizeof(*h->frontier));
	if (!h->at || !h->pos || !h->rank || !h->stamp || !h->frontier) {
		tr_heap_fini(h);
		return TR_E_NOMEM;
	}
	for (uint32_t id = 0; id < n_id; id++)
		h->pos[id] = TR_NO_ID;
	return 0;
}

void tr_heap_fini(struct tr_heap *h)
{
	free(h->at);
	free(h->pos);
	free(h->rank);
	free(h->stamp);
	free(h->frontier);
	*h = (struct tr_heap){ 0 };
}

static bool before(const struct tr_heap *h, uint32_t a, uint32_t b)
{
	if (h->rank[a] != h->rank[b])
		return h->rank[a] < h->rank[b];
	return h->stamp[a] < h->stamp[b];
}

static void set(struct tr_heap *h, uint32_t i, uint32_t id)
{
	h->at[i] = id;
	h->pos[id] = i;
}

static void sift(struct tr_heap *h, uint32_t i)
{
	uint32_t id = h->at[i], child;

	for (; i && before(h, id, h->at[(i - 1) / 2]); i = (i - 1) / 2)
		set(h, i, h->at[(i - 1) / 2]);
	for (; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && before(h, h->at[child + 1], h->at[child]))
			child++;
		if (!before(h, h->at[child], id))
			break;
		set(h, i, h->at[child]);
	}
	set(h, i, id);
}

void tr_heap_put(struct tr_heap *h, uint32_t id, double rank, uint64_t stamp)
{
	h->rank[id] = rank;
	h->stamp[id] = stamp;
	if (!tr_heap_has(h, id))
		set(h, h->n++, id);
	sift(h, h->pos[id]);
}

void tr_heap_remove(struct tr_heap *h, uint32_t id)
{
	uint32_t i = h->pos[id], last = h->at[--h->n];

	h->pos[id] = TR_NO_ID;
	if (last == id)
		return;
	set(h, i, last);
	sift(h, i);
}

/* The frontier holds the heads of all subtrees not yet walked; the next in order is its minimum. */
static void frontier_push(struct tr_heap *h, uint32_t *n, uint32_t pos)
{
	uint32_t i = (*n)++, parent;

	for (; i; i = parent) {
		parent = (i - 1) / 2;
		if (!before(h, h->at[pos], h->at[h->frontier[parent]]))
			break;
		h->frontier[i] = h->frontier[parent];
	}
	h->frontier[i] = pos;
}

static uint32_t frontier_pop(struct tr_heap *h, uint32_t *n)
{
	uint32_t first = h->frontier[0], last = h->frontier[--*n], i = 0, child;

	for (; (child = 2 * i + 1) < *n; i = child) {
		if (child + 1 < *n &&
			before(h, h->at[h->frontier[child + 1]], h->at[h->frontier[child]]))
			child++;
		if (!before(h, h->at[h->frontier[child]], h->at[last]))
			break;
		h->frontier[i] = h->frontier[child];
	}
	h->frontier[i] = last;
	return first;
}

uint32_t tr_heap_first_ok(struct tr_heap *h, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t n = 0, pos;

	if (h->n)
		frontier_push(h, &n, 0);
	while (n) {
		pos = frontier_pop(h, &n);
		if (ok(ctx, h->at[pos]))
			return h->at[pos];
		for (uint32_t child = 2 * pos + 1; child <= 2 * pos + 2 && child < h->n; child++)
			frontier_push(h, &n, child);
	}
	return TR_NO_ID;
}

bool tr_heap_check(const struct tr_heap *h)
{
	uint32_t n_in = 0;

	for (uint32_t i = 0; i < h->n; i++)
		if (h->at[i] >= h->n_id || h->pos[h->at[i]] != i ||
			(i && before(h, h->at[i], h->at[(i - 1) / 2])))
			return false;
	for (uint32_t id = 0; id < h->n_id; id++)
		n_in += tr_heap_has(h, id);
	return n_in == h->n;
}
