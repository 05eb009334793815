/*
 * node_mem.h - which NUMA node the pages of a range come from.
 *
 * All of it is a wish: where the kernel forbids it (containers often do) or a node has no page left,
 * pages come from elsewhere; they are as good, only slower. A topology that is not bound places
 * nothing. Ranges are cut into whole base pages; a page belongs to whoever has its first byte.
 */
#ifndef TR_BASE_NODE_MEM_H
#define TR_BASE_NODE_MEM_H

#include "base/topo.h"

/* Pages that are untouched yet will come from the nodes in turn. */
void tr_node_interleave(const struct tr_topo *topo, void *p, size_t bytes);

/* Those of a matrix will come from the nodes that compute its rows. */
void tr_node_place_rows(const struct tr_topo *topo, const void *p, uint64_t n_row,
	uint64_t row_bytes);

/* Placing cuts a mapping into many, of which the kernel allows 65,530. Between these two calls, for a
 * range that begins with a row of node 0, the cuts do not last: settle touches the pages, so that they
 * come now, and makes one mapping of the range again. Others may use the range meanwhile where
 * tr_pages_touch works. */
void tr_node_prepare(const struct tr_topo *topo, void *p, size_t bytes);
void tr_node_settle(const struct tr_topo *topo, void *p, size_t bytes);

/* Index of the node that the disk behind a path is attached to, or the nearest to it; -1: not known,
 * or nothing is bound. */
int tr_node_of_path(const struct tr_topo *topo, const char *path);

#endif
