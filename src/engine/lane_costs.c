/* lane_costs.c - sums over the parts of an expert; see lane_costs.h. */
#include "engine/lane_costs.h"
#include "cache/place.h"
#include "model/quant.h"

#include <stdio.h>

static uint64_t unit_bytes(const struct tr_moe_layer *l)
{
	uint64_t bytes = 0;

	for (int p = 0; p < TR_N_PART; p++)
		bytes += l->rows[p] * l->row_bytes[p];
	return bytes;
}

/* The first tier of a kind; -1: none. */
static int tier_of(const struct tr_machine *m, enum tr_machine_kind kind)
{
	for (size_t i = 0; i < m->n_tier; i++)
		if (m->tier[i].kind == kind)
			return (int)i;
	return -1;
}

static double read_rate(const struct tr_machine *m, int tier)
{
	double best = 0;

	for (size_t i = 0; tier >= 0 && i < m->tier[tier].n_point; i++)
		if (m->tier[tier].point[i].bytes_per_s.mid > best)
			best = m->tier[tier].point[i].bytes_per_s.mid;
	return best;
}

/* Seconds a byte of one token, and of each further one; 0: a kernel of a part was not measured. */
static struct tr_lane_cost cost_of(
	const struct tr_machine *m, int tier, const struct tr_moe_layer *l)
{
	struct tr_lane_cost c = { 0, 0 };
	bool has_first = tier >= 0, has_more = tier >= 0;

	for (int p = 0; p < TR_N_PART && tier >= 0; p++) {
		const struct tr_machine_kernel *k = tr_machine_kernel_of(
			m, (size_t)tier, l->quant[p]->name, (uint32_t)l->cols[p]);

		has_first = has_first && k && k->bytes_per_s.mid > 0;
		has_more = has_more && k && k->macs_per_s.mid > 0;
		if (has_first)
			c.first += (double)(l->rows[p] * l->row_bytes[p]) / k->bytes_per_s.mid;
		if (has_more)
			c.more += (double)(l->rows[p] * l->cols[p]) / k->macs_per_s.mid;
	}
	c.first = has_first ? c.first / (double)unit_bytes(l) : 0;
	c.more = has_more ? c.more / (double)unit_bytes(l) : 0;
	return c;
}

/* Persistent memory as measured, else as much slower than DRAM as it reads, or as usual. */
static struct tr_lane_cost pmem_cost(
	const struct tr_machine *m, struct tr_lane_cost dram, const struct tr_moe_layer *l)
{
	int tier = tier_of(m, TR_MACHINE_PMEM);
	struct tr_lane_cost c = cost_of(m, tier, l);
	double slower = TR_SPEED_DRAM.bytes_per_s / TR_SPEED_PMEM.bytes_per_s;

	if (tier >= 0 && read_rate(m, tier) > 0 && read_rate(m, tier_of(m, TR_MACHINE_DRAM)) > 0)
		slower = read_rate(m, tier_of(m, TR_MACHINE_DRAM)) / read_rate(m, tier);
	return (struct tr_lane_cost){ c.first > 0 ? c.first : dram.first * slower,
		c.more > 0 ? c.more : dram.more };
}

static unsigned cpu_costs(
	struct tr_lane_costs *costs, const struct tr_machine *m, const struct tr_moe_layer *l)
{
	struct tr_lane_cost dram = cost_of(m, tier_of(m, TR_MACHINE_DRAM), l);
	struct tr_lane_cost pmem = pmem_cost(m, dram, l);

	for (size_t t = 0; t < TR_MAX_TIER; t++) {
		if (dram.first > 0)
			costs->cpu[t].first = t ? pmem.first : dram.first;
		if (dram.more > 0)
			costs->cpu[t].more = t ? pmem.more : dram.more;
	}
	return (dram.first > 0 ? TR_LANE_HAS_CPU : 0) | (dram.more > 0 ? TR_LANE_HAS_CPU_MORE : 0);
}

/* One token reads the weights: where the type was not measured, by plain reading. */
static unsigned device_costs(
	struct tr_lane_costs *costs, const struct tr_machine *m, const struct tr_moe_layer *l)
{
	int tier = tier_of(m, TR_MACHINE_VRAM);
	struct tr_lane_cost c = cost_of(m, tier, l);

	if (!(c.first > 0) && read_rate(m, tier) > 0)
		c.first = 1 / read_rate(m, tier);
	if (c.first > 0)
		costs->device.first = c.first;
	if (c.more > 0)
		costs->device.more = c.more;
	return (c.first > 0 ? TR_LANE_HAS_DEVICE : 0) | (c.more > 0 ? TR_LANE_HAS_DEVICE_MORE : 0);
}

unsigned tr_lane_costs_of(
	struct tr_lane_costs *costs, const struct tr_machine *m, const struct tr_moe_layer *l)
{
	unsigned has = cpu_costs(costs, m, l) | device_costs(costs, m, l);

	if (m->link_bytes_per_s > 0) {
		costs->link = 1 / m->link_bytes_per_s;
		has |= TR_LANE_HAS_LINK;
	}
	return has;
}

static double rate_of(double s_per_byte, bool known)
{
	return known && s_per_byte > 0 ? 1 / s_per_byte : 0;
}

struct tr_fetch_costs tr_lane_costs_tell(
	const struct tr_lane_costs *c, unsigned has, unsigned given, uint64_t bytes)
{
	struct tr_fetch_costs f = { .known = has == TR_LANE_HAS_ALL,
		.link_bytes_per_s = rate_of(c->link, has & TR_LANE_HAS_LINK),
		.device_bytes_per_s = rate_of(c->device.first, has & TR_LANE_HAS_DEVICE),
		.cpu_bytes_per_s = rate_of(c->cpu[0].first, has & TR_LANE_HAS_CPU) };

	if (f.known)
		f.pays_from = tr_lanes_break_even(c, bytes, 0);
	snprintf(f.source, sizeof(f.source), "%s",
		given == has ? (has ? "machine" : "")
		: given	     ? "both"
			     : "measured");
	return f;
}
