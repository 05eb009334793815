/*
 * expert_stats.h - counts what every expert does, as the forward pass goes along.
 *
 * Told of each layer three times: what the router chose, what the cache had of it, and how long the
 * experts took. All counters are flat arrays by unit; there is no lock, since one call at a time
 * runs an engine. src/engine/usage.c makes sums of the counters.
 */
#ifndef TR_ENGINE_EXPERT_STATS_H
#define TR_ENGINE_EXPERT_STATS_H

#include "engine/route_log.h"

/* Weights that were multiplied while decoding, by tier as in a handle. */
struct tr_lane_time {
	uint64_t bytes;
	uint64_t busy_ns; /* with at least one expert of the tier in work */
};

struct tr_expert_counter {
	const struct tr_catalog *catalog;
	struct tr_expert_stats *stats; /* tier[] but for the names is filled in by who asks */
	uint64_t *last_use;	       /* [n_unit] decoded token that used it, from 1; 0: none */
	uint64_t *n_token;	       /* [n_moe_layer] decoded tokens that were routed */
	struct tr_lane_time lane[TR_MAX_TIER];
	uint64_t served[TR_MAX_TIER]; /* uses by decoding: stats->hits of all units */
	struct tr_route_log log;
	size_t file_tier, vram_tier; /* indices into stats->tier; vram_tier n_tier: there is none */
};

/* tier_names: as many as tr_tier_stats has. in_place: see route_log.h. */
int tr_expert_counter_new(struct tr_expert_counter **counter, const struct tr_expert_stats *shape,
	const struct tr_catalog *catalog, bool in_place, struct tr_err *err);
void tr_expert_counter_free(struct tr_expert_counter *counter);

/* ids, weights [n_tok][n_used]. scan: in a prefill. */
void tr_expert_counter_routed(struct tr_expert_counter *c, uint32_t moe_layer,
	const uint32_t *ids, const float *weights, size_t n_tok, bool scan);
/* The handles of the layer's set, ascending, as tr_cache_acquire left them. */
void tr_expert_counter_acquired(struct tr_expert_counter *c, uint32_t moe_layer,
	const struct tr_handle *handles, size_t n, bool scan);
/* A unit of the set that VRAM serves, and the cache was not asked for. */
void tr_expert_counter_in_vram(struct tr_expert_counter *c, uint32_t unit, bool scan);
/* Experts handles[ready[0..n)] were multiplied in so many ns, for one token. */
void tr_expert_counter_computed(struct tr_expert_counter *c, const struct tr_handle *handles,
	const uint32_t *ready, size_t n, uint64_t ns);

/* The same of so many bytes of experts in VRAM. */
void tr_expert_counter_vram_computed(struct tr_expert_counter *c, uint64_t bytes, uint64_t ns);

/* --- usage.c ---------------------------------------------------------------------------------- */

/* One expert was used by decoded token number token (from 1), last by last (0: never). */
void tr_usage_note(struct tr_expert_layer *layer, uint64_t token, uint64_t last);

/* A copy. */
int tr_usage_copy(struct tr_expert_stats **out, const struct tr_expert_stats *from,
	struct tr_err *err);

#endif
