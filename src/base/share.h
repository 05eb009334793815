/*
 * share.h - the part of a parallel loop that is one worker's until it falls behind.
 *
 * The owner takes ranges from the front, so that what it reads of memory ascends without gaps and
 * prefetchers of the processor are not thrown off; a worker that has nothing left takes from the
 * back of others' parts. Every index is taken once. Indices are below 2^32.
 */
#ifndef TR_BASE_SHARE_H
#define TR_BASE_SHARE_H

#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tr_share {
	_Alignas(TR_CACHE_LINE) _Atomic uint64_t left; /* begin << 32 | end */
};

struct tr_range {
	size_t begin, end;
};

static inline uint64_t tr_share_pack(size_t begin, size_t end)
{
	return (uint64_t)begin << 32 | end;
}

static inline struct tr_range tr_share_unpack(uint64_t left)
{
	return (struct tr_range){ (size_t)(left >> 32), (size_t)(uint32_t)left };
}

/* Before the loop is known to others. */
static inline void tr_share_set(struct tr_share *s, size_t begin, size_t end)
{
	atomic_store_explicit(&s->left, tr_share_pack(begin, end), memory_order_relaxed);
}

/* What is left. */
static inline struct tr_range tr_share_left(struct tr_share *s)
{
	return tr_share_unpack(atomic_load_explicit(&s->left, memory_order_relaxed));
}

/* From the front, or from the back. */
static inline bool tr_share_cut(struct tr_share *s, size_t grain, bool front, struct tr_range *out)
{
	uint64_t left = atomic_load_explicit(&s->left, memory_order_relaxed), rest;
	struct tr_range r;
	size_t at;

	do {
		r = tr_share_unpack(left);
		if (r.begin >= r.end)
			return false;
		at = front ? TR_MIN(r.begin + grain, r.end) :
			     r.end - 1 - (r.end - r.begin - 1) % grain;
		*out = front ? (struct tr_range){ r.begin, at } : (struct tr_range){ at, r.end };
		rest = front ? tr_share_pack(at, r.end) : tr_share_pack(r.begin, at);
	} while (!atomic_compare_exchange_weak_explicit(&s->left, &left, rest,
		memory_order_relaxed, memory_order_relaxed));
	return true;
}

/* The first grain indices that are left, or fewer at the end; false: none. */
static inline bool tr_share_take(struct tr_share *s, size_t grain, struct tr_range *out)
{
	return tr_share_cut(s, grain, true, out);
}

/* The last indices that are left, so many that a multiple of grain remains; false: none. */
static inline bool tr_share_steal(struct tr_share *s, size_t grain, struct tr_range *out)
{
	return tr_share_cut(s, grain, false, out);
}

/* The part of worker i of n in begin .. end. Parts but the last are multiples of grain. */
static inline struct tr_range tr_share_part(
	size_t begin, size_t end, size_t grain, size_t i, size_t n)
{
	size_t n_grain = (end - begin + grain - 1) / grain;

	return (struct tr_range){ TR_MIN(begin + n_grain * i / n * grain, end),
		TR_MIN(begin + n_grain * (i + 1) / n * grain, end) };
}

#endif
