/* simulate_args.c - the command line of `tierra simulate`. Sizes need the trace, so the library
 * reads them. */
#include "tools/engine_args.h"
#include "tools/simulate.h"
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

enum {
	KEY_POLICY = 0x3000,
	KEY_CACHE,
	KEY_PREDICTOR,
	KEY_WARM,
	KEY_PER_LAYER,
	KEY_EXPERTS,
	KEY_CURVE,
	KEY_VRAM,
	KEY_VRAM_POLICY,
	KEY_JSON,
	KEY_CSV,
};

static const struct argp_option options[] = {
	{ "policy", KEY_POLICY, "NAME[,OPTION=VALUE],...", 0,
		"policies to replay with, see `tierra policies` (default lru); all: every one", 1 },
	{ "cache", KEY_CACHE, "SIZE,...", 0,
		"10% of all experts, 800 experts, or 96G (default 5%,10%,25%,50%)", 1 },
	{ "predictor", KEY_PREDICTOR, "NAME[,OPTION=VALUE]", 0,
		"foresees which experts are used soon, for policies that listen (default none)", 1 },
	{ "vram", KEY_VRAM, "SIZE", 0,
		"experts in the memory of a device, above the cache: 25% of all, 6G for them, or recorded: what the "
		"recorded run had (default none)",
		1 },
	{ "vram-policy", KEY_VRAM_POLICY, "NAME[,OPTION=VALUE]", 0,
		"policy of that memory (default foresight)", 1 },
	{ "warm", KEY_WARM, "N|PCT%", 0, "tokens to replay before counting begins (default 0)", 1 },
	{ "per-layer", KEY_PER_LAYER, 0, 0, "a cache for each layer, together of that size", 1 },
	{ "experts", KEY_EXPERTS, "N", 0,
		"experts per layer of a CSV trace (default: the largest and one)", 1 },
	{ "curve", KEY_CURVE, 0, 0,
		"miss ratios over sizes (default 5% to 100%), a column a policy", 2 },
	{ "json", KEY_JSON, 0, 0, "print JSON", 2 },
	{ "csv", KEY_CSV, 0, 0, "print CSV", 2 },
	{ 0 },
};

/* --- lists ------------------------------------------------------------------------------------ */

static void add_item(struct tr_list *list, const char *text, size_t n)
{
	char *item = tr_tool_calloc(n + 1, 1);

	memcpy(item, text, n);
	list->item = tr_tool_realloc(list->item, list->n + 1, sizeof(*list->item));
	list->item[list->n++] = item;
}

static void extend_item(char **item, const char *text, size_t n)
{
	size_t len = strlen(*item);

	*item = tr_tool_realloc(*item, len + n + 2, 1);
	(*item)[len] = ',';
	memcpy(*item + len + 1, text, n);
	(*item)[len + 1 + n] = '\0';
}

void tr_list_add(struct tr_list *list, const char *text)
{
	for (;; text++) {
		size_t n = strcspn(text, ",");

		if (memchr(text, '=', n) && list->n)
			extend_item(&list->item[list->n - 1], text, n);
		else
			add_item(list, text, n);
		text += n;
		if (!*text)
			return;
	}
}

void tr_list_fini(struct tr_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->item[i]);
	free(list->item);
	*list = (struct tr_list){ 0 };
}

/* --- options ---------------------------------------------------------------------------------- */

static void add_policies(struct tr_list *list, const char *text)
{
	struct tr_policy_info info;

	if (strcmp(text, "all") != 0) {
		tr_list_add(list, text);
		return;
	}
	for (size_t i = 0; i < tr_n_policy(); i++) {
		tr_policy_info(i, &info);
		tr_list_add(list, info.name);
	}
}

static void add_defaults(struct tr_simulate_args *a)
{
	if (!a->policies.n)
		tr_list_add(&a->policies, "lru");
	if (!a->caches.n)
		tr_list_add(&a->caches,
			a->curve ? "5%,10%,15%,20%,25%,30%,35%,40%,45%,50%,55%,60%,65%,70%,75%,"
				   "80%,85%,90%,95%,100%"
				 : "5%,10%,25%,50%");
}

static void set_output(
	const struct argp_state *state, struct tr_simulate_args *a, enum tr_simulate_output output)
{
	if (a->output != TR_SIMULATE_TABLE && a->output != output)
		argp_error(state, "--json and --csv exclude each other");
	a->output = output;
}

static void check_vram(const struct argp_state *state, const struct tr_simulate_args *a)
{
	if (a->vram_policy && !a->vram)
		argp_error(state, "--vram-policy needs --vram");
	if (a->vram && a->per_layer)
		argp_error(state, "--vram and --per-layer exclude each other");
	if (a->vram && a->curve)
		argp_error(state, "--vram and --curve exclude each other");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct tr_simulate_args *a = state->input;

	switch (key) {
	case KEY_POLICY:
		add_policies(&a->policies, arg);
		break;
	case KEY_CACHE:
		tr_list_add(&a->caches, arg);
		break;
	case KEY_PREDICTOR:
		a->predictor = arg;
		break;
	case KEY_VRAM:
		a->vram = arg;
		break;
	case KEY_VRAM_POLICY:
		a->vram_policy = arg;
		break;
	case KEY_WARM:
		a->warm = arg;
		break;
	case KEY_PER_LAYER:
		a->per_layer = true;
		break;
	case KEY_EXPERTS:
		a->n_expert = (unsigned)tr_arg_u64(state, "--experts", arg, 1, 65535);
		break;
	case KEY_CURVE:
		a->curve = true;
		break;
	case KEY_JSON:
		set_output(state, a, TR_SIMULATE_JSON);
		break;
	case KEY_CSV:
		set_output(state, a, TR_SIMULATE_CSV);
		break;
	case ARGP_KEY_ARG:
		add_item(&a->traces, arg, strlen(arg));
		break;
	case ARGP_KEY_END:
		if (!a->traces.n)
			argp_error(state, "no trace given");
		check_vram(state, a);
		add_defaults(a);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void tr_simulate_args_parse(struct tr_simulate_args *a, int argc, char **argv)
{
	static const struct argp argp = { .options = options,
		.parser = parse,
		.args_doc = "TRACE...",
		.doc = "Replays recorded routing through the expert cache and shows how many "
		       "experts "
		       "were found in it. A trace is what generate --trace wrote, or lines "
		       "token,layer,expert[,weight]." };

	*a = (struct tr_simulate_args){ 0 };
	tr_args_parse(&argp, argc, argv, a);
}

void tr_simulate_args_fini(struct tr_simulate_args *a)
{
	tr_list_fini(&a->traces);
	tr_list_fini(&a->policies);
	tr_list_fini(&a->caches);
}
