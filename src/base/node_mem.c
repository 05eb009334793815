/*
 * node_mem.c - placing by mbind.
 *
 * A part is preferred, not bound, to its node: the out-of-memory killer strikes when a bound node is
 * full, though others may have room.
 */
#include "base/node_mem.h"
#include "base/mem.h"

#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NODES_PER_WORD (8 * sizeof(unsigned long))
#define NODE_WORDS     16 /* 1024 nodes, the limit of Linux on x86-64 */

struct node_set {
	unsigned long word[NODE_WORDS];
};

static void add_node(struct node_set *set, int id)
{
	if (id >= 0 && (size_t)id < NODE_WORDS * NODES_PER_WORD)
		set->word[(size_t)id / NODES_PER_WORD] |= 1ul << (size_t)id % NODES_PER_WORD;
}

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static void set_policy(const void *p, size_t bytes, int mode, const struct node_set *set)
{
	uintptr_t begin = TR_ALIGN_UP((uintptr_t)p, page_bytes());
	uintptr_t end = TR_ALIGN_UP((uintptr_t)p + bytes, page_bytes());

	if (begin < end)
		mbind((void *)begin, end - begin, mode, set->word, NODE_WORDS * NODES_PER_WORD, 0);
}

void tr_node_interleave(const struct tr_topo *topo, void *p, size_t bytes)
{
	struct node_set set = { { 0 } };
	unsigned k;

	if (!topo->bind)
		return;
	for (k = 0; k < topo->n_node; k++)
		add_node(&set, topo->node[k].id);
	set_policy(p, bytes, MPOL_INTERLEAVE, &set);
}

void tr_node_place_rows(const struct tr_topo *topo, const void *p, uint64_t n_row,
	uint64_t row_bytes)
{
	unsigned k;

	for (k = 0; topo->bind && k < topo->n_node; k++) {
		uint64_t begin = tr_topo_first(topo, k, n_row) * row_bytes;
		uint64_t end = tr_topo_first(topo, k + 1, n_row) * row_bytes;
		struct node_set set = { { 0 } };

		add_node(&set, topo->node[k].id);
		set_policy((const uint8_t *)p + begin, end - begin, MPOL_PREFERRED, &set);
	}
}

static void touch(void *p, size_t bytes)
{
	volatile uint8_t *byte = p;
	size_t at;

	if (tr_pages_touch(p, bytes))
		return;
	for (at = 0; at < bytes; at += page_bytes())
		byte[at] = 0;
}

/* Mappings that got their first page apart can never be joined, those cut after it can. That page must
 * not be a huge one, which would be placed as a whole. */
void tr_node_prepare(const struct tr_topo *topo, void *p, size_t bytes)
{
	struct node_set set = { { 0 } };

	if (!topo->bind)
		return;
	add_node(&set, topo->node[0].id);
	set_policy(p, bytes, MPOL_PREFERRED, &set);
	madvise(p, bytes, MADV_NOHUGEPAGE);
	touch(p, page_bytes());
	madvise(p, bytes, MADV_HUGEPAGE);
}

void tr_node_settle(const struct tr_topo *topo, void *p, size_t bytes)
{
	if (!topo->bind)
		return;
	touch(p, bytes);
	tr_node_interleave(topo, p, bytes);
}

/* A disk says its node in device/numa_node, a partition's is one level up. */
static int node_of_disk(dev_t dev)
{
	static const char *const place[] = { "device", "../device" };
	int id = -1;
	char path[96];
	size_t i;
	FILE *f;

	for (i = 0; i < TR_ARRAY_LEN(place) && id < 0; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/numa_node", major(dev),
			minor(dev), place[i]);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%d", &id) != 1)
			id = -1;
		fclose(f);
	}
	return id;
}

int tr_node_of_path(const struct tr_topo *topo, const char *path)
{
	struct stat st;
	unsigned k, best = 0;
	int id;

	if (!topo->bind || stat(path, &st))
		return -1;
	id = node_of_disk(st.st_dev);
	if (id < 0)
		return -1;
	for (k = 1; k < topo->n_node; k++)
		if (numa_distance(id, topo->node[k].id) < numa_distance(id, topo->node[best].id))
			best = k;
	return (int)best;
}
