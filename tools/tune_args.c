/* tune_args.c - options of `tierra tune`. */
#include "tools/engine_args.h"
#include "tools/tune.h"

#include <string.h>

enum {
	KEY_MEASURE = 0x4000,
	KEY_MACHINE,
	KEY_SHAPE,
	KEY_TRACE,
	KEY_PROFILE,
	KEY_SKEW,
	KEY_MAX_DRAM,
	KEY_RESERVE,
	KEY_GPU,
	KEY_PROMPT,
	KEY_PMEM,
	KEY_DISK,
	KEY_QUANT,
	KEY_MAX_VRAM,
	KEY_DRAM,
	KEY_POLICY,
	KEY_PREDICTOR,
	KEY_HTML,
	KEY_CALIBRATE,
	KEY_QUICK,
};

static const struct argp_option options[] = {
	{ "measure", KEY_MEASURE, "FILE", 0, "measure this machine and write its profile", 1 },
	{ "pmem", KEY_PMEM, "DIR", 0, "measure persistent memory there; may be repeated", 1 },
	{ "disk", KEY_DISK, "PATH", 0,
		"measure reads of this file, or of one written in this directory (default with "
		"--calibrate: of the model); may be repeated",
		1 },
	{ "quant", KEY_QUANT, "TYPE", 0,
		"measure the kernels of this type, or TYPE:COLUMNS (default Q4_K, Q6_K, Q8_0, "
		"F32); may be "
		"repeated",
		1 },
	{ "quick", KEY_QUICK, 0, 0, "measure for a few seconds only: rough figures", 1 },
	{ "calibrate", KEY_CALIBRATE, 0, 0,
		"run the model for some seconds, twice, and add what its layers took to the "
		"machine's file; forecasts of this model are made from it",
		1 },
	{ "threads", 't', "N", 0, "measure with N threads (default: one per processor)", 1 },
	{ "machine", KEY_MACHINE, "FILE|NAME", 0,
		"the machine: a profile, or optane-3060, desktop-gen4, optane-dual, "
		"workstation-32g, "
		"cxl",
		2 },
	{ "model", 'm', "FILE", 0, "GGUF file; only its header is read", 2 },
	{ "shape", KEY_SHAPE, "k2.5@BITS", 0,
		"Kimi K2.5 with so many bits a weight, without a file", 2 },
	{ "trace", KEY_TRACE, "FILE", 0, "routing to replay", 3 },
	{ "profile", KEY_PROFILE, "FILE", 0, "routing is drawn from these statistics", 3 },
	{ "skew", KEY_SKEW, "top25=X", 0,
		"routing is drawn such that a quarter of the experts gets X of the uses (default "
		"0.5)",
		3 },
	{ "max-dram", KEY_MAX_DRAM, "SIZE", 0, "DRAM that may be used (default: the machine's)",
		4 },
	{ "max-vram", KEY_MAX_VRAM, "SIZE", 0, "VRAM that may be used (default: the machine's)",
		4 },
	{ "dram", KEY_DRAM, "SIZE", 0, "look at this DRAM cache and at no other, as 8G or 25%", 4 },
	{ "policy", KEY_POLICY, "NAME", 0, "look at this policy and at no other", 4 },
	{ "predictor", KEY_PREDICTOR, "NAME", 0, "look at this predictor, or none, and at no other",
		4 },
	{ "reserve", KEY_RESERVE, "SIZE", 0,
		"of that, left to the system (default: a tenth, at least 512M)", 4 },
	{ "context", 'c', "N", 0, "tokens of context (default 4096); forecasts have it half full",
		4 },
	{ "prompt", KEY_PROMPT, "N", 0, "tokens of the prompt where no trace says (default 512)",
		4 },
	{ "gpu", KEY_GPU, 0, 0,
		"what every token uses is read from VRAM (a forecast: this version cannot do it)",
		4 },
	{ "html", KEY_HTML, "FILE", 0, "write a page with drawings, too", 5 },
	{ "json", 'j', 0, 0, "one JSON object", 5 },
	{ 0 },
};

static void add_path(const struct argp_state *state, const char *what, const char **list, size_t *n,
	const char *path)
{
	if (*n == TR_TUNE_MAX_PATH)
		argp_error(state, "%s: at most %d may be given", what, TR_TUNE_MAX_PATH);
	else
		list[(*n)++] = path;
}

static double skew(const struct argp_state *state, const char *text)
{
	if (strncmp(text, "top25=", 6) != 0)
		argp_error(state, "--skew: '%s' is not top25=X", text);
	return tr_arg_f64(state, "--skew top25", text + 6, 0.25, 0.99);
}

static void check(const struct argp_state *state, const struct tr_tune_args *a)
{
	if (!a->measure && !a->machine)
		argp_error(state, "no machine given (--machine FILE|NAME), nor --measure FILE");
	if (a->machine && !a->model == !a->shape)
		argp_error(state, "either a model file or --shape is expected");
	for (size_t i = 0; a->predictor && i <= tr_n_predictor(); i++) {
		struct tr_predictor_info info;

		if (i == tr_n_predictor())
			argp_error(state, "--predictor: there is no '%s'", a->predictor);
		tr_predictor_info(i, &info);
		if (!strcmp(info.name, a->predictor))
			break;
	}
	if (a->calibrate && !a->model)
		argp_error(state, "--calibrate: a model file is expected");
	if ((a->trace != NULL) + (a->profile != NULL) + (a->skew > 0) > 1)
		argp_error(state, "--trace, --profile and --skew: one of them is expected");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct tr_tune_args *a = state->input;

	switch (key) {
	case KEY_MEASURE:
		a->measure = arg;
		break;
	case KEY_PMEM:
		add_path(state, "--pmem", a->pmem, &a->n_pmem, arg);
		break;
	case KEY_DISK:
		add_path(state, "--disk", a->disk, &a->n_disk, arg);
		break;
	case KEY_QUANT:
		add_path(state, "--quant", a->quant, &a->n_quant, arg);
		break;
	case 't':
		a->n_thread = (unsigned)tr_arg_u64(state, "-t", arg, 1, 4096);
		break;
	case KEY_MACHINE:
		a->machine = arg;
		break;
	case 'm':
	case ARGP_KEY_ARG:
		if (a->model)
			argp_error(state, "'%s': one model is expected", arg);
		a->model = arg;
		break;
	case KEY_SHAPE:
		if (strncmp(arg, "k2.5@", 5) != 0)
			argp_error(state, "--shape: '%s' is not k2.5@BITS", arg);
		a->shape = arg;
		a->shape_bits = tr_arg_f64(state, "--shape k2.5", arg + 5, 1, 16);
		break;
	case KEY_TRACE:
		a->trace = arg;
		break;
	case KEY_PROFILE:
		a->profile = arg;
		break;
	case KEY_SKEW:
		a->skew = skew(state, arg);
		break;
	case KEY_MAX_DRAM:
		a->max_dram = arg;
		break;
	case KEY_MAX_VRAM:
		a->max_vram = arg;
		break;
	case KEY_DRAM:
		a->dram = arg;
		break;
	case KEY_POLICY:
		a->policy = arg;
		break;
	case KEY_PREDICTOR:
		a->predictor = arg;
		break;
	case KEY_HTML:
		a->html = arg;
		break;
	case KEY_CALIBRATE:
		a->calibrate = true;
		break;
	case KEY_QUICK:
		a->quick = true;
		break;
	case KEY_RESERVE:
		a->reserve = arg;
		break;
	case 'c':
		a->n_ctx = (unsigned)tr_arg_u64(state, "-c", arg, 1, INT32_MAX);
		break;
	case KEY_PROMPT:
		a->n_prompt = (unsigned)tr_arg_u64(state, "--prompt", arg, 1, 1 << 20);
		break;
	case KEY_GPU:
		a->gpu = true;
		break;
	case 'j':
		a->json = true;
		break;
	case ARGP_KEY_END:
		check(state, a);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void tr_tune_args_parse(struct tr_tune_args *args, int argc, char **argv)
{
	static const struct argp argp = { .options = options,
		.parser = parse,
		.args_doc = "[FILE]",
		.doc = "Measures a machine, or says which sizes and policy suit a model on one, "
		       "and how "
		       "fast it should then be. Reads no weights, except to --calibrate." };

	*args = (struct tr_tune_args){ .n_prompt = 512 };
	tr_args_parse(&argp, argc, argv, args);
}
