/*
 * pool.h - a fixed team of pinned threads that runs one parallel loop at a time.
 *
 * The caller is worker 0. Ranges are handed out dynamically, so a loop body must not depend on
 * which worker runs it or in what order: every output element is computed whole by one call.
 */
#ifndef TR_BASE_POOL_H
#define TR_BASE_POOL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct tr_pool;

struct tr_pool_cfg {
	unsigned n_thread; /* workers, the caller included; 0: one per processor allowed */
	bool pin;	   /* bind worker i to the i-th allowed processor */
	unsigned spin_us;  /* how long an idle worker spins before it sleeps */
};

/* Work on [begin, end) of the loop. worker < tr_pool_size. Must not call tr_pool_run. */
typedef void tr_pool_fn(void *ctx, unsigned worker, size_t begin, size_t end);

int tr_pool_new(struct tr_pool **pool, const struct tr_pool_cfg *cfg, struct tr_err *err);
void tr_pool_free(struct tr_pool *pool);
unsigned tr_pool_size(const struct tr_pool *pool);

/* Runs fn over [0, n) in ranges of at most grain; returns when all are done. One caller at a
 * time. */
void tr_pool_run(struct tr_pool *pool, tr_pool_fn *fn, void *ctx, size_t n, size_t grain);

/* Every worker w calls fn once, with the range [w, w + 1). */
void tr_pool_each(struct tr_pool *pool, tr_pool_fn *fn, void *ctx);

/* Processors this process may run on. */
unsigned tr_pool_default_size(void);

#endif
