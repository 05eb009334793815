/* stats_args.c - the command line of `tierra stats`. */
#include "tools/engine_args.h"
#include "tools/stats.h"
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	KEY_MERGE = 0x4000,
	KEY_HTML,
	KEY_COMPARE,
	KEY_MAP,
	KEY_BY,
	KEY_ASCII,
	KEY_TOP,
	KEY_EXPERTS,
	KEY_JSON,
	KEY_CSV,
};

#define DEFAULT_N_TOP 10

const char *const tr_stats_by_names[TR_N_STATS_BY] = { "uses", "prefill", "mass", "loads",
	"evictions" };

static const struct argp_option options[] = {
	{ "merge", KEY_MERGE, "OUT", 0,
		"add all files up into OUT, a .json, .csv or .html file, and print nothing", 1 },
	{ "html", KEY_HTML, "OUT", 0,
		"the same, and OUT is a page: one .html file with pictures and tables", 1 },
	{ "compare", KEY_COMPARE, 0, 0, "two files: common hot experts, hit rates", 1 },
	{ "map", KEY_MAP, 0, 0, "draw layers x experts", 2 },
	{ "ascii", KEY_ASCII, 0, 0, "draw with ASCII characters", 2 },
	{ "by", KEY_BY, "WHAT", 0,
		"rank and draw experts by uses (default), prefill, mass, loads or evictions", 2 },
	{ "top", KEY_TOP, "N", 0, "experts to show one by one (default 10)", 2 },
	{ "experts", KEY_EXPERTS, "N", 0,
		"experts per layer of a CSV trace (default: the largest and one)", 2 },
	{ "json", KEY_JSON, 0, 0, "print JSON", 3 },
	{ "csv", KEY_CSV, 0, 0, "print CSV, a line a layer", 3 },
	{ 0 },
};

static void set_output(const struct argp_state *state, struct tr_stats_args *a,
	enum tr_stats_output output)
{
	if (a->output != TR_STATS_TABLE && a->output != output)
		argp_error(state, "--json, --csv and --map exclude each other");
	a->output = output;
}

static void set_out(const struct argp_state *state, struct tr_stats_args *a, const char *path,
	bool html)
{
	const char *suffix = strrchr(path, '.');
	bool is_html = suffix && !strcasecmp(suffix, ".html");

	if (a->merge)
		argp_error(state, "--merge and --html: one file is written");
	if (html && !is_html)
		argp_error(state, "--html: '%s' does not end in .html", path);
	a->merge = path;
	a->html = is_html;
}

static enum tr_stats_by parse_by(const struct argp_state *state, const char *text)
{
	for (int i = 0; i < TR_N_STATS_BY; i++)
		if (!strcmp(text, tr_stats_by_names[i]))
			return (enum tr_stats_by)i;
	argp_error(state, "--by: '%s' is none of: uses, prefill, mass, loads, evictions", text);
	return TR_STATS_USES;
}

static void add_path(struct tr_stats_args *a, char *path)
{
	a->path = tr_tool_realloc(a->path, a->n_path + 1, sizeof(*a->path));
	a->path[a->n_path++] = path;
}

static void check_whole(const struct argp_state *state, const struct tr_stats_args *a)
{
	const char *suffixes = a->merge ? tr_stats_unknown_suffix(a->merge) : NULL;

	if (!a->n_path)
		argp_error(state, "no file given");
	if (suffixes)
		argp_error(state, "--merge: '%s' ends in none of: %s", a->merge, suffixes);
	if (a->merge && (a->compare || a->output != TR_STATS_TABLE))
		argp_error(state, "--merge and --html write a file and print nothing");
	if (a->compare && a->n_path != 2)
		argp_error(state, "--compare: %zu files, not 2", a->n_path);
	if (a->compare && a->output == TR_STATS_MAP)
		argp_error(state, "--compare and --map exclude each other");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct tr_stats_args *a = state->input;

	switch (key) {
	case KEY_MERGE:
	case KEY_HTML:
		set_out(state, a, arg, key == KEY_HTML);
		break;
	case KEY_COMPARE:
		a->compare = true;
		break;
	case KEY_MAP:
		set_output(state, a, TR_STATS_MAP);
		break;
	case KEY_JSON:
		set_output(state, a, TR_STATS_JSON);
		break;
	case KEY_CSV:
		set_output(state, a, TR_STATS_CSV);
		break;
	case KEY_BY:
		a->by = parse_by(state, arg);
		break;
	case KEY_ASCII:
		a->ascii = true;
		break;
	case KEY_TOP:
		a->n_top = tr_arg_u64(state, "--top", arg, 0, 1u << 30);
		break;
	case KEY_EXPERTS:
		a->n_expert = (unsigned)tr_arg_u64(state, "--experts", arg, 1, 65535);
		break;
	case ARGP_KEY_ARG:
		add_path(a, arg);
		break;
	case ARGP_KEY_END:
		check_whole(state, a);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void tr_stats_args_parse(struct tr_stats_args *a, int argc, char **argv)
{
	static const struct argp argp = { .options = options,
		.parser = parse,
		.args_doc = "FILE...",
		.doc = "Shows what every expert did. A file is what generate --stats wrote, or a "
		       "trace: of generate --trace, or lines token,layer,expert[,weight]." };

	*a = (struct tr_stats_args){ .n_top = DEFAULT_N_TOP };
	tr_args_parse(&argp, argc, argv, a);
}

void tr_stats_args_fini(struct tr_stats_args *a)
{
	free(a->path);
}
