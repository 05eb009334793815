/*
 * slot_mem.h - where the memory of slots comes from.
 *
 * Two makers of the same calls, one of which is built: slot_jemalloc.c takes regions from an arena
 * whose extents come from tr_slot_map, slot_plain.c takes them from tr_slot_map itself.
 */
#ifndef TR_CACHE_SLOT_MEM_H
#define TR_CACHE_SLOT_MEM_H

#include "base/err.h"

struct tr_slot_mem;

/* numa_node -1: any. */
int tr_slot_mem_open(struct tr_slot_mem **mem, int numa_node, struct tr_err *err);
/* Gives back all regions. */
void tr_slot_mem_close(struct tr_slot_mem *mem);

/* A region of untouched memory, aligned to align (a power of two, a page at least). NULL when there
 * is none. Stays until close. */
void *tr_slot_mem_alloc(struct tr_slot_mem *mem, size_t bytes, size_t align);

/* Fresh pages, huge ones asked for, bound to a NUMA node. NULL when out of memory. */
void *tr_slot_map(size_t bytes, size_t align, int numa_node);
void tr_slot_unmap(void *p, size_t bytes);

/* Refuses a node that this machine does not have. */
int tr_slot_check_node(int numa_node, struct tr_err *err);

#endif
