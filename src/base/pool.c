/*
 * pool.c - the parallel loop.
 *
 * A loop is published by raising `epoch`; workers see it by spinning for spin_us, then by sleeping
 * on `wake`. Each takes ranges until there are none, then lowers `running`. The caller works too
 * and then waits for `running` to reach zero. `mutex` only guards sleeping.
 */
#include "base/pool.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/share.h"
#include "base/sync.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__x86_64__) || defined(__i386__)
#define cpu_relax() __builtin_ia32_pause()
#else
#define cpu_relax() atomic_signal_fence(memory_order_seq_cst)
#endif

struct worker {
	struct tr_pool *pool;
	unsigned idx;
	unsigned node;
	pthread_t thread;
};

struct tr_pool {
	unsigned n_thread;
	struct tr_topo topo;
	uint64_t spin_ns;
	struct worker *workers; /* written before the threads start */
	cpu_set_t caller_cpus;	/* of the thread between begin and end */
	bool caller_bound;

	/* The loop: written by the caller before epoch rises. */
	tr_pool_fn *fn;
	tr_pool_rows_fn *rows_fn; /* instead of fn, or NULL */
	void *ctx;
	size_t n;
	void (*between)(void *ctx);
	void *between_ctx;
	uint64_t between_ns; /* when it was called last */
	size_t grain;	     /* 0: every worker calls fn once */

	struct tr_share *share;			    /* [n_thread] of a loop over rows */
	_Alignas(TR_CACHE_LINE) atomic_size_t next; /* of the others */
	_Alignas(TR_CACHE_LINE) atomic_uint running;
	_Alignas(TR_CACHE_LINE) atomic_uint epoch;
	atomic_bool stop;
	struct tr_mutex mutex;
	pthread_cond_t wake;
};

unsigned tr_pool_size(const struct tr_pool *pool)
{
	return pool->n_thread;
}

const struct tr_topo *tr_pool_topo(const struct tr_pool *pool)
{
	return &pool->topo;
}

void tr_pool_between(struct tr_pool *pool, void (*fn)(void *ctx), void *ctx)
{
	pool->between = fn;
	pool->between_ctx = ctx;
}

void tr_pool_pause(struct tr_pool *pool)
{
	uint64_t now;

	if (!pool->between)
		return;
	now = tr_now_ns(&tr_clock_real);
	if (now - pool->between_ns < TR_POOL_BETWEEN_NS)
		return;
	pool->between_ns = now;
	pool->between(pool->between_ctx);
}

static void run_rows(struct tr_pool *pool, unsigned idx, struct tr_range r, size_t next)
{
	pool->rows_fn(pool->ctx, idx, r.begin, r.end, next);
	if (!idx)
		tr_pool_pause(pool);
}

/* Takes rows from the parts of the others, of the same node or of another. */
static void help(struct tr_pool *pool, unsigned idx, bool same_node)
{
	struct tr_range r;

	for (unsigned i = 1; i < pool->n_thread; i++) {
		unsigned other = (idx + i) % pool->n_thread;

		if ((pool->workers[other].node == pool->workers[idx].node) != same_node)
			continue;
		while (tr_share_steal(&pool->share[other], pool->grain, &r))
			run_rows(pool, idx, r, pool->n);
	}
}

static void take_rows(struct tr_pool *pool, unsigned idx)
{
	struct tr_share *own = &pool->share[idx];
	struct tr_range r, left;

	while (tr_share_take(own, pool->grain, &r)) {
		left = tr_share_left(own);
		run_rows(pool, idx, r, left.begin < left.end ? left.begin : pool->n);
	}
	help(pool, idx, true);
	help(pool, idx, false);
}

static void take_ranges(struct tr_pool *pool, unsigned idx)
{
	size_t begin;

	if (pool->rows_fn) {
		take_rows(pool, idx);
		return;
	}
	if (!pool->grain) {
		pool->fn(pool->ctx, idx, idx, idx + 1);
		return;
	}
	while ((begin = atomic_fetch_add_explicit(&pool->next, pool->grain, memory_order_relaxed)) <
		pool->n) {
		pool->fn(pool->ctx, idx, begin, TR_MIN(begin + pool->grain, pool->n));
		if (!idx)
			tr_pool_pause(pool);
	}
}

/* Returns the epoch after `seen`: spins first, then sleeps. */
static unsigned await_epoch(struct tr_pool *pool, unsigned seen)
{
	uint64_t until = tr_now_ns(&tr_clock_real) + pool->spin_ns;
	unsigned epoch, i;

	do {
		for (i = 0; i < 64; i++) {
			epoch = atomic_load_explicit(&pool->epoch, memory_order_acquire);
			if (epoch != seen)
				return epoch;
			cpu_relax();
		}
	} while (tr_now_ns(&tr_clock_real) < until);
	tr_mutex_lock(&pool->mutex);
	while ((epoch = atomic_load_explicit(&pool->epoch, memory_order_acquire)) == seen)
		tr_mutex_wait(&pool->mutex, &pool->wake);
	tr_mutex_unlock(&pool->mutex);
	return epoch;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct tr_pool *pool = w->pool;
	unsigned seen = 0;

	for (;;) {
		seen = await_epoch(pool, seen);
		if (atomic_load_explicit(&pool->stop, memory_order_relaxed))
			return NULL;
		take_ranges(pool, w->idx);
		atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
	}
}

static void publish(struct tr_pool *pool)
{
	tr_mutex_lock(&pool->mutex);
	atomic_fetch_add_explicit(&pool->epoch, 1, memory_order_release);
	pthread_cond_broadcast(&pool->wake);
	tr_mutex_unlock(&pool->mutex);
}

/* Publishes the loop, takes part, waits for the others. */
static void run_loop(struct tr_pool *pool, void *ctx, size_t n, size_t grain)
{
	unsigned i;

	pool->ctx = ctx;
	pool->n = n;
	pool->grain = grain;
	atomic_store_explicit(&pool->running, pool->n_thread - 1, memory_order_relaxed);
	if (pool->n_thread > 1)
		publish(pool);
	take_ranges(pool, 0);
	/* A worker that has lost its processor to someone else must get it back: yield at times. */
	for (i = 1; atomic_load_explicit(&pool->running, memory_order_acquire); i++) {
		if (i % 4096)
			cpu_relax();
		else
			sched_yield();
	}
}

void tr_pool_run(struct tr_pool *pool, tr_pool_fn *fn, void *ctx, size_t n, size_t grain)
{
	grain = TR_MAX(grain, (size_t)1);
	if (n == 0)
		return;
	if (n <= grain) {
		fn(ctx, 0, 0, n);
		return;
	}
	pool->fn = fn;
	atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
	run_loop(pool, ctx, n, grain);
}

/* Shares the rows of each node among its workers. */
static void fill_shares(struct tr_pool *pool, size_t n, size_t grain)
{
	const struct tr_topo *t = &pool->topo;

	for (unsigned w = 0; w < pool->n_thread; w++) {
		unsigned k = pool->workers[w].node;
		struct tr_range r =
			tr_share_part(tr_topo_first(t, k, n), tr_topo_first(t, k + 1, n), grain,
				w - t->node[k].first_worker, t->node[k].n_worker);

		tr_share_set(&pool->share[w], r.begin, r.end);
	}
}

void tr_pool_run_rows(struct tr_pool *pool, tr_pool_rows_fn *fn, void *ctx, size_t n, size_t grain)
{
	grain = TR_MAX(grain, (size_t)1);
	tr_assert(n <= UINT32_MAX);
	if (n == 0)
		return;
	if (pool->topo.n_node == 1 && n <= grain) {
		fn(ctx, 0, 0, n, n);
		return;
	}
	fill_shares(pool, n, grain);
	pool->rows_fn = fn;
	run_loop(pool, ctx, n, grain);
	pool->rows_fn = NULL;
}

void tr_pool_each(struct tr_pool *pool, tr_pool_fn *fn, void *ctx)
{
	if (pool->n_thread == 1) {
		fn(ctx, 0, 0, 1);
		return;
	}
	pool->fn = fn;
	run_loop(pool, ctx, 0, 0);
}

void tr_pool_begin(struct tr_pool *pool)
{
	pool->caller_bound = pool->topo.bind &&
		!sched_getaffinity(0, sizeof(pool->caller_cpus), &pool->caller_cpus) &&
		!sched_setaffinity(0, sizeof(cpu_set_t), &pool->topo.node[0].cpus);
}

void tr_pool_end(struct tr_pool *pool)
{
	if (pool->caller_bound)
		sched_setaffinity(0, sizeof(pool->caller_cpus), &pool->caller_cpus);
	pool->caller_bound = false;
}

/* Binds a worker to one processor of its node. */
static void pin_worker(const struct worker *w)
{
	const struct tr_node *node = &w->pool->topo.node[w->node];
	unsigned n_cpu = (unsigned)TR_MAX(CPU_COUNT(&node->cpus), 1);
	unsigned left = (w->idx - node->first_worker) % n_cpu;
	cpu_set_t one;
	int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &node->cpus) && left-- == 0)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	pthread_setaffinity_np(w->thread, sizeof(one), &one);
}

static int pool_topo(struct tr_topo *topo, const struct tr_pool_cfg *cfg, struct tr_err *err)
{
	struct tr_topo all;

	*topo = cfg->topo;
	if (topo->n_node)
		return 0;
	tr_topo_read(&all);
	return tr_topo_pick(topo, &all, "off", cfg->n_thread, err);
}

int tr_pool_new(struct tr_pool **out, const struct tr_pool_cfg *cfg, struct tr_err *err)
{
	struct tr_pool *pool = tr_calloc(1, sizeof(*pool));
	unsigned n;
	int rc;

	if (!pool)
		return tr_err_set(err, TR_E_NOMEM, "thread pool: out of memory");
	rc = pool_topo(&pool->topo, cfg, err);
	if (rc) {
		free(pool);
		return rc;
	}
	n = pool->topo.n_worker;
	pool->workers = tr_calloc(n, sizeof(*pool->workers));
	pool->share = tr_alloc(n, sizeof(*pool->share));
	if (!pool->workers || !pool->share) {
		free(pool->workers);
		free(pool->share);
		free(pool);
		return tr_err_set(err, TR_E_NOMEM, "thread pool: out of memory");
	}
	pool->spin_ns = (uint64_t)cfg->spin_us * 1000;
	pool->n_thread = 1;
	tr_mutex_init(&pool->mutex, TR_RANK_POOL);
	pthread_cond_init(&pool->wake, NULL);
	for (; pool->n_thread < n; pool->n_thread++) {
		struct worker *w = &pool->workers[pool->n_thread];

		w->pool = pool;
		w->idx = pool->n_thread;
		w->node = tr_topo_node_of(&pool->topo, w->idx);
		rc = pthread_create(&w->thread, NULL, worker_main, w);
		if (rc) {
			n = pool->n_thread;
			tr_pool_free(pool);
			return tr_err_sys(err, rc, "thread pool: cannot start thread %u", n);
		}
		if (cfg->pin)
			pin_worker(w);
	}
	*out = pool;
	return 0;
}

void tr_pool_free(struct tr_pool *pool)
{
	unsigned i;

	if (!pool)
		return;
	atomic_store_explicit(&pool->stop, true, memory_order_relaxed);
	publish(pool);
	for (i = 1; i < pool->n_thread; i++)
		pthread_join(pool->workers[i].thread, NULL);
	pthread_cond_destroy(&pool->wake);
	tr_mutex_fini(&pool->mutex);
	free(pool->workers);
	free(pool->share);
	free(pool);
}
