/* engine_args.c - checks what can be checked without a model: choices, numbers, policy names.
 * Sizes need the model (a percentage is one of its experts), so the engine reads them. */
#include "tools/engine_args.h"
#include "tools/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEY_POLICY = 0x1000,
	KEY_CPU,
	KEY_IO,
	KEY_DRAM,
	KEY_PMEM,
	KEY_DEVICE,
	KEY_DEVICE_FETCH,
	KEY_DEVICE_LOST,
	KEY_VRAM,
	KEY_KV,
	KEY_BATCH,
	KEY_PMEM_THREADS,
	KEY_NUMA,
	KEY_PREDICTOR,
	KEY_PREFETCH,
	KEY_PREFETCH_BUDGET,
	KEY_PROFILE,
	KEY_PROMOTE,
	KEY_THROTTLE,
	KEY_MACHINE,
};

static const struct argp_option options[] = {
	{ "model", 'm', "FILE", 0, "GGUF file; of a split model the first shard", 1 },
	{ "context", 'c', "N", 0, "tokens of context (default: the model's, at most 4096)", 1 },
	{ "threads", 't', "N", 0, "threads (default: one per processor)", 1 },
	{ "numa", KEY_NUMA, "auto|off|NODES", 0,
		"NUMA nodes that threads and memory are bound to, each computing the rows of weights "
		"that lie on it; auto: all, if there are several (default auto)",
		1 },
	{ "cpu", KEY_CPU, "ISA", 0, "scalar, avx2 or avx512 (default: the best there is)", 1 },
	{ "kv", KEY_KV, "TYPE", 0, "f16, f32 or q8_0: how the KV cache is kept (default f16)", 1 },
	{ "batch", KEY_BATCH, "N", 0, "tokens per prefill chunk (default 512)", 1 },
	{ "dram", KEY_DRAM, "SIZE", 0,
		"DRAM for experts, as 512M, 96G, 25% of all (default: what memory allows)", 2 },
	{ "pmem", KEY_PMEM, "PATH[:SIZE]", 0,
		"persistent memory, or any directory, for experts; may be repeated", 2 },
	{ "pmem-threads", KEY_PMEM_THREADS, "N", 0,
		"threads that read persistent memory at a time (default: all)", 2 },
	{ "promote", KEY_PROMOTE, "off|on|SIZE", 0,
		"copy what is used often from persistent memory to DRAM, and to VRAM, as a token ends, at "
		"most SIZE each (default 10% of what a token uses)",
		2 },
	{ "device", KEY_DEVICE, "cuda:N|host|none", 0,
		"what computes beside the CPU: a GPU, or threads that stand in for one (default none)", 2 },
	{ "device-fetch", KEY_DEVICE_FETCH, "auto|on|off", 0,
		"copy experts to the device for one layer of a prefill; auto: where that pays (default auto)",
		2 },
	{ "machine", KEY_MACHINE, "FILE|NAME", 0,
		"profile of the machine (`tierra tune --measure`) whose figures say what pays to be fetched; what it "
		"lacks is measured",
		2 },
	{ "device-lost", KEY_DEVICE_LOST, "stop|continue", 0,
		"when the device fails: end the run, its text kept, or go on by CPU (default stop)", 2 },
	{ "vram", KEY_VRAM, "auto|SIZE", 0,
		"memory to take of the device, or its experts as 25% of all (default: what is free, less "
		"an eighth of the device or 512M)",
		2 },
	{ "policy", KEY_POLICY, "[TIER=]NAME[,OPTION=VALUE]", 0,
		"order of eviction, see `tierra policies`, or a path to a shared object with one "
		"(default foresight); by tier: dram=NAME,vram=NAME",
		2 },
	{ "profile", KEY_PROFILE, "FILE", 0,
		"statistics (--stats) or a trace of earlier runs: the experts used most are placed "
		"first, and in memory before the first token",
		2 },
	{ "predictor", KEY_PREDICTOR, "NAME[,OPTION=VALUE]", 0,
		"foresees which experts are used soon (default none)", 2 },
	{ "prefetch", KEY_PREFETCH, "MODE[,waste=X]", 0,
		"off, on, auto: read foreseen experts ahead of need; auto: while tokens come faster "
		"with it; at most X wasted reads per useful one (default auto,waste=0.2)",
		2 },
	{ "prefetch-budget", KEY_PREFETCH_BUDGET, "SIZE", 0,
		"read ahead and not yet used, at most (default: an eighth of the DRAM cache)", 2 },
	{ "throttle", KEY_THROTTLE, "TIER=RATE[,...]", 0,
		"slow the experts of dram, pmem or nvme down to RATE bytes a second, as 3.5G, to try "
		"the balance of another machine",
		2 },
	{ "io", KEY_IO, "METHOD", 0, "uring, threads, sync or cufile (default: uring, else threads)", 2 },
	{ 0 },
};

uint64_t tr_arg_u64(const struct argp_state *state, const char *what, const char *text,
	uint64_t lo, uint64_t hi)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end)
		argp_error(state, "%s: '%s' is not a whole number", what, text);
	if (errno || v < lo || v > hi)
		argp_error(state, "%s: %s is not in %" PRIu64 " to %" PRIu64, what, text, lo, hi);
	return v;
}

double tr_arg_f64(const struct argp_state *state, const char *what, const char *text, double lo,
	double hi)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !isfinite(v))
		argp_error(state, "%s: '%s' is not a number", what, text);
	if (v < lo || v > hi)
		argp_error(state, "%s: %s is not in %g to %g", what, text, lo, hi);
	return v;
}

/* text when it is one of the choices (separated by spaces). */
static const char *choice(const struct argp_state *state, const char *what, const char *text,
	const char *choices)
{
	size_t len = strlen(text);

	for (const char *c = choices; *c; c += strspn(c, " ")) {
		size_t n = strcspn(c, " ");

		if (n == len && !memcmp(c, text, n))
			return text;
		c += n;
	}
	argp_error(state, "%s: '%s' is none of: %s", what, text, choices);
	return NULL;
}

static void check_policy(const struct argp_state *state, const char *text)
{
	struct tr_err err;

	if (tr_policy_check(text, &err))
		argp_error(state, "%s", err.msg);
}

static void add_pmem(const struct argp_state *state, struct tr_engine_args *a, const char *text)
{
	if (a->opts.n_pmem == TR_MAX_PMEM)
		argp_error(state, "--pmem: at most %d may be given", TR_MAX_PMEM);
	else
		a->pmem[a->opts.n_pmem++] = text;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct tr_engine_args *a = state->input;
	struct tr_engine_opts *o = &a->opts;

	switch (key) {
	case ARGP_KEY_INIT:
		*a = (struct tr_engine_args){ .opts = { .pmem = a->pmem } };
		break;
	case 'm':
		o->model_path = arg;
		break;
	case 'c':
		o->n_ctx = (unsigned)tr_arg_u64(state, "-c", arg, 1, INT32_MAX);
		break;
	case 't':
		o->n_thread = (unsigned)tr_arg_u64(state, "-t", arg, 1, 4096);
		break;
	case KEY_PMEM_THREADS:
		o->n_pmem_thread = (unsigned)tr_arg_u64(state, "--pmem-threads", arg, 1, 4096);
		break;
	case KEY_NUMA:
		o->numa = arg;
		break;
	case KEY_BATCH:
		o->n_batch = (unsigned)tr_arg_u64(state, "--batch", arg, 1, 65536);
		break;
	case KEY_KV:
		choice(state, "--kv", arg, "f16 f32 q8_0");
		o->kv_type = !strcmp(arg, "f32") ? TR_KV_F32 :
			!strcmp(arg, "q8_0")	 ? TR_KV_Q8_0 : TR_KV_F16;
		break;
	case KEY_CPU:
		o->cpu = choice(state, "--cpu", arg, "scalar avx2 avx512");
		break;
	case KEY_IO:
		o->io = choice(state, "--io", arg, "uring threads sync cufile");
		break;
	case KEY_DRAM:
		o->dram = arg;
		break;
	case KEY_DEVICE:
		o->device = arg;
		break;
	case KEY_DEVICE_FETCH:
		o->device_fetch = choice(state, "--device-fetch", arg, "auto on off");
		break;
	case KEY_DEVICE_LOST:
		o->device_lost = choice(state, "--device-lost", arg, "stop continue");
		break;
	case KEY_MACHINE:
		o->machine = arg;
		break;
	case KEY_VRAM:
		o->vram = arg;
		break;
	case KEY_PMEM:
		add_pmem(state, a, arg);
		break;
	case KEY_PROMOTE:
		o->promote = arg;
		break;
	case KEY_POLICY:
		check_policy(state, arg);
		o->policy = arg;
		break;
	case KEY_PROFILE:
		o->profile = arg;
		break;
	case KEY_THROTTLE:
		o->throttle = arg;
		break;
	case KEY_PREDICTOR:
		o->predictor = arg;
		break;
	case KEY_PREFETCH:
		o->prefetch = arg;
		break;
	case KEY_PREFETCH_BUDGET:
		o->prefetch_budget = arg;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp tr_engine_argp = { .options = options, .parser = parse };

void tr_args_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	argp_err_exit_status = TR_EXIT_USAGE;
	if (argp_parse(argp, argc, argv, 0, NULL, input))
		exit(TR_EXIT_USAGE);
}
