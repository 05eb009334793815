/* laps.c - one stretch, told twice. */
#include "engine/laps.h"
#include "engine/live.h"
#include "engine/timeline.h"

static const enum tr_lane lane_of[TR_N_SPAN_KIND] = {
	[TR_SPAN_ATTENTION] = TR_LANE_ATTENTION,
	[TR_SPAN_DENSE] = TR_LANE_ALWAYS,
	[TR_SPAN_ROUTER] = TR_LANE_ALWAYS,
	[TR_SPAN_LOOKUP] = TR_LANE_CACHE,
	[TR_SPAN_PREDICT] = TR_LANE_AHEAD,
	[TR_SPAN_SHARED] = TR_LANE_ALWAYS,
	[TR_SPAN_EXPERTS] = TR_LANE_DRAM,
	[TR_SPAN_WAIT] = TR_LANE_WAIT,
	[TR_SPAN_COMBINE] = TR_LANE_ALWAYS,
	[TR_SPAN_HEAD] = TR_LANE_ALWAYS,
	[TR_SPAN_COPY] = TR_LANE_CACHE,
	[TR_SPAN_OTHER] = TR_LANE_ALWAYS,
	[TR_SPAN_DEVICE_IDS] = TR_LANE_DEVICE,
	[TR_SPAN_DEVICE_OUTPUTS] = TR_LANE_DEVICE,
};

bool tr_laps_open(const struct tr_laps *l)
{
	return l && (l->live || tr_timeline_is_open(l->timeline));
}

void tr_laps_end_at(
	const struct tr_laps *l, uint64_t now_ns, enum tr_span_kind kind, uint32_t layer)
{
	if (l->timeline)
		tr_timeline_lap(l->timeline, now_ns, kind, layer);
	tr_live_lap(l->live, now_ns, lane_of[kind]);
}

void tr_laps_experts_at(
	const struct tr_laps *l, uint64_t now_ns, uint32_t layer, const struct tr_lap_experts *e)
{
	if (l->timeline)
		tr_timeline_experts(l->timeline, now_ns, layer, e->n, e->n_read);
	tr_live_split(l->live, now_ns, e->bytes);
}

uint64_t tr_laps_now(const struct tr_laps *l)
{
	return l && tr_timeline_is_open(l->timeline) ? tr_timeline_now(l->timeline) : 0;
}

void tr_laps_beside(const struct tr_laps *l, enum tr_span_kind kind, uint32_t layer, uint32_t n,
	uint64_t begin_ns, uint64_t end_ns)
{
	if (l && tr_timeline_is_open(l->timeline))
		tr_timeline_device(l->timeline, kind, layer, n, begin_ns, end_ns);
}
