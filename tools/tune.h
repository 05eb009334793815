/* tune.h - what `tierra tune` was asked, and the steps to its answer. */
#ifndef TR_TOOLS_TUNE_H
#define TR_TOOLS_TUNE_H

#include "tierra.h"

#include <stdio.h>

#define TR_TUNE_MAX_PATH 4
#define TR_TUNE_MAX_ROW	 32

struct tr_tune_args {
	const char *model;   /* file, or NULL */
	const char *shape;   /* "k2.5@2.97" bits a weight, or NULL */
	double shape_bits;
	const char *machine; /* file or name */
	const char *measure; /* file to write */
	const char *trace, *profile;
	double skew; /* share of the uses that the top 25% of experts have; 0: not given */
	const char *max_dram, *reserve;
	bool gpu;    /* weights of every token on the GPU */
	bool json;
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
	char quant[12]; /* of most expert bytes */
	uint64_t n_unit, unit_bytes, floor_bytes, resident_bytes, kv_bytes;
	unsigned n_ctx;
	struct tr_workload work; /* shares not filled in */
};

int tr_tune_model(struct tr_tune_model *m, const struct tr_tune_args *a, struct tr_err *err);

/* Routing to replay: the trace given, or one drawn from a profile or a skew, independent from token to token. */
int tr_tune_routing(struct tr_trace **trace, const struct tr_tune_model *m,
	const struct tr_tune_args *a, struct tr_err *err);

struct tr_tune_row {
	char dram[24];
	uint64_t dram_bytes;
	const char *policy;
	double hit_rate;
	struct tr_forecast f;
	double prompt_s;
};

#endif
