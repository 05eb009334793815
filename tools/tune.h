/*
 * tune.h - what `tierra tune` was asked, and the steps to its answer.
 *
 * Routing is replayed through the caches of a *choice* of settings; each visit of a layer gets the
 * time that the machine's figures give it. The outcome is a *row*. tune_search.c makes choices,
 * tune_row.c rows.
 */
#ifndef TR_TOOLS_TUNE_H
#define TR_TOOLS_TUNE_H

#include "tierra.h"

#include <jansson.h>
#include <stdio.h>

#define TR_TUNE_MAX_PATH 4
#define TR_TUNE_MAX_ROW	 64

struct tr_tune_args {
	const char *model; /* file, or NULL */
	const char *shape; /* "k2.5@2.97" bits a weight, or NULL */
	double shape_bits;
	const char *machine; /* file or name */
	const char *measure; /* file to write */
	const char *trace, *profile;
	double skew; /* share of the uses that the top 25% of experts have; 0: not given */
	const char *max_dram, *max_vram, *reserve;
	const char *dram;		/* a size to look at, and no other; NULL: search */
	const char *policy, *predictor; /* the same */
	const char *html;		/* file to write; NULL: none */
	bool calibrate; /* run the model, and keep what that took in the machine's file */
	bool gpu;	/* weights of every token on the GPU */
	bool json;
	bool quick;
	unsigned n_ctx, n_prompt, n_thread;
	const char *pmem[TR_TUNE_MAX_PATH], *disk[TR_TUNE_MAX_PATH];
	size_t n_pmem, n_disk;
	const char *quant[TR_TUNE_MAX_PATH];
	size_t n_quant;
};

/* Usage errors exit. */
void tr_tune_args_parse(struct tr_tune_args *args, int argc, char **argv);

/* A model as a forecast sees it. */
struct tr_tune_model {
	char name[128];
	uint64_t n_unit, unit_bytes, floor_bytes, resident_bytes, kv_bytes;
	uint64_t slot_bytes; /* of an expert in the DRAM cache */
	unsigned n_ctx;
	struct tr_workload work; /* shares not filled in */
};

int tr_tune_model(struct tr_tune_model *m, const struct tr_tune_args *a, struct tr_err *err);

/* Fills in err. */
int tr_tune_fail(struct tr_err *err, int code, const char *name, const char *what);

/* Routing to replay: the trace given, or one drawn from a profile or a skew, independent from token
 * to token. */
int tr_tune_routing(struct tr_trace **trace, const struct tr_tune_model *m,
	const struct tr_tune_args *a, struct tr_err *err);

/* Settings of a run. */
struct tr_tune_choice {
	uint64_t dram_bytes; /* for experts */
	const char *policy;
	const char *predictor; /* NULL: none */
	uint32_t n_ahead;      /* experts that may be read ahead at one time; 0: nothing is */
	unsigned promote; /* % of what a token uses that may be copied from persistent memory */
};

/* Layers of decoded tokens that used so many experts of each tier; of those on disk so many were
 * asked for ahead, and so many others were in vain. */
struct tr_tune_visits {
	uint32_t n[TR_N_MACHINE_KIND];
	uint32_t ahead, vain;
	double count;
};

#define TR_TUNE_MAX_VISITS 1024

/* What tokens of a run meet, added up: enough to forecast their mean time on any machine. */
struct tr_tune_window {
	size_t n_kind;
	struct tr_tune_visits kind[TR_TUNE_MAX_VISITS];
	double n_token, position_sum, fresh_bytes, promoted_bytes;
	const char *predictor; /* NULL: none */
};

struct tr_tune_row {
	struct tr_tune_choice choice;
	double run_hit_rate;	  /* of all decoding */
	double hit_rate;	  /* of its second half */
	double read_bytes;	  /* a token, once warm */
	struct tr_forecast first; /* the mean of all tokens of a run that begins cold */
	struct tr_forecast warm;  /* the mean of its second half */
	double token_s[3];	  /* of all: the median, of 100 the 95th and the slowest */
	double load_s,
		prompt_s; /* from cold until weights are there, and from then to the first token */
	unsigned n_prompt, n_token;
	struct tr_predictor_stats foresight; /* of the predictor; visits 0: none */
	double foreseen, vain; /* reads ahead of a warm token: that were needed, that were not */
	double replay_s;       /* that finding this out took */
	bool fills;	       /* the cache was still growing in the second half */
	struct tr_tune_window all, last;
};

#define TR_TUNE_MAX_STEP  8
#define TR_TUNE_STEP_TEXT 256

/* One option of the search, in its order. */
struct tr_tune_step {
	const char *option;
	char tried[TR_TUNE_STEP_TEXT]; /* "": nothing, see note */
	char chosen[32];
	char note[TR_TUNE_STEP_TEXT]; /* why not; "" where it was tried */
	double before, after; /* tokens/s with what was chosen before it, and with the best tried */
	bool taken;	      /* that gain is worth more than the noise */
};

struct tr_tune {
	struct tr_tune_args args;
	struct tr_machine machine;
	struct tr_tune_model model;
	struct tr_speeds speeds;
	struct tr_trace *trace;
	struct tr_trace_info info;
	uint64_t dram_bytes, room; /* DRAM there is, and of that for experts */
	uint64_t pmem_bytes;
	uint64_t vram_bytes, vram_room; /* the same of VRAM; 0: none */
	double in_pmem;			/* share of the experts that lie in persistent memory */
	double vram_of_hits;		/* share of the cache's hits that VRAM serves */
	struct tr_tune_row row[TR_TUNE_MAX_ROW];
	size_t n_row, best;
	struct tr_tune_step step[TR_TUNE_MAX_STEP];
	size_t n_step;
	uint64_t start_ns; /* of the search */
	struct tr_err err;
};

/* --- a row ------------------------------------------------------------------------------------ */

int tr_tune_row(struct tr_tune *t, const struct tr_tune_choice *choice, struct tr_tune_row *row);
/* The window on a machine of these speeds. */
void tr_tune_forecast(const struct tr_tune *t, const struct tr_tune_window *w,
	const struct tr_speeds *s, struct tr_forecast *out);

/* --- the search ------------------------------------------------------------------------------- */

/* Fills in room, the share in persistent memory and the like; warns where nothing is left. */
int tr_tune_sizes(struct tr_tune *t);
int tr_tune_search(struct tr_tune *t);
/* Threads that give the most: needs no routing. Changes speeds. */
void tr_tune_threads(struct tr_tune *t);
/* A step that begins with the speed of the best row. */
struct tr_tune_step *tr_tune_step(struct tr_tune *t, const char *option);
void tr_tune_step_tried(struct tr_tune_step *s, const char *what);
/* Gains by decisions of the cache are exact; of threads and reading ahead a forecast. */
#define TR_TUNE_NOISE_EXACT 0.01
#define TR_TUNE_NOISE_SAID  0.03

/* --- the answer ------------------------------------------------------------------------------- */

struct tr_tune_part {
	const char *name;
	double s;
};

#define TR_TUNE_MAX_PART 12

/* Where the time of a forecast goes. Returns how many parts there are; some are 0. */
size_t tr_tune_parts(const struct tr_forecast *f, struct tr_tune_part parts[TR_TUNE_MAX_PART]);

void tr_tune_command(const struct tr_tune *t, char *to, size_t cap);

/* A purchase, or an assumption that is 20% off, and what it makes of the speed of the best row. */
struct tr_tune_what {
	char name[48];
	double tokens_per_s;
	double other; /* of an assumption: with 20% less */
};

#define TR_TUNE_MAX_WHAT 12

size_t tr_tune_purchases(struct tr_tune *t, struct tr_tune_what what[TR_TUNE_MAX_WHAT]);
/* The one that moves the speed most comes first. */
size_t tr_tune_assumptions(const struct tr_tune *t, struct tr_tune_what what[TR_TUNE_MAX_WHAT]);

/* Tokens a second if so much of the uses were served from DRAM, and from VRAM, the rest from below.
 */
struct tr_tune_share {
	double dram, vram;
	double tokens_per_s;
};

#define TR_TUNE_N_SHARE 6

size_t tr_tune_shares(const struct tr_tune *t, struct tr_tune_share share[TR_TUNE_N_SHARE]);

#define TR_TUNE_MAX_TRAP   8
#define TR_TUNE_TRAP_BYTES 320

/* What will go wrong; returns how many. */
size_t tr_tune_traps(const struct tr_tune *t, char trap[TR_TUNE_MAX_TRAP][TR_TUNE_TRAP_BYTES]);

void tr_tune_print(struct tr_tune *t);
json_t *tr_tune_json(struct tr_tune *t);
/* One file without network or script. Returns 0, or a negative code with err. */
int tr_tune_html(struct tr_tune *t, const char *path, struct tr_err *err);

/* --- measuring -------------------------------------------------------------------------------- */

/* Measures this machine, writes its file, prints it. Returns an exit code. */
int tr_tune_measure(struct tr_tune *t);
/* Runs the model and writes the machine's file anew. Returns an exit code. */
int tr_tune_calibrate(struct tr_tune *t);
/* The machine was measured, probably this one. */
bool tr_tune_is_here(const struct tr_tune *t);
/* The run of the engine that the forecast is made from; NULL: there is none. */
const struct tr_machine_run *tr_tune_run_of(const struct tr_tune *t);

#endif
