#include "model/name_set.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct tr_name_slot {
	uint64_t hash;
	const char *name; /* NULL: empty */
};

bool tr_name_set_init(struct tr_name_set *set, size_t n)
{
	size_t n_slot = 16;

	while (n_slot / 2 < n)
		n_slot *= 2;
	set->mask = n_slot - 1;
	set->slots = tr_calloc(n_slot, sizeof(*set->slots));
	return set->slots != NULL;
}

void tr_name_set_fini(struct tr_name_set *set)
{
	free(set->slots);
	set->slots = NULL;
}

bool tr_name_set_add(struct tr_name_set *set, const char *name)
{
	uint64_t hash = XXH3_64bits(name, strlen(name));
	size_t i = (size_t)hash & set->mask;

	for (; set->slots[i].name; i = (i + 1) & set->mask)
		if (set->slots[i].hash == hash && !strcmp(set->slots[i].name, name))
			return false;
	set->slots[i] = (struct tr_name_slot){ hash, name };
	return true;
}
