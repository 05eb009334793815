/* node_pages.h - on which NUMA node a page lies, for tests of placing. On a machine with one node
 * these show little; tests/vm runs them with two. */
#ifndef TR_TESTS_NODE_PAGES_H
#define TR_TESTS_NODE_PAGES_H

#include "test.h"
#include "base/topo.h"

#include <numaif.h>

#define PAGE 4096u

/* All nodes, bound. Skips the test where the system has none or does not tell. */
static inline struct tr_topo bound_nodes(unsigned n_worker)
{
	static uint8_t touched[2 * PAGE];
	void *page = touched;
	int status = -1;
	struct tr_topo all, t;
	struct tr_err err;

	tr_topo_read(&all);
	touched[0] = 1;
	if (all.node[0].id < 0 || move_pages(0, 1, &page, NULL, &status, 0) || status < 0)
		skip();
	if (tr_topo_pick(&t, &all, all.n_node > 1 ? "auto" : "0", n_worker, &err))
		fail_msg("%s", err.msg);
	assert_true(t.bind);
	return t;
}

/* The node of a page that was touched. */
static inline int node_of_page(const void *p)
{
	void *page = (void *)((uintptr_t)p & ~(uintptr_t)(PAGE - 1));
	int status = -1;

	assert_int_equal(move_pages(0, 1, &page, NULL, &status, 0), 0);
	return status;
}

/* The node that computes the row with this byte. */
static inline int node_of_byte(const struct tr_topo *t, uint64_t n_row, uint64_t row_bytes,
	uint64_t byte)
{
	unsigned k = 0;

	while (byte >= tr_topo_first(t, k + 1, n_row) * row_bytes)
		k++;
	return t->node[k].id;
}

/* Every page that begins in a matrix lies where its first byte's row is computed, but for those
 * within slack bytes of a cut. Returns how many pages were looked at. */
static inline size_t check_rows(const struct tr_topo *t, const void *p, uint64_t n_row,
	uint64_t row_bytes, uint64_t slack)
{
	uint64_t at = -(uintptr_t)p & (PAGE - 1), bytes = n_row * row_bytes;
	size_t n = 0;

	for (; at < bytes; at += PAGE) {
		int node = node_of_byte(t, n_row, row_bytes, at);

		if (node != node_of_byte(t, n_row, row_bytes, at > slack ? at - slack : 0) ||
			node != node_of_byte(t, n_row, row_bytes,
					at + slack < bytes ? at + slack : bytes - 1))
			continue;
		assert_int_equal(node_of_page((const uint8_t *)p + at), node);
		n++;
	}
	return n;
}

/* Pages of a range on each node of the topology. */
static inline void count_pages(const struct tr_topo *t, const void *p, size_t bytes,
	size_t n[TR_MAX_NODE])
{
	memset(n, 0, TR_MAX_NODE * sizeof(*n));
	for (size_t at = 0; at < bytes; at += PAGE)
		for (unsigned k = 0; k < t->n_node; k++)
			n[k] += node_of_page((const uint8_t *)p + at) == t->node[k].id;
}

#endif
