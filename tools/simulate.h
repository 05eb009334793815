/*
 * simulate.h - what `tierra simulate` was asked, and what came out: a row for each trace, cache
 * size and policy, printed as a table, curves, CSV or JSON.
 */
#ifndef TR_TOOLS_SIMULATE_H
#define TR_TOOLS_SIMULATE_H

#include "tierra.h"

#include <jansson.h>
#include <stdio.h>

enum tr_simulate_output { TR_SIMULATE_TABLE, TR_SIMULATE_CSV, TR_SIMULATE_JSON };

struct tr_list {
	char **item;
	size_t n;
};

struct tr_simulate_args {
	struct tr_list traces;
	struct tr_list policies;
	struct tr_list caches;
	const char *predictor; /* NULL: none */
	const char *vram;	 /* NULL: none */
	const char *vram_policy; /* NULL: the default */
	const char *warm; /* "100" tokens or "33%"; NULL: none */
	unsigned n_expert;
	bool per_layer;
	bool curve;
	enum tr_simulate_output output;
};

/* Usage errors exit. */
void tr_simulate_args_parse(struct tr_simulate_args *args, int argc, char **argv);
void tr_simulate_args_fini(struct tr_simulate_args *args);

/* Items of a list separated by commas, added as copies. One with '=' is an option of the one
 * before. */
void tr_list_add(struct tr_list *list, const char *text);
void tr_list_fini(struct tr_list *list);

struct tr_simulate_row {
	const char *trace;
	const char *cache;
	const char *policy;
	struct tr_replay_stats stats;
	uint64_t optimum; /* hits of Belady's choice */
};

/* Rows of one trace and cache lie together, policies in the same order. */
struct tr_simulate_rows {
	struct tr_simulate_row *row;
	size_t n;
	size_t n_trace;
	size_t n_policy;
	bool predicted; /* with a predictor */
	const char *vram; /* NULL: without a device; share and optimum are of one cache, so there are none */
};

/* hits / requests, hits / optimum; a negative number when there is nothing to divide by. */
double tr_simulate_hit_rate(const struct tr_simulate_row *row);
double tr_simulate_share(const struct tr_simulate_row *row);

void tr_simulate_print_table(const struct tr_simulate_rows *rows, FILE *out);
/* Miss ratios: a line a cache size, a column a policy, the last of them Belady's. */
void tr_simulate_print_curves(const struct tr_simulate_rows *rows, FILE *out);
void tr_simulate_print_csv(const struct tr_simulate_rows *rows, FILE *out);
json_t *tr_simulate_json(const struct tr_simulate_rows *rows);

#endif
