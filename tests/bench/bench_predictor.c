/*
 * bench_predictor.c - what every predictor costs, at the shape of a large model.
 *
 *	bench_predictor [OPTION...]
 *
 * A made-up text comes again with noise. At each layer a predictor does what a run has it do: it is
 * told what the layer used and what its router said, is asked for the layer's next visit, hears the
 * router of the next layer, and is asked for that one. Best of some rounds, one thread, on the
 * predictor alone: no routers are computed and nothing is held against what came.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"
#include "policies/predictor.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_TEXT = 40, N_ROUND = 5 };

struct shape {
	uint32_t n_layer, n_expert, n_used, n_token;
};

struct text {
	uint32_t *ids; /* [N_TEXT][n_layer][n_used] */
	float *scores; /* [N_TEXT][n_layer][n_expert] */
	float *p;      /* [n_expert] */
};

static const struct argp_option options[] = {
	{ "layers", 'l', "N", 0, "MoE layers (60)", 0 },
	{ "experts", 'e', "N", 0, "of a layer (384)", 0 },
	{ "used", 'u', "N", 0, "of these by a token (8)", 0 },
	{ "tokens", 't', "N", 0, "of a round (400)", 0 },
	{ 0 },
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct shape *s = state->input;
	uint32_t *to = key == 'l' ? &s->n_layer :
		       key == 'e' ? &s->n_expert :
		       key == 'u' ? &s->n_used :
		       key == 't' ? &s->n_token :
				    NULL;
	struct tr_err err;
	uint64_t v;

	if (!to)
		return ARGP_ERR_UNKNOWN;
	if (tr_opt_u64(state->argv[state->next - 1], text, 1, 4096, &v, &err))
		argp_error(state, "%s", err.msg);
	*to = (uint32_t)v;
	return 0;
}

static uint32_t next_random(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*x >> 33);
}

/* Experts of one layer, each once, and scores in which they lead. */
static void make_visit(const struct shape *s, uint64_t *x, uint32_t *ids, float *scores)
{
	for (uint32_t e = 0; e < s->n_expert; e++)
		scores[e] = (float)(next_random(x) % 1000) / 2000;
	for (uint32_t i = 0; i < s->n_used; i++) {
		do
			ids[i] = next_random(x) % s->n_expert;
		while (scores[ids[i]] >= 0.5f);
		scores[ids[i]] = 1 - 0.5f * (float)i / (float)s->n_used;
	}
}

static bool make_text(const struct shape *s, struct text *t)
{
	size_t n = (size_t)N_TEXT * s->n_layer;
	uint64_t x = 1;

	t->ids = tr_calloc(n * s->n_used, sizeof(*t->ids));
	t->scores = tr_calloc(n * s->n_expert, sizeof(*t->scores));
	t->p = tr_calloc(s->n_expert, sizeof(*t->p));
	for (size_t i = 0; t->ids && t->scores && i < n; i++)
		make_visit(s, &x, t->ids + i * s->n_used, t->scores + i * s->n_expert);
	return t->ids && t->scores && t->p;
}

static void decode(const struct shape *s, const struct text *t, const struct tr_predictor *p,
	uint64_t *x)
{
	for (uint32_t token = 0; token < s->n_token; token++)
		for (uint32_t l = 0; l < s->n_layer; l++) {
			/* one visit in ten is from elsewhere in the text */
			uint32_t at = next_random(x) % 10 ? token : next_random(x);
			size_t i = (size_t)(at % N_TEXT) * s->n_layer + l;
			uint32_t next = (l + 1) % s->n_layer;

			p->ops->observe(p->state, l, t->ids + i * s->n_used, NULL, s->n_used,
				t->scores + i * s->n_expert);
			p->ops->predict(p->state, l, 1, t->p);
			if (p->ops->lookahead && next)
				p->ops->lookahead(p->state, next, 1,
					t->scores + (i + 1) * s->n_expert);
			p->ops->predict(p->state, next, 1, t->p);
		}
}

static int time_one(const struct shape *s, const struct text *t, const char *name)
{
	struct tr_predictor_cfg cfg = { s->n_layer, s->n_expert, s->n_used, 1 };
	uint64_t x = 7, best = UINT64_MAX, start;
	struct tr_predictor p;
	struct tr_err err;

	if (tr_predictor_open(&p, name, &cfg, &err)) {
		fprintf(stderr, "bench_predictor: %s\n", err.msg);
		return 1;
	}
	for (uint32_t i = 0; i < N_ROUND; i++) {
		start = tr_now_ns(&tr_clock_real);
		decode(s, t, &p, &x);
		best = TR_MIN(best, tr_now_ns(&tr_clock_real) - start);
	}
	tr_predictor_close(&p);
	printf("%-10s %10.0f %12.2f\n", name, (double)best / s->n_token / s->n_layer,
		(double)best / s->n_token / 1e6);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse, NULL, "Time every predictor.", NULL, NULL,
		NULL };
	struct shape s = { 60, 384, 8, 400 };
	struct text t = { 0 };
	int rc = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &s);
	if (s.n_used > s.n_expert / 2 || !make_text(&s, &t)) {
		fprintf(stderr, "bench_predictor: %u of %u experts are used, or no memory\n",
			s.n_used, s.n_expert);
		rc = 1;
	}
	if (!rc)
		printf("predictor  ns a layer   ms a token\n");
	for (size_t i = 0; !rc && i < tr_predictor_count(); i++)
		rc = time_one(&s, &t, tr_predictor_at(i)->name);
	free(t.ids);
	free(t.scores);
	free(t.p);
	return rc;
}
