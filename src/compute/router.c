#include "compute/router.h"

#include <math.h>
#include <string.h>

/* The smallest sum that weights are divided by: 2^-14, the smallest normal half. */
#define MIN_WEIGHT_SUM 6.103515625e-5f

static void probabilities(const struct tr_router *r, const struct tr_kernels *k,
	const float *logits, float *p)
{
	float sum;

	switch (r->gating) {
	case TR_GATING_SIGMOID:
		k->sigmoid(p, logits, r->n_expert);
		break;
	case TR_GATING_SOFTMAX:
		sum = k->exp_sum(p, logits, k->max(logits, r->n_expert), r->n_expert);
		k->scale(p, 1.0f / sum, r->n_expert);
		break;
	case TR_GATING_SOFTMAX_TOPK:
		memcpy(p, logits, r->n_expert * sizeof(*p));
		break;
	}
}

void tr_router_scores(const struct tr_router *r, const struct tr_kernels *k, const float *logits,
	float *scores)
{
	struct tr_router full = *r;

	if (full.gating == TR_GATING_SOFTMAX_TOPK)
		full.gating = TR_GATING_SOFTMAX;
	probabilities(&full, k, logits, scores);
}

/* Index of the largest of n scores, lowest on ties; n when all are -inf. */
static uint32_t best(const float *score, uint32_t n)
{
	uint32_t i, at = n;
	float top = -INFINITY;

	for (i = 0; i < n; i++)
		if (score[i] > top) {
			top = score[i];
			at = i;
		}
	return at;
}

static float two_best_sum(const float *score, uint32_t n)
{
	float first = -INFINITY, second = -INFINITY;
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (score[i] > first) {
			second = first;
			first = score[i];
		} else if (score[i] > second) {
			second = score[i];
		}
	}
	return n == 1 ? first : first + second;
}

/* Sets the scores of all but the best groups to -inf. */
static void mask_groups(const struct tr_router *r, float *score)
{
	uint32_t n = r->n_expert / r->n_group, g, i, kept;
	float group[TR_ROUTER_MAX_GROUP];
	bool keep[TR_ROUTER_MAX_GROUP] = { false };

	for (g = 0; g < r->n_group; g++)
		group[g] = two_best_sum(score + g * n, n);
	for (kept = 0; kept < r->n_group_used; kept++) {
		g = best(group, r->n_group);
		if (g == r->n_group)
			break;
		keep[g] = true;
		group[g] = -INFINITY;
	}
	for (g = 0; g < r->n_group; g++)
		for (i = 0; !keep[g] && i < n; i++)
			score[g * n + i] = -INFINITY;
}

static void finish_weights(const struct tr_router *r, const struct tr_kernels *k, float *w)
{
	float sum = 0;
	uint32_t i;

	if (r->gating == TR_GATING_SOFTMAX_TOPK) {
		sum = k->exp_sum(w, w, k->max(w, r->n_used), r->n_used);
		k->scale(w, 1.0f / sum, r->n_used);
		sum = 0;
	}
	if (r->norm) {
		for (i = 0; i < r->n_used; i++)
			sum += w[i];
		if (sum < MIN_WEIGHT_SUM)
			sum = MIN_WEIGHT_SUM;
		for (i = 0; i < r->n_used; i++)
			w[i] /= sum;
	}
	k->scale(w, r->scale, r->n_used);
}

/* When groups or NaN leave no candidate: the lowest expert that was not taken. */
static uint32_t first_free(const uint32_t *ids, uint32_t n)
{
	uint32_t e, i;

	for (e = 0;; e++) {
		for (i = 0; i < n && ids[i] != e; i++)
			;
		if (i == n)
			return e;
	}
}

void tr_router_pick(const struct tr_router *r, const struct tr_kernels *k, const float *logits,
	const float *bias, float *scratch, uint32_t *ids, float *weights)
{
	float *p = scratch, *score = scratch + r->n_expert;
	uint32_t i, at;

	probabilities(r, k, logits, p);
	memcpy(score, p, r->n_expert * sizeof(*p));
	if (bias)
		k->add(score, bias, r->n_expert);
	if (r->n_group > 1)
		mask_groups(r, score);
	for (i = 0; i < r->n_used; i++) {
		at = best(score, r->n_expert);
		if (at == r->n_expert)
			at = first_free(ids, i);
		ids[i] = at;
		weights[i] = p[at];
		score[at] = -INFINITY;
	}
	finish_weights(r, k, weights);
}
