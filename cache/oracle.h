/*
 * oracle.h - the most hits that any cache of some size can have on a trace.
 *
 * Belady's choice over sets: what stays is what is used again soonest. The units of a decoded set
 * must be resident together, so they cannot be each other's victims, as in the cache; those of a
 * scan, or of a set larger than the cache, pass through, and may leave at once. No order of
 * eviction has more hits. Prefetching could.
 */
#ifndef TR_CACHE_ORACLE_H
#define TR_CACHE_ORACLE_H

#include "cache/trace.h"

/* Hits of each set of the trace. A cache of n_keep units, or with n_part > 1 one of part_keep[i]
 * units for each MoE layer. hits[n_set]. */
int tr_oracle_run(const struct tr_trace *t, const uint32_t *keep, uint32_t n_part, uint32_t *hits,
	struct tr_err *err);

#endif
