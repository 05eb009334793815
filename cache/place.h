/*
 * place.h - which tier each unit has as its home. Pure: no I/O, no allocation but the result.
 *
 * A home is where a unit is found when it is not in a cache above: a persistent memory with room, or
 * the model file.
 *
 * Two questions. How many units of a layer each tier holds is a matter of room: every layer gets the
 * same share of every tier. Which ones is a matter of use: with an activation profile they are dealt so
 * that the lane that is busy the longest (DRAM cache, each persistent memory, the file) ends as early as
 * can be.
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

struct tr_place_tier {
	uint64_t cap_bytes;
	uint64_t extent_align; /* each unit's extent is rounded up to this */
	struct tr_tier_speed speed; /* not used without a profile */
};

/* home[n_unit]: index of the persistent memory, or TR_HOME_FILE. Units go expert by expert across
 * all layers, so that every layer has the same share of the fast tiers; tiers are filled in
 * proportion to their size. */
int tr_place_plan(uint32_t *home, const struct tr_catalog *catalog,
	const struct tr_place_tier *tiers, size_t n_tier, struct tr_err *err);

struct tr_place_use {
	const float *rate; /* [n_unit] expected uses a token */
	uint64_t n_dram;   /* units that the DRAM cache keeps */
	const struct tr_place_tier *tiers; /* of the plan */
	size_t n_tier;
	struct tr_tier_speed dram, file;
};

/* cost[n_unit]: what a use costs more at the unit's home than in DRAM, relative to the largest unit of
 * the model file. Not for each byte, since a slot of the cache is a slot whatever lies in it. */
void tr_place_miss_cost(float *cost, const struct tr_catalog *catalog, const uint32_t *home,
	const struct tr_place_use *use);

/*
 * Deals the homes of a plan anew within each layer; each tier keeps its number of units there, so no tier
 * outgrows its room. Of those in the model file the DRAM cache is expected to keep its share, evenly over
 * the layers. Uses of equal rate leave the plan as it is, and no layer becomes slower than it was.
 *
 * The file gets no more than what has no room elsewhere, though its lane could take part: the sum of
 * its expected times would be short, but each single use makes its token wait for the disk.
 */
int tr_place_by_use(uint32_t *home, const struct tr_catalog *catalog, const struct tr_place_use *use,
	struct tr_err *err);

/* Expected time of the slowest lane of MoE layer `layer` under homes, with the most used of those in the
 * file in DRAM. For tests and reports. */
double tr_place_finish(const uint32_t *home, const struct tr_catalog *catalog,
	const struct tr_place_use *use, size_t layer);

#endif
