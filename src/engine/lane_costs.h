/*
 * lane_costs.h - what computing and fetching an expert costs, by the figures of a machine
 * (--machine). Pure.
 *
 * A machine file need not have all of them; what it lacks is measured as a run begins (guests.h).
 */
#ifndef TR_ENGINE_LANE_COSTS_H
#define TR_ENGINE_LANE_COSTS_H

#include "engine/lanes.h"
#include "model/catalog.h"

enum {
	TR_LANE_HAS_LINK = 1,	     /* link */
	TR_LANE_HAS_DEVICE = 2,	     /* device.first */
	TR_LANE_HAS_DEVICE_MORE = 4, /* device.more */
	TR_LANE_HAS_CPU = 8,	     /* cpu[].first */
	TR_LANE_HAS_CPU_MORE = 16,   /* cpu[].more */
	TR_LANE_HAS_ALL = 31,
};

/* For experts of the layer. Returns what the machine has; nothing else of costs is changed. */
unsigned tr_lane_costs_of(
	struct tr_lane_costs *costs, const struct tr_machine *m, const struct tr_moe_layer *layer);

/* has: which costs are there; given: which of these are the machine's. bytes: of an expert in DRAM.
 */
struct tr_fetch_costs tr_lane_costs_tell(
	const struct tr_lane_costs *costs, unsigned has, unsigned given, uint64_t bytes);

#endif
