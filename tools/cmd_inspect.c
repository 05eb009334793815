/*
 * cmd_inspect.c - `tierra inspect`: what is in a model, and which tier would hold what.
 *
 * Only headers are read. The description of the files comes first and does not depend on whether
 * the engine can run the model; where it cannot, the plan is missing and the exit code says so.
 */
#include "tools/inspect.h"
#include "tools/report.h"

#include <string.h>

enum {
	KEY_JSON = 0x3000,
	KEY_TENSORS,
	KEY_UNITS,
};

struct args {
	struct tr_engine_args engine;
	bool json;
	bool tensors;
	bool units;
	enum tr_verbosity verbosity;
};

static const struct argp_option options[] = {
	{ "json", KEY_JSON, 0, 0, "everything as one JSON object", 1 },
	{ "tensors", KEY_TENSORS, 0, 0, "list every tensor", 1 },
	{ "units", KEY_UNITS, 0, 0, "list every expert with its extents and its tier", 1 },
	{ "quiet", 'q', 0, 0, "only errors on standard error", 1 },
	{ "verbose", 'v', 0, 0, "more messages; twice: all", 1 },
	{ 0 },
};

static void set_model(const struct argp_state *state, struct args *a, const char *path)
{
	if (a->engine.opts.model_path)
		argp_error(state, "'%s': one model is expected", path);
	a->engine.opts.model_path = path;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->engine;
		break;
	case KEY_JSON:
		a->json = true;
		break;
	case KEY_TENSORS:
		a->tensors = true;
		break;
	case KEY_UNITS:
		a->units = true;
		break;
	case 'q':
		a->verbosity = TR_VERBOSITY_QUIET;
		break;
	case 'v':
		a->verbosity += a->verbosity < TR_VERBOSITY_DEBUG;
		break;
	case ARGP_KEY_ARG:
		set_model(state, a, arg);
		break;
	case ARGP_KEY_END:
		if (!a->engine.opts.model_path)
			argp_error(state, "no model given (-m FILE)");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void print_text(const struct args *a, const struct tr_inspect *in)
{
	tr_inspect_print_files(in, stdout);
	tr_inspect_print_metadata(in, stdout);
	if (a->tensors)
		tr_inspect_print_tensors(in, stdout);
	else
		tr_inspect_print_types(in, stdout);
	if (!in->with_plan)
		return;
	tr_inspect_print_plan(in, stdout);
	if (a->units)
		tr_inspect_print_units(in, stdout);
}

static int print_json(const struct tr_inspect *in)
{
	json_t *root = tr_inspect_json(in);
	int rc = root ? tr_json_write(root, stdout) : -1;

	json_decref(root);
	return rc;
}

static int print(const struct args *a, const struct tr_inspect *in)
{
	if (!a->json)
		print_text(a, in);
	return tr_tool_end_output(a->json ? print_json(in) : 0);
}

static int run(int argc, char **argv)
{
	static const struct argp_child children[] = { { &tr_engine_argp, 0, "Model and memory:", 9 },
		{ 0 } };
	static const struct argp argp = { .options = options,
		.parser = parse,
		.args_doc = "[FILE]",
		.children = children,
		.doc = "Shows metadata, tensors and experts of a model, and which tier would hold "
		       "what under the given sizes. Reads no weights." };
	struct args a = { .verbosity = TR_VERBOSITY_NORMAL };
	struct tr_inspect in;
	struct tr_err err;
	int rc;

	tr_args_parse(&argp, argc, argv, &a);
	tr_tool_log_to_stderr(&a.verbosity);
	if (tr_inspect_open(&in, &a.engine.opts, &err))
		return tr_tool_fail(&err);
	rc = print(&a, &in);
	if (!in.with_plan && !rc)
		rc = tr_tool_fail(&in.plan_err);
	tr_inspect_close(&in);
	tr_log_set(NULL, NULL);
	return rc;
}

const struct tr_command tr_command_inspect = {
	.name = "inspect",
	.summary = "show what is in a model, and which tier would hold what",
	.run = run,
};
