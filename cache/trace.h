/*
 * trace.h - what a run asked of its cache, in memory: sets of experts in the order of their
 * arrival.
 *
 * A *set* is what one layer used for one token (decoding) or for a chunk of tokens (prefill, a
 * scan). A *step* is one pass through the layers; it ends with the set marked so. Layers are
 * indices of MoE layers, units are numbered as in the catalogue: layer * n_expert + expert.
 *
 * trace_read.c reads what trace_write.c wrote, trace_csv.c reads tables of other engines. Both add
 * sets through tr_trace_add, which checks them. Not changed after reading, then shared freely.
 */
#ifndef TR_CACHE_TRACE_H
#define TR_CACHE_TRACE_H

#include "base/err.h"
#include "cache/sketch.h"

#include <stdio.h>

#define TR_TRACE_MAX_LAYER  65536u
#define TR_TRACE_MAX_EXPERT 65535u
#define TR_TRACE_MAX_TOK    (1u << 20) /* tokens of a set */

struct tr_trace_layer {
	uint32_t layer;	     /* of the model */
	uint64_t unit_bytes; /* of one expert; 0: not known */
};

struct tr_trace_head {
	char model[128];      /* "": not known */
	char fingerprint[40]; /* "": not known */
	uint32_t n_layer;     /* of the model, dense ones included */
	uint32_t n_moe_layer;
	uint32_t n_expert;
	uint32_t n_used;	       /* per token and layer; 0: not the same everywhere */
	uint64_t slot_bytes;	       /* one expert in the DRAM cache; 0: not known */
	struct tr_trace_layer *layers; /* [n_moe_layer] */
};

/* What the run knew of its units before the first set; without it the same was true of all. */
struct tr_trace_units {
	uint8_t *home;	/* [n_id] 0: the model file, 1 + i: persistent memory i; NULL: all the file */
	float *cost;	/* [n_id] of a miss, as in policies/policy.h; NULL: all 1 */
	uint32_t *hot;	/* [n_hot] of a profile, the most worth having first; those in the file were in
			 * DRAM from the start, as far as they fitted */
	uint32_t n_hot;
	uint32_t n_promote; /* copies that a token may bring from persistent memory; with it, hot units
			     * from there were in DRAM from the start as well */
};

void tr_trace_units_fini(struct tr_trace_units *units);

/* The memory of a device that the run had experts in; slot_bytes NULL: none. */
struct tr_trace_vram {
	uint64_t *slot_bytes; /* [n_moe_layer] of an expert there; 0: it cannot compute them */
	uint64_t room_bytes;  /* for the slots of all */
	uint64_t token_bytes; /* to copy there as a token ends, at most */
};

/* Copies to a device that were still under way as a step ended: see struct tr_vram_late. */
struct tr_trace_late {
	uint64_t before_set; /* index of the set that arrived next */
	uint32_t n_held, n_left;
};

struct tr_trace_set {
	uint64_t first_pick; /* into pick, weight: n_pick, tokens one after the other, in router
				rank */
	uint64_t first_unit; /* into unit: n_unit, ascending, each once */
	uint32_t n_pick;
	uint32_t n_unit;
	uint32_t n_tok;
	uint32_t layer;
	bool scan;
	bool ends_step;
};

/* What a router said of its experts, for one token. */
struct tr_trace_scores {
	uint64_t before_set; /* index of the set that arrived next */
	uint32_t layer;
	uint32_t ahead; /* 0: of that layer itself; n: its router applied n layers early */
	uint16_t rest;	/* as in struct tr_sketch */
};

struct tr_trace {
	struct tr_trace_head head;
	struct tr_trace_units units;
	struct tr_trace_vram vram;
	bool complete; /* false: the recording ended without its end mark */
	bool has_weights;
	size_t n_set, cap_set;
	struct tr_trace_set *set;
	size_t n_pick, cap_pick;
	uint16_t *pick;	  /* experts of a layer */
	uint16_t *weight; /* [n_pick] binary16; zeros when there are none */
	size_t n_unit, cap_unit;
	uint32_t *unit;
	size_t n_scores, cap_scores;
	struct tr_trace_scores *scores;
	uint32_t n_score;	/* of one sketch; 0: no scores */
	uint16_t *score_expert; /* [n_scores][n_score] */
	uint16_t *score;	/* [n_scores][n_score] binary16 */
	size_t n_late, cap_late;
	struct tr_trace_late *late;
	uint64_t n_tok;	 /* of the first layer that each step visited */
	uint64_t n_scan_tok;
	bool in_step;
	uint32_t *mark; /* [n_expert] scratch of tr_trace_add */
	uint32_t stamp;
};

/* Takes over head.layers, also on failure. */
int tr_trace_init(struct tr_trace *t, const struct tr_trace_head *head, struct tr_err *err);
void tr_trace_fini(struct tr_trace *t);

/* Adds a set of n_pick experts, the same number for each of n_tok tokens. weights may be NULL. */
int tr_trace_add(struct tr_trace *t, uint32_t layer, uint32_t n_tok, bool scan,
	const uint16_t *picks, const uint16_t *weights, size_t n_pick, struct tr_err *err);
/* The sketch has tr_sketch_size(n_expert, n_used) experts. */
int tr_trace_add_scores(struct tr_trace *t, uint32_t layer, uint32_t ahead,
	const struct tr_sketch *sketch, struct tr_err *err);
int tr_trace_add_late(struct tr_trace *t, uint32_t n_held, uint32_t n_left, struct tr_err *err);
/* The i-th scores; valid while the trace is. */
struct tr_sketch tr_trace_sketch(const struct tr_trace *t, size_t i);
void tr_trace_end_step(struct tr_trace *t);

/* A file made by tr_trace_writer. name is for messages. A file that ends within a block, or has a
 * damaged one, is read up to there and complete is false. */
int tr_trace_read(struct tr_trace *t, FILE *in, const char *name, struct tr_err *err);
/* Lines "token,layer,expert[,weight]". Tokens and layers may come in any order. n_expert 0: one
 * more than the largest. */
int tr_trace_read_csv(
	struct tr_trace *t, FILE *in, const char *name, uint32_t n_expert, struct tr_err *err);

#endif
