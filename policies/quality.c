#include "policies/quality.h"

static uint32_t rank_of(const float *p, uint32_t n_expert, uint32_t expert)
{
	uint32_t rank = 0;

	for (uint32_t e = 0; e < n_expert; e++)
		rank += p[e] > p[expert] || (p[e] == p[expert] && e < expert);
	return rank;
}

void tr_quality_add(struct tr_quality *q, const float *p, uint32_t n_expert,
	const uint32_t *experts, uint32_t n)
{
	for (uint32_t e = 0; e < n_expert; e++) {
		q->n_likely += p[e] >= 0.5f;
		q->squares += (double)p[e] * p[e];
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t rank = rank_of(p, n_expert, experts[i]);

		q->n_found += rank < n;
		q->n_found_wide += rank < n + (n + 1) / 2;
		q->n_likely_used += p[experts[i]] >= 0.5f;
		q->squares += 1 - 2 * (double)p[experts[i]];
	}
	q->n_visit++;
	q->n_used += n;
	q->n_p += n_expert;
}

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

double tr_quality_recall(const struct tr_quality *q)
{
	return share(q->n_found, q->n_used);
}

double tr_quality_recall_wide(const struct tr_quality *q)
{
	return share(q->n_found_wide, q->n_used);
}

double tr_quality_precision(const struct tr_quality *q)
{
	return share(q->n_likely_used, q->n_likely);
}

double tr_quality_brier(const struct tr_quality *q)
{
	return q->n_p ? q->squares / (double)q->n_p : 0;
}
