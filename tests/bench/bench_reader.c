/*
 * bench_reader.c - what memory and disk give right now to one who only reads; tests/bench/run calls
 * it before and after processes that cannot measure it themselves.
 *
 *	bench_reader [-t N] [--reader SIZE] [--io METHOD] MODEL		one JSON object
 */
#include "reader.h"

#include "base/mem.h"
#include "base/opt.h"
#include "model/model.h"

#include <argp.h>
#include <jansson.h>
#include <stdio.h>

#define DRAM_PASSES  3
#define DISK_SECONDS 0.5

struct args {
	struct tr_engine_opts opts;
	uint64_t bytes;
};

enum { KEY_READER = 0x1000, KEY_IO };

static const struct argp_option options[] = {
	{ "threads", 't', "N", 0, "of the memory reader (as many as processors)", 1 },
	{ "reader", KEY_READER, "SIZE", 0, "memory that is read (1G)", 1 },
	{ "io", KEY_IO, "METHOD", 0, "as of tierra", 1 },
	{ 0 },
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct args *a = state->input;
	struct tr_err err;
	uint64_t n;
	int rc = 0;

	switch (key) {
	case 't':
		rc = tr_opt_u64("--threads", text, 1, 1024, &n, &err);
		a->opts.n_thread = rc ? 0 : (unsigned)n;
		break;
	case KEY_READER:
		rc = tr_opt_size("--reader", text, 0, &a->bytes, &err);
		break;
	case KEY_IO:
		a->opts.io = text;
		break;
	case ARGP_KEY_ARG:
		if (a->opts.model_path)
			argp_usage(state);
		a->opts.model_path = text;
		break;
	case ARGP_KEY_END:
		if (!a->opts.model_path)
			argp_usage(state);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (rc)
		argp_error(state, "%s", err.msg);
	return 0;
}

static int read_dram(const struct args *a, double *bps, struct tr_err *err)
{
	struct reader_dram dram;
	int rc = reader_dram_open(&dram, a->opts.n_thread, a->bytes, err);

	if (!rc)
		*bps = reader_dram_pass(&dram, DRAM_PASSES);
	reader_dram_close(&dram);
	return rc;
}

static int read_disk(const struct args *a, double *bps, struct tr_err *err)
{
	struct reader_disk *disk = NULL;
	struct tr_model *model = NULL;
	struct tr_plan plan;
	int rc = tr_engine_plan(&a->opts, &plan, err);

	if (!rc)
		rc = tr_model_open(&model, a->opts.model_path, err);
	if (!rc)
		rc = reader_disk_open(
			&disk, model, &a->opts, a->opts.io, 2 * plan.n_expert_used, err);
	if (!rc) {
		*bps = reader_disk_pass(disk, DISK_SECONDS, err);
		rc = *bps > 0 ? 0 : TR_E_IO;
	}
	reader_disk_close(disk);
	tr_model_close(model);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse, "MODEL",
		"Measure plain readers of memory and disk.", NULL, NULL, NULL };
	struct args a = { .bytes = (uint64_t)1 << 30, .opts = { .dram = "0" } };
	struct tr_err err = { 0 };
	double dram = 0, disk = 0;
	int rc;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	rc = a.bytes ? read_dram(&a, &dram, &err) : 0;
	if (!rc)
		rc = read_disk(&a, &disk, &err);
	if (rc) {
		fprintf(stderr, "bench_reader: %s\n", err.msg);
		return 1;
	}
	json_t *o = json_pack("{s:f, s:f}", "dram_reader_bytes_per_s", dram,
		"disk_reader_bytes_per_s", disk);

	json_dumpf(o, stdout, JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(o);
	return 0;
}
