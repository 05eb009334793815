/*
 * pool.h - a fixed team of pinned threads that runs one parallel loop at a time.
 *
 * The caller is worker 0. Ranges are handed out dynamically, so a loop body must not depend on
 * which worker runs it or in what order: every output element is computed whole by one call.
 *
 * On several NUMA nodes a loop over rows of weights gives each worker rows that lie on its node, and
 * when these are used up those of other nodes: a remote row takes longer than a local one, but less
 * long than waiting for a worker that has lost its processor.
 */
#ifndef TR_BASE_POOL_H
#define TR_BASE_POOL_H

#include "base/topo.h"

#include <stdbool.h>
#include <stddef.h>

struct tr_pool;

struct tr_pool_cfg {
	unsigned n_thread; /* workers, the caller included; 0: one per processor allowed */
	bool pin;	   /* bind worker i of a node to the i-th allowed processor there */
	unsigned spin_us;  /* how long an idle worker spins before it sleeps */
	struct tr_topo topo; /* with its workers, which are then n_thread; n_node 0: one node */
};

/* Work on [begin, end) of the loop. worker < tr_pool_size. Must not call tr_pool_run. */
typedef void tr_pool_fn(void *ctx, unsigned worker, size_t begin, size_t end);

int tr_pool_new(struct tr_pool **pool, const struct tr_pool_cfg *cfg, struct tr_err *err);
void tr_pool_free(struct tr_pool *pool);
unsigned tr_pool_size(const struct tr_pool *pool);
const struct tr_topo *tr_pool_topo(const struct tr_pool *pool);

/* Between these the calling thread stays on the processors of worker 0's node, if the pool is bound
 * to nodes. For a span of many loops; not needed for results. */
void tr_pool_begin(struct tr_pool *pool);
void tr_pool_end(struct tr_pool *pool);

/* Worker 0 calls fn between the ranges of all loops from now on, but not more often than every
 * TR_POOL_BETWEEN_NS: for what must go on while all workers compute. It must not run loops. Not while a
 * loop runs. */
#define TR_POOL_BETWEEN_NS 100000 /* a tenth of what a fast drive needs for the reads in flight */
void tr_pool_between(struct tr_pool *pool, void (*fn)(void *ctx), void *ctx);
/* For loops that hand out work themselves: somewhere between two pieces of worker 0's. */
void tr_pool_pause(struct tr_pool *pool);

/* Runs fn over [0, n) in ranges of at most grain; returns when all are done. One caller at a
 * time. */
void tr_pool_run(struct tr_pool *pool, tr_pool_fn *fn, void *ctx, size_t n, size_t grain);

/* The same for rows of weights, or blocks of rows. next: where the range begins that this worker
 * takes afterwards, so that it can ask memory for it, unless others help it; n of the loop: there
 * is none. */
typedef void tr_pool_rows_fn(void *ctx, unsigned worker, size_t begin, size_t end, size_t next);

/* Runs fn over n < 2^32 rows of weights that are shared among nodes as tr_topo_first says, and
 * there evenly: each worker begins with consecutive rows of its own. */
void tr_pool_run_rows(struct tr_pool *pool, tr_pool_rows_fn *fn, void *ctx, size_t n, size_t grain);

/* Every worker w calls fn once, with the range [w, w + 1). */
void tr_pool_each(struct tr_pool *pool, tr_pool_fn *fn, void *ctx);

#endif
