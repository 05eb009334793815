/*
 * plan.h - everything that is decided before weights are read: sizes, homes, context.
 *
 * tr_setup_open does the whole of it for an engine and for the calls that only ask
 * (tr_engine_plan, tr_engine_plan_units).
 */
#ifndef TR_ENGINE_PLAN_H
#define TR_ENGINE_PLAN_H

#include "cache/place.h"
#include "cache/vram.h"
#include "engine/arch.h"
#include "engine/gpu.h"
#include "engine/lanes.h"
#include "engine/profile.h"
#include "engine/tier_policy.h"

struct tr_pmem_opt {
	char *dir;
	uint64_t bytes;	    /* given, or what there is room for */
};

struct tr_setup {
	struct tr_model *model;
	struct tr_catalog *catalog;
	const struct tr_arch_ops *arch;
	void *am; /* the bound architecture */
	struct tr_arch_info info;
	struct tr_plan plan;
	struct tr_topo topo;
	struct tr_gpu *gpu; /* NULL: none */
	bool *vram_takes;   /* [n_moe_layer] it can compute the layer's experts */
	struct tr_vram_plan vram; /* n_slot 0: no tier */
	uint64_t vram_bytes; /* to take of it, for all */
	struct tr_gpu_place place; /* of these, what is for the layers */
	uint64_t freed_weight_bytes, freed_kv_bytes; /* of main memory, by what lies there */
	uint64_t fixed_bytes;			     /* of main memory, beside the DRAM cache */
	uint32_t n_guest;   /* slots for what is fetched: see guests.h */
	uint64_t guest_bytes; /* of one */
	struct tr_lane_costs fetch_costs; /* by the machine of the options */
	unsigned fetch_has; /* of these: TR_LANE_HAS_* */
	uint64_t vram_token_bytes; /* to copy there as a token ends, at most */
	uint32_t *home;	    /* [n_unit] index of the persistent memory, or TR_HOME_FILE */
	size_t n_pmem;
	struct tr_pmem_opt pmem[TR_MAX_TIER];
	struct tr_place_use use; /* tiers and their speeds; rate and n_dram with a profile */
	struct tr_place_tier tiers[TR_MAX_TIER]; /* [n_pmem] */
	struct tr_tier_policies policies;
	struct tr_profile profile; /* rate NULL: none was given */
	float *miss_cost;   /* [n_unit] see tr_place_miss_cost */
	uint32_t *hot;	    /* [n_hot] of the profile, the most worth having in DRAM first */
	uint32_t n_hot;
	uint64_t dram_bytes;
	uint32_t n_promote; /* copies a token from persistent memory to DRAM, at most */
	const char *predictor;	 /* of the options; NULL: none */
	bool prefetch, prefetch_auto;
	double prefetch_waste;	 /* 0: not given */
	uint64_t prefetch_bytes; /* 0: not given */
};

/* opts->n_ctx and n_batch are filled in. */
int tr_setup_open(struct tr_setup *setup, struct tr_engine_opts *opts, struct tr_err *err);
void tr_setup_close(struct tr_setup *setup);

/* Whether layers are told to look ahead, so that the CPU applies routers. */
bool tr_setup_foresees(const struct tr_setup *setup, const struct tr_engine_opts *opts);

/* plan_vram.c: gpu, catalog, info and the batch are known. Fills vram_takes, vram, place,
 * vram_bytes. */
int tr_setup_vram(struct tr_setup *setup, const struct tr_engine_opts *opts, struct tr_err *err);

/* plan_gpu.c: which parts of the layers go to the device, in so many bytes of it at most. gpu, arch, info and
 * the context are known. Fills place. */
int tr_setup_place(struct tr_setup *setup, const struct tr_engine_opts *opts, uint64_t room,
	struct tr_err *err);
/* plan_gpu.c: what then is not needed of main memory. Fills freed_weight_bytes, freed_kv_bytes. */
void tr_setup_freed(struct tr_setup *setup, const struct tr_engine_opts *opts);
/* plan_fetch.c: gpu and vram_takes are known. Fills fetch_costs, fetch_has and the plan's. */
int tr_setup_fetch(struct tr_setup *setup, const struct tr_engine_opts *opts, struct tr_err *err);
/* To the log. */
void tr_setup_say_place(const struct tr_setup *setup);

/* Memory that the process may still take. */
struct tr_memory {
	uint64_t machine_bytes; /* what the kernel calls available */
	uint64_t group_bytes;	/* what the control groups it is in leave; UINT64_MAX: no limit */
};

/* Files of the system are looked for under root: "" but in tests. */
struct tr_memory tr_memory_available(const char *root);

/* Bytes for the DRAM cache beside `fixed` bytes that are needed anyway. */
uint64_t tr_plan_dram(const struct tr_memory *memory, uint64_t fixed);
/* The same for an open setup: no more than all experts take. */
uint64_t tr_setup_dram(const struct tr_setup *setup, const struct tr_memory *memory);

#endif
