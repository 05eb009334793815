/*
 * sampler.c - chooses the next token from logits.
 *
 * The order of the filters is that of llama.cpp's default chain: repeat penalty, top-k, top-p,
 * min-p, temperature. So top-p and min-p see probabilities without temperature, and top-p those
 * among the top k. At least one token is always left.
 *
 * Candidates lie in a max-heap by (logit, then lower id) and are taken out only as far as the
 * filters keep them, so that a small choice from a large vocabulary costs one pass and a few steps.
 * The same logits, options and seed give the same tokens on every run: sums are doubles in a fixed
 * order, random numbers come from SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
 * number generators, OOPSLA 2014).
 *
 * Logits need not be sane: NaN counts as minus infinity, infinity as the largest float.
 */
#include "base/err.h"
#include "base/mem.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cand {
	float logit;
	int32_t id;
};

struct tr_sampler {
	struct tr_sampler_opts opts;
	uint64_t rng;
	size_t n_vocab;
	struct cand *cand; /* heap in front, best ones behind it in falling order from the end */
	size_t n_heap;
	int32_t *last;	    /* ring of the last repeat_last_n tokens */
	uint32_t *n_recent; /* how often an id is in the ring */
	uint64_t n_seen;
};

#define MAX_LAST (1u << 24)

void tr_sampler_defaults(struct tr_sampler_opts *opts)
{
	*opts = (struct tr_sampler_opts){ .temp = 0.8f,
		.top_k = 40,
		.top_p = 0.95f,
		.min_p = 0.05f,
		.repeat_penalty = 1.0f,
		.repeat_last_n = 64 };
}

static int check_opts(const struct tr_sampler_opts *o, size_t n_vocab, struct tr_err *err)
{
	if (n_vocab == 0 || n_vocab > INT32_MAX)
		return tr_err_set(err, TR_E_INVALID, "vocabulary of %zu tokens: must be 1 to %d",
			n_vocab, INT32_MAX);
	if (!(o->temp >= 0) || !isfinite(o->temp))
		return tr_err_set(
			err, TR_E_INVALID, "temperature %g: must be 0 or more", (double)o->temp);
	if (!(o->top_p > 0 && o->top_p <= 1))
		return tr_err_set(err, TR_E_INVALID, "top-p %g: must be above 0 and at most 1",
			(double)o->top_p);
	if (!(o->min_p >= 0 && o->min_p <= 1))
		return tr_err_set(err, TR_E_INVALID, "min-p %g: must be 0 to 1", (double)o->min_p);
	if (!(o->repeat_penalty > 0) || !isfinite(o->repeat_penalty))
		return tr_err_set(err, TR_E_INVALID, "repeat penalty %g: must be above 0",
			(double)o->repeat_penalty);
	if (o->repeat_last_n > MAX_LAST)
		return tr_err_set(err, TR_E_LIMIT, "repeat penalty over %u tokens: the limit is %u",
			o->repeat_last_n, MAX_LAST);
	return 0;
}

int tr_sampler_new(struct tr_sampler **sampler, const struct tr_sampler_opts *opts, size_t n_vocab,
	struct tr_err *err)
{
	int rc = check_opts(opts, n_vocab, err);
	struct tr_sampler *s;

	*sampler = NULL;
	if (rc)
		return rc;
	s = tr_calloc(1, sizeof(*s));
	if (s) {
		s->opts = *opts;
		s->rng = opts->seed;
		s->n_vocab = n_vocab;
		s->cand = tr_calloc(n_vocab, sizeof(*s->cand));
		s->last = tr_calloc(opts->repeat_last_n, sizeof(*s->last));
		s->n_recent = tr_calloc(n_vocab, sizeof(*s->n_recent));
	}
	if (!s || !s->cand || !s->last || !s->n_recent) {
		tr_sampler_free(s);
		return tr_err_set(err, TR_E_NOMEM, "no memory to sample from %zu tokens", n_vocab);
	}
	*sampler = s;
	return 0;
}

void tr_sampler_free(struct tr_sampler *s)
{
	if (!s)
		return;
	free(s->cand);
	free(s->last);
	free(s->n_recent);
	free(s);
}

void tr_sampler_accept(struct tr_sampler *s, int32_t id)
{
	uint32_t n = s->opts.repeat_last_n;
	int32_t *slot;

	if (n == 0 || id < 0 || (size_t)id >= s->n_vocab)
		return;
	slot = &s->last[s->n_seen % n];
	if (s->n_seen++ >= n)
		s->n_recent[*slot]--;
	*slot = id;
	s->n_recent[id]++;
}

static float sane(float logit)
{
	if (isnan(logit))
		return -INFINITY;
	return TR_MIN(logit, FLT_MAX);
}

/* The logit of id after the repeat penalty: divided when positive, multiplied when negative. */
static float logit_of(const struct tr_sampler *s, const float *logits, size_t id)
{
	float x = sane(logits[id]);

	if (s->n_recent[id] == 0)
		return x;
	x = x > 0 ? x / s->opts.repeat_penalty : x * s->opts.repeat_penalty;
	return TR_MIN(x, FLT_MAX);
}

/* Probability of a logit in units of that of the best one. */
static double weight(double logit, double best)
{
	return logit > -INFINITY ? exp(logit - best) : 0;
}

/* --- candidates in falling order --- */

static bool better(const struct cand *a, const struct cand *b)
{
	return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

static void sift_down(struct cand *heap, size_t n, size_t i)
{
	struct cand moving = heap[i];
	size_t kid;

	while ((kid = 2 * i + 1) < n) {
		if (kid + 1 < n && better(&heap[kid + 1], &heap[kid]))
			kid++;
		if (!better(&heap[kid], &moving))
			break;
		heap[i] = heap[kid];
		i = kid;
	}
	heap[i] = moving;
}

/* The i-th best candidate, i < n_vocab. Takes from the heap what was not taken before. */
static const struct cand *ranked(struct tr_sampler *s, size_t i)
{
	while (s->n_vocab - s->n_heap <= i) {
		struct cand top = s->cand[0];

		s->cand[0] = s->cand[--s->n_heap];
		s->cand[s->n_heap] = top;
		if (s->n_heap > 1)
			sift_down(s->cand, s->n_heap, 0);
	}
	return &s->cand[s->n_vocab - 1 - i];
}

static void fill(struct tr_sampler *s, const float *logits)
{
	for (size_t i = 0; i < s->n_vocab; i++)
		s->cand[i] = (struct cand){ logit_of(s, logits, i), (int32_t)i };
	s->n_heap = s->n_vocab;
	for (size_t i = s->n_vocab / 2; i-- > 0;)
		sift_down(s->cand, s->n_vocab, i);
}

/* --- choosing --- */

static int32_t choose_greedy(const struct tr_sampler *s, const float *logits)
{
	float best = logit_of(s, logits, 0);
	size_t best_id = 0;

	for (size_t i = 1; i < s->n_vocab; i++) {
		float x = logit_of(s, logits, i);

		if (x > best) {
			best = x;
			best_id = i;
		}
	}
	return (int32_t)best_id;
}

/* Sum of the weights among which top-p counts. Candidates that wait in the heap count in the order
 * in which they lie there, which depends on nothing but the logits. */
static double mass_of(struct tr_sampler *s, size_t n, double best)
{
	double sum = 0;

	if (n < s->n_vocab) {
		for (size_t i = 0; i < n; i++)
			sum += weight(ranked(s, i)->logit, best);
		return sum;
	}
	for (size_t i = 0; i < n; i++)
		sum += weight(s->cand[i].logit, best);
	return sum;
}

/* Number of best candidates that the filters leave. */
static size_t n_kept(struct tr_sampler *s)
{
	const struct tr_sampler_opts *o = &s->opts;
	size_t n = o->top_k ? TR_MIN(o->top_k, s->n_vocab) : s->n_vocab;
	double best = ranked(s, 0)->logit, sum = 0, limit;

	if (o->top_p >= 1 && o->min_p <= 0)
		return n;
	limit = o->top_p < 1 ? o->top_p * mass_of(s, n, best) : INFINITY;
	for (size_t i = 0; i < n; i++) {
		double w = weight(ranked(s, i)->logit, best);

		if (i > 0 && (sum >= limit || w < o->min_p))
			return i;
		sum += w;
	}
	return n;
}

/* In [0, 1), 53 bits. */
static double next_random(struct tr_sampler *s)
{
	uint64_t z = s->rng += 0x9E3779B97F4A7C15u;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static double temper(const struct tr_sampler *s, size_t i, double best)
{
	return weight((s->cand[s->n_vocab - 1 - i].logit - best) / s->opts.temp, 0);
}

/* Draws among the n best. Taking them out of the heap is only needed when they are not all. */
static int32_t draw(struct tr_sampler *s, size_t n, double best)
{
	double sum = 0, left;
	size_t i;

	if (n < s->n_vocab)
		ranked(s, n - 1);
	for (i = 0; i < n; i++)
		sum += temper(s, i, best);
	left = next_random(s) * sum;
	for (i = 0; i + 1 < n; i++) {
		left -= temper(s, i, best);
		if (left < 0)
			break;
	}
	return s->cand[s->n_vocab - 1 - i].id;
}

int32_t tr_sampler_next(struct tr_sampler *s, const float *logits)
{
	int32_t id;

	if (s->opts.temp <= 0) {
		id = choose_greedy(s, logits);
	} else {
		double best;

		fill(s, logits);
		best = ranked(s, 0)->logit;
		/* All are minus infinity: nothing to draw by. */
		id = best > -INFINITY ? draw(s, n_kept(s), best) : ranked(s, 0)->id;
	}
	tr_sampler_accept(s, id);
	return id;
}

/* --- log probabilities --- */

/* Puts c where it belongs among the n best so far; the last one drops out when all cap are used. */
static size_t insert(struct tr_logprob *top, size_t n, size_t cap, struct tr_logprob c)
{
	size_t i;

	if (n == cap && !(c.logprob > top[n - 1].logprob))
		return n;
	n = TR_MIN(n + 1, cap);
	for (i = n - 1; i > 0 && c.logprob > top[i - 1].logprob; i--)
		top[i] = top[i - 1];
	top[i] = c;
	return n;
}

void tr_logprobs(const float *logits, size_t n_vocab, int32_t id, struct tr_logprob *chosen,
	struct tr_logprob *top, size_t n_top)
{
	double best = -INFINITY, sum = 0, log_sum;
	size_t n = 0;

	for (size_t i = 0; i < n_vocab; i++)
		best = fmax(best, sane(logits[i]));
	for (size_t i = 0; i < n_vocab; i++)
		sum += weight(sane(logits[i]), best);
	log_sum = best > -INFINITY ? best + log(sum) : 0;
	chosen->id = id;
	chosen->logprob = -INFINITY;
	if (id >= 0 && (size_t)id < n_vocab)
		chosen->logprob = (float)(sane(logits[id]) - log_sum);
	for (size_t i = 0; i < n_vocab && n_top > 0; i++)
		n = insert(top, n, n_top, (struct tr_logprob){ (int32_t)i, sane(logits[i]) });
	for (size_t i = 0; i < n; i++)
		top[i].logprob = (float)(top[i].logprob - log_sum);
	for (; n < n_top; n++)
		top[n] = (struct tr_logprob){ -1, -INFINITY };
}
