/*
 * name_set.h - which of many names was seen before: open addressing over XXH3.
 *
 * The names stay with the caller and must outlive the set. Sized once for the number of names that
 * will come; a file that repeats one of a million names is found out without comparing all pairs.
 */
#ifndef TR_MODEL_NAME_SET_H
#define TR_MODEL_NAME_SET_H

#include <stdbool.h>
#include <stddef.h>

struct tr_name_slot;

struct tr_name_set {
	struct tr_name_slot *slots;
	size_t mask;
};

/* False when out of memory. Room for n names. */
bool tr_name_set_init(struct tr_name_set *set, size_t n);
void tr_name_set_fini(struct tr_name_set *set);

/* Adds name; false when it was there, and the set is unchanged. */
bool tr_name_set_add(struct tr_name_set *set, const char *name);

#endif
