/*
 * copy.h - experts from persistent memory to DRAM, by the workers that compute there.
 *
 * More streams than --pmem-threads allows, and those of another NUMA node, lower the bandwidth of
 * persistent memory; so a copy follows the rules of moe.c.
 */
#ifndef TR_ENGINE_COPY_H
#define TR_ENGINE_COPY_H

#include "base/pool.h"
#include "engine/moe.h"

struct tr_copier {
	struct tr_pool *pool;
	const struct tr_moe_pmem *pmem;
};

/* A tr_copy_fn; ctx is the copier. For the thread that runs the pool. */
void tr_copier_run(void *copier, const struct tr_copy_job *copies, size_t n);

#endif
