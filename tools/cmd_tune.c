/*
 * cmd_tune.c - `tierra tune`: measure a machine; find settings for a model on it, and say how fast
 * that should be.
 */
#include "tools/report.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <stdlib.h>

static int open_speeds(struct tr_tune *t)
{
	struct tr_speeds *s = &t->speeds;

	tr_machine_speeds(&t->machine, &t->model.work, t->args.gpu, s);
	if (t->args.gpu && !(s->tier[TR_MACHINE_VRAM] > 0))
		return tr_tune_fail(
			&t->err, TR_E_INVALID, t->args.machine, "--gpu: it has no VRAM");
	if (s->tier[TR_MACHINE_DRAM] > 0 &&
		(s->disk_bytes_per_s > 0 || s->tier[TR_MACHINE_PMEM] > 0))
		return 0;
	return tr_tune_fail(&t->err, TR_E_INVALID, t->args.machine,
		"it has no DRAM, or neither persistent memory nor a disk (--measure with --disk or "
		"--pmem)");
}

static int look(struct tr_tune *t)
{
	int rc = tr_machine_open(&t->machine, t->args.machine, &t->err);

	if (!rc)
		rc = tr_tune_model(&t->model, &t->args, &t->err);
	if (!rc)
		rc = open_speeds(t);
	if (!rc)
		rc = tr_tune_sizes(t);
	if (!rc)
		rc = tr_tune_routing(&t->trace, &t->model, &t->args, &t->err);
	if (rc)
		return rc;
	tr_trace_info(t->trace, &t->info);
	if (t->info.n_token == t->info.n_prefill_token)
		return tr_tune_fail(&t->err, TR_E_INVALID, t->args.trace, "nothing was decoded");
	if (t->info.slot_bytes)
		t->model.slot_bytes = t->info.slot_bytes;
	return tr_tune_search(t);
}

static int print_json(struct tr_tune *t)
{
	json_t *root = tr_tune_json(t);
	int rc = root ? tr_json_write(root, stdout) : -1;

	json_decref(root);
	return rc;
}

static int answer(struct tr_tune *t)
{
	char trap[TR_TUNE_MAX_TRAP][TR_TUNE_TRAP_BYTES];
	size_t n = tr_tune_traps(t, trap);

	for (size_t i = 0; i < n; i++)
		tr_tool_warn("%s", trap[i]);
	if (t->args.html && tr_tune_html(t, t->args.html, &t->err))
		return tr_tool_fail(&t->err);
	if (t->args.json)
		return tr_tool_end_output(print_json(t));
	tr_tune_print(t);
	return tr_tool_end_output(0);
}

static int tune(struct tr_tune *t)
{
	int rc = look(t);

	rc = rc ? tr_tool_fail(&t->err) : answer(t);
	if (t->trace)
		tr_trace_close(t->trace);
	return rc;
}

static int run(int argc, char **argv)
{
	static const enum tr_verbosity verbosity = TR_VERBOSITY_NORMAL;
	struct tr_tune *t = tr_tool_calloc(1, sizeof(*t));
	int rc = 0;

	tr_tune_args_parse(&t->args, argc, argv);
	tr_tool_log_to_stderr(&verbosity);
	if (t->args.measure)
		rc = tr_tune_measure(t);
	if (!rc && t->args.calibrate)
		rc = tr_tune_calibrate(t);
	if (!rc && t->args.machine)
		rc = tune(t);
	tr_log_set(NULL, NULL);
	free(t);
	return rc;
}

const struct tr_command tr_command_tune = {
	.name = "tune",
	.summary = "measure a machine; find sizes for a model on it and how fast they should be",
	.run = run,
};
