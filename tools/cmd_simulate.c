/*
 * cmd_simulate.c - `tierra simulate`: recorded routing through the cache, without a model.
 *
 * Each trace is read once and replayed for every size and policy; the optimum is found once a size.
 */
#include "tools/report.h"
#include "tools/simulate.h"
#include "tools/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct simulation {
	struct tr_simulate_args args;
	struct tr_simulate_rows rows;
	struct tr_err err;
};

/* Tokens of "100" or "33%". */
static int warm_tokens(struct simulation *s, const struct tr_trace_info *info, uint64_t *n)
{
	const char *text = s->args.warm ? s->args.warm : "0";
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (*text < '0' || *text > '9' || errno || !isfinite(v) ||
		(strcmp(end, "%") != 0 && (*end || v != floor(v) || v > 1e15)) ||
		(*end && v > 100)) {
		s->err.code = TR_E_INVALID;
		snprintf(s->err.msg, sizeof(s->err.msg),
			"--warm: '%s' is neither a number of tokens nor a percentage", text);
		return s->err.code;
	}
	*n = (uint64_t)(*end ? round(v * (double)info->n_token / 100) : v);
	if (*n < info->n_token)
		return 0;
	s->err.code = TR_E_INVALID;
	snprintf(s->err.msg, sizeof(s->err.msg),
		"--warm %s: nothing is left to count of %" PRIu64 " tokens", text, info->n_token);
	return s->err.code;
}

static struct tr_simulate_row *add_row(struct tr_simulate_rows *rows)
{
	rows->row = tr_tool_realloc(rows->row, rows->n + 1, sizeof(*rows->row));
	return &rows->row[rows->n++];
}

static int replay_size(struct simulation *s, const struct tr_trace *trace, const char *path,
	struct tr_replay_opts *opts)
{
	uint64_t optimum = 0;
	int rc = opts->vram ? 0 : tr_replay_optimum(trace, opts, &optimum, &s->err);

	for (size_t p = 0; !rc && p < s->args.policies.n; p++) {
		struct tr_simulate_row *row = add_row(&s->rows);

		opts->policy = s->args.policies.item[p];
		*row = (struct tr_simulate_row){ .trace = path,
			.cache = opts->cache,
			.policy = opts->policy,
			.optimum = optimum };
		rc = tr_replay(trace, opts, &row->stats, &s->err);
	}
	return rc;
}

/* Is the predictor of this spec made for what traces with scores have? */
static bool wants_scores(const char *spec)
{
	struct tr_predictor_info info;
	size_t n = spec ? strcspn(spec, ",") : 0;

	for (size_t i = 0; n && i < tr_n_predictor(); i++) {
		tr_predictor_info(i, &info);
		if (strlen(info.name) == n && !memcmp(info.name, spec, n))
			return info.wants_scores;
	}
	return false;
}

static int replay_trace(struct simulation *s, const char *path)
{
	struct tr_replay_opts opts = { .per_layer = s->args.per_layer,
		.predictor = s->args.predictor,
		.vram = s->args.vram,
		.vram_policy = s->args.vram_policy };
	struct tr_trace_info info;
	struct tr_trace *trace;
	int rc = tr_trace_open(&trace, path, s->args.n_expert, &s->err);

	if (rc)
		return rc;
	tr_trace_info(trace, &info);
	if (!info.complete)
		tr_tool_warn("%s: the recording was cut short; replaying its %" PRIu64
			     " complete tokens",
			path, info.n_token);
	if (!info.has_scores && wants_scores(s->args.predictor))
		tr_tool_warn("%s: has no router scores, so --predictor %s sees ids and weights only; "
			     "generate --trace FILE,scores records them",
			path, s->args.predictor);
	rc = warm_tokens(s, &info, &opts.n_warm);
	for (size_t c = 0; !rc && c < s->args.caches.n; c++) {
		opts.cache = s->args.caches.item[c];
		rc = replay_size(s, trace, path, &opts);
	}
	tr_trace_close(trace);
	return rc;
}

static int print(const struct simulation *s)
{
	json_t *root;
	int rc = 0;

	if (s->args.output == TR_SIMULATE_JSON) {
		root = tr_simulate_json(&s->rows);
		rc = root ? tr_json_write(root, stdout) : -1;
		json_decref(root);
	} else if (s->args.output == TR_SIMULATE_CSV) {
		tr_simulate_print_csv(&s->rows, stdout);
	} else if (s->args.curve) {
		tr_simulate_print_curves(&s->rows, stdout);
	} else {
		tr_simulate_print_table(&s->rows, stdout);
	}
	return tr_tool_end_output(rc);
}

static int run(int argc, char **argv)
{
	static const enum tr_verbosity verbosity = TR_VERBOSITY_NORMAL;
	struct simulation s = { 0 };
	int rc = 0;

	tr_simulate_args_parse(&s.args, argc, argv);
	tr_tool_log_to_stderr(&verbosity);
	s.rows.n_trace = s.args.traces.n;
	s.rows.n_policy = s.args.policies.n;
	s.rows.predicted = s.args.predictor;
	s.rows.vram = s.args.vram;
	for (size_t i = 0; !rc && i < s.args.traces.n; i++)
		rc = replay_trace(&s, s.args.traces.item[i]);
	rc = rc ? tr_tool_fail(&s.err) : print(&s);
	free(s.rows.row);
	tr_simulate_args_fini(&s.args);
	tr_log_set(NULL, NULL);
	return rc;
}

const struct tr_command tr_command_simulate = {
	.name = "simulate",
	.summary = "replay recorded routing through the expert cache",
	.run = run,
};
