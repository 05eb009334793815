/*
 * tierra.h - run mixture-of-experts language models that are larger than memory.
 *
 * A *model* is the parsed header of a GGUF file set. An *engine* is a model made ready to run: the
 * always-used weights in memory, the experts in tiers (DRAM cache, persistent memory, disk), a pool
 * of threads. A *session* is one timeline of tokens with its KV cache. A *tokenizer* turns text
 * into token ids and back.
 *
 * Calls return 0 or a negative code of enum tr_code. Those that open, parse or do I/O also take a
 * struct tr_err, which may be NULL and is filled when they fail. The library never exits and never
 * prints; messages go to the sink given to tr_log_set.
 *
 * An engine may be shared by sessions as long as one call runs at a time; different engines are
 * independent. Output never depends on where experts lie, on the cache policy, on the number of
 * threads or on the instruction set.
 */
#ifndef TIERRA_H
#define TIERRA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TR_API __attribute__((visibility("default")))
#else
#define TR_API
#endif

/* --- errors and messages -------------------------------------------------------------------- */

enum tr_code {
	TR_OK = 0,
	TR_E_INVALID = -1,     /* an argument or option makes no sense */
	TR_E_NOMEM = -2,       /* out of memory */
	TR_E_NOENT = -3,       /* a file or key does not exist */
	TR_E_IO = -4,	       /* the operating system failed a transfer */
	TR_E_FORMAT = -5,      /* a file breaks its format */
	TR_E_UNSUPPORTED = -6, /* well-formed, but not implemented here */
	TR_E_LIMIT = -7,       /* a stated limit is exceeded */
	TR_E_BUSY = -8,	       /* nothing free now; try again after a release */
	TR_E_INTERRUPTED = -9, /* the caller asked to stop */
};

#define TR_ERR_MSG_BYTES 1024

struct tr_err {
	int code;		    /* enum tr_code */
	char msg[TR_ERR_MSG_BYTES]; /* names thing, value and limit; no newline */
};

enum tr_log_level { TR_LOG_ERROR, TR_LOG_WARN, TR_LOG_INFO, TR_LOG_DEBUG };

typedef void tr_log_fn(void *ctx, enum tr_log_level level, const char *line);

/* Process-wide; call it before anything is opened. fn may be called from any thread. */
TR_API void tr_log_set(tr_log_fn *fn, void *ctx);

TR_API const char *tr_version(void);

/* --- model: the header of a GGUF file set ----------------------------------------------------- */

struct tr_model;

/* Opens path and, when it is the first shard of a split model, its siblings. Reads no weights. */
TR_API int tr_model_open(struct tr_model **model, const char *path, struct tr_err *err);
/* The same of files that may end anywhere after their headers: what they say can be read, but no weights. */
TR_API int tr_model_open_header(struct tr_model **model, const char *path, struct tr_err *err);
TR_API void tr_model_close(struct tr_model *model);

/* Metadata in file order. key and the text live as long as the model. Text form: numbers in
 * decimal, strings as they are (not necessarily UTF-8), arrays as "[u32 x 4] 1, 2, 3, 4", cut with
 * "..." to fit cap. Returns the length that the whole text would have. */
TR_API size_t tr_model_n_kv(const struct tr_model *model);
TR_API const char *tr_model_kv_key(const struct tr_model *model, size_t i);
TR_API const char *tr_model_kv_type(const struct tr_model *model, size_t i);
TR_API size_t tr_model_kv_text(const struct tr_model *model, size_t i, char *buf, size_t cap);

struct tr_shard_info {
	const char *path;
	uint64_t file_bytes;
	uint64_t data_off;
	size_t n_tensor;
};

struct tr_tensor_info {
	const char *name;
	const char *type;  /* quant type name, e.g. "Q4_K" */
	uint32_t n_dim;
	uint64_t ne[4];	   /* ne[0] is the contiguous dimension; unused dimensions are 1 */
	uint32_t shard;
	uint64_t file_off; /* absolute, in its shard */
	uint64_t bytes;
};

TR_API size_t tr_model_n_shard(const struct tr_model *model);
TR_API void tr_model_shard_info(const struct tr_model *model, size_t i, struct tr_shard_info *out);
TR_API size_t tr_model_n_tensor(const struct tr_model *model);
TR_API void tr_model_tensor_info(const struct tr_model *model, size_t i,
	struct tr_tensor_info *out);

/* --- tokenizer -------------------------------------------------------------------------------- */

struct tr_tokenizer;

TR_API int tr_tokenizer_new(struct tr_tokenizer **tok, const struct tr_model *model,
	struct tr_err *err);
TR_API void tr_tokenizer_free(struct tr_tokenizer *tok);

enum {
	TR_TOK_SPECIAL = 1, /* parse the texts of control tokens as tokens (never for user content) */
	TR_TOK_BOS = 2,	    /* put the BOS token first where the model asks for it */
};

/* *ids is allocated; the caller frees it with free(). text need not be valid UTF-8. */
TR_API int tr_tokenize(const struct tr_tokenizer *tok, const char *text, size_t text_bytes,
	unsigned flags, int32_t **ids, size_t *n_ids, struct tr_err *err);

TR_API size_t tr_vocab_size(const struct tr_tokenizer *tok);
TR_API bool tr_token_is_stop(const struct tr_tokenizer *tok, int32_t id);
TR_API bool tr_token_is_control(const struct tr_tokenizer *tok, int32_t id);

/* The bytes that a token stands for, without terminator; control tokens give none unless
 * render_control. Points into the tokenizer. Returns the number of bytes. */
TR_API size_t tr_token_bytes(const struct tr_tokenizer *tok, int32_t id, bool render_control,
	const char **bytes);

/* Streaming detokenisation: never gives out half a UTF-8 sequence. */
struct tr_detok;

TR_API int tr_detok_new(struct tr_detok **d, const struct tr_tokenizer *tok, bool render_control,
	struct tr_err *err);
TR_API void tr_detok_free(struct tr_detok *d);
/* Adds a token; *text (valid until the next call) holds the bytes that are now complete. Bytes that
 * can never become UTF-8 are replaced by U+FFFD. */
TR_API size_t tr_detok_push(struct tr_detok *d, int32_t id, const char **text);
/* What is still held back at the end, incomplete sequences as U+FFFD. */
TR_API size_t tr_detok_flush(struct tr_detok *d, const char **text);

/* --- engine ----------------------------------------------------------------------------------- */

struct tr_engine;

enum tr_kv_type { TR_KV_F16, TR_KV_F32, TR_KV_Q8_0 };

/* done of total; unit is "bytes" or "tokens". Called from the thread that runs the engine, a few
 * times a second at most. A nonzero return stops the operation with TR_E_INTERRUPTED. */
typedef int tr_progress_fn(void *ctx, const char *phase, uint64_t done, uint64_t total,
	const char *unit);

/* Zero or NULL means the default. Sizes are text: "512M", "96G", or "25%" of what all experts take in
 * that tier (so 100% holds every one). */
struct tr_engine_opts {
	const char *model_path;
	unsigned n_ctx;		     /* tokens of context; default: the model's, at most 4096 */
	unsigned n_thread;	     /* default: one per processor */
	unsigned n_pmem_thread;	     /* of these, how many of each NUMA node read persistent memory;
				      * default all */
	const char *numa;	     /* "auto", "off", or nodes as "0,2-3"; default auto */
	unsigned n_batch;	     /* tokens per prefill chunk; default 512 */
	enum tr_kv_type kv_type;     /* default F16 */
	const char *cpu;	     /* "scalar", "avx2", "avx512"; default: the best there is */
	const char *io;		     /* "uring", "threads", "sync", "cufile"; default uring,
				      * else threads */
	const char *dram;	     /* expert cache in DRAM; default: what memory allows */
	const char *promote;	     /* copies from persistent memory to DRAM, and to VRAM, as a token
				      * ends: "off", "on", or at most so many bytes each, 100% being
				      * what a token uses; default 10% */
	const char *device;	     /* "cuda:N", "host[,option=value...]", "none"; default none */
	const char *vram;	     /* memory to take of the device: "auto", a size, or experts as a
				      * percentage; default auto, or 0 without a device */
	const char *device_fetch;    /* experts copied to the device for one layer of a prefill: "auto",
				      * where it pays by costs measured at the start, "on" or "off";
				      * default auto */
	const char *device_lost;     /* when the device fails: "stop", or "continue" by CPU; default stop */
	const char *const *pmem;     /* persistent memory: "PATH" or "PATH:SIZE" */
	size_t n_pmem;
	const char *policy;	     /* "NAME[,option=value...]" of the DRAM tier, or "./PATH.so[,...]";
				      * default foresight. By tier: "dram=NAME[,...],vram=NAME[,...]" */
	const char *machine;	     /* as for tr_machine_open: its figures say what is worth fetching to
				      * the device; what it lacks is measured. NULL: all is */
	const char *trace;	     /* file to record routing in, see tr_trace_open; NULL: none */
	bool trace_scores;	     /* and what routers say of all experts, ahead of time too */
	const char *profile;	     /* activation profile: tierra-stats JSON or a trace; NULL: none */
	const char *predictor;	     /* "NAME[,option=value...]"; default none */
	const char *prefetch;	     /* "off", "on", "auto", and ",waste=X"; default auto */
	const char *prefetch_budget; /* bytes read ahead at one time; default: an eighth of dram */
	bool timeline;		     /* keep what tr_engine_history and tr_engine_token tell */
	const char *throttle;	     /* "pmem=30G,nvme=3.5G,dram=80G": experts are had from a tier at
				      * that rate and no faster, in bytes a second; default none */
	bool live;		     /* others may watch, see tr_live_open; default no */
	tr_progress_fn *progress;
	void *progress_ctx;
};

TR_API int tr_engine_open(struct tr_engine **engine, const struct tr_engine_opts *opts,
	struct tr_err *err);
TR_API void tr_engine_close(struct tr_engine *engine);
TR_API const struct tr_model *tr_engine_model(const struct tr_engine *engine);
TR_API const struct tr_tokenizer *tr_engine_tokenizer(const struct tr_engine *engine);
TR_API unsigned tr_engine_n_ctx(const struct tr_engine *engine);

/* What the decision rests on to fetch an expert to the device for a batch of tokens. */
struct tr_fetch_costs {
	bool known;	    /* all that is needed; false: pays_from is not known */
	uint64_t pays_from; /* tokens of the batch that use it, of an expert in DRAM; 0: never */
	double link_bytes_per_s; /* each 0 where not known; the other two of one token's product */
	double device_bytes_per_s;
	double cpu_bytes_per_s;
	char source[12];    /* "machine", "measured", "both"; "": nothing is known */
};

/* What tr_engine_open would do with opts, without reading weights: who holds what. */
#define TR_MAX_TIER 9

struct tr_plan_tier {
	char name[80];		 /* "dram", "pmem:/mnt/pmem0", "vram", "nvme", in this order */
	uint64_t capacity_bytes; /* 0: unlimited (the model file itself) */
	uint64_t n_unit;	 /* experts whose home it is; for a cache: experts it can hold */
	uint64_t bytes;
};

/* A NUMA node that weights are split among: it computes the rows that lie on it. */
#define TR_MAX_NODE 8 /* sockets of the largest x86-64 machines */

struct tr_node_info {
	int id;			 /* of the system; -1: faked */
	unsigned n_thread;
	/* Its part of what tr_plan has under these names, less freed_bytes. */
	uint64_t resident_bytes;
	uint64_t dram_bytes;
	uint64_t kv_bytes;
};

struct tr_plan {
	uint32_t n_layer;	  /* all layers */
	uint32_t n_moe_layer;	  /* layers with routed experts */
	uint32_t n_expert;	  /* per MoE layer */
	uint32_t n_expert_used;	  /* per token and layer */
	uint64_t n_unit;	  /* n_moe_layer * n_expert */
	uint64_t unit_bytes_max;  /* largest expert */
	uint64_t expert_bytes;	  /* all experts */
	uint64_t resident_bytes;  /* always-used weights */
	uint64_t kv_bytes;	  /* at n_ctx */
	uint64_t floor_bytes;	  /* one token's working set of experts */
	uint32_t n_ctx;
	uint32_t n_batch; /* tokens of a prefill chunk, at most */
	size_t n_tier;
	struct tr_plan_tier tier[TR_MAX_TIER];
	char device[96];	  /* what computes beside the CPU; "": nothing */
	uint64_t device_bytes;	  /* all its memory */
	uint64_t device_free_bytes;
	uint64_t vram_bytes;	  /* taken of it: layers, scratch and the slots of tier "vram" */
	uint64_t vram_scratch_bytes;
	uint64_t vram_weight_bytes; /* of the layers that it computes */
	uint64_t vram_kv_bytes;
	uint32_t n_vram_layer;	  /* whose attention and router it computes */
	uint32_t n_vram_ffn;	  /* of these, whose shared expert or dense network too */
	bool vram_head;		  /* and the output matrix */
	uint64_t vram_layer_bytes; /* scratch included, for all layers that it can compute */
	/* Of resident_bytes and kv_bytes, what lies there and not in main memory. */
	uint64_t freed_bytes;
	struct tr_fetch_costs fetch; /* by opts.machine; a run measures what that lacks */
	size_t n_node;		  /* 0: nodes play no part */
	struct tr_node_info node[TR_MAX_NODE];
};

TR_API int tr_engine_plan(const struct tr_engine_opts *opts, struct tr_plan *plan,
	struct tr_err *err);

/* Experts of the catalogue: index is layer-major, (MoE layer index) * n_expert + expert. */
struct tr_unit_info {
	uint32_t layer;
	uint32_t expert;
	uint64_t bytes;
	struct {
		uint32_t shard;
		uint64_t off;
		uint64_t bytes;
	} part[3]; /* gate, up, down */
	uint32_t home; /* index into tr_plan.tier */
};

/* Calls each for every expert under the plan of opts; a nonzero return ends the walk. */
TR_API int tr_engine_plan_units(const struct tr_engine_opts *opts,
	int (*each)(void *ctx, const struct tr_unit_info *unit), void *ctx, struct tr_err *err);

/* Counters since the engine was opened. */
struct tr_tier_stats {
	char name[80];
	char policy[80];  /* name and options, cut to fit; "" where nothing is given up */
	uint64_t capacity_bytes;
	uint64_t used_bytes;
	uint64_t hits;	  /* expert uses served from here */
	uint64_t misses;  /* expert uses that had to go further down */
	uint64_t joins;	  /* uses that found their load already in flight */
	uint64_t bytes;	  /* bytes of experts read from here, computed in place or loaded */
	uint64_t wait_ns; /* time the engine stood waiting for this tier */
	int node;	  /* index of the only node that computes from here; -1: all do */
};

/* Reads ahead of need, by prediction. issued = useful + late + wasted + cancelled + failed + those that
 * lie in DRAM and may still be used. */
struct tr_prefetch_stats {
	char mode[8];		/* "off", "on", "auto" */
	bool on;		/* now */
	uint64_t issued;	/* experts */
	uint64_t useful;	/* used after they had arrived */
	uint64_t late;		/* used while their read was in flight */
	uint64_t wasted;	/* evicted unused */
	uint64_t cancelled;	/* called back before anything was read */
	uint64_t failed;
	uint64_t bytes;		/* issued, but for what was cancelled */
	uint64_t wasted_bytes;
	uint64_t budget_bytes;	/* read ahead at one time, at most */
	uint32_t reach;		/* experts that may be under way now */
	uint64_t tokens;	/* decoded */
	uint64_t tokens_on;	/* with reading ahead */
	uint64_t switches;	/* on or off, by measured time */
	uint64_t comparisons;
	uint64_t on_ns;		/* median time of a token in the last comparison */
	uint64_t off_ns;
};

/* What a predictor was worth while decoding: its probabilities for a layer's next visit against the
 * experts then used. k is the number of experts used; averages over visits. */
struct tr_predictor_stats {
	char name[80];		/* as given; "none" without a predictor */
	uint64_t visits;	/* layers of tokens */
	double recall;		/* share of the used that were among the k likeliest */
	double recall_wide;	/* among the 1.5 k likeliest */
	double precision;	/* share of those given 1/2 and more that were used */
	double brier;		/* mean squared error of the probabilities */
	uint64_t ahead_ns;	/* time taken by routers applied ahead and by the predictor */
	uint64_t token_ns;	/* of decoding, for comparison */
};

/* Copies to the VRAM tier; its uses are in its tr_tier_stats. */
struct tr_vram_stats {
	uint64_t warm_units;	/* before the first token */
	uint64_t warm_bytes;
	uint64_t copied_units;	/* while running */
	uint64_t copied_bytes;
	uint64_t late;		/* of these, not over as the token after theirs ended */
	uint64_t evictions;
	uint64_t fetched_units;	/* for one layer of a prefill, see opts.device_fetch */
	uint64_t fetched_bytes;
	struct tr_fetch_costs fetch;
};

struct tr_stats {
	struct tr_prefetch_stats prefetch;
	struct tr_predictor_stats predictor;
	size_t n_tier;
	struct tr_tier_stats tier[TR_MAX_TIER];
	uint64_t resident_bytes;
	uint64_t kv_bytes;
	uint64_t floor_bytes;
	uint64_t evictions;
	uint64_t warm_units;	/* experts that a profile had read before the first token */
	uint64_t warm_bytes;
	uint64_t promoted_units;	/* copies from persistent memory to DRAM, made as tokens ended */
	uint64_t promoted_bytes;
	uint64_t promote_ns;	/* time they took */
	char device[96];	/* what computes beside the CPU; "": nothing */
	bool device_lost;	/* it failed, and the CPU went on alone */
	struct tr_vram_stats vram;
	uint64_t staged;	/* experts whose reads began a layer before a prefill asked */
	uint64_t staged_used;	/* of which it asked for */
	uint64_t io_busy_ns;	/* with at least one read in flight */
	uint64_t io_retries;
	uint64_t io_fallbacks;	/* times a slower way was taken once and for all */
	char io_method[16];	/* the one in use */
	char cpu[16];
	char policy[80];	/* name and options, cut to fit */
	unsigned n_thread;
	size_t n_node;		/* as in tr_plan */
	struct tr_node_info node[TR_MAX_NODE];
	uint64_t load_ns;	/* time tr_engine_open took */
};

TR_API void tr_engine_stats(const struct tr_engine *engine, struct tr_stats *out);

/* How many of the experts that decoding asked of the DRAM cache were there, beside what lru and
 * Belady's optimum would have had, on the same requests from the same start. Uses in persistent memory
 * are requests if DRAM takes copies from there (opts.promote): lru then copies by the same rule, the
 * optimum at every use and at no cost. The engine keeps the routing of a run up to a bound; when that is
 * reached the later requests are left out of all three figures. */
struct tr_shares {
	uint64_t capacity;	   /* experts that fit the cache */
	uint64_t n_request;	   /* uses by decoding: one token at a time */
	uint64_t n_hit;
	uint64_t n_hit_lru;
	uint64_t n_hit_optimum;
	uint64_t n_request_run;	   /* of the whole run; more than n_request: bound reached */
};

/* Replays at most max_request requests, prefill included (0: all that was kept). Takes about 0.2 us
 * a request. TR_E_NOENT when nothing was decoded. */
TR_API int tr_engine_shares(const struct tr_engine *engine, uint64_t max_request,
	struct tr_shares *out, struct tr_err *err);

/* How close a tier came to what it can give. got is what the engine took: of memory, bytes of
 * experts multiplied while decoding, by the time in which at least one expert of the tier was being
 * multiplied; of the disk, bytes read by the time with a read in flight. can is what somebody who
 * only reads gets: of memory, all threads reading the experts that lie there; of the disk, whole
 * experts in random order, past the page cache. What fits a processor cache is read from it in both. */
struct tr_roofline {
	char name[80];
	uint64_t bytes;
	uint64_t busy_ns;
	uint64_t got_bytes_per_s; /* 0: the tier was not used */
	uint64_t can_bytes_per_s; /* 0: not measured, since nothing lies there */
};

/* With a device, "vram" and "link" come after the tiers: experts computed there and the copies made to it, timed
 * from queueing until the end was noticed, beside a copy within its memory (what it reads and writes) and one from
 * pinned memory. */
#define TR_MAX_ROOFLINE (TR_MAX_TIER + 1)

/* Measures now, for about ns a tier. Call it when no session is at work. out[TR_MAX_ROOFLINE]. */
TR_API int tr_engine_roofline(struct tr_engine *engine, uint64_t ns, struct tr_roofline *out,
	size_t *n_out, struct tr_err *err);

/* --- what every expert did -------------------------------------------------------------------- */

/* Uses by decoding of an expert that decoding used before, by how many tokens ago that was: 1, 2,
 * 3 to 4, 5 to 8 and so on; the last counts all beyond. */
#define TR_N_REUSE 16

struct tr_expert_layer {
	uint32_t layer;		    /* of the model */
	uint64_t unit_bytes;	    /* of one expert; 0: not known */
	uint64_t followed;	    /* uses by decoded tokens that had a decoded token before them */
	uint64_t reuse[TR_N_REUSE]; /* reuse[0] / followed is the overlap of consecutive tokens */
};

/* Counters by expert, index as in tr_unit_info. Decoding is one token at a time, all else prefill. In the
 * last layer a prefill computes only the last token, the others are needed by nobody. */
struct tr_expert_stats {
	char model[128];      /* file name; "": not known */
	char fingerprint[40]; /* "": not known */
	uint32_t n_layer;
	uint32_t n_moe_layer;
	uint32_t n_expert;
	uint32_t n_used;      /* per token and layer; 0: varies */
	uint64_t n_decode;    /* tokens */
	uint64_t n_prefill;
	bool has_mass;
	size_t n_tier;	      /* 0: not known where experts were, as in a trace */
	struct tr_tier_stats tier[TR_MAX_TIER];
	struct tr_expert_layer *layer; /* [n_moe_layer] */
	uint64_t *uses;		       /* [n_unit] while decoding */
	uint64_t *prefill_uses;	       /* tokens of prefill that used it */
	double *mass;		       /* sum of router weights over both */
	uint64_t *hits[TR_MAX_TIER];   /* uses by decoding that the tier served; of the last tier, those
					* that had to be read. Sums over tiers are uses */
	uint64_t *prefill_hits[TR_MAX_TIER]; /* the same of prefill: an expert counts once a chunk */
	uint64_t *loads;	       /* reads into DRAM, those ahead of need and copies included */
	uint64_t *evictions;	       /* times it left DRAM */
};

/* What the engine counted since it was opened. */
TR_API int tr_engine_expert_stats(const struct tr_engine *engine, struct tr_expert_stats **out,
	struct tr_err *err);

/* What a decoded token spent its time on. All kinds before READ follow each other without a gap, DEVICE_IDS and
 * DEVICE_OUTPUTS too. */
enum tr_span_kind {
	TR_SPAN_ATTENTION, /* with its norms */
	TR_SPAN_DENSE,	   /* feed-forward network of a layer without routed experts */
	TR_SPAN_ROUTER,
	TR_SPAN_LOOKUP,	   /* finding experts, asking for reads, giving up slots */
	TR_SPAN_PREDICT,   /* predictor, policy, reading ahead */
	TR_SPAN_SHARED,	   /* shared expert */
	TR_SPAN_EXPERTS,   /* n experts of a tier multiplied; several tiers at the same time */
	TR_SPAN_WAIT,	   /* for reads, with nothing to compute */
	TR_SPAN_COMBINE,   /* adding up */
	TR_SPAN_HEAD,
	TR_SPAN_COPY,	   /* from persistent memory to DRAM, as the token ends */
	TR_SPAN_OTHER,
	TR_SPAN_READ,	   /* expert n was being read, from request to arrival */
	TR_SPAN_DEVICE_IDS, /* waiting for what the device computed of a layer, with its router's choice */
	TR_SPAN_DEVICE_OUTPUTS, /* waiting for the outputs of experts in VRAM */
	/* Beside the others, as the host sees it: from queueing until the end was noticed. */
	TR_SPAN_DEVICE_LAYER,	/* the device had attention and router */
	TR_SPAN_DEVICE_EXPERTS, /* the device had n experts in VRAM */
	TR_SPAN_DEVICE_COPY,	/* expert n was sent to VRAM */
	TR_N_SPAN_KIND,
};

/* Decoding over time. Every point is of per_point tokens, but the last may be of fewer. */
#define TR_MAX_HISTORY 512

struct tr_history_point {
	uint64_t n_token;
	uint64_t ns;		    /* that they took */
	uint64_t hits[TR_MAX_TIER]; /* uses by decoding that the tier served, as above */
};

struct tr_history {
	uint64_t per_point; /* 1, and doubled whenever there is no room for more points */
	uint64_t kind_ns[TR_N_SPAN_KIND]; /* what all decoded tokens spent; of READ 0 */
	size_t n_point;
	struct tr_history_point point[TR_MAX_HISTORY];
};

/* No points without opts.timeline. */
TR_API void tr_engine_history(const struct tr_engine *engine, struct tr_history *out);

struct tr_span {
	int64_t begin_ns; /* since the token began; a read may have begun before */
	uint64_t ns;
	enum tr_span_kind kind;
	uint32_t layer;	  /* of the model */
	uint32_t tier;	  /* that had the experts when asked for: the last one if they were read */
	uint32_t n;
};

struct tr_token_spans {
	uint64_t token;	 /* its number among those decoded, from 1 */
	uint64_t ns;
	size_t n_span;
	uint64_t n_lost; /* spans for which there was no room */
	struct tr_span *span;
};

enum tr_token_kind {
	TR_TOKEN_MEDIAN,  /* of up to 15, spread evenly over the run */
	TR_TOKEN_SLOWEST,
	TR_TOKEN_LAST,
};

/* Valid until the next feed. NULL when no token was decoded, or without opts.timeline. */
TR_API const struct tr_token_spans *tr_engine_token(const struct tr_engine *engine,
	enum tr_token_kind kind);

struct tr_trace;

/* Counts what a trace tells: not where experts were. */
TR_API int tr_trace_expert_stats(const struct tr_trace *trace, struct tr_expert_stats **out,
	struct tr_err *err);

/* Zero counters of the shape, and tiers of the names, that shape has. */
TR_API int tr_expert_stats_new(struct tr_expert_stats **out, const struct tr_expert_stats *shape,
	struct tr_err *err);
TR_API void tr_expert_stats_free(struct tr_expert_stats *stats);

/* Adds the counters of from. Refuses those of another model. */
TR_API int tr_expert_stats_merge(struct tr_expert_stats *stats, const struct tr_expert_stats *from,
	struct tr_err *err);

struct tr_expert_summary {
	uint64_t uses;
	uint64_t prefill_uses;
	double mass;
	uint32_t n_touched;	     /* experts that were used at all */
	double skew[3];		     /* share of decoding's uses that the top 1, 5, 25% of experts have */
	double overlap;		     /* share of a token's experts that the token before had; -1: unknown */
	uint64_t reuse[TR_N_REUSE];
	uint64_t first;		     /* uses by decoding of an expert not used before */
	double hit_rate[TR_MAX_TIER]; /* share of decoding's uses that the tier served; -1: unknown */
	uint64_t loads;
	uint64_t evictions;
	uint64_t load_bytes;
};

/* Of one MoE layer, or of all when moe_layer is n_moe_layer. */
TR_API void tr_expert_stats_sum(const struct tr_expert_stats *stats, uint32_t moe_layer,
	struct tr_expert_summary *out);

struct tr_expert_likeness {
	double overlap[3];   /* share of a's top 1, 5, 25% of experts that b has among its own */
	double distance;     /* half the sum of |share of uses in a - in b|: 0 the same, 1 disjoint */
	double hit_rate[TR_MAX_TIER]; /* b's less a's, tiers of a; NAN: not known of both */
};

/* Of one MoE layer, or of all when moe_layer is n_moe_layer. Refuses counters of another shape. */
TR_API int tr_expert_stats_compare(const struct tr_expert_stats *a, const struct tr_expert_stats *b,
	uint32_t moe_layer, struct tr_expert_likeness *out, struct tr_err *err);

/* --- live status ------------------------------------------------------------------------------ */

/* An engine opened with opts.live writes what it is doing to a small file, ten times a second at
 * most, for whoever may read it: another process of the same user, or root. The file is
 * tierra-UID-PID in $TIERRA_LIVE_DIR, else in $XDG_RUNTIME_DIR if that is the user's, else in
 * /run/user/UID, else in /dev/shm. Where none can be made the engine goes on without; a message of
 * level info says so. One engine of a process has it. */

enum tr_live_phase { TR_LIVE_LOAD, TR_LIVE_PREFILL, TR_LIVE_DECODE, TR_N_LIVE_PHASE };

/* What the thread that runs the engine is at, which the others of its pool help it with. Together
 * the lanes are all the time since the engine was open. Experts of several lanes that are computed
 * together share the time in proportion to their bytes. */
enum tr_lane {
	TR_LANE_REST,	   /* nothing of the engine: sampling, output, between calls */
	TR_LANE_ATTENTION, /* with its matrices */
	TR_LANE_ALWAYS,	   /* other weights of every token: dense, shared experts, routers, head */
	TR_LANE_DRAM,	   /* experts that were in DRAM when they were asked for */
	TR_LANE_PMEM,	   /* experts in persistent memory, where they lie */
	TR_LANE_DISK,	   /* experts that had to be read first */
	TR_LANE_WAIT,	   /* nothing to compute until a read ends */
	TR_LANE_CACHE,	   /* finding experts and slots, submitting reads, copies as a token ends */
	TR_LANE_AHEAD,	   /* routers applied ahead of time, the predictor */
	TR_LANE_DEVICE,	   /* nothing to do until the device is done */
	TR_N_LANE,
};

#define TR_LIVE_MAX_LAYER 256
#define TR_LIVE_SECONDS	  64

struct tr_live_layer {
	uint64_t uses; /* experts asked for; by a chunk of tokens each once */
	uint64_t dram; /* of these in DRAM */
	uint64_t pmem; /* in persistent memory */
	uint32_t layer;
	uint32_t unused;
};

/* Counters are since the engine was opened, times are those of CLOCK_MONOTONIC. */
struct tr_live {
	uint64_t pid;
	char version[16]; /* of tierra */
	char model[128];  /* file name */
	uint32_t phase;	  /* enum tr_live_phase */
	uint32_t n_ctx;
	uint64_t start_ns; /* tr_engine_open */
	uint64_t now_ns;   /* of this status */
	char step[24];	   /* of loading */
	char unit[8];	   /* "bytes" or "tokens" */
	uint64_t done;	   /* of loading or prefill, in that unit */
	uint64_t total;
	uint64_t n_past;   /* tokens in the session */
	uint64_t n_prefill; /* tokens */
	uint64_t n_decode;
	uint64_t prefill_ns;
	uint64_t decode_ns;    /* with what the caller did between tokens */
	uint64_t token_ns;     /* the last token of these */
	uint64_t token_end_ns; /* when it ended; 0: none yet */
	uint64_t lane_ns[TR_N_LANE];
	uint64_t second;       /* the newest in rate: now_ns / 10^9 */
	double rate[TR_LIVE_SECONDS]; /* tokens decoded in second s, at s % TR_LIVE_SECONDS; one
				       * counts in each second by the time it had there */
	uint64_t rss_bytes;
	struct tr_stats stats; /* n_tier 0 while loading */
	uint32_t n_layer;      /* of layer, which has the MoE layers as far as there is room */
	uint32_t n_moe_layer;
	struct tr_live_layer layer[TR_LIVE_MAX_LAYER];
};

struct tr_live_reader;

/* The status of a process. TR_E_NOENT when there is none, or it is of a process that died (it is
 * then removed); TR_E_UNSUPPORTED when another version of tierra writes it; TR_E_FORMAT when it is
 * no status or damaged; TR_E_INVALID when it belongs to somebody else. */
TR_API int tr_live_open(struct tr_live_reader **reader, uint64_t pid, struct tr_err *err);
TR_API void tr_live_close(struct tr_live_reader *reader);

/* A consistent status. TR_E_NOENT, with *out what was last known, once the process has ended it. */
TR_API int tr_live_read(struct tr_live_reader *reader, struct tr_live *out, struct tr_err *err);

/* The processes of this user that can be opened, ascending; for root also those of others with a
 * status in the same folders. *pids is allocated; the caller frees it. What dead processes left is
 * removed. */
TR_API int tr_live_list(uint64_t **pids, size_t *n, struct tr_err *err);

/* --- session ---------------------------------------------------------------------------------- */

struct tr_session;

TR_API int tr_session_new(struct tr_session **session, struct tr_engine *engine,
	struct tr_err *err);
TR_API void tr_session_free(struct tr_session *session);

/* Appends tokens. More than one is a prefill, done in chunks of n_batch. TR_E_LIMIT when they do
 * not fit the context; the session is then unchanged. After any other failure the session holds
 * the tokens of the chunks that were complete. */
TR_API int tr_session_feed(struct tr_session *session, const int32_t *ids, size_t n,
	struct tr_err *err);

/* Tokens in the session. */
TR_API size_t tr_session_n_past(const struct tr_session *session);

/* Logits after the last token fed, tr_vocab_size floats; valid until the next feed. */
TR_API const float *tr_session_logits(const struct tr_session *session);

/* For tests and statistics: routing of the last token in one layer. Fills at most cap ids and
 * weights in descending order of router score; returns the number, 0 for a dense layer. */
TR_API size_t tr_session_routing(const struct tr_session *session, uint32_t layer, uint32_t *ids,
	float *weights, size_t cap);

/* --- sampling --------------------------------------------------------------------------------- */

struct tr_sampler;

struct tr_sampler_opts {
	uint64_t seed;
	float temp;	       /* 0: greedy, lowest id on ties */
	uint32_t top_k;	       /* 0: off */
	float top_p;	       /* 1: off */
	float min_p;	       /* 0: off */
	float repeat_penalty;  /* 1: off */
	uint32_t repeat_last_n;
};

/* temp 0.8, top_k 40, top_p 0.95, min_p 0.05, repeat_penalty 1, repeat_last_n 64, seed 0 */
TR_API void tr_sampler_defaults(struct tr_sampler_opts *opts);
TR_API int tr_sampler_new(struct tr_sampler **sampler, const struct tr_sampler_opts *opts,
	size_t n_vocab, struct tr_err *err);
TR_API void tr_sampler_free(struct tr_sampler *sampler);
/* Chooses the next token and remembers it for the repeat penalty. */
TR_API int32_t tr_sampler_next(struct tr_sampler *sampler, const float *logits);
/* Remembers a token that was not sampled (the prompt). */
TR_API void tr_sampler_accept(struct tr_sampler *sampler, int32_t id);

struct tr_logprob {
	int32_t id;
	float logprob; /* natural log of softmax over all raw logits */
};

/* Log probability of id and of the n_top most likely tokens, before any sampling option. */
TR_API void tr_logprobs(const float *logits, size_t n_vocab, int32_t id, struct tr_logprob *chosen,
	struct tr_logprob *top, size_t n_top);

/* --- traces and replay ------------------------------------------------------------------------ */

/* What a run asked of its expert cache: for each token (in a prefill: chunk of tokens) and layer, the
 * experts and their weights. */
struct tr_trace;

/* Reads a file that an engine recorded, or lines "token,layer,expert[,weight]". n_expert is for the
 * latter, which do not say how many experts a layer has; 0: one more than the largest there is. */
TR_API int tr_trace_open(struct tr_trace **trace, const char *path, unsigned n_expert,
	struct tr_err *err);
TR_API void tr_trace_close(struct tr_trace *trace);

struct tr_trace_info {
	const char *model;	  /* "" when not known; lives as long as the trace */
	uint32_t n_layer;	  /* of the model */
	uint32_t n_moe_layer;
	uint32_t n_expert;	  /* per MoE layer */
	uint32_t n_used;	  /* per token and layer; 0: varies */
	uint64_t n_token;
	uint64_t n_prefill_token; /* of those */
	uint64_t n_set;
	uint64_t n_request;	  /* experts of all sets */
	uint64_t slot_bytes;	  /* one expert in the DRAM cache; 0: not known */
	bool has_weights;
	bool has_scores;	  /* what routers said of all experts, ahead of time too */
	bool complete;		  /* false: the recording was cut short */
};

TR_API void tr_trace_info(const struct tr_trace *trace, struct tr_trace_info *out);

/* A MoE layer of a token, or of a prefill's chunk of tokens. */
struct tr_replay_visit {
	uint64_t token;	   /* tokens before it */
	uint32_t n_token;
	uint32_t layer;	   /* index of the MoE layer */
	bool prefill;
	bool ends_token;   /* or chunk */
	uint32_t n_unit;   /* different experts */
	uint32_t n_vram;   /* that a device had; the cache was not asked for them */
	uint32_t n_hit;	   /* that were in the cache */
	uint32_t n_pmem;   /* that were not, and lie in persistent memory */
	uint32_t n_fresh;  /* that were not, and got a slot that held none before */
	uint32_t n_ahead;  /* that were not, and would have been read ahead */
	uint32_t n_vain;   /* experts that would have been read ahead for it, which it did not use */
};

struct tr_replay_opts {
	const char *policy;    /* as in tr_engine_opts */
	const char *predictor; /* the same */
	uint32_t n_ahead;      /* with it and one cache for all layers: experts that may be read ahead at one
				* time. They are counted, and change nothing in the cache; 0: none */
	const char *cache;     /* "10%" of all experts, "800" experts, or bytes as "96G" */
	bool per_layer;	       /* a cache for each layer, together of that size */
	uint64_t n_warm;       /* tokens that are replayed before counting begins */
	bool decode_only;      /* a prefill is replayed, but not counted */
	double in_pmem;	       /* share of the experts that lie in persistent memory, spread evenly, beyond
				* what the trace says */
	uint64_t n_promote;    /* with it: copies from there to the cache that a token may make */
	/* Experts in the memory of a device, above the cache: "25%" of all, bytes for them as "6G", or
	 * "recorded", what the recorded run had. NULL: none. Not with per_layer. */
	const char *vram;
	const char *vram_policy; /* NULL: that of an engine that is told none */
	/* Told of every set, counted or not. */
	void (*visit)(void *ctx, const struct tr_replay_visit *visit);
	void *ctx;
};

/* The tier of a device; all 0 without one. */
struct tr_replay_vram_stats {
	uint64_t capacity; /* experts that fit */
	uint64_t capacity_bytes;
	uint64_t n_hit, n_miss;
	uint64_t bytes;	   /* of hits */
	uint64_t n_warm;   /* there before the first token */
	uint64_t n_copied, copied_bytes; /* that came later */
	uint64_t n_late;   /* not over as the token after theirs ended */
	uint64_t n_evict;
};

struct tr_replay_stats {
	uint64_t capacity;  /* experts that fit */
	uint64_t n_request; /* uses that no device served */
	uint64_t n_hit;
	uint64_t n_evict;
	uint64_t n_ahead;   /* of those missed, that would have been read ahead */
	uint64_t n_vain;    /* others that would have been */
	uint64_t n_promoted; /* copies from persistent memory, made as tokens ended */
	uint64_t bytes;	    /* of the experts that were missed; 0 when the trace does not tell sizes */
	uint64_t hit_bytes; /* of those that were not */
	uint64_t n_pmem, pmem_bytes; /* missed, and computed in persistent memory */
	uint64_t n_load, load_bytes; /* missed and read; again where a set did not fit */
	struct tr_replay_vram_stats vram;
	uint64_t ns;	    /* time that the replay took */
	struct tr_predictor_stats predictor; /* without times; 0 visits without a predictor */
};

/* Puts the trace through the cache's own decisions, without bytes. */
TR_API int tr_replay(const struct tr_trace *trace, const struct tr_replay_opts *opts,
	struct tr_replay_stats *out, struct tr_err *err);

/* The hits of Belady's optimum, which no order of eviction exceeds. opts->policy is not used. */
TR_API int tr_replay_optimum(const struct tr_trace *trace, const struct tr_replay_opts *opts,
	uint64_t *n_hit, struct tr_err *err);

/* Misses by cache size, a curve a policy: each point a replay, prefill included but not counted. */
#define TR_MAX_CURVE	   8
#define TR_MAX_CURVE_POINT 16
#define TR_MISS_UNKNOWN	   UINT64_MAX	/* there was no time for that point */
#define TR_CURVE_OPTIMUM   "belady"	/* named as a policy */

struct tr_miss_curve {
	char policy[80];
	uint64_t n_miss[TR_MAX_CURVE_POINT];
};

struct tr_miss_curves {
	uint64_t n_unit;	/* experts of the model */
	uint64_t n_request;	/* uses by decoding that were replayed */
	uint64_t n_request_run; /* of the whole run; more than n_request: cut to what time allows */
	uint64_t n_kept;	/* experts that fitted the run's cache; 0: there was none, as with a trace */
	uint64_t n_hit;		/* that it had, of n_request */
	size_t n_point;
	uint64_t capacity[TR_MAX_CURVE_POINT]; /* experts, ascending */
	size_t n_curve;
	struct tr_miss_curve curve[TR_MAX_CURVE];
};

/* Takes about ns, and of a long run as many requests as that is enough for (0: all). A trace is
 * replayed as a whole; what that leaves no time for stays unknown. The engine's has the policy and
 * the size of the run among them. TR_E_NOENT when nothing was decoded. */
TR_API int tr_trace_miss_curves(const struct tr_trace *trace, uint64_t ns,
	struct tr_miss_curves *out, struct tr_err *err);
TR_API int tr_engine_miss_curves(const struct tr_engine *engine, uint64_t ns,
	struct tr_miss_curves *out, struct tr_err *err);

/* --- policies --------------------------------------------------------------------------------- */

struct tr_policy_info {
	const char *name;
	const char *summary; /* one line */
	const char *options; /* "key=default meaning; ..." or "" */
};

TR_API size_t tr_n_policy(void);
/* Tiers and names of a tr_engine_opts.policy are known. Options and shared objects are looked at when an
 * engine opens. */
TR_API int tr_policy_check(const char *text, struct tr_err *err);
TR_API void tr_policy_info(size_t i, struct tr_policy_info *out);

struct tr_predictor_info {
	const char *name;
	const char *summary; /* one line */
	const char *options; /* as above */
	bool wants_scores;   /* makes use of what routers say; knows less by ids alone */
};

TR_API size_t tr_n_predictor(void);
TR_API void tr_predictor_info(size_t i, struct tr_predictor_info *out);

/* Bytes of "512M", "96G", or "25%" of whole, as sizes are understood everywhere; what is for the message. */
TR_API int tr_parse_size(const char *what, const char *text, uint64_t whole, uint64_t *bytes,
	struct tr_err *err);

/* --- machines --------------------------------------------------------------------------------- */

/* What a machine's memories, disks and kernels give, measured once or known from elsewhere. */
struct tr_spread {
	double min, mid, max; /* of repeats; mid is the median */
};

enum tr_machine_kind { TR_MACHINE_DRAM, TR_MACHINE_PMEM, TR_MACHINE_NVME, TR_MACHINE_VRAM,
	TR_N_MACHINE_KIND };

#define TR_MAX_MACHINE_TIER   8
#define TR_MAX_MACHINE_POINT  48
#define TR_MAX_MACHINE_KERNEL 64
#define TR_MAX_READ_TABLE     64

struct tr_machine_point {
	unsigned n_flight;    /* threads that read a memory; reads of a disk at a time */
	bool burst;	      /* the disk was idle, then got n_flight reads, and rested after the last; else
			       * each that ended was followed by another */
	uint64_t block_bytes; /* of random reads; 0: one after the other */
	struct tr_spread bytes_per_s;
	/* Of the time of a burst, 0: not known. */
	double first_share;   /* until its first expert, three reads, has come; not known: an even pace */
	double submit_share;  /* the thread that asks for it needs to do so */
};

struct tr_machine_tier {
	enum tr_machine_kind kind;
	bool direct;	 /* nothing cached what was measured: DAX, O_DIRECT. Of DRAM always */
	char path[160];	 /* "" when there is none */
	uint64_t bytes;	 /* size; 0: not known */
	struct tr_spread latency_ns; /* one read after the other: a cache line, of a disk 4 KiB */
	size_t n_point;
	struct tr_machine_point point[TR_MAX_MACHINE_POINT];
};

/* All threads multiply rows of a matrix that lies in a tier with one vector: op_ns + bytes / bytes_per_s. */
struct tr_machine_kernel {
	char quant[12];
	uint32_t tier;
	uint32_t cols;		      /* values of a row; 0: not known */
	struct tr_spread bytes_per_s; /* of weights */
	struct tr_spread op_ns;	      /* of each matrix, to wake the threads and wait for the last */
	struct tr_spread macs_per_s;  /* with 32 vectors at a time; all 0: not measured */
};

/* What the engine itself took, running a model on the machine: seconds. Beside attention over the
 * positions before, a token's time is rest_s, and of each MoE layer lookup_s, experts and reads. */
struct tr_machine_run {
	char model[128];     /* file name; it tells nothing of other models */
	double unit_bytes;   /* of its experts, in the mean */
	unsigned n_token;
	double token_s;      /* a token of the run, typically */
	double said_s;	     /* what a forecast by this run says of it */
	double position;     /* of its tokens, in the mean */
	double rest_s;	     /* a token beside routed experts */
	double after_read_s; /* more for each layer that waited for the disk */
	double beside_s;     /* of rest_s, in each MoE layer, while reads fly */
	double lookup_s;     /* experts in the cache, in each MoE layer */
	double ask_s;	     /* more for each expert that is read */
	double step_s;	     /* multiplying experts of a layer, beside what follows */
	double unit_s;	     /* one expert in DRAM */
	double wake_s;	     /* more after a wait for the disk */
	size_t n_read;	     /* entries of the tables beside [0] */
	double read_s[TR_MAX_READ_TABLE + 1];  /* as in tr_speeds */
	double first_s[TR_MAX_READ_TABLE + 1];
};

#define TR_MAX_MACHINE_RUN 8

struct tr_machine {
	char name[64];
	char source[256]; /* where the figures are from */
	unsigned n_thread;
	double bus_bytes_per_s; /* of DRAM and persistent memory together; 0: not limited */
	double link_bytes_per_s; /* from memory to the GPU's; 0: not known */
	double loop_ns;		/* of a parallel loop without work */
	double wake_ns;		/* the same after a wait so long that the threads sleep */
	double rest_ns;		/* of what a layer does between matrices: norms, sums, quantising */
	double rest_value_ns;	/* the same, for each value of the model's width */
	double attend_ns;	/* of a layer's attention over a short context, its matrices in a cache */
	double attend_macs_per_s; /* over the positions of the context; 0: not known */
	double touch_bytes_per_s; /* of memory that was never used; 0: not known */
	size_t n_tier;
	struct tr_machine_tier tier[TR_MAX_MACHINE_TIER];
	size_t n_kernel;
	struct tr_machine_kernel kernel[TR_MAX_MACHINE_KERNEL];
	size_t n_run;
	struct tr_machine_run run[TR_MAX_MACHINE_RUN];
};

struct tr_measure_opts {
	unsigned n_thread;	  /* default: one per processor */
	const char *const *pmem;  /* directories */
	size_t n_pmem;
	const char *const *disk;  /* files to read from, or directories to write one to */
	size_t n_disk;
	const char *const *quant; /* "TYPE" or "TYPE:COLS"; n_quant 0: Q4_K, Q6_K, Q8_0, F32 */
	size_t n_quant;
	unsigned n_repeat;	  /* default 5 */
	uint64_t memory_bytes;	  /* read through by each repeat, default 512 MiB: more than caches */
	uint64_t disk_bytes;	  /* of a file that is written to be read, default 1 GiB */
	uint64_t ns;		  /* for each disk figure and repeat, default 0.1 s */
	tr_progress_fn *progress;
	void *progress_ctx;
};

TR_API int tr_machine_measure(struct tr_machine *machine, const struct tr_measure_opts *opts,
	struct tr_err *err);

struct tr_calibrate_opts {
	const char *model_path;
	unsigned n_thread; /* default: the machine's */
	unsigned n_token;  /* decoded by each of the two runs, default 96 */
	uint64_t ns;	   /* that each of them may take, default 15 s; at least eight tokens */
	tr_progress_fn *progress;
	void *progress_ctx;
};

/* Runs the model twice, with a cache of an eighth and with half of its experts, on tokens
 * of chance, and keeps in machine->run what that took; an older run of the model is replaced, or the
 * oldest when there is no room. TR_E_UNSUPPORTED when no layer has routed experts. */
TR_API int tr_machine_calibrate(struct tr_machine *machine, const struct tr_calibrate_opts *opts,
	struct tr_err *err);

/* A machine that comes with tierra, or a file when there is none of that name. */
TR_API int tr_machine_open(struct tr_machine *machine, const char *name, struct tr_err *err);
TR_API size_t tr_n_machine(void);
TR_API const struct tr_machine *tr_machine_get(size_t i);

/* JSON, see tierra-tune(1). The caller frees the text. NULL when out of memory. */
TR_API char *tr_machine_text(const struct tr_machine *machine);

/* Of a type on a tier (its index), the width nearest to cols; NULL: that was not measured. */
TR_API const struct tr_machine_kernel *tr_machine_kernel_of(const struct tr_machine *machine,
	size_t tier, const char *quant, uint32_t cols);

/* --- forecasts -------------------------------------------------------------------------------- */

/* Matrices of one type and width that are multiplied with one vector. */
struct tr_matrices {
	char quant[12];
	uint32_t cols;
	double bytes; /* of all n */
	double n;
};

#define TR_MAX_MATRICES 32

/* A model in use. */
struct tr_workload {
	char model[128]; /* file name; "": not known */
	uint32_t n_layer, n_moe_layer, n_expert, n_used;
	uint32_t n_embd, n_head, n_lat, n_rot; /* of latent attention; n_head 0: not known */
	double unit_bytes, unit_macs;	       /* one expert, on average */
	struct tr_matrices unit[3];	       /* its parts; quant "": not known */
	size_t n_resident;
	struct tr_matrices resident[TR_MAX_MATRICES]; /* multiplied by every token */
	size_t n_beside;
	struct tr_matrices beside[3]; /* of these, what a MoE layer multiplies while its reads fly */
	double resident_macs;
	double kv_bytes;	      /* of a position: what a token reads of it, in all layers */
	double position;	      /* of the token: positions before it */
	double share[TR_N_MACHINE_KIND]; /* of uses, by where the expert is; 1 together */
	double held[TR_N_MACHINE_KIND];	 /* of experts, the same */
};

/* What a machine gives to one model: seconds, and bytes of experts a second. */
struct tr_speeds {
	double tier[TR_N_MACHINE_KIND]; /* experts; 0: there is none of that tier */
	double read_s[TR_MAX_READ_TABLE + 1]; /* [k] until k experts have come that were asked for together */
	double first_s[TR_MAX_READ_TABLE + 1]; /* [k] until the first of them has; 0: not known, read_s[1] */
	double ask_s[TR_MAX_READ_TABLE + 1]; /* [k] of these that no processor computes: asking */
	double lookup_s;		/* of a layer's experts in the cache */
	double after_read_s;		/* what the rest of a layer takes longer after a wait for the disk */
	double disk_bytes_per_s;	/* with as many reads in flight as it takes */
	double bus;			/* DRAM and persistent memory together; 0: not limited */
	double step_s;			/* of a layer's experts, whatever they are: two loops */
	double wake_s;			/* after a wait for the disk */
	double resident_s;		/* a token's other weights, once through */
	double resident_op_s;		/* and what the machine needs between them */
	double beside_s;		/* of both, in each MoE layer, while reads fly */
	double position_s;		/* attention, for each position before the token */
	double macs;			/* multiply-adds a second with many tokens; 0: not known */
	double touch_bytes_per_s;	/* 0: not known */
	unsigned n_thread[TR_N_MACHINE_KIND]; /* that give the most; 0: all */
};

/* A type that was not measured counts as the plain reading of its bytes. With gpu what every token uses is
 * read from VRAM. Where the machine has a run of w->model (and gpu is not set) that is believed instead. */
TR_API void tr_machine_speeds(const struct tr_machine *machine, const struct tr_workload *w, bool gpu,
	struct tr_speeds *out);

struct tr_forecast {
	double token_s;	     /* the sum of what follows */
	double lane_s[TR_N_MACHINE_KIND]; /* experts, while this tier was the slowest at it */
	double bus_s;	     /* the same, when the memory bus was */
	double disk_wait_s;  /* nothing to compute until a read ends */
	double arrived_s;    /* experts that came from disk */
	double resident_s;
	double kv_s;	     /* attention over the context */
	double loop_s;	     /* threads are woken and waited for, norms, sums */
	double cache_s;	     /* experts are looked up, given up and asked for */
	double lane_busy_s[TR_N_MACHINE_KIND]; /* no part of the sum: tiers work at the same time */
};

/* Adds p times a MoE layer of a decoded token that uses n[kind] experts from each tier: the time of its
 * experts, beyond what is in tr_forecast_rest. */
TR_API void tr_forecast_layer(const struct tr_workload *w, const struct tr_speeds *s,
	const uint32_t n[TR_N_MACHINE_KIND], double p, struct tr_forecast *sum);

/* Adds p times all that a token at that position takes beside its experts. */
TR_API void tr_forecast_rest(const struct tr_speeds *s, double position, double p,
	struct tr_forecast *sum);

/* Fills in token_s. */
TR_API void tr_forecast_total(struct tr_forecast *sum);

/* One token. Where the experts of a layer lie is drawn by share, independently: the slowest lane of a layer
 * is later than that of averages. */
TR_API void tr_forecast_token(const struct tr_workload *w, const struct tr_speeds *s,
	struct tr_forecast *out);

/* Seconds that a MoE layer of a prompt's chunk takes for n[kind] different experts, and n_token tokens. */
TR_API double tr_forecast_chunk_layer(const struct tr_workload *w, const struct tr_speeds *s,
	uint32_t n_token, const double n[TR_N_MACHINE_KIND]);

/* Seconds that a prompt's chunk takes beside experts. */
TR_API double tr_forecast_chunk_rest(const struct tr_workload *w, const struct tr_speeds *s,
	uint32_t n_token);

/* Seconds until n_token of prompt have been read, in chunks of n_batch, with experts where held says. */
TR_API double tr_forecast_prompt(const struct tr_workload *w, const struct tr_speeds *s,
	uint32_t n_token, uint32_t n_batch);

#ifdef __cplusplus
}
#endif

#endif
