/*
 * oracle.c - Belady's choice, with a heap of units by their next use.
 *
 * next_at[i] is the set in which the unit at position i of the trace is used again. The heap has
 * the latest on top. A unit that is used again gets a new element; the old one is known by its
 * time, which is no longer that of the unit, and is thrown away when met or when the heap is
 * rebuilt.
 */
#include "cache/oracle.h"
#include "base/mem.h"
#include "cache/order.h"

#include <stdlib.h>

#define NEVER	  UINT32_MAX
#define NOT_THERE 0 /* sets are counted from 1 */

struct oracle {
	const struct tr_trace *t;
	const uint32_t *keep; /* [n_part] */
	uint32_t n_part;
	uint32_t *next_at; /* [n_unit of the trace] */
	uint32_t *first;   /* [n_id] set that uses the unit first */
	uint32_t *next;	   /* [n_id] of a resident unit; NOT_THERE */
	uint32_t *n_there; /* [n_part] */
	uint64_t **heap;   /* [n_part] next << 32 | unit, the largest first */
	size_t *n_heap, *cap_heap;
};

static uint32_t n_id_of(const struct tr_trace *t)
{
	return t->head.n_moe_layer * t->head.n_expert;
}

static void find_next(struct oracle *o)
{
	const struct tr_trace *t = o->t;
	uint32_t *last = o->first;

	for (uint32_t id = 0; id < n_id_of(t); id++)
		last[id] = NEVER;
	for (size_t s = t->n_set; s-- > 0;) {
		const struct tr_trace_set *set = &t->set[s];

		for (uint64_t i = set->first_unit; i < set->first_unit + set->n_unit; i++) {
			o->next_at[i] = last[t->unit[i]];
			last[t->unit[i]] = (uint32_t)s + 1;
		}
	}
}

/* --- heap ------------------------------------------------------------------------------------- */

static void sink(uint64_t *heap, size_t n, size_t at)
{
	uint64_t v = heap[at];

	for (size_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && heap[child + 1] > heap[child])
			child++;
		if (heap[child] <= v)
			break;
		heap[at] = heap[child];
	}
	heap[at] = v;
}

static bool is_current(const struct oracle *o, uint64_t v)
{
	return o->next[(uint32_t)v] == v >> 32;
}

/* Throws away what is out of date. */
static void rebuild(struct oracle *o, uint32_t part)
{
	uint64_t *heap = o->heap[part];
	size_t n = 0;

	for (size_t i = 0; i < o->n_heap[part]; i++)
		if (is_current(o, heap[i]))
			heap[n++] = heap[i];
	for (size_t i = n / 2; i-- > 0;)
		sink(heap, n, i);
	o->n_heap[part] = n;
}

/* There is room for four times the units of a part; rebuilding leaves one element a resident. */
static void push(struct oracle *o, uint32_t part, uint64_t v)
{
	uint64_t *heap = o->heap[part];
	size_t at;

	if (o->n_heap[part] == o->cap_heap[part])
		rebuild(o, part);
	for (at = o->n_heap[part]++; at && heap[(at - 1) / 2] < v; at = (at - 1) / 2)
		heap[at] = heap[(at - 1) / 2];
	heap[at] = v;
}

static uint64_t pop(struct oracle *o, uint32_t part)
{
	uint64_t *heap = o->heap[part], top = heap[0];

	heap[0] = heap[--o->n_heap[part]];
	sink(heap, o->n_heap[part], 0);
	return top;
}

/* --- sets ------------------------------------------------------------------------------------- */

static bool is_member(const struct tr_trace *t, const struct tr_trace_set *s, uint32_t unit)
{
	uint64_t lo = s->first_unit, hi = lo + s->n_unit;

	while (hi - lo > 1) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (t->unit[mid] <= unit)
			lo = mid;
		else
			hi = mid;
	}
	return t->unit[lo] == unit;
}

static void leave(struct oracle *o, uint32_t part, uint64_t v)
{
	o->next[(uint32_t)v] = NOT_THERE;
	o->n_there[part]--;
}

/* A set need not stay: a scan goes through a ring, a large one through a window, and where there
 * are more slots than units may be kept, members leave when they are released. */
static bool passes_through(const struct tr_trace_set *s, uint32_t keep)
{
	return s->scan || s->n_unit > keep || keep < TR_ORDER_MIN_SLOT;
}

/* The latest next uses leave until the rest fits; members of the set only if it may pass through.
 */
static void shrink(struct oracle *o, uint32_t part, const struct tr_trace_set *s, uint64_t *aside)
{
	bool passes = passes_through(s, o->keep[part]);
	size_t n_aside = 0;

	while (o->n_there[part] > o->keep[part]) {
		uint64_t v = pop(o, part);

		if (!is_current(o, v))
			continue;
		if (!passes && is_member(o->t, s, (uint32_t)v))
			aside[n_aside++] = v;
		else
			leave(o, part, v);
	}
	while (n_aside)
		push(o, part, aside[--n_aside]);
}

static uint32_t serve(struct oracle *o, const struct tr_trace_set *s, uint64_t *aside)
{
	uint32_t part = o->n_part > 1 ? s->layer : 0, hits = 0;

	for (uint64_t i = s->first_unit; i < s->first_unit + s->n_unit; i++) {
		uint32_t unit = o->t->unit[i];
		bool there = o->next[unit] != NOT_THERE;

		hits += there;
		o->n_there[part] += !there;
		o->next[unit] = o->next_at[i];
		push(o, part, (uint64_t)o->next_at[i] << 32 | unit);
	}
	shrink(o, part, s, aside);
	return hits;
}

/* A warm start: what a replay begins with. */
static void begin_warm(struct oracle *o)
{
	const struct tr_trace_units *u = &o->t->units;
	uint32_t per_part = n_id_of(o->t) / o->n_part;

	for (uint32_t i = 0; i < u->n_hot; i++) {
		uint32_t unit = u->hot[i], part = unit / per_part;

		if ((u->home && u->home[unit]) || o->n_there[part] == o->keep[part])
			continue;
		o->n_there[part]++;
		o->next[unit] = o->first[unit];
		push(o, part, (uint64_t)o->first[unit] << 32 | unit);
	}
}

static bool alloc(struct oracle *o)
{
	size_t n_id = n_id_of(o->t), per_part = n_id / o->n_part;
	bool ok = true;

	o->next_at = tr_calloc(o->t->n_unit, sizeof(*o->next_at));
	o->first = tr_calloc(n_id, sizeof(*o->first));
	o->next = tr_calloc(n_id, sizeof(*o->next));
	o->n_there = tr_calloc(o->n_part, sizeof(*o->n_there));
	o->heap = tr_calloc(o->n_part, sizeof(*o->heap));
	o->n_heap = tr_calloc(o->n_part, sizeof(*o->n_heap));
	o->cap_heap = tr_calloc(o->n_part, sizeof(*o->cap_heap));
	for (uint32_t i = 0; o->heap && o->cap_heap && i < o->n_part; i++) {
		o->cap_heap[i] = 4 * per_part;
		o->heap[i] = tr_calloc(o->cap_heap[i], sizeof(**o->heap));
		ok = ok && o->heap[i];
	}
	return ok && o->next_at && o->first && o->next && o->n_there && o->heap && o->n_heap && o->cap_heap;
}

static void release(struct oracle *o)
{
	for (uint32_t i = 0; o->heap && i < o->n_part; i++)
		free(o->heap[i]);
	free(o->next_at);
	free(o->first);
	free(o->next);
	free(o->n_there);
	free(o->heap);
	free(o->n_heap);
	free(o->cap_heap);
}

int tr_oracle_run(const struct tr_trace *t, const uint32_t *keep, uint32_t n_part, uint32_t *hits,
	struct tr_err *err)
{
	struct oracle o = { .t = t, .keep = keep, .n_part = n_part };
	uint64_t *aside = tr_calloc(n_id_of(t), sizeof(*aside));
	bool ok = alloc(&o) && aside;

	if (ok) {
		find_next(&o);
		begin_warm(&o);
	}
	for (size_t s = 0; ok && s < t->n_set; s++)
		hits[s] = serve(&o, &t->set[s], aside);
	free(aside);
	release(&o);
	return ok ? 0 : tr_err_set(err, TR_E_NOMEM, "no memory for the optimum of a trace");
}
