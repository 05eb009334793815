#include "test.h"
#include "base/pool.h"

#include <stdatomic.h>

struct tally {
	atomic_uint seen[1000];
	unsigned n_worker;
};

static void count(void *ctx, unsigned worker, size_t begin, size_t end)
{
	struct tally *t = ctx;

	assert_true(worker < t->n_worker);
	for (; begin < end; begin++)
		atomic_fetch_add(&t->seen[begin], 1);
}

static void run_with(unsigned n_thread, unsigned spin_us)
{
	struct tr_pool_cfg cfg = { .n_thread = n_thread, .spin_us = spin_us, .pin = true };
	struct tally t = { .n_worker = n_thread };
	struct tr_pool *pool;
	struct tr_err err;

	assert_int_equal(tr_pool_new(&pool, &cfg, &err), 0);
	assert_int_equal(tr_pool_size(pool), n_thread);
	for (unsigned round = 0; round < 200; round++)
		tr_pool_run(pool, count, &t, 1000, 1 + round % 70);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(atomic_load(&t.seen[i]), 200);
	tr_pool_free(pool);
}

static void every_index_runs_once_per_loop(void **state)
{
	(void)state;
	run_with(1, 0);
	run_with(2, 50);
	run_with(5, 50);
}

static void sleeping_workers_wake_for_the_next_loop(void **state)
{
	(void)state;
	run_with(3, 0);
}

static void each_worker_is_called_once(void **state)
{
	struct tr_pool_cfg cfg = { .n_thread = 4, .spin_us = 20 };
	struct tally t = { .n_worker = 4 };
	struct tr_pool *pool;

	(void)state;
	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	for (unsigned round = 0; round < 300; round++)
		tr_pool_each(pool, count, &t);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(atomic_load(&t.seen[i]), i < 4 ? 300 : 0);
	tr_pool_free(pool);
}

struct owned {
	const struct tr_topo *topo;
	size_t n;
	atomic_uint own[TR_MAX_NODE]; /* rows that a worker of their own node ran */
	atomic_uint seen;
};

static unsigned row_node(const struct owned *o, size_t row)
{
	unsigned k = 0;

	while (row >= tr_topo_first(o->topo, k + 1, o->n))
		k++;
	return k;
}

static void own_rows(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	struct owned *o = ctx;
	unsigned node = row_node(o, begin);

	assert_int_equal(row_node(o, end - 1), node);
	assert_true(next == o->n || (next >= end && row_node(o, next) == node));
	if (tr_topo_node_of(o->topo, worker) == node)
		atomic_fetch_add(&o->own[node], end - begin);
	atomic_fetch_add(&o->seen, end - begin);
}

static struct tr_pool *two_nodes(unsigned n_thread, struct owned *o, size_t n)
{
	struct tr_pool_cfg cfg = { .spin_us = 20 };
	struct tr_pool *pool;
	struct tr_topo all;

	tr_topo_read(&all);
	assert_int_equal(tr_topo_pick(&cfg.topo, &all, "fake:2", n_thread, NULL), 0);
	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	assert_int_equal(tr_pool_size(pool), n_thread);
	*o = (struct owned){ .topo = tr_pool_topo(pool), .n = n };
	return pool;
}

static void rows_run_once_in_ranges_within_a_node(void **state)
{
	struct owned o;
	struct tr_pool *pool = two_nodes(3, &o, 1000);

	(void)state;
	for (unsigned round = 0; round < 200; round++)
		tr_pool_run_rows(pool, own_rows, &o, 1000, 1 + round % 70);
	assert_int_equal(atomic_load(&o.seen), 200 * 1000);
	tr_pool_run_rows(pool, own_rows, &o, 0, 1);
	assert_int_equal(atomic_load(&o.seen), 200 * 1000);
	tr_pool_free(pool);
}

/* Worker 0, of node 0, waits in its first row until node 1 has finished all its own. */
static void wait_for_node_1(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	struct owned *o = ctx;

	own_rows(ctx, worker, begin, end, next);
	assert_true(worker == 0 || begin >= 50 || atomic_load(&o->own[1]) == 50);
	while (worker == 0 && atomic_load(&o->own[1]) < 50)
		sched_yield();
}

static void a_worker_takes_its_own_rows_first_then_those_of_others(void **state)
{
	struct owned o;
	struct tr_pool *pool = two_nodes(2, &o, 100);

	(void)state;
	tr_pool_run_rows(pool, wait_for_node_1, &o, 100, 1);
	assert_int_equal(atomic_load(&o.seen), 100);
	assert_int_equal(atomic_load(&o.own[1]), 50);
	tr_pool_free(pool);
}

/* Worker 0 waits in its first row until all others have run. */
static void wait_for_all(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	struct owned *o = ctx;

	own_rows(ctx, worker, begin, end, next);
	while (worker == 0 && atomic_load(&o->seen) < 100)
		sched_yield();
}

/* What a worker was told it takes next. */
struct told {
	size_t n, next[3];
	atomic_size_t kept, broken;
};

static void keep_word(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	struct told *t = ctx;

	(void)end;
	if (t->next[worker] < t->n)
		atomic_fetch_add(begin == t->next[worker] ? &t->kept : &t->broken, 1);
	t->next[worker] = next;
}

static void a_worker_takes_consecutive_rows_and_knows_which(void **state)
{
	struct tr_pool_cfg cfg = { .n_thread = 3, .spin_us = 20 };
	struct told told = { .n = 1000, .next = { 1000, 1000, 1000 } };
	struct tr_pool *pool;

	(void)state;
	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	tr_pool_run_rows(pool, keep_word, &told, 1000, 10);
	for (unsigned w = 0; w < 3; w++)
		assert_int_equal(told.next[w], 1000);
	/* Only a row that someone else took meanwhile is announced in vain, once a worker. */
	assert_true(atomic_load(&told.broken) <= 3);
	assert_true(atomic_load(&told.kept) > 0);
	tr_pool_free(pool);
}

static void rows_of_a_node_that_stands_still_are_run_by_others(void **state)
{
	struct owned o;
	struct tr_pool *pool = two_nodes(2, &o, 100);

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		atomic_store(&o.seen, 0);
		tr_pool_run_rows(pool, wait_for_all, &o, 100, 1);
		assert_int_equal(atomic_load(&o.seen), 100);
	}
	tr_pool_free(pool);
}

static void a_bound_span_moves_the_caller_to_its_node_and_back(void **state)
{
	struct tr_pool_cfg cfg = { .pin = true };
	cpu_set_t before, during, after;
	struct tr_pool *pool;
	struct tr_topo all;

	(void)state;
	tr_topo_read(&all);
	assert_int_equal(tr_topo_pick(&cfg.topo, &all, "off", 1, NULL), 0);
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	for (int cpu = 0; CPU_COUNT(&cfg.topo.node[0].cpus) > 1; cpu++)
		CPU_CLR(cpu, &cfg.topo.node[0].cpus);
	cfg.topo.bind = true;
	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	tr_pool_begin(pool);
	assert_int_equal(sched_getaffinity(0, sizeof(during), &during), 0);
	tr_pool_end(pool);
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_true(CPU_EQUAL(&during, &cfg.topo.node[0].cpus));
	assert_true(CPU_EQUAL(&after, &before));
	tr_pool_free(pool);
}

static void note_processor(void *ctx, unsigned worker, size_t begin, size_t end)
{
	int *cpu = ctx;

	(void)begin;
	(void)end;
	cpu[worker] = sched_getcpu();
}

static void workers_run_on_their_nodes(void **state)
{
	struct tr_pool_cfg cfg = { .pin = true };
	struct tr_pool *pool;
	struct tr_topo all;
	int cpu[16];

	(void)state;
	tr_topo_read(&all);
	if (all.node[0].id < 0)
		skip();
	assert_int_equal(tr_topo_pick(&cfg.topo, &all, all.n_node > 1 ? "auto" : "0", 16, NULL), 0);
	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	tr_pool_begin(pool);
	tr_pool_each(pool, note_processor, cpu);
	tr_pool_end(pool);
	for (unsigned w = 0; w < 16; w++)
		assert_true(CPU_ISSET(cpu[w],
			&cfg.topo.node[tr_topo_node_of(&cfg.topo, w)].cpus));
	tr_pool_free(pool);
}

static void empty_loop_returns(void **state)
{
	struct tr_pool_cfg cfg = { .n_thread = 2 };
	struct tr_pool *pool;

	(void)state;
	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	tr_pool_run(pool, count, NULL, 0, 1);
	tr_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_index_runs_once_per_loop),
		cmocka_unit_test(sleeping_workers_wake_for_the_next_loop),
		cmocka_unit_test(each_worker_is_called_once),
		cmocka_unit_test(rows_run_once_in_ranges_within_a_node),
		cmocka_unit_test(a_worker_takes_its_own_rows_first_then_those_of_others),
		cmocka_unit_test(a_worker_takes_consecutive_rows_and_knows_which),
		cmocka_unit_test(rows_of_a_node_that_stands_still_are_run_by_others),
		cmocka_unit_test(a_bound_span_moves_the_caller_to_its_node_and_back),
		cmocka_unit_test(workers_run_on_their_nodes),
		cmocka_unit_test(empty_loop_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
