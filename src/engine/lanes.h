/*
 * lanes.h - compute an expert where it lies, or fetch it to the device and compute it there? Pure.
 *
 * Two lanes work at the same time: the CPU computes what lies below VRAM, the device what lies there and what
 * is fetched, one after the other. A layer ends when the later of both does, so an expert is worth fetching
 * if that makes the later end earlier. Costs are linear: an expert has its bytes read once and its values
 * multiplied for each of its tokens.
 */
#ifndef TR_ENGINE_LANES_H
#define TR_ENGINE_LANES_H

#include "tierra.h"

/* Seconds a byte of weights: for one token, and for each further one. */
struct tr_lane_cost {
	double first, more;
};

struct tr_lane_costs {
	struct tr_lane_cost cpu[TR_MAX_TIER]; /* all workers, by the tier of a handle */
	struct tr_lane_cost device;
	double link;	/* seconds a byte, from memory to the device */
	double start_s; /* of a list on the device */
};

struct tr_lane_unit {
	uint64_t bytes;
	uint32_t n;	/* tokens that use it */
	uint32_t tier;	/* that serves it, unless on_device */
	bool on_device;
	bool can_fetch; /* its bytes are there now */
	bool fetch;	/* the answer */
};

struct tr_lane_ends {
	double cpu_s, device_s; /* when the lanes are done */
};

/* Fetches at most max_fetch of units[n], each time the one that lets the layer end earliest, as long as it ends
 * earlier by that. */
struct tr_lane_ends tr_lanes_decide(const struct tr_lane_costs *costs, struct tr_lane_unit *units, size_t n,
	uint32_t max_fetch);

/* The fewest tokens from which on an expert by itself is done earlier on the device than in its tier; 0:
 * never. */
uint64_t tr_lanes_break_even(const struct tr_lane_costs *costs, uint64_t bytes, uint32_t tier);

#endif
