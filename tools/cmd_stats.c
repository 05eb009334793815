/*
 * cmd_stats.c - `tierra stats`: shows, merges and compares files of expert statistics.
 */
#include "tools/stats.h"
#include "tools/tool.h"

#include <string.h>

/* What policies would have missed: a page of a trace may take that long. */
#define CURVE_NS 3000000000u

struct command {
	struct tr_stats_args args;
	json_t *results; /* of --json, an entry a file */
	struct tr_err err;
};

/* An error of the library that does not know the file. */
static int name_file(struct command *c, const char *path)
{
	char what[TR_ERR_MSG_BYTES];

	memcpy(what, c->err.msg, sizeof(what));
	snprintf(c->err.msg, sizeof(c->err.msg), "%.300s: %.700s", path, what);
	return c->err.code;
}

static int merge(struct command *c)
{
	struct tr_stats_file sum, more;
	int rc = tr_stats_read(&sum, c->args.path[0], c->args.n_expert, &c->err);

	for (size_t i = 1; !rc && i < c->args.n_path; i++) {
		rc = tr_stats_read(&more, c->args.path[i], c->args.n_expert, &c->err);
		if (!rc && tr_expert_stats_merge(sum.stats, more.stats, &c->err))
			rc = name_file(c, more.path);
		tr_stats_file_fini(&more);
	}
	if (c->args.n_path > 1) {
		json_decref(sum.run);
		sum.run = NULL;
	}
	if (!rc && sum.is_trace && c->args.n_path == 1 && c->args.html)
		rc = tr_stats_add_curves(&sum, c->args.n_expert, CURVE_NS, &c->err);
	sum.path = c->args.merge;
	if (!rc)
		rc = tr_stats_write(&sum, &c->err);
	tr_stats_file_fini(&sum);
	return rc;
}

static void print_comparison(const struct command *c, const struct tr_stats_comparison *comparison)
{
	if (c->args.output == TR_STATS_JSON)
		json_array_append_new(c->results, tr_stats_comparison_json(comparison));
	else if (c->args.output == TR_STATS_CSV)
		tr_stats_print_comparison_csv(comparison, stdout);
	else
		tr_stats_print_comparison(comparison, stdout);
}

static int compare(struct command *c)
{
	struct tr_stats_comparison comparison = { 0 };
	struct tr_stats_file a, b = { 0 };
	int rc = tr_stats_read(&a, c->args.path[0], c->args.n_expert, &c->err);

	if (!rc)
		rc = tr_stats_read(&b, c->args.path[1], c->args.n_expert, &c->err);
	if (!rc && tr_stats_compare(&comparison, &a, &b, &c->err))
		rc = name_file(c, b.path);
	if (!rc)
		print_comparison(c, &comparison);
	tr_stats_comparison_fini(&comparison);
	tr_stats_file_fini(&a);
	tr_stats_file_fini(&b);
	return rc;
}

static void print_file(struct command *c, const struct tr_stats_file *file, bool is_first)
{
	const struct tr_stats_args *a = &c->args;

	if (!is_first && a->output != TR_STATS_JSON)
		putchar('\n');
	if (a->output == TR_STATS_JSON)
		json_array_append_new(c->results, tr_stats_summary_json(file, a));
	else if (a->output == TR_STATS_CSV)
		tr_stats_print_layers_csv(file->stats, stdout);
	else if (a->output == TR_STATS_MAP)
		tr_stats_print_map(file->stats, a, stdout);
	else
		tr_stats_print(file, a, stdout);
}

static int show(struct command *c)
{
	struct tr_stats_file file;
	int rc = 0;

	for (size_t i = 0; !rc && i < c->args.n_path; i++) {
		rc = tr_stats_read(&file, c->args.path[i], c->args.n_expert, &c->err);
		if (!rc)
			print_file(c, &file, !i);
		tr_stats_file_fini(&file);
	}
	return rc;
}

static int finish(struct command *c)
{
	json_t *root = NULL;
	int rc = 0;

	if (c->args.output == TR_STATS_JSON) {
		root = json_pack("{s:O}", "results", c->results);
		rc = root ? tr_json_write(root, stdout) : -1;
		json_decref(root);
	}
	return tr_tool_end_output(rc);
}

static int run(int argc, char **argv)
{
	static const enum tr_verbosity verbosity = TR_VERBOSITY_NORMAL;
	struct command c = { 0 };
	int rc;

	tr_stats_args_parse(&c.args, argc, argv);
	tr_tool_log_to_stderr(&verbosity);
	c.results = json_array();
	if (c.args.merge)
		rc = merge(&c);
	else if (c.args.compare)
		rc = compare(&c);
	else
		rc = show(&c);
	rc = rc ? tr_tool_fail(&c.err) : finish(&c);
	json_decref(c.results);
	tr_stats_args_fini(&c.args);
	tr_log_set(NULL, NULL);
	return rc;
}

const struct tr_command tr_command_stats = {
	.name = "stats",
	.summary = "show, merge and compare what experts did",
	.run = run,
};
