#include "node_pages.h"
#include "base/mem.h"
#include "base/node_mem.h"

#include <stdio.h>

#define N_ROW	  1000u
#define ROW_BYTES 4500u
#define BYTES	  (N_ROW * ROW_BYTES)

static int policy_at(void *p)
{
	int mode = -1;

	assert_int_equal(get_mempolicy(&mode, NULL, 0, p, MPOL_F_ADDR), 0);
	return mode;
}

static unsigned n_mapping(const void *p, size_t bytes)
{
	uintptr_t begin = (uintptr_t)p, end = begin + bytes;
	unsigned long from, to;
	char line[512];
	unsigned n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, "%lx-%lx", &from, &to) == 2 && from < end && to > begin;
	fclose(f);
	return n;
}

static void rows_come_from_the_nodes_that_compute_them(void **state)
{
	struct tr_topo t = bound_nodes(0);
	uint8_t *p = tr_pages_alloc(BYTES + 100);

	(void)state;
	tr_node_place_rows(&t, p + 100, N_ROW, ROW_BYTES);
	assert_int_equal(policy_at(p + PAGE), MPOL_PREFERRED);
	memset(p, 1, BYTES + 100);
	assert_int_equal(check_rows(&t, p + 100, N_ROW, ROW_BYTES, 0), BYTES / PAGE);
	tr_pages_free(p, BYTES + 100);
}

static void interleaved_pages_come_from_all_nodes_alike(void **state)
{
	struct tr_topo t = bound_nodes(0);
	size_t bytes = 64u << 20, n[TR_MAX_NODE];
	uint8_t *p = tr_pages_alloc(bytes);

	(void)state;
	tr_node_interleave(&t, p, bytes);
	assert_int_equal(policy_at(p), MPOL_INTERLEAVE);
	memset(p, 1, bytes);
	count_pages(&t, p, bytes, n);
	for (unsigned k = 0; k < t.n_node; k++)
		assert_true(n[k] + 1024 >= bytes / PAGE / t.n_node); /* give or take a huge page */
	tr_pages_free(p, bytes);
}

static void settled_pages_stay_and_are_one_mapping(void **state)
{
	struct tr_topo t = bound_nodes(0);
	size_t n = 20, stride = BYTES + 3 * PAGE - BYTES % PAGE;
	uint8_t *p = tr_pages_alloc(n * stride);

	(void)state;
	tr_node_prepare(&t, p, n * stride);
	for (size_t i = 0; i < n; i++)
		tr_node_place_rows(&t, p + i * stride + 700, N_ROW, ROW_BYTES);
	assert_true(n_mapping(p, n * stride) >= (t.n_node > 1 ? n * t.n_node : 1));
	tr_node_settle(&t, p, n * stride);
	assert_int_equal(n_mapping(p, n * stride), 1);
	for (size_t i = 0; i < n; i++)
		assert_true(check_rows(&t, p + i * stride + 700, N_ROW, ROW_BYTES, 0) >=
			BYTES / PAGE - 1);
	tr_pages_free(p, n * stride);
}

static void nothing_is_placed_without_binding(void **state)
{
	struct tr_topo all, t;
	uint8_t *p = tr_pages_alloc(BYTES);

	(void)state;
	bound_nodes(0); /* or skip */
	tr_topo_read(&all);
	assert_int_equal(tr_topo_pick(&t, &all, "fake:2", 0, NULL), 0);
	tr_node_interleave(&t, p, BYTES);
	tr_node_place_rows(&t, p, N_ROW, ROW_BYTES);
	tr_node_settle(&t, p, BYTES);
	assert_int_equal(policy_at(p), MPOL_DEFAULT);
	assert_int_equal(policy_at(p + BYTES / 2), MPOL_DEFAULT);
	assert_int_equal(tr_node_of_path(&t, "/"), -1);
	tr_pages_free(p, BYTES);
}

static void a_path_without_a_disk_has_no_node(void **state)
{
	struct tr_topo t = bound_nodes(0);

	(void)state;
	assert_int_equal(tr_node_of_path(&t, "/proc"), -1);
	assert_int_equal(tr_node_of_path(&t, "/does not exist"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_come_from_the_nodes_that_compute_them),
		cmocka_unit_test(interleaved_pages_come_from_all_nodes_alike),
		cmocka_unit_test(settled_pages_stay_and_are_one_mapping),
		cmocka_unit_test(nothing_is_placed_without_binding),
		cmocka_unit_test(a_path_without_a_disk_has_no_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
