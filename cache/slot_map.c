/*
 * slot_map.c - pages for slots: transparent huge pages asked for, bound to a NUMA node.
 *
 * A kernel that refuses huge pages or the binding (containers often forbid mbind) is not an error:
 * the pages are as good, only slower.
 */
#include "base/mem.h"
#include "cache/slot_mem.h"

#include <numa.h>
#include <numaif.h>
#include <sys/mman.h>

#define NODES_PER_WORD (8 * sizeof(unsigned long))
#define NODE_WORDS     16 /* 1024 nodes, the limit of Linux on x86-64 */

int tr_slot_check_node(int numa_node, struct tr_err *err)
{
	if (numa_node < 0)
		return 0;
	if (numa_available() < 0)
		return tr_err_set(
			err, TR_E_UNSUPPORTED, "NUMA node %d: this system has no NUMA", numa_node);
	if (numa_node > numa_max_node() ||
		!numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)numa_node))
		return tr_err_set(err, TR_E_INVALID,
			"NUMA node %d: nodes with memory that may be used go up to %d", numa_node,
			numa_max_node());
	return 0;
}

static void bind_to_node(void *p, size_t bytes, int numa_node)
{
	unsigned long mask[NODE_WORDS] = { 0 };
	unsigned node = (unsigned)numa_node;

	if (node >= NODE_WORDS * NODES_PER_WORD)
		return;
	mask[node / NODES_PER_WORD] = 1ul << node % NODES_PER_WORD;
	mbind(p, bytes, MPOL_BIND, mask, NODE_WORDS * NODES_PER_WORD, 0);
}

void *tr_slot_map(size_t bytes, size_t align, int numa_node)
{
	uint64_t whole;
	uint8_t *p, *start;

	if (!tr_add_u64(bytes, align, &whole))
		return NULL;
	p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (p == MAP_FAILED)
		return NULL;
	start = (uint8_t *)TR_ALIGN_UP((uintptr_t)p, align);
	if (start > p)
		munmap(p, (size_t)(start - p));
	munmap(start + bytes, (size_t)(p + whole - (start + bytes)));
	madvise(start, bytes, MADV_HUGEPAGE);
	if (numa_node >= 0)
		bind_to_node(start, bytes, numa_node);
	return start;
}

void tr_slot_unmap(void *p, size_t bytes)
{
	munmap(p, bytes);
}
