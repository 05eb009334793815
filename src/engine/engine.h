/* engine.h - the inside of an engine: a model made ready to run. */
#ifndef TR_ENGINE_ENGINE_H
#define TR_ENGINE_ENGINE_H

#include "cache/cache.h"
#include "cache/trace_write.h"
#include "engine/arch.h"
#include "engine/copy.h"
#include "engine/expert_stats.h"
#include "engine/foresee.h"
#include "engine/laps.h"
#include "engine/live.h"
#include "engine/moe.h"
#include "engine/plan.h"
#include "engine/throttle.h"
#include "engine/timeline.h"
#include "engine/vram.h"
#include "model/tokenizer.h"

/* The policy of a tier when none is asked for. Highest hit rate of all on recorded routing of four models at
 * 6, 12, 25 and 40% of the experts in DRAM (policies/README.md). */
#define TR_DEFAULT_POLICY "foresight"

struct tr_engine {
	struct tr_engine_opts opts; /* sizes filled in; strings are not kept */
	struct tr_setup setup;	    /* model, catalogue, architecture, plan */
	struct tr_tokenizer *tok;
	struct tr_pool *pool;
	struct tr_ops ops;
	struct tr_moe_pmem pmem;
	struct tr_copier copier;
	struct tr_throttle throttle;
	struct tr_io *io;
	struct tr_file *files, *files_paged; /* [n_shard] */
	struct tr_store *stores[TR_MAX_TIER];
	size_t n_store;
	struct tr_vram_tier *vram; /* NULL: none */
	struct tr_moe_device device; /* what computes its experts */
	struct tr_resident *resident;
	void *gpu_model;	/* of the architecture; NULL: no layer is on the device */
	struct tr_gpu_kv *gpu_kv; /* the same */
	struct tr_cache *cache; /* NULL when the model has no routed experts */
	struct tr_trace_writer *trace; /* NULL: nothing is recorded */
	struct tr_foresee *foresee; /* NULL without a predictor */
	struct tr_expert_counter *counter; /* NULL when the model has no routed experts */
	struct tr_timeline *timeline; /* NULL without opts.timeline, or routed experts */
	struct tr_live_pub *live;	   /* NULL: nobody may watch */
	struct tr_laps laps;		   /* for both */
	tr_progress_fn *progress;	   /* of the caller, while opts has that of live */
	void *progress_ctx;
	struct tr_io_stats io_loaded; /* when the engine was open */
	uint64_t load_ns;
};

/* The tiers and what the cache counted. n_tier is 0 when the model has no routed experts. */
void tr_engine_tiers(const struct tr_engine *e, struct tr_stats *out);

/* What the engine's model is, for a trace. The caller frees layers, NULL when out of memory. */
struct tr_trace_head tr_engine_trace_head(const struct tr_engine *e);
/* What the engine knew of its experts at the start; tr_trace_units_fini frees it. */
int tr_engine_trace_units(const struct tr_engine *e, struct tr_trace_units *out, struct tr_err *err);

/* --- shares.c: what the run asked of its DRAM cache ------------------------------------------- */

/* Experts that fit it. */
uint64_t tr_engine_n_keep(const struct tr_engine *e);
/* The requests of the run, as in tr_route_log_trace, for a replay; tr_trace_fini frees it. TR_E_NOENT
 * when nothing was decoded. */
int tr_engine_routes(const struct tr_engine *e, uint64_t max_request, struct tr_trace *out,
	uint64_t *n_request, uint64_t *n_hit, struct tr_err *err);

#endif
