#include "synth_router.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_STATE	      512
#define N_BISECT      20
#define MAX_AMPLITUDE 4 /* scores lie in 0 to 1: beyond this the bias alone decides */

static float dot(const float *a, const float *b, size_t n)
{
	float sum[8] = { 0 };
	size_t i;

	for (i = 0; i + 8 <= n; i += 8)
		for (size_t k = 0; k < 8; k++)
			sum[k] += a[i + k] * b[i + k];
	for (; i < n; i++)
		sum[0] += a[i] * b[i];
	return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

/* A random vector of length 1. */
static void direction(float *x, size_t n, struct synth_rng *r)
{
	float length;

	for (size_t i = 0; i < n; i++)
		x[i] = synth_normal(r);
	length = sqrtf(dot(x, x, n));
	for (size_t i = 0; i < n; i++)
		x[i] /= length;
}

bool synth_router_init(struct synth_router *s, struct synth_rng *r)
{
	s->weights = tr_calloc((size_t)s->n_expert * s->n_embd, sizeof(float));
	s->bias = tr_calloc(s->n_expert, sizeof(float));
	s->states = tr_calloc((size_t)N_STATE * s->n_embd, sizeof(float));
	s->scores = tr_calloc((size_t)N_STATE * s->n_expert, sizeof(float));
	if (!s->weights || !s->bias || !s->states || !s->scores)
		return false;
	for (size_t t = 0; t < N_STATE; t++)
		direction(s->states + t * s->n_embd, s->n_embd, r);
	return true;
}

void synth_router_fini(struct synth_router *s)
{
	free(s->weights);
	free(s->bias);
	free(s->states);
	free(s->scores);
}

/* Counts of the n_used best of score + amplitude * bias. */
static void choose(const struct synth_router *s, const float *score, double amplitude, float *work,
	uint64_t *count)
{
	for (uint32_t e = 0; e < s->n_expert; e++)
		work[e] = score[e] + (float)amplitude * s->bias[e];
	for (uint32_t i = 0; i < s->n_used; i++) {
		uint32_t best = 0;

		for (uint32_t e = 1; e < s->n_expert; e++)
			if (work[e] > work[best])
				best = e;
		work[best] = -INFINITY;
		count[best]++;
	}
}

/* How many biases are larger, the earlier winning ties. */
static uint32_t rank_of(const struct synth_router *s, uint32_t at)
{
	uint32_t rank = 0;

	for (uint32_t e = 0; e < s->n_expert; e++)
		rank += s->bias[e] > s->bias[at] || (s->bias[e] == s->bias[at] && e < at);
	return rank;
}

static double share(const struct synth_router *s, double amplitude)
{
	float *work = tr_calloc(s->n_expert, sizeof(*work));
	uint64_t *count = tr_calloc(s->n_expert, sizeof(*count)), hot = 0;

	if (!work || !count)
		abort();
	for (size_t t = 0; t < N_STATE; t++)
		choose(s, s->scores + t * s->n_expert, amplitude, work, count);
	for (uint32_t e = 0; e < s->n_expert; e++)
		hot += rank_of(s, e) < s->n_expert / 4 ? count[e] : 0;
	free(work);
	free(count);
	return (double)hot / ((double)N_STATE * s->n_used);
}

static void search_amplitude(struct synth_router *s)
{
	double lo = 0, hi = MAX_AMPLITUDE;

	for (int i = 0; i < N_BISECT; i++) {
		s->amplitude = (lo + hi) / 2;
		s->reached = share(s, s->amplitude);
		if (s->reached < s->hot)
			lo = s->amplitude;
		else
			hi = s->amplitude;
	}
}

/* Rows have length 1, and states have the length sqrt(n_embd) that a norm gives them: logits have
 * deviation 1. */
void synth_router_make(struct synth_router *s, struct synth_rng *r)
{
	float length = sqrtf((float)s->n_embd);

	for (uint32_t e = 0; e < s->n_expert; e++) {
		direction(s->weights + (size_t)e * s->n_embd, s->n_embd, r);
		s->bias[e] = synth_normal(r);
	}
	for (size_t t = 0; t < N_STATE; t++)
		for (uint32_t e = 0; e < s->n_expert; e++) {
			float logit =
				length * dot(s->states + t * s->n_embd,
						 s->weights + (size_t)e * s->n_embd, s->n_embd);

			s->scores[t * s->n_expert + e] = 1 / (1 + expf(-logit));
		}
	search_amplitude(s);
	for (uint32_t e = 0; e < s->n_expert; e++)
		s->bias[e] *= (float)s->amplitude;
}
