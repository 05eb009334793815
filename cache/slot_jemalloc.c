/*
 * slot_jemalloc.c - regions from a jemalloc arena of their own.
 *
 * The arena is made with extent hooks that map pages with tr_slot_map, so whatever the arena hands
 * out is huge-page-advised and on the right node, and jemalloc's own statistics show the slots
 * apart from the heap. Nothing is freed one by one; destroying the arena unmaps everything.
 */
#include "base/mem.h"
#include "cache/slot_mem.h"

#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tr_slot_mem {
	extent_hooks_t hooks; /* first: hooks are given a pointer to it */
	int numa_node;
	unsigned arena;
};

static void *hook_alloc(extent_hooks_t *hooks, void *new_addr, size_t size, size_t alignment,
	bool *zero, bool *commit, unsigned arena)
{
	struct tr_slot_mem *mem = (struct tr_slot_mem *)hooks;
	void *p;

	(void)arena;
	if (new_addr)
		return NULL;
	p = tr_slot_map(size, TR_MAX(alignment, (size_t)4096), mem->numa_node);
	if (p)
		*zero = *commit = true;
	return p;
}

static bool hook_dalloc(
	extent_hooks_t *hooks, void *addr, size_t size, bool committed, unsigned arena)
{
	(void)hooks;
	(void)committed;
	(void)arena;
	tr_slot_unmap(addr, size);
	return false;
}

static void hook_destroy(
	extent_hooks_t *hooks, void *addr, size_t size, bool committed, unsigned arena)
{
	hook_dalloc(hooks, addr, size, committed, arena);
}

/* Mappings may be cut and joined anywhere: they are unmapped by range. */
static bool hook_split(extent_hooks_t *hooks, void *addr, size_t size, size_t size_a, size_t size_b,
	bool committed, unsigned arena)
{
	(void)hooks;
	(void)addr;
	(void)size;
	(void)size_a;
	(void)size_b;
	(void)committed;
	(void)arena;
	return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *addr_a, size_t size_a, void *addr_b,
	size_t size_b, bool committed, unsigned arena)
{
	(void)hooks;
	(void)addr_a;
	(void)size_a;
	(void)addr_b;
	(void)size_b;
	(void)committed;
	(void)arena;
	return false;
}

int tr_slot_mem_open(struct tr_slot_mem **out, int numa_node, struct tr_err *err)
{
	size_t arena_bytes = sizeof(unsigned);
	extent_hooks_t *hooks;
	struct tr_slot_mem *mem;
	int rc = tr_slot_check_node(numa_node, err);

	if (rc)
		return rc;
	mem = tr_calloc(1, sizeof(*mem));
	if (!mem)
		return tr_err_set(err, TR_E_NOMEM, "slots: no memory");
	mem->numa_node = numa_node;
	mem->hooks.alloc = hook_alloc;
	mem->hooks.dalloc = hook_dalloc;
	mem->hooks.destroy = hook_destroy;
	mem->hooks.split = hook_split;
	mem->hooks.merge = hook_merge;
	hooks = &mem->hooks;
	rc = mallctl("arenas.create", &mem->arena, &arena_bytes, &hooks, sizeof(hooks));
	if (rc) {
		free(mem);
		return tr_err_sys(err, rc, "slots: jemalloc arenas.create");
	}
	*out = mem;
	return 0;
}

void tr_slot_mem_close(struct tr_slot_mem *mem)
{
	char name[64];

	if (!mem)
		return;
	snprintf(name, sizeof(name), "arena.%u.destroy", mem->arena);
	if (!mallctl(name, NULL, NULL, NULL, 0))
		free(mem);
}

void *tr_slot_mem_alloc(struct tr_slot_mem *mem, size_t bytes, size_t align)
{
	return mallocx(
		bytes, MALLOCX_ARENA(mem->arena) | MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(align));
}
