#include "test.h"
#include "base/topo.h"

static struct tr_node node(int id, int first_cpu, int n_cpu)
{
	struct tr_node n = { .id = id };

	for (int i = 0; i < n_cpu; i++)
		CPU_SET(first_cpu + i, &n.cpus);
	return n;
}

/* Two sockets of four processors and a third node of one. */
static struct tr_topo machine(unsigned n_node)
{
	struct tr_topo t = { .n_node = n_node };

	t.node[0] = node(0, 0, 4);
	t.node[1] = node(1, 4, 4);
	t.node[2] = node(5, 8, 1);
	return t;
}

static struct tr_topo pick(unsigned n_node, const char *spec, unsigned n_worker)
{
	struct tr_topo all = machine(n_node), t;
	struct tr_err err;

	if (tr_topo_pick(&t, &all, spec, n_worker, &err))
		fail_msg("%s", err.msg);
	return t;
}

static void auto_takes_all_nodes_when_there_are_two(void **state)
{
	struct tr_topo t = pick(2, NULL, 0);

	(void)state;
	assert_int_equal(t.n_node, 2);
	assert_true(t.bind);
	assert_int_equal(t.n_worker, 8);
	assert_int_equal(t.node[1].id, 1);
	assert_int_equal(t.node[1].first_worker, 4);
	assert_int_equal(pick(3, "auto", 9).n_node, 3);
}

static void auto_splits_nothing_on_one_node_or_for_too_few_threads(void **state)
{
	struct tr_topo one = pick(1, "auto", 0), few = pick(2, "auto", 1);

	(void)state;
	assert_int_equal(one.n_node, 1);
	assert_false(one.bind);
	assert_int_equal(one.n_worker, 4);
	assert_int_equal(few.n_node, 1);
	assert_int_equal(few.n_worker, 1);
	assert_int_equal(CPU_COUNT(&few.node[0].cpus), 8);
}

static void off_is_one_node_of_all_processors(void **state)
{
	struct tr_topo t = pick(3, "off", 0);

	(void)state;
	assert_int_equal(t.n_node, 1);
	assert_false(t.bind);
	assert_int_equal(t.node[0].id, -1);
	assert_int_equal(t.n_worker, 9);
}

static void listed_nodes_are_taken_in_order(void **state)
{
	struct tr_topo one = pick(3, "1", 0), two = pick(3, "5,0", 0), range = pick(3, "0-1,5", 0);

	(void)state;
	assert_int_equal(one.n_node, 1);
	assert_true(one.bind);
	assert_int_equal(one.n_worker, 4);
	assert_true(CPU_ISSET(7, &one.node[0].cpus));
	assert_int_equal(two.n_node, 2);
	assert_int_equal(two.node[0].id, 5);
	assert_int_equal(two.node[0].n_worker, 1);
	assert_int_equal(two.node[1].n_worker, 4);
	assert_int_equal(range.n_node, 3);
}

static void bad_nodes_are_named(void **state)
{
	static const struct {
		const char *spec, *says;
		unsigned n_worker;
	} bad[] = {
		{ "7", "node 7", 0 }, { "0,0", "twice", 0 }, { "0,", "'0,'", 0 },
		{ "x", "'x'", 0 }, { "1-0", "'1-0'", 0 }, { "", "''", 0 }, { "0 1", "'0 1'", 0 },
		{ "fake:0", "fake:0", 0 }, { "fake:9", "8", 0 }, { "fake:", "fake:", 0 },
		{ "0,1", "2 nodes", 1 }, { "99999999999999999999", "node", 0 },
	};
	struct tr_topo all = machine(2), t;
	struct tr_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(tr_topo_pick(&t, &all, bad[i].spec, bad[i].n_worker, &err),
			TR_E_INVALID);
		assert_err_has(&err, bad[i].says);
	}
}

static void workers_are_in_proportion_to_processors_and_one_at_least(void **state)
{
	struct tr_topo t;

	(void)state;
	for (unsigned n = 3; n < 40; n++) {
		unsigned sum = 0;

		t = pick(3, "0,1,5", n);
		for (unsigned k = 0; k < 3; k++) {
			assert_int_equal(t.node[k].first_worker, sum);
			assert_true(t.node[k].n_worker >= 1);
			sum += t.node[k].n_worker;
		}
		assert_int_equal(sum, n);
		assert_int_equal(t.n_worker, n);
	}
	t = pick(3, "0,1,5", 18);
	assert_int_equal(t.node[0].n_worker, 8);
	assert_int_equal(t.node[1].n_worker, 8);
	assert_int_equal(t.node[2].n_worker, 2);
}

static void rows_are_in_proportion_to_workers_and_belong_to_one_node(void **state)
{
	struct tr_topo t = pick(3, NULL, 9);

	(void)state;
	for (uint64_t n = 0; n < 100; n++) {
		assert_int_equal(tr_topo_first(&t, 0, n), 0);
		assert_int_equal(tr_topo_first(&t, 3, n), n);
		for (unsigned k = 0; k < 3; k++)
			assert_true(tr_topo_first(&t, k, n) <= tr_topo_first(&t, k + 1, n));
	}
	assert_int_equal(tr_topo_first(&t, 1, 900), 400);
	assert_int_equal(tr_topo_first(&t, 2, 900), 800);
	for (unsigned w = 0; w < 9; w++)
		assert_int_equal(tr_topo_node_of(&t, w), w / 4);
}

static void faked_nodes_share_processors_and_bind_nothing(void **state)
{
	struct tr_topo t = pick(1, "fake:3", 5);

	(void)state;
	assert_int_equal(t.n_node, 3);
	assert_false(t.bind);
	assert_int_equal(t.n_worker, 5);
	assert_int_equal(CPU_COUNT(&t.node[2].cpus), 4);
	assert_int_equal(pick(1, "fake:8", 0).n_worker, 8);
}

static void this_machine_has_its_processors_on_nodes(void **state)
{
	struct tr_topo t;
	cpu_set_t allowed, seen, both;

	(void)state;
	tr_topo_read(&t);
	assert_in_range(t.n_node, 1, TR_MAX_NODE);
	assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	CPU_ZERO(&seen);
	for (unsigned k = 0; k < t.n_node; k++) {
		assert_true(CPU_COUNT(&t.node[k].cpus) > 0);
		CPU_AND(&both, &seen, &t.node[k].cpus);
		assert_int_equal(CPU_COUNT(&both), 0);
		CPU_OR(&seen, &seen, &t.node[k].cpus);
	}
	assert_true(CPU_EQUAL(&seen, &allowed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(auto_takes_all_nodes_when_there_are_two),
		cmocka_unit_test(auto_splits_nothing_on_one_node_or_for_too_few_threads),
		cmocka_unit_test(off_is_one_node_of_all_processors),
		cmocka_unit_test(listed_nodes_are_taken_in_order),
		cmocka_unit_test(bad_nodes_are_named),
		cmocka_unit_test(workers_are_in_proportion_to_processors_and_one_at_least),
		cmocka_unit_test(rows_are_in_proportion_to_workers_and_belong_to_one_node),
		cmocka_unit_test(faked_nodes_share_processors_and_bind_nothing),
		cmocka_unit_test(this_machine_has_its_processors_on_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
