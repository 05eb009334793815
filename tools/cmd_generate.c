/*
 * cmd_generate.c - `tierra generate`: continue a prompt.
 *
 * Everything that can go wrong cheaply is checked first: the header is read, the prompt is turned
 * into tokens and compared with the context, the DRAM cache with the floor; only then are weights
 * loaded. The text goes through the detokeniser (whole characters) and the stop strings (which may
 * hold some back) to standard output, flushed token by token. Ctrl-C is looked at between tokens
 * and by the progress callback within load and prefill; the summary comes all the same.
 */
#include "tools/generate_args.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/prompt.h"
#include "tools/report.h"
#include "tools/stats.h"
#include "tools/stops.h"
#include "tools/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run {
	struct tr_generate_args args;
	struct tr_progress progress;
	struct tr_plan plan;
	int32_t *prompt_ids;
	size_t n_prompt;
	struct tr_engine *engine;
	struct tr_session *session;
	struct tr_sampler *sampler;
	struct tr_detok *detok;
	struct tr_stops stops;
	FILE *text; /* collects report.text */
	char *text_buf;
	size_t text_bytes;
	int32_t *ids;
	struct tr_logprob *chosen;
	struct tr_logprob *top;
	size_t n_id;
	size_t cap_id;
	struct tr_report report;
	struct tr_err err;
};

/* Records an error of our own. */
static int __attribute__((format(printf, 3, 4))) fail(struct run *r, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->err.msg, sizeof(r->err.msg), fmt, ap);
	va_end(ap);
	r->err.code = code;
	return code;
}

/* --- before the weights ---------------------------------------------------------------------- */

static int tokenize_text(struct run *r, const char *text, size_t text_bytes)
{
	struct tr_model *model = NULL;
	struct tr_tokenizer *tok = NULL;
	int rc = tr_model_open(&model, r->args.engine.opts.model_path, &r->err);

	if (!rc)
		rc = tr_tokenizer_new(&tok, model, &r->err);
	if (!rc)
		rc = tr_tokenize(tok, text, text_bytes, TR_TOK_BOS, &r->prompt_ids, &r->n_prompt,
			&r->err);
	tr_tokenizer_free(tok);
	tr_model_close(model);
	return rc;
}

static int read_prompt(struct run *r)
{
	const struct tr_generate_args *a = &r->args;
	char *text = NULL;
	size_t text_bytes;
	int rc;

	if (a->prompt)
		return tokenize_text(r, a->prompt, strlen(a->prompt));
	rc = tr_prompt_read(a->prompt_file, &text, &text_bytes, &r->err);
	if (!rc)
		rc = tokenize_text(r, text, text_bytes);
	free(text);
	return rc;
}

static int check_prompt(struct run *r)
{
	if (r->n_prompt == 0)
		return fail(r, TR_E_LIMIT, "the prompt has no tokens");
	if (r->n_prompt > r->plan.n_ctx)
		return fail(r, TR_E_LIMIT,
			"the prompt has %zu tokens, but the context holds %" PRIu32
			" (-c sets it)",
			r->n_prompt, r->plan.n_ctx);
	return 0;
}

static void warn_below_floor(const struct tr_plan *plan)
{
	uint64_t dram_bytes = 0;
	char dram[32], floor[32];

	for (size_t i = 0; i < plan->n_tier; i++)
		if (!strcmp(plan->tier[i].name, "dram"))
			dram_bytes = plan->tier[i].capacity_bytes;
	if (dram_bytes < plan->floor_bytes)
		tr_tool_warn("the DRAM cache (%s, %" PRIu64 " bytes) is below one token's working "
			     "set of experts (%s, %" PRIu64 " bytes): expect few hits",
			tr_table_bytes(dram_bytes, dram, sizeof(dram)), dram_bytes,
			tr_table_bytes(plan->floor_bytes, floor, sizeof(floor)), plan->floor_bytes);
}

/* A file that cannot be written is told of before the run, not after. */
static int check_stats_file(struct run *r)
{
	FILE *f = r->args.stats ? fopen(r->args.stats, "a") : NULL;

	if (r->args.stats && !f)
		return fail(r, TR_E_IO, "--stats %s: %s", r->args.stats, strerror(errno));
	if (f)
		fclose(f);
	return 0;
}

static int prepare(struct run *r)
{
	int rc = read_prompt(r);

	if (!rc)
		rc = tr_engine_plan(&r->args.engine.opts, &r->plan, &r->err);
	if (!rc)
		rc = check_prompt(r);
	if (!rc)
		rc = check_stats_file(r);
	if (!rc && r->args.verbosity > TR_VERBOSITY_QUIET)
		warn_below_floor(&r->plan);
	return rc;
}

/* --- load and prefill ------------------------------------------------------------------------ */

static int load(struct run *r)
{
	struct tr_engine_opts *o = &r->args.engine.opts;
	const struct tr_tokenizer *tok;
	int rc;

	o->progress = tr_progress_step;
	o->progress_ctx = &r->progress;
	rc = tr_engine_open(&r->engine, o, &r->err);
	tr_progress_clear(&r->progress);
	if (rc)
		return rc;
	tok = tr_engine_tokenizer(r->engine);
	rc = tr_session_new(&r->session, r->engine, &r->err);
	if (!rc)
		rc = tr_detok_new(&r->detok, tok, false, &r->err);
	if (!rc)
		rc = tr_sampler_new(&r->sampler, &r->args.sampler, tr_vocab_size(tok), &r->err);
	return rc;
}

static int prefill(struct run *r)
{
	uint64_t start = tr_tool_now_ns();
	int rc = tr_session_feed(r->session, r->prompt_ids, r->n_prompt, &r->err);

	tr_progress_clear(&r->progress);
	r->report.prefill.ns = tr_tool_now_ns() - start;
	r->report.prefill.n_token = tr_session_n_past(r->session);
	for (size_t i = 0; i < r->n_prompt; i++)
		tr_sampler_accept(r->sampler, r->prompt_ids[i]);
	return rc;
}

/* --- decode ---------------------------------------------------------------------------------- */

static int show(struct run *r, const char *text, size_t n)
{
	if (n == 0)
		return 0;
	if (fwrite(text, 1, n, r->text) != n)
		return fail(r, TR_E_NOMEM, "out of memory for the text");
	if (r->args.json)
		return 0;
	if (fwrite(text, 1, n, stdout) != n || fflush(stdout))
		return fail(r, TR_E_IO, "standard output: %s", strerror(errno));
	return 0;
}

static void remember(struct run *r, int32_t id, size_t n_vocab)
{
	size_t n_top = r->args.n_top;

	if (r->n_id == r->cap_id) {
		r->cap_id = r->cap_id ? 2 * r->cap_id : 256;
		r->ids = tr_tool_realloc(r->ids, r->cap_id, sizeof(*r->ids));
		if (r->args.with_logprobs) {
			r->chosen = tr_tool_realloc(r->chosen, r->cap_id, sizeof(*r->chosen));
			r->top = tr_tool_realloc(r->top, r->cap_id, n_top * sizeof(*r->top) + 1);
		}
	}
	if (r->args.with_logprobs)
		tr_logprobs(tr_session_logits(r->session), n_vocab, id, &r->chosen[r->n_id],
			r->top + r->n_id * n_top, n_top);
	r->ids[r->n_id++] = id;
}

/* Samples one token and shows its text. Sets the stop reason when it is the last one. */
static int step(struct run *r)
{
	const struct tr_tokenizer *tok = tr_engine_tokenizer(r->engine);
	int32_t id = tr_sampler_next(r->sampler, tr_session_logits(r->session));
	const char *text;
	size_t n;
	int rc;

	remember(r, id, tr_vocab_size(tok));
	if (tr_token_is_stop(tok, id) && !r->args.ignore_eos) {
		r->report.stop_reason = "eos";
		return 0;
	}
	n = tr_detok_push(r->detok, id, &text);
	n = tr_stops_push(&r->stops, text, n, &text);
	rc = show(r, text, n);
	if (r->stops.matched)
		r->report.stop_reason = "stop";
	else if (r->args.n_predict >= 0 && r->n_id >= (size_t)r->args.n_predict)
		r->report.stop_reason = "length";
	else if (tr_session_n_past(r->session) >= tr_engine_n_ctx(r->engine))
		r->report.stop_reason = "context";
	return rc;
}

static int decode_loop(struct run *r)
{
	int rc = 0;

	if (r->args.n_predict == 0)
		r->report.stop_reason = "length";
	while (!rc && !r->report.stop_reason) {
		if (tr_interrupt_seen())
			return fail(r, TR_E_INTERRUPTED, "interrupted");
		rc = step(r);
		if (!rc && !r->report.stop_reason) {
			rc = tr_session_feed(r->session, &r->ids[r->n_id - 1], 1, &r->err);
			r->report.decode.n_token += !rc;
		}
	}
	return rc;
}

static int show_rest(struct run *r)
{
	const char *text;
	size_t n = tr_detok_flush(r->detok, &text);
	int rc;

	n = tr_stops_push(&r->stops, text, n, &text);
	rc = show(r, text, n);
	if (r->stops.matched)
		r->report.stop_reason = "stop";
	n = tr_stops_flush(&r->stops, &text);
	return rc ? rc : show(r, text, n);
}

static int decode(struct run *r)
{
	uint64_t start = tr_tool_now_ns();
	int rc = decode_loop(r);

	r->report.decode.ns = tr_tool_now_ns() - start;
	if (rc && rc != TR_E_INTERRUPTED)
		return rc;
	if (show_rest(r))
		return r->err.code;
	return rc;
}

/* --- the end --------------------------------------------------------------------------------- */

static int write_json(struct run *r)
{
	json_t *root = tr_report_json(&r->report);
	int rc = 0;

	if (!root)
		rc = fail(r, TR_E_NOMEM, "out of memory for the JSON output");
	else if (tr_json_write(root, stdout))
		rc = fail(r, TR_E_IO, "standard output: %s", strerror(errno));
	json_decref(root);
	return rc;
}

/* What the end of a run may take: to replay requests at 0.2 us each (lru and the optimum on the
 * 2-core virtual machine), this or a hundredth of decoding, whichever is more; and to measure the
 * tiers, all together. */
#define REPLAY_NS   20000000u
#define REQUEST_NS  200u
#define ROOFLINE_NS 30000000u

/* With --roofline: long enough for the noise of a busy machine to even out. */
#define ROOFLINE_LONG_NS 1000000000u

/* What the run was worth. Nobody sees it of a quiet run without JSON. */
static int judge(struct run *r)
{
	struct tr_report *p = &r->report;
	uint64_t replay_ns = p->decode.ns / 100 > REPLAY_NS ? p->decode.ns / 100 : REPLAY_NS;
	uint64_t roofline_ns = r->args.roofline ? ROOFLINE_LONG_NS : ROOFLINE_NS;
	int rc;

	if (r->args.verbosity == TR_VERBOSITY_QUIET && !r->args.json && !r->args.stats)
		return 0;
	rc = tr_engine_shares(r->engine, replay_ns / REQUEST_NS, &p->shares, &r->err);
	p->with_shares = !rc;
	if (rc && rc != TR_E_NOENT)
		return rc;
	return tr_engine_roofline(r->engine, roofline_ns / r->plan.n_tier, p->roofline,
		&p->n_roofline, &r->err);
}

/* Replays for the miss-ratio curves: this, or a twentieth of decoding. */
#define CURVE_NS 1000000000u

static int write_stats(struct run *r)
{
	struct tr_stats_file file = { .path = r->args.stats, .run = json_object() };
	uint64_t curve_ns = r->report.decode.ns / 20 > CURVE_NS ? r->report.decode.ns / 20 : CURVE_NS;
	int rc = tr_engine_expert_stats(r->engine, &file.stats, &r->err);

	tr_report_json_run(&r->report, file.run);
	if (!rc && r->args.engine.opts.timeline)
		rc = tr_stats_add_run(file.run, r->engine, file.stats, curve_ns, &r->err);
	if (!rc)
		rc = tr_stats_write(&file, &r->err);
	tr_stats_file_fini(&file);
	return rc;
}

static int report(struct run *r)
{
	struct tr_report *p = &r->report;

	tr_engine_stats(r->engine, &p->stats);
	if (judge(r))
		return r->err.code;
	p->load.ns = p->stats.load_ns;
	p->prompt_ids = r->prompt_ids;
	p->n_prompt = r->n_prompt;
	p->ids = r->ids;
	p->n_id = r->n_id;
	p->with_logprobs = r->args.with_logprobs;
	p->chosen = r->chosen;
	p->top = r->top;
	p->n_top = r->args.n_top;
	if (fflush(r->text))
		return fail(r, TR_E_NOMEM, "out of memory for the text");
	p->text = r->text_buf;
	p->text_bytes = r->text_bytes;
	if (!r->args.json && r->text_bytes && isatty(STDOUT_FILENO))
		fputc('\n', stdout), fflush(stdout);
	if (r->args.verbosity > TR_VERBOSITY_QUIET) {
		fputc('\n', stderr);
		tr_report_print(p, stderr);
	}
	if (r->args.stats && write_stats(r))
		return r->err.code;
	return r->args.json ? write_json(r) : 0;
}

static int generate(struct run *r)
{
	int rc = prepare(r);

	if (!rc)
		rc = load(r);
	if (rc)
		return rc;
	rc = prefill(r);
	if (!rc)
		rc = decode(r);
	if (rc == TR_E_INTERRUPTED)
		r->report.stop_reason = "interrupted";
	else if (rc)
		return rc;
	return report(r) ? r->err.code : rc;
}

static void release(struct run *r)
{
	tr_detok_free(r->detok);
	tr_sampler_free(r->sampler);
	tr_session_free(r->session);
	tr_engine_close(r->engine);
	tr_stops_fini(&r->stops);
	fclose(r->text);
	free(r->text_buf);
	free(r->prompt_ids);
	free(r->ids);
	free(r->chosen);
	free(r->top);
}

static int run(int argc, char **argv)
{
	struct run r = { 0 };
	int rc;

	tr_generate_args_parse(&r.args, argc, argv);
	tr_tool_log_to_stderr(&r.args.verbosity);
	tr_progress_init(&r.progress, r.args.verbosity == TR_VERBOSITY_QUIET);
	tr_stops_init(&r.stops, r.args.stop, r.args.n_stop);
	r.text = open_memstream(&r.text_buf, &r.text_bytes);
	if (!r.text) {
		tr_tool_error("out of memory");
		return TR_EXIT_ERROR;
	}
	tr_interrupt_catch();
	rc = generate(&r);
	tr_progress_clear(&r.progress);
	rc = rc ? tr_tool_fail(&r.err) : TR_EXIT_OK;
	release(&r);
	tr_log_set(NULL, NULL);
	return rc;
}

const struct tr_command tr_command_generate = {
	.name = "generate",
	.summary = "continue a prompt",
	.run = run,
};
