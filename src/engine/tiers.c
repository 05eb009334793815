/*
 * tiers.c - all tiers of an engine in one list: DRAM, each persistent memory, VRAM, the file.
 *
 * The cache knows all but VRAM, and the index of a tier in a handle is that in its list. VRAM comes before
 * the file, which so stays the last, and changes no other index.
 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

static void describe_vram(const struct tr_engine *e, struct tr_stats *out)
{
	const char *policy = e->setup.policies.spec[TR_POLICY_VRAM];
	struct tr_tier_stats *t = &out->tier[out->n_tier - 1];
	struct tr_vram_tier_stats s;
	struct tr_guests_stats g;

	tr_vram_tier_stats(e->vram, &s);
	t[1] = t[0];
	out->n_tier++;
	*t = (struct tr_tier_stats){ .name = "vram",
		.capacity_bytes = s.capacity_bytes,
		.used_bytes = s.counts.used_bytes,
		.hits = s.counts.hits,
		.misses = s.counts.misses,
		.bytes = s.counts.bytes };
	snprintf(t->policy, sizeof(t->policy), "%.*s", (int)sizeof(t->policy) - 1,
		policy ? policy : TR_DEFAULT_POLICY);
	out->vram = (struct tr_vram_stats){ s.warm_units, s.warm_bytes, s.counts.copied_units,
		s.counts.copied_bytes, s.late, s.counts.evictions, 0, 0, { 0 } };
	if (!e->device.guests)
		return;
	tr_guests_stats(e->device.guests, &g);
	out->vram.fetched_units = g.n_fetched;
	out->vram.fetched_bytes = g.fetched_bytes;
	out->vram.fetch = g.costs;
}

void tr_engine_tiers(const struct tr_engine *e, struct tr_stats *out)
{
	out->n_tier = 0;
	if (!e->cache)
		return;
	tr_cache_stats(e->cache, out);
	if (e->vram)
		describe_vram(e, out);
}
