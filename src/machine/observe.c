/*
 * observe.c - from the spans of tokens to what a layer takes.
 *
 * Spans give samples: so many seconds for so many of something (experts multiplied, experts read,
 * layers of a token that read). Samples of one kind and number are a cell, whose value is their
 * mean without the slowest twentieth (a processor that was taken away for a while is not the
 * engine's time). Lines through cells, weighted by their samples, give what comes once and what for
 * each.
 */
#include "machine/observe.h"
#include "base/mem.h"
#include "machine/machine.h"

#include <math.h>
#include <stdlib.h>

enum what {
	TOKEN, /* of position n */
	REST,  /* a token beside routed experts, n layers read */
	SHARED,
	LOOKUP, /* n experts have to be read */
	FIRST,	/* from then until the first of n has come */
	LAST,	/* the last */
	READY,	/* n experts multiplied */
	WAITED, /* the same after a wait */
	N_WHAT
};

struct tr_sample {
	enum what what;
	uint32_t n;
	double s;
};

#define MAX_CELL 1024 /* numbers beyond it are not told apart */

void tr_observed_fini(struct tr_observed *o)
{
	free(o->sample);
	*o = (struct tr_observed){ 0 };
}

static void add(struct tr_observed *o, enum what what, uint32_t n, double ns)
{
	if (o->n == o->cap) {
		size_t cap = o->cap ? 2 * o->cap : 1024;
		struct tr_sample *grown = reallocarray(o->sample, cap, sizeof(*grown));

		o->no_memory = o->no_memory || !grown;
		if (!grown)
			return;
		o->sample = grown;
		o->cap = cap;
	}
	o->sample[o->n++] = (struct tr_sample){ what, TR_MIN(n, MAX_CELL - 1u), ns * 1e-9 };
}

/* --- spans ------------------------------------------------------------------------------------ */

struct visit {
	int64_t begin_ns, lookup_ns;
	uint32_t n_read;
	int64_t first_ns, last_ns; /* since begin */
	int64_t step_ns;	   /* when the experts span at work began */
	uint32_t n_step;
	bool waited;
};

static void end_visit(struct tr_observed *o, const struct visit *v)
{
	add(o, LOOKUP, v->n_read, (double)v->lookup_ns);
	if (!v->n_read)
		return;
	add(o, FIRST, v->n_read, (double)v->first_ns);
	add(o, LAST, v->n_read, (double)v->last_ns);
}

static void note_read(struct visit *v, const struct tr_span *s)
{
	int64_t end = s->begin_ns + (int64_t)s->ns - v->begin_ns;

	v->first_ns = v->n_read ? TR_MIN(v->first_ns, end) : end;
	v->last_ns = v->n_read ? TR_MAX(v->last_ns, end) : end;
	v->n_read++;
}

/* Spans of several tiers that begin together are one stretch. */
static uint32_t experts_of(const struct tr_token_spans *t, size_t i)
{
	uint32_t n = 0;

	for (size_t k = i; k < t->n_span && t->span[k].kind == TR_SPAN_EXPERTS &&
			   t->span[k].begin_ns == t->span[i].begin_ns;
		k++)
		n += t->span[k].n;
	return n;
}

/* Adds what span i tells; returns how much of it is time of routed experts. */
static double note_span(
	struct tr_observed *o, struct visit *v, const struct tr_token_spans *t, size_t i)
{
	const struct tr_span *s = &t->span[i];
	bool again = i && s->kind == TR_SPAN_EXPERTS && t->span[i - 1].kind == s->kind &&
		     t->span[i - 1].begin_ns == s->begin_ns;

	switch (s->kind) {
	case TR_SPAN_LOOKUP:
		*v = (struct visit){ .begin_ns = s->begin_ns, .lookup_ns = (int64_t)s->ns };
		return (double)s->ns;
	case TR_SPAN_READ:
		note_read(v, s);
		return 0;
	case TR_SPAN_WAIT:
		v->waited = true;
		return (double)s->ns;
	case TR_SPAN_EXPERTS:
		if (again)
			return 0;
		add(o, v->waited ? WAITED : READY, experts_of(t, i), (double)s->ns);
		v->waited = false;
		return (double)s->ns;
	case TR_SPAN_PREDICT:
		return (double)s->ns;
	case TR_SPAN_SHARED:
		add(o, SHARED, 0, (double)s->ns);
		return 0;
	case TR_SPAN_COMBINE:
		end_visit(o, v);
		return 0;
	default:
		return 0;
	}
}

void tr_observe(struct tr_observed *o, const struct tr_token_spans *t, double position)
{
	struct visit v = { 0 };
	double experts_ns = 0;
	uint32_t n_layer = 0;

	for (size_t i = 0; i < t->n_span; i++) {
		experts_ns += note_span(o, &v, t, i);
		n_layer += t->span[i].kind == TR_SPAN_COMBINE && v.n_read;
	}
	add(o, REST, n_layer, (double)t->ns - experts_ns);
	add(o, TOKEN, (uint32_t)position, (double)t->ns);
}

/* --- cells ------------------------------------------------------------------------------------ */

struct cell {
	double n; /* samples */
	double s;
};

struct cells {
	struct cell at[MAX_CELL];
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double typical(double *s, size_t n)
{
	size_t kept = n < 5 ? n : n - (n + 15) / 20;
	double sum = 0;

	qsort(s, n, sizeof(*s), compare);
	for (size_t i = 0; i < kept; i++)
		sum += s[i];
	return sum / (double)kept;
}

/* scratch[o->n] */
static void fill_cells(
	const struct tr_observed *o, enum what what, struct cells *c, double *scratch)
{
	for (uint32_t k = 0; k < MAX_CELL; k++) {
		size_t n = 0;

		for (size_t i = 0; i < o->n; i++)
			if (o->sample[i].what == what && o->sample[i].n == k)
				scratch[n++] = o->sample[i].s;
		c->at[k] = (struct cell){ (double)n, n ? typical(scratch, n) : 0 };
	}
}

static double mean_number(const struct cells *c)
{
	double n = 0, sum = 0;

	for (uint32_t k = 0; k < MAX_CELL; k++) {
		n += c->at[k].n;
		sum += c->at[k].n * k;
	}
	return n > 0 ? sum / n : 0;
}

static double mean(const struct cells *c)
{
	double n = 0, sum = 0;

	for (uint32_t k = 0; k < MAX_CELL; k++) {
		n += c->at[k].n;
		sum += c->at[k].n * c->at[k].s;
	}
	return n > 0 ? sum / n : 0;
}

/* s = once + k * each, neither less than 0. With one number only all is for each if that is what
 * `each` begins with, else once. */
static void line(const struct cells *c, double *once, double *each)
{
	double x = mean_number(c), y = mean(c), xy = 0, xx = 0;

	for (uint32_t k = 0; k < MAX_CELL; k++) {
		xy += c->at[k].n * (k - x) * (c->at[k].s - y);
		xx += c->at[k].n * (k - x) * (k - x);
	}
	*each = xx > 0 ? fmax(xy / xx, 0) : *each > 0 && x > 0 ? y / x : 0;
	if (x > 0 && y - *each * x < 0)
		*each = y / x;
	*once = fmax(y - *each * x, 0);
}

/* An expert takes time: where more of them seem to take no longer than fewer, by what else the machine
 * did, all is for each. */
static void experts(const struct cells *c, struct tr_machine_run *r)
{
	r->unit_s = 1;
	line(c, &r->step_s, &r->unit_s);
	if (r->unit_s > 0 || !(mean_number(c) > 0))
		return;
	r->unit_s = mean(c) / mean_number(c);
	r->step_s = 0;
}

/* --- the run ---------------------------------------------------------------------------------- */

#define FEW 4 /* samples that a cell needs to be believed against a line */

/* Tables by number of reads: cells, and between and beyond them the line. Fewer never take longer.
 */
static void fill_tables(struct tr_machine_run *r, uint32_t n_used, const struct cells *last,
	const struct cells *first)
{
	double once, each = 1, share = mean(last) > 0 ? mean(first) / mean(last) : 0;

	if (!(mean(last) > 0))
		return;
	line(last, &once, &each);
	r->n_read = TR_MIN(n_used, (uint32_t)TR_MAX_READ_TABLE);
	for (size_t k = 1; k <= r->n_read; k++) {
		bool many = last->at[k].n >= FEW;

		r->read_s[k] = many ? last->at[k].s : once + (double)k * each;
		r->first_s[k] = many ? first->at[k].s : r->read_s[k] * share;
	}
	for (size_t k = r->n_read; k-- > 1;) {
		r->read_s[k] = fmin(r->read_s[k], r->read_s[k + 1]);
		r->first_s[k] = fmin(r->first_s[k], r->read_s[k]);
	}
}

/* What the experts that were waited for took beyond what others take. */
static double wake_s(const struct cells *waited, const struct tr_machine_run *r)
{
	double n = 0, sum = 0;

	for (uint32_t k = 1; k < MAX_CELL; k++) {
		n += waited->at[k].n;
		sum += waited->at[k].n * (waited->at[k].s - r->step_s - k * r->unit_s);
	}
	return n > 0 ? fmax(sum / n, 0) : 0;
}

/* What a forecast by the run says of its own tokens. */
static double said_s(const struct tr_observed *o, const struct tr_machine_run *r)
{
	struct tr_workload w = { .n_used = o->n_used, .unit_bytes = r->unit_bytes };
	struct tr_speeds s = { .resident_s = 1 };
	struct tr_forecast f = { 0 };
	double n_token = 0;

	tr_run_believe(r, &w, &s);
	for (size_t i = 0; i < o->n; i++) {
		uint32_t n[TR_N_MACHINE_KIND] = { 0 };

		n_token += o->sample[i].what == TOKEN;
		if (o->sample[i].what != LOOKUP)
			continue;
		n[TR_MACHINE_NVME] = TR_MIN(o->sample[i].n, o->n_used);
		n[TR_MACHINE_DRAM] = o->n_used - n[TR_MACHINE_NVME];
		tr_forecast_layer(&w, &s, n, 1, &f);
	}
	tr_forecast_rest(&s, 0, n_token, &f);
	tr_forecast_total(&f);
	return f.token_s / n_token;
}

static double typical_token(const struct tr_observed *o, double *scratch)
{
	size_t n = 0;

	for (size_t i = 0; i < o->n; i++)
		if (o->sample[i].what == TOKEN)
			scratch[n++] = o->sample[i].s;
	return typical(scratch, n);
}

static void digest(const struct tr_observed *o, struct tr_machine_run *r,
	struct cells cells[N_WHAT], double *scratch)
{
	for (int k = 0; k < N_WHAT; k++)
		fill_cells(o, k, &cells[k], scratch);
	r->beside_s = mean(&cells[SHARED]);
	r->position = mean_number(&cells[TOKEN]);
	line(&cells[REST], &r->rest_s, &r->after_read_s);
	line(&cells[LOOKUP], &r->lookup_s, &r->ask_s);
	experts(mean(&cells[READY]) > 0 ? &cells[READY] : &cells[WAITED], r);
	r->wake_s = wake_s(&cells[WAITED], r);
	fill_tables(r, o->n_used, &cells[LAST], &cells[FIRST]);
	for (int k = 0; k < MAX_CELL; k++)
		r->n_token += (unsigned)cells[TOKEN].at[k].n;
	r->token_s = typical_token(o, scratch);
	r->said_s = said_s(o, r);
}

int tr_observed_run(const struct tr_observed *o, struct tr_machine_run *r, struct tr_err *err)
{
	struct cells *cells = tr_calloc(N_WHAT, sizeof(*cells));
	double *scratch = tr_calloc(TR_MAX(o->n, (size_t)1), sizeof(*scratch));
	int rc = 0;

	if (!cells || !scratch || o->no_memory)
		rc = tr_err_set(err, TR_E_NOMEM, "a run of the engine: out of memory");
	else
		digest(o, r, cells, scratch);
	if (!rc && !(r->unit_s > 0))
		rc = tr_err_set(err, TR_E_NOENT, "a run of the engine: no expert was multiplied");
	free(cells);
	free(scratch);
	return rc;
}
