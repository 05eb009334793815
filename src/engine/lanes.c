/* lanes.c - greedy: the best single fetch, until none helps. */
#include "engine/lanes.h"
#include "base/mem.h"

#include <math.h>

static double time_of(const struct tr_lane_cost *c, const struct tr_lane_unit *u)
{
	return (double)u->bytes * (c->first + (u->n - 1) * c->more);
}

static double in_place(const struct tr_lane_costs *c, const struct tr_lane_unit *u)
{
	return time_of(&c->cpu[u->tier], u);
}

static double by_device(const struct tr_lane_costs *c, const struct tr_lane_unit *u)
{
	return time_of(&c->device, u) + (u->on_device ? 0 : (double)u->bytes * c->link);
}

static struct tr_lane_ends as_they_lie(const struct tr_lane_costs *c, const struct tr_lane_unit *units,
	size_t n)
{
	struct tr_lane_ends e = { 0, 0 };

	for (size_t i = 0; i < n; i++)
		if (units[i].on_device)
			e.device_s += by_device(c, &units[i]) + (e.device_s > 0 ? 0 : c->start_s);
		else
			e.cpu_s += in_place(c, &units[i]);
	return e;
}

static struct tr_lane_ends with(const struct tr_lane_costs *c, struct tr_lane_ends e,
	const struct tr_lane_unit *u)
{
	e.device_s += by_device(c, u) + (e.device_s > 0 ? 0 : c->start_s);
	e.cpu_s = fmax(e.cpu_s - in_place(c, u), 0);
	return e;
}

static double later(struct tr_lane_ends e)
{
	return fmax(e.cpu_s, e.device_s);
}

struct tr_lane_ends tr_lanes_decide(const struct tr_lane_costs *c, struct tr_lane_unit *units, size_t n,
	uint32_t max_fetch)
{
	struct tr_lane_ends e = as_they_lie(c, units, n), best_e = e;

	for (size_t i = 0; i < n; i++)
		units[i].fetch = false;
	while (max_fetch--) {
		struct tr_lane_unit *best = NULL;

		for (size_t i = 0; i < n; i++) {
			struct tr_lane_ends to = with(c, e, &units[i]);

			if (units[i].on_device || !units[i].can_fetch || units[i].fetch ||
				later(to) >= later(best_e))
				continue;
			best = &units[i];
			best_e = to;
		}
		if (!best)
			break;
		best->fetch = true;
		e = best_e;
	}
	return e;
}

uint64_t tr_lanes_break_even(const struct tr_lane_costs *c, uint64_t bytes, uint32_t tier)
{
	const struct tr_lane_cost *cpu = &c->cpu[tier];
	double behind = c->link + c->device.first - cpu->first + c->start_s / (double)TR_MAX(bytes, 1u);
	double gain = cpu->more - c->device.more;

	if (behind < 0)
		return 1;
	if (!(gain > 0) || behind / gain > 1e9)
		return 0;
	return 2 + (uint64_t)(behind / gain);
}
