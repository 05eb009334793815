/* slot_plain.c - regions straight from the kernel; what sanitizer builds use. */
#include "base/mem.h"
#include "cache/slot_mem.h"

#include <stdlib.h>

struct region {
	struct region *next;
	void *p;
	size_t bytes;
};

struct tr_slot_mem {
	struct region *regions;
	int numa_node;
};

int tr_slot_mem_open(struct tr_slot_mem **mem, int numa_node, struct tr_err *err)
{
	int rc = tr_slot_check_node(numa_node, err);

	if (rc)
		return rc;
	*mem = tr_calloc(1, sizeof(**mem));
	if (!*mem)
		return tr_err_set(err, TR_E_NOMEM, "slots: no memory");
	(*mem)->numa_node = numa_node;
	return 0;
}

void tr_slot_mem_close(struct tr_slot_mem *mem)
{
	struct region *r, *next;

	if (!mem)
		return;
	for (r = mem->regions; r; r = next) {
		next = r->next;
		tr_slot_unmap(r->p, r->bytes);
		free(r);
	}
	free(mem);
}

void *tr_slot_mem_alloc(struct tr_slot_mem *mem, size_t bytes, size_t align)
{
	struct region *r = tr_calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->bytes = bytes;
	r->p = tr_slot_map(bytes, align, mem->numa_node);
	if (!r->p) {
		free(r);
		return NULL;
	}
	r->next = mem->regions;
	mem->regions = r;
	return r->p;
}
