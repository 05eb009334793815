/*
 * guests.h - experts fetched to the device for one layer of a prefill, where that pays.
 *
 * A batch uses an expert for many tokens, so the time to copy it can be less than what the device is faster
 * by. Which ones pay is decided by costs (lanes.h) that a machine file has or that are measured, for each layer and batch anew. A guest is
 * acquired from the cache like any other expert of the set and held until the device is done with it; its
 * slot is used again by the next layer. Decoding fetches nothing: one token reads an expert once, and
 * the link is slower than memory.
 *
 * For the thread that runs the engine.
 */
#ifndef TR_ENGINE_GUESTS_H
#define TR_ENGINE_GUESTS_H

#include "compute/ops.h"
#include "engine/gpu_experts.h"
#include "engine/lane_costs.h"
#include "engine/vram.h"

#define TR_MAX_GUEST 8

struct tr_guests;

struct tr_guests_cfg {
	struct tr_gpu *gpu;
	struct tr_cache *cache;
	const struct tr_catalog *catalog;
	const bool *takes; /* [n_moe_layer] see tr_gpu_takes */
	struct tr_vram_tier *tier;
	uint64_t slot_bytes; /* of the largest expert that it takes */
	uint32_t n_slot;     /* at most TR_MAX_GUEST */
	struct tr_lane_costs costs; /* those that has says, TR_LANE_HAS_*; the others are measured */
	unsigned has;
	bool always;	     /* as many as there is room for, whatever it costs; for tests */
};

/* Cuts its slots from the arena. */
int tr_guests_new(struct tr_guests **guests, const struct tr_guests_cfg *cfg, struct tr_err *err);
void tr_guests_free(struct tr_guests *guests);

/* Measures what the decision needs and cfg lacks, unless always: a fraction of a second. Before the first pick.
 * experts is as it was made for batches of n_tok_max; those of one token fetch nothing. */
int tr_guests_measure(struct tr_guests *guests, const struct tr_ops *ops,
	struct tr_gpu_experts *experts, uint32_t n_embd, uint32_t n_tok_max, struct tr_err *err);

/* The set of a layer: n_tok_of[n_expert] tokens want each expert. Acquires those that pay. */
void tr_guests_pick(struct tr_guests *guests, const struct tr_moe_layer *layer,
	const uint32_t *n_tok_of);
bool tr_guests_has(const struct tr_guests *guests, uint32_t unit);
/* What was acquired. */
const struct tr_handle *tr_guests_handles(const struct tr_guests *guests, size_t *n);
/* Queues their copies on the compute stream. */
int tr_guests_upload(struct tr_guests *guests, struct tr_err *err);
/* Where the parts are, as addresses of the device. */
void tr_guests_parts(const struct tr_guests *guests, uint32_t unit, const uint8_t *part[TR_N_PART]);
/* The device is done with them, or will never be. */
void tr_guests_release(struct tr_guests *guests);

struct tr_guests_stats {
	uint64_t n_fetched, fetched_bytes;
	struct tr_fetch_costs costs;
};

void tr_guests_stats(const struct tr_guests *guests, struct tr_guests_stats *out);

#endif
