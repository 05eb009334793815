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
		cmocka_unit_test(empty_loop_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
