/*
 * topo.h - the NUMA nodes that threads and memory are spread over, and who computes which rows.
 *
 * Node k of n computes the rows from tr_topo_first(k) to tr_topo_first(k + 1) of every matrix, in
 * proportion to its workers; that is also where their bytes are placed (node_mem.h). With one node
 * nothing is split. The description is plain data: a test makes its own. Nodes beyond TR_MAX_NODE join
 * the nearest.
 */
#ifndef TR_BASE_TOPO_H
#define TR_BASE_TOPO_H

#include "base/err.h"

#include <sched.h>

struct tr_node {
	int id;		       /* of the system; -1: none in particular */
	cpu_set_t cpus;	       /* that this process may use */
	unsigned first_worker; /* workers first_worker .. + n_worker belong here */
	unsigned n_worker;
};

struct tr_topo {
	unsigned n_node; /* at least 1 */
	unsigned n_worker;
	bool bind; /* threads and memory are bound to the nodes; false: as the system likes */
	struct tr_node node[TR_MAX_NODE];
};

/* The nodes with memory that this process may use, each with the processors it may use; those of
 * nodes without memory go to the nearest that has some. No workers yet. */
void tr_topo_read(struct tr_topo *topo);

/*
 * Chooses nodes of `all` and gives them n_worker workers (0: one per processor), in proportion to
 * their processors and at least one each.
 *
 *	auto, NULL  all nodes when there are two or more and a worker for each; else as off
 *	off         one node without binding
 *	0,2-3       these, each with memory, processors and a worker
 *	fake:N      N nodes that share all processors, without binding: the row split for tests
 */
int tr_topo_pick(struct tr_topo *topo, const struct tr_topo *all, const char *spec,
	unsigned n_worker, struct tr_err *err);

/* First of n rows that node k computes; n for k = n_node. */
uint64_t tr_topo_first(const struct tr_topo *topo, unsigned k, uint64_t n);

unsigned tr_topo_node_of(const struct tr_topo *topo, unsigned worker);

#endif
