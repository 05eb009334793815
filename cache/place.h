/*
 * place.h - which tier each unit has as its home. Pure: no I/O, no allocation but the result.
 *
 * A home is where a unit is found when it is not in a cache above: a persistent memory with room, or
 * the model file.
 */
#ifndef TR_CACHE_PLACE_H
#define TR_CACHE_PLACE_H

#include "model/catalog.h"

#define TR_HOME_FILE UINT32_MAX

struct tr_place_tier {
	uint64_t cap_bytes;
	uint64_t extent_align; /* each unit's extent is rounded up to this */
};

/* home[n_unit]: index of the persistent memory, or TR_HOME_FILE. Units go expert by expert across
 * all layers, so that every layer has the same share of the fast tiers; tiers are filled in
 * proportion to their size. */
int tr_place_plan(uint32_t *home, const struct tr_catalog *catalog,
	const struct tr_place_tier *tiers, size_t n_tier, struct tr_err *err);

#endif
