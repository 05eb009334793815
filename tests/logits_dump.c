/*
 * logits_dump - raw float32 logits of a prompt on stdout, for deepseek2_numpy.py.
 * Usage: logits_dump [OPTION...] MODEL [ID...]. Without ids it reads them from stdin. Errors go to
 * stderr, exit status 1. Warnings of the library go to stderr too.
 */
#include "tierra.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ID 65536

struct args {
	struct tr_engine_opts opts;
	bool all;
	int32_t ids[MAX_ID];
	size_t n_id;
};

static const struct argp_option options[] = {
	{ "all", 'a', NULL, 0, "Feed one token at a time and write the logits after each", 0 },
	{ "ctx", 'c', "N", 0, "Tokens of context", 0 },
	{ "batch", 'b', "N", 0, "Tokens per prefill chunk", 0 },
	{ "kv", 'k', "TYPE", 0, "f16 or f32 (default f16)", 0 },
	{ "threads", 't', "N", 0, "Threads", 0 },
	{ "cpu", 'i', "NAME", 0, "Instruction set", 0 },
	{ "dram", 'd', "SIZE", 0, "Expert cache in DRAM", 0 },
	{ "device", 'g', "NAME", 0, "What computes beside the CPU", 0 },
	{ "vram", 'v', "SIZE", 0, "Memory to take of it", 0 },
	{ "policy", 'p', "NAME", 0, "Policy of the DRAM tier", 0 },
	{ 0 },
};

static long number(const struct argp_state *state, const char *text, long hi)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || n < 0 || n > hi)
		argp_failure(state, 1, 0, "'%s' is not a number from 0 to %ld", text, hi);
	return n;
}

static void add_id(const struct argp_state *state, struct args *a, const char *text)
{
	if (a->n_id == MAX_ID)
		argp_failure(state, 1, 0, "more than %d tokens", MAX_ID);
	a->ids[a->n_id++] = (int32_t)number(state, text, INT32_MAX);
}

static enum tr_kv_type kv_type(const struct argp_state *state, const char *text)
{
	if (!strcmp(text, "f32"))
		return TR_KV_F32;
	if (!strcmp(text, "q8_0"))
		return TR_KV_Q8_0;
	if (strcmp(text, "f16"))
		argp_failure(state, 1, 0, "--kv: '%s' is none of f16, f32 and q8_0", text);
	return TR_KV_F16;
}

static void read_ids(const struct argp_state *state, struct args *a)
{
	char word[32];

	while (scanf("%31s", word) == 1)
		add_id(state, a, word);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case 'a':
		a->all = true;
		return 0;
	case 'c':
		a->opts.n_ctx = (unsigned)number(state, arg, INT32_MAX);
		return 0;
	case 'b':
		a->opts.n_batch = (unsigned)number(state, arg, INT32_MAX);
		return 0;
	case 'k':
		a->opts.kv_type = kv_type(state, arg);
		return 0;
	case 't':
		a->opts.n_thread = (unsigned)number(state, arg, INT32_MAX);
		return 0;
	case 'i':
		a->opts.cpu = arg;
		return 0;
	case 'd':
		a->opts.dram = arg;
		return 0;
	case 'g':
		a->opts.device = arg;
		return 0;
	case 'v':
		a->opts.vram = arg;
		return 0;
	case 'p':
		a->opts.policy = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			a->opts.model_path = arg;
		else
			add_id(state, a, arg);
		return 0;
	case ARGP_KEY_END:
		if (!a->opts.model_path)
			argp_failure(state, 1, 0, "no model was given");
		if (!a->n_id)
			read_ids(state, a);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void to_stderr(void *ctx, enum tr_log_level level, const char *line)
{
	(void)ctx;
	if (level <= TR_LOG_WARN)
		fprintf(stderr, "%s\n", line);
}

static int feed(const struct args *a, struct tr_session *s, size_t n_vocab, struct tr_err *err)
{
	size_t step = a->all ? 1 : a->n_id, at;
	int rc;

	for (at = 0; at < a->n_id; at += step) {
		rc = tr_session_feed(s, a->ids + at, step, err);
		if (rc)
			return rc;
		fwrite(tr_session_logits(s), sizeof(float), n_vocab, stdout);
	}
	return 0;
}

static int dump(const struct args *a, struct tr_err *err)
{
	struct tr_engine *engine;
	struct tr_session *session;
	int rc = tr_engine_open(&engine, &a->opts, err);

	if (rc)
		return rc;
	rc = tr_session_new(&session, engine, err);
	if (!rc) {
		rc = feed(a, session, tr_vocab_size(tr_engine_tokenizer(engine)), err);
		tr_session_free(session);
	}
	tr_engine_close(engine);
	return rc;
}

int main(int argc, char **argv)
{
	static struct args a;
	static const struct argp argp = { options, parse, "MODEL [ID...]", NULL, NULL, NULL, NULL };
	struct tr_err err;

	argp_err_exit_status = 1;
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	tr_log_set(to_stderr, NULL);
	if (dump(&a, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	if (fflush(stdout)) {
		perror("stdout");
		return 1;
	}
	return 0;
}
