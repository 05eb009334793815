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

/* What a tier gives to a reader of whole experts. */
struct tr_tier_speed {
	double bytes_per_s;
	double latency_s; /* before the first byte of a unit */
};

/* Until they are measured: Xeon Gold 6246 with six channels of DDR4-2666 and six modules of Optane 100,
 * twelve threads, and an NVMe drive of PCIe 3.0. Its latency is what 256 KiB reads one at a time take
 * (1.06 GB/s) beyond their transfer. */
#define TR_SPEED_DRAM ((struct tr_tier_speed){ 92e9, 102e-9 })
#define TR_SPEED_PMEM ((struct tr_tier_speed){ 28.8e9, 305e-9 })
#define TR_SPEED_NVME ((struct tr_tier_speed){ 3.5e9, 170e-6 })

/* Time that a use of so many bytes takes in the tier. */
static inline double tr_speed_time(const struct tr_tier_speed *s, uint64_t bytes)
{
	return s->latency_s + (double)bytes / s->bytes_per_s;
}

/* cost[n_unit]: what a use costs more at the unit's home than in DRAM, relative to the largest unit of
 * the model file. Not for each byte, since a slot of the cache is a slot whatever lies in it. */
void tr_place_miss_cost(float *cost, const struct tr_catalog *catalog, const uint32_t *home,
	const struct tr_tier_speed *dram, const struct tr_tier_speed *pmem,
	const struct tr_tier_speed *file);

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
