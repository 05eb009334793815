/* generate_args.c - options of `tierra generate` beside those of engine_args.c. */
#include "tools/generate_args.h"
#include "tools/stats.h"

#include <jansson.h>
#include <string.h>

enum {
	KEY_TEMP = 0x2000,
	KEY_TOP_K,
	KEY_TOP_P,
	KEY_MIN_P,
	KEY_REPEAT_PENALTY,
	KEY_STOP,
	KEY_IGNORE_EOS,
	KEY_OUTPUT,
	KEY_LOGPROBS,
	KEY_TRACE,
	KEY_STATS,
	KEY_ROOFLINE,
};

#define DEFAULT_N_PREDICT 128
#define MAX_LOGPROBS 1000

static const struct argp_option options[] = {
	{ "prompt", 'p', "TEXT", 0, "the prompt", 1 },
	{ "file", 'f', "FILE", 0,
		"read the prompt from FILE, - for standard input; one newline at its end is "
		"dropped",
		1 },
	{ "predict", 'n', "N", 0,
		"tokens to generate (default 128); -1: until the context is full", 1 },
	{ "stop", KEY_STOP, "STRING", 0,
		"end before STRING appears in the text; may be repeated", 1 },
	{ "ignore-eos", KEY_IGNORE_EOS, 0, 0, "go on after the model's stop tokens", 1 },
	{ "seed", 's', "N", 0, "of the sampler (default 0)", 2 },
	{ "temp", KEY_TEMP, "X", 0, "temperature (default 0.8); 0: always the likeliest", 2 },
	{ "top-k", KEY_TOP_K, "K", 0, "sample of the K likeliest (default 40); 0: of all", 2 },
	{ "top-p", KEY_TOP_P, "P", 0,
		"of the likeliest that reach P together (default 0.95); 1: of all", 2 },
	{ "min-p", KEY_MIN_P, "P", 0,
		"of those at least P times as likely as the likeliest (default 0.05)", 2 },
	{ "repeat-penalty", KEY_REPEAT_PENALTY, "X", 0,
		"divide the logits of recent tokens by X (default 1: off)", 2 },
	{ "output", KEY_OUTPUT, "text|json", 0,
		"the text as it comes (default), or one JSON object at the end", 3 },
	{ "logprobs", KEY_LOGPROBS, "K", 0,
		"with JSON: log probability of each token and of the K likeliest", 3 },
	{ "trace", KEY_TRACE, "FILE[,scores]", 0,
		"record which experts are used, for `tierra simulate`; with ,scores also what the "
		"routers say of all experts, ahead of time too",
		3 },
	{ "stats", KEY_STATS, "FILE", 0,
		"write what every expert did to FILE, .json, .csv or .html; see `tierra stats`", 3 },
	{ "roofline", KEY_ROOFLINE, 0, 0,
		"measure what the tiers can give for a second at the end, not for 0.03 s", 3 },
	{ "quiet", 'q', 0, 0, "only errors on standard error", 3 },
	{ "verbose", 'v', 0, 0, "more messages; twice: all", 3 },
	{ 0 },
};

/* "FILE" or "FILE,scores", which is cut at the comma. */
static void set_trace(struct tr_engine_opts *o, char *text)
{
	static const char end[] = ",scores";
	size_t n = strlen(text), n_end = strlen(end);

	o->trace = text;
	o->trace_scores = n > n_end && !strcmp(text + n - n_end, end);
	if (o->trace_scores)
		text[n - n_end] = '\0';
}

static void add_stop(const struct argp_state *state, struct tr_generate_args *a, const char *text)
{
	json_t *utf8 = json_string(text);

	if (!utf8 || !*text)
		argp_error(state, "--stop: the string is empty or not UTF-8");
	json_decref(utf8);
	if (a->n_stop == TR_MAX_STOP)
		argp_error(state, "--stop: at most %d may be given", TR_MAX_STOP);
	a->stop[a->n_stop++] = text;
}

static int64_t n_predict(const struct argp_state *state, const char *text)
{
	return strcmp(text, "-1") ? (int64_t)tr_arg_u64(state, "-n", text, 0, INT32_MAX) : -1;
}

static void set_output(const struct argp_state *state, struct tr_generate_args *a,
	const char *text)
{
	a->json = !strcmp(text, "json");
	if (!a->json && strcmp(text, "text") != 0)
		argp_error(state, "--output: '%s' is none of: text json", text);
}

static error_t parse_sampler(int key, const char *arg, struct argp_state *state,
	struct tr_sampler_opts *s)
{
	switch (key) {
	case 's':
		s->seed = tr_arg_u64(state, "--seed", arg, 0, UINT64_MAX);
		return 0;
	case KEY_TEMP:
		s->temp = (float)tr_arg_f64(state, "--temp", arg, 0, 100);
		return 0;
	case KEY_TOP_K:
		s->top_k = (uint32_t)tr_arg_u64(state, "--top-k", arg, 0, INT32_MAX);
		return 0;
	case KEY_TOP_P:
		s->top_p = (float)tr_arg_f64(state, "--top-p", arg, 0, 1);
		return 0;
	case KEY_MIN_P:
		s->min_p = (float)tr_arg_f64(state, "--min-p", arg, 0, 1);
		return 0;
	case KEY_REPEAT_PENALTY:
		s->repeat_penalty = (float)tr_arg_f64(state, "--repeat-penalty", arg, 0.01, 100);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void check_whole(const struct argp_state *state, const struct tr_generate_args *a)
{
	if (!a->engine.opts.model_path)
		argp_error(state, "no model given (-m FILE)");
	if (!a->prompt && !a->prompt_file)
		argp_error(state, "no prompt given (-p TEXT or -f FILE)");
	if (a->prompt && a->prompt_file)
		argp_error(state, "-p and -f exclude each other");
	if (a->with_logprobs && !a->json)
		argp_error(state, "--logprobs needs --output json");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct tr_generate_args *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->engine;
		break;
	case 'p':
		a->prompt = arg;
		break;
	case 'f':
		a->prompt_file = arg;
		break;
	case 'n':
		a->n_predict = n_predict(state, arg);
		break;
	case KEY_STOP:
		add_stop(state, a, arg);
		break;
	case KEY_IGNORE_EOS:
		a->ignore_eos = true;
		break;
	case KEY_OUTPUT:
		set_output(state, a, arg);
		break;
	case KEY_LOGPROBS:
		a->with_logprobs = true;
		a->n_top = tr_arg_u64(state, "--logprobs", arg, 0, MAX_LOGPROBS);
		break;
	case KEY_TRACE:
		set_trace(&a->engine.opts, arg);
		break;
	case KEY_STATS:
		a->stats = arg;
		a->engine.opts.timeline = !tr_stats_is_csv(arg);
		if (tr_stats_unknown_suffix(arg))
			argp_error(state, "--stats: '%s' ends in none of: %s", arg,
				tr_stats_unknown_suffix(arg));
		break;
	case KEY_ROOFLINE:
		a->roofline = true;
		break;
	case 'q':
		a->verbosity = TR_VERBOSITY_QUIET;
		break;
	case 'v':
		a->verbosity += a->verbosity < TR_VERBOSITY_DEBUG;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': an option is expected (the prompt is given with -p)", arg);
		break;
	case ARGP_KEY_END:
		check_whole(state, a);
		break;
	default:
		return parse_sampler(key, arg, state, &a->sampler);
	}
	return 0;
}

void tr_generate_args_parse(struct tr_generate_args *a, int argc, char **argv)
{
	static const struct argp_child children[] = { { &tr_engine_argp, 0, "Model and memory:", 9 },
		{ 0 } };
	static const struct argp argp = { .options = options,
		.parser = parse,
		.children = children,
		.doc = "Continues a prompt. The text goes to standard output, everything else to "
		       "standard error." };

	*a = (struct tr_generate_args){ .n_predict = DEFAULT_N_PREDICT };
	tr_sampler_defaults(&a->sampler);
	tr_args_parse(&argp, argc, argv, a);
}
