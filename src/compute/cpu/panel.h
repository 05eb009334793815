/*
 * panel.h - how `dots` and `mix` are cut into tiles, common to all vector instruction sets.
 *
 * Queries are the outer loop: a handful of them stays in the first-level cache while rows, or
 * columns of rows, stream from the second. The count of queries of a tile is a compile-time
 * constant: as many as the registers are for, then halves for those left over.
 */
#ifndef TR_COMPUTE_CPU_PANEL_H
#define TR_COMPUTE_CPU_PANEL_H

#include "compute/cpu/rows.h"

/* A tile's arrays are registers only when every loop over them is gone. */
#ifdef __clang__
#define TR_UNROLL_ALL _Pragma("clang loop unroll(full)")
#else
#define TR_UNROLL_ALL _Pragma("GCC unroll 16")
#endif

/* Loads happen once and into a register: compilers like to repeat them as operands of each fma,
 * and two loads an fma are more than the processor has. */
#define TR_IN_REGISTER(v) __asm__("" : "+v"(v))

/*
 * Row q of rows that are stride floats apart, q a constant. Compilers would keep a pointer per row
 * and run out of registers; one of every four rows is kept, the others are an address away.
 */
TR_INLINE const float *tr_near_row(const float *x, size_t stride, int q)
{
	const float *p = x + (size_t)(q & ~3) * stride;

	__asm__("" : "+r"(p));
	return p + (size_t)(q & 3) * stride;
}

TR_INLINE const uint8_t *tr_panel_row(const struct tr_panel *p, bool half, size_t r)
{
	return (const uint8_t *)p->x + r * p->stride * (half ? 2 : 4);
}

/* What is still to be asked for, spread over the tiles still to come. */
struct tr_asker {
	const char *p;
	size_t lines;
	size_t tiles;
};

TR_INLINE struct tr_asker tr_asker_of(struct tr_ahead ahead, size_t tiles)
{
	return (struct tr_asker){ ahead.p, (ahead.bytes + TR_CACHE_LINE - 1) / TR_CACHE_LINE,
		tiles };
}

/* Lines for the next tile; `from` is the first of them. */
TR_INLINE size_t tr_asker_take(struct tr_asker *a, const char **from)
{
	size_t share = a->tiles > 1 ? (a->lines + a->tiles - 1) / a->tiles : a->lines;

	*from = a->p;
	a->p += share * TR_CACHE_LINE;
	a->lines -= share;
	a->tiles -= a->tiles > 0;
	return share;
}

/* In step i of a tile that was given `share` lines. */
TR_INLINE void tr_asker_step(const char *from, size_t share, size_t i)
{
	if (i < share)
		_mm_prefetch(from + i * TR_CACHE_LINE, _MM_HINT_T1);
}

#endif
