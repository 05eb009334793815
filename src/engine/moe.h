/*
 * moe.h - the routed experts of one layer: acquire, compute where they lie, combine.
 *
 * begin() submits the reads of everything that is missing and returns; the caller computes what it
 * has (the shared expert) and then calls finish(), which computes resident experts while reads fly,
 * and the others as they arrive. combine() adds expert outputs in ascending router rank, so neither
 * the order of arrival nor the tier changes a bit.
 *
 * With a device, the experts of a set that lie in VRAM are queued there first and computed while the CPU
 * computes the others; finish() waits for them once, after these. When the device fails and the run goes
 * on without it, the CPU computes them too.
 *
 * A chunk of tokens is one set: each expert of the union is acquired once and applied to all its
 * tokens. Sets larger than the free slots are taken in parts.
 */
#ifndef TR_ENGINE_MOE_H
#define TR_ENGINE_MOE_H

#include "cache/cache.h"
#include "compute/ops.h"
#include "engine/gpu_experts.h"
#include "engine/guests.h"
#include "engine/vram.h"

struct tr_moe;
struct tr_expert_counter;
struct tr_laps;
struct tr_throttle;

/* What the buffers of tr_moe_new take that grow with the chunk. */
uint64_t tr_moe_bytes(const struct tr_catalog *catalog, uint32_t n_embd, uint32_t n_tok_max);

struct tr_moe_pmem {
	unsigned n_thread;     /* workers of each NUMA node that may read it at a time; 0: all */
	int node[TR_MAX_TIER]; /* by tier: index of the node it is attached to; -1: not known */
};

/* counter is told of every set; NULL: nobody is. */
int tr_moe_new(struct tr_moe **moe, const struct tr_ops *ops, struct tr_cache *cache,
	const struct tr_catalog *catalog, uint32_t n_embd, uint32_t n_tok_max,
	const struct tr_moe_pmem *pmem, struct tr_expert_counter *counter, struct tr_err *err);
void tr_moe_free(struct tr_moe *moe);

/* A chunk of n_tok tokens is on its way to a MoE layer (its index among these): begins to read for it if
 * the chunk will use nearly all of its experts. begin() does this for the layer after its own. */
void tr_moe_expect(struct tr_moe *moe, uint32_t moe_layer, size_t n_tok);

/* What computes the experts that lie in VRAM, for all sessions of an engine. */
struct tr_moe_device {
	struct tr_gpu *gpu;
	struct tr_vram_tier *tier;
	struct tr_gpu_experts *experts;
	struct tr_guests *guests; /* NULL: nothing is fetched */
};

/* From now on experts that are in VRAM are computed there. device outlives moe. */
int tr_moe_use_device(struct tr_moe *moe, const struct tr_moe_device *device, struct tr_err *err);

/* Tiers take their time from now on; NULL: as they do by themselves, and at first. */
void tr_moe_throttle(struct tr_moe *moe, struct tr_throttle *throttle);

/* Are told what was acquired and what the time goes to, from now on; NULL: nobody is, and at first. */
void tr_moe_watch(struct tr_moe *moe, const struct tr_laps *laps);

/* x: the layer's normalised input; there: the same rows on the device, or NULL. ids[n_tok][n_used]
 * as the router ranked them. scan: in a prefill, which may be of a single token by then. */
int tr_moe_begin(struct tr_moe *moe, uint32_t layer, struct tr_acts *x, const float *there,
	const uint32_t *ids, bool scan, struct tr_err *err);

/* After it all pins are released, whatever it returns. */
int tr_moe_finish(struct tr_moe *moe, struct tr_err *err);

/* out[t] = sum over rank r of weights[t][r] * expert output, by fma in ascending r from 0. */
void tr_moe_combine(const struct tr_moe *moe, const float *weights, float *out,
	size_t out_stride);

#endif
