/*
 * arch.h - what a model architecture provides to the engine.
 *
 * One file an architecture under archs/; archs.def lists them by the name in general.architecture.
 * bind() reads hyper-parameters and checks every tensor's shape against them once; afterwards the
 * forward pass uses fields, never names.
 */
#ifndef TR_ENGINE_ARCH_H
#define TR_ENGINE_ARCH_H

#include "cache/trace_write.h"
#include "engine/gpu_kv.h"
#include "engine/gpu_place.h"
#include "engine/kv.h"
#include "engine/moe.h"
#include "engine/resident.h"

/* What the engine must know of a model before weights are there. */
struct tr_arch_info {
	uint32_t n_layer;
	uint32_t n_embd;
	uint32_t n_vocab;
	uint32_t n_ctx_train;
	uint32_t kv_width; /* values cached per layer and position */
};

struct tr_foresee;
struct tr_expert_counter;
struct tr_laps;

/* What a forward pass works on; one per session. */
struct tr_run {
	struct tr_ops ops;
	struct tr_kv *kv;
	struct tr_moe *moe;	  /* NULL when the model has no routed experts */
	struct tr_cache *cache;
	const struct tr_catalog *catalog;
	struct tr_trace_writer *trace; /* NULL: nothing is recorded */
	struct tr_expert_counter *counter; /* NULL when the model has no routed experts */
	const struct tr_laps *laps; /* told what each stretch of a pass was; NULL: nobody */
	uint32_t n_tok_max;	  /* tokens a call, at most */
	uint32_t n_routed;	  /* n_used of the catalogue */
	uint32_t *routing_ids;	  /* [n_layer][n_routed] of the last token */
	float *routing_weights;
	float *logits;		  /* [n_vocab] of the last token, aligned */
	void *scratch;		  /* of the architecture */
	struct tr_foresee *foresee; /* told of every layer of a single token; NULL: nobody */
	void *gpu_model;	    /* of the architecture, for all sessions; NULL: the CPU runs all */
	struct tr_gpu_kv *gpu_kv;   /* rows of layers that attend on the device; NULL: none do */
};

/* What an architecture is told to bring to the device. */
struct tr_arch_gpu_cfg {
	struct tr_gpu *gpu;
	const struct tr_gpu_place *place;
	uint32_t n_tok_max;
	uint32_t n_ctx;
	bool keep_copies;  /* of what goes there, in memory: the CPU may have to go on alone */
	bool keep_routers; /* the CPU applies them ahead of time */
};

/* What it can run there. */
struct tr_arch_gpu_ops {
	/* Before weights: as struct tr_gpu_wish says. */
	uint64_t (*weights)(const void *am, enum tr_gpu_part part, uint32_t layer);
	/* Main memory that is given back when these weights have gone there: not what the CPU needs
	 * too. keep_routers as below. */
	uint64_t (*freed)(const void *am, enum tr_gpu_part part, uint32_t layer, bool keep_routers);
	uint64_t (*scratch_bytes)(const void *am, uint32_t n_tok_max, uint32_t n_ctx);
	/* Weights are attached: cuts what the place has of them and the scratch from the arena and
	 * queues the uploads (tr_gpu_upload_end is the caller's). What is there is given back here. */
	int (*open)(void **gm, void *am, const struct tr_arch_gpu_cfg *cfg,
		struct tr_err *err);
	void (*close)(void *gm);
};

struct tr_arch_ops {
	const char *name;

	/* Reads metadata, checks shapes, remembers tensors. No weights yet. */
	int (*bind)(void **am, const struct tr_model *model, const struct tr_catalog *catalog,
		struct tr_arch_info *info, struct tr_err *err);
	/* Weights are in memory: makes pointers, converts what needs converting. */
	int (*attach)(void *am, const struct tr_resident *res, struct tr_err *err);
	void (*unbind)(void *am);

	int (*scratch_new)(void **scratch, const void *am, const struct tr_run *run,
		struct tr_err *err);
	void (*scratch_free)(void *scratch);

	/* Runs n tokens at positions pos.., stores their KV rows; when want_logits, leaves the logits of
	 * the last token in run->logits. On failure KV rows from pos on are undefined. */
	int (*forward)(const void *am, struct tr_run *run, const int32_t *ids, size_t n,
		uint32_t pos, bool want_logits, struct tr_err *err);

	/* Optional. Within tr_foresee_look, so while a single token is in some layer before `layer`: the
	 * probabilities that the router of `layer` would give if its norm and it were applied to the
	 * hidden state as it is. scores[n_expert] on a cache line. Leaves the token as it is. */
	void (*route_ahead)(const void *am, struct tr_run *run, uint32_t layer, float *scores);

	/* Optional: without it devices compute at most experts. With run->gpu_model, which gpu->open
	 * made, forward runs there what lies there. */
	const struct tr_arch_gpu_ops *gpu;
};

/* NULL with a message that lists what is supported. */
const struct tr_arch_ops *tr_arch_by_name(const char *name, struct tr_err *err);

/* The router of a layer chose experts and weights, [n_tok][n_routed]: called once a layer, just before
 * they are acquired. Keeps those of the last token, counts and records all. scan: in a prefill. */
void tr_run_routed(struct tr_run *run, uint32_t layer, const uint32_t *ids, const float *weights,
	size_t n_tok, bool scan);

/* Helpers for bind: a required tensor of exactly this shape (trailing dimensions 1), or an error that
 * names tensor, shape found and shape wanted. */
int tr_arch_want(const struct tr_model *model, const struct tr_tensor **out, struct tr_err *err,
	uint64_t ne0, uint64_t ne1, uint64_t ne2, const char *fmt, ...) TR_PRINTF(7, 8);

/* A vector of floats as the forward pass wants it: F32, F16 or BF16 tensors become an aligned float
 * array that the caller frees. */
int tr_arch_floats(float **out, const struct tr_resident *res, const struct tr_tensor *t,
	struct tr_err *err);

#endif
