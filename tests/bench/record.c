/*
 * record.c - records the routing of a model that reads texts: one trace of all of them.
 *
 *	record [OPTION...] MODEL TRACE TEXT...
 *
 * The text is fed token by token, so that its routing is that of decoding, not of a prefill. Each
 * text begins a new session, and so does what comes after a full context. tests/bench/policies
 * replays what comes out. With a predictor it also tells what that and reading ahead were worth on
 * these texts, and how many experts had to be waited for; with one thread most of that is the same
 * each time, but whether a read is late or called back is the disk's choice.
 */
#include "tierra.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/opt.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_DRAM = 256, KEY_POLICY, KEY_PREDICTOR, KEY_PREFETCH };

struct args {
	struct tr_engine_opts opts;
	uint64_t tokens; /* of each text */
	char **texts;
};

static const struct argp_option options[] = {
	{ "tokens", 'n', "N", 0, "read at most N tokens of each text (1500)", 0 },
	{ "scores", 's', NULL, 0, "record what routers say, too", 0 },
	{ "threads", 't', "N", 0, "as of tierra, like all that follow", 0 },
	{ "dram", KEY_DRAM, "SIZE", 0, "(100%)", 0 },
	{ "policy", KEY_POLICY, "NAME", 0, NULL, 0 },
	{ "predictor", KEY_PREDICTOR, "NAME", 0, NULL, 0 },
	{ "prefetch", KEY_PREFETCH, "MODE", 0, NULL, 0 },
	{ 0 },
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct args *a = state->input;
	struct tr_err err;
	uint64_t v = 0;

	switch (key) {
	case 'n':
	case 't':
		if (tr_opt_u64(key == 'n' ? "--tokens" : "--threads", text, 1, 1 << 20, &v, &err))
			argp_error(state, "%s", err.msg);
		if (key == 'n')
			a->tokens = v;
		else
			a->opts.n_thread = (unsigned)v;
		return 0;
	case 's':
		a->opts.trace_scores = true;
		return 0;
	case KEY_DRAM:
		a->opts.dram = text;
		return 0;
	case KEY_POLICY:
		a->opts.policy = text;
		return 0;
	case KEY_PREDICTOR:
		a->opts.predictor = text;
		return 0;
	case KEY_PREFETCH:
		a->opts.prefetch = text;
		return 0;
	case ARGP_KEY_ARGS:
		if (state->argc - state->next < 3)
			argp_usage(state);
		a->opts.model_path = state->argv[state->next];
		a->opts.trace = state->argv[state->next + 1];
		a->texts = &state->argv[state->next + 2];
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* The whole file, for the caller to free. */
static int read_text(const char *path, char **text, size_t *bytes, struct tr_err *err)
{
	FILE *f = fopen(path, "rb");
	size_t cap = 0;

	*text = NULL;
	*bytes = 0;
	if (f) {
		ssize_t n = getdelim(text, &cap, EOF, f);

		*bytes = n > 0 ? (size_t)n : 0;
		fclose(f);
	}
	return *bytes ? 0 : tr_err_set(err, TR_E_IO, "%s: cannot be read, or is empty", path);
}

static int feed(struct tr_engine *engine, const int32_t *ids, size_t n, struct tr_err *err)
{
	struct tr_session *session = NULL;
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++) {
		if (i % tr_engine_n_ctx(engine) == 0) {
			tr_session_free(session);
			session = NULL;
			rc = tr_session_new(&session, engine, err);
		}
		if (!rc)
			rc = tr_session_feed(session, &ids[i], 1, err);
	}
	tr_session_free(session);
	return rc;
}

static int record(
	struct tr_engine *engine, const char *path, uint64_t tokens, uint64_t *fed, struct tr_err *err)
{
	int32_t *ids = NULL;
	size_t n, bytes;
	char *text;
	int rc = read_text(path, &text, &bytes, err);

	if (!rc)
		rc = tr_tokenize(tr_engine_tokenizer(engine), text, bytes, 0, &ids, &n, err);
	if (!rc) {
		n = TR_MIN(n, (size_t)tokens);
		rc = feed(engine, ids, n, err);
		*fed += n;
	}
	free(ids);
	free(text);
	return rc;
}

static void print_worth(const struct tr_engine *engine)
{
	struct tr_stats s;

	tr_engine_stats(engine, &s);
	printf("recall %.3f %.3f, Brier %.4f, %.2f%% of decoding\n", s.predictor.recall,
		s.predictor.recall_wide, s.predictor.brier,
		100 * (double)s.predictor.ahead_ns / (double)TR_MAX(s.predictor.token_ns, 1u));
	printf("issued %llu, useful %llu, late %llu, wasted %llu, cancelled %llu\n",
		(unsigned long long)s.prefetch.issued, (unsigned long long)s.prefetch.useful,
		(unsigned long long)s.prefetch.late, (unsigned long long)s.prefetch.wasted,
		(unsigned long long)s.prefetch.cancelled);
	printf("dram hits %llu, misses %llu\n", (unsigned long long)s.tier[0].hits,
		(unsigned long long)s.tier[0].misses);
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse, "MODEL TRACE TEXT...",
		"Record the routing of a model that reads texts.", NULL, NULL, NULL };
	struct args a = { .opts.dram = "100%", .tokens = 1500 };
	struct tr_engine *engine = NULL;
	struct tr_err err = { 0 };
	uint64_t fed = 0;
	int rc;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	rc = tr_engine_open(&engine, &a.opts, &err);
	for (size_t i = 0; !rc && a.texts[i]; i++)
		rc = record(engine, a.texts[i], a.tokens, &fed, &err);
	if (!rc)
		printf("%llu\n", (unsigned long long)fed);
	if (!rc && a.opts.predictor)
		print_worth(engine);
	tr_engine_close(engine);
	if (rc)
		fprintf(stderr, "record: %s\n", err.msg);
	return rc ? 1 : 0;
}
