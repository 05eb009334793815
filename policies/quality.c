#include "policies/quality.h"
#include "policies/logit.h"

/* How many are larger than x; with sign -1, smaller. */
static uint32_t count_beyond(const float *p, uint32_t n, float x, float sign)
{
	tr_i4 sum = { 0 };
	uint32_t i = 0, count;

	for (; i + TR_F4 <= n; i += TR_F4)
		sum -= tr_f4_load(p + i) * sign > tr_f4_of(x * sign);
	count = (uint32_t)(sum[0] + sum[1] + sum[2] + sum[3]);
	for (; i < n; i++)
		count += p[i] * sign > x * sign;
	return count;
}

static uint32_t rank_of(const float *p, uint32_t n_expert, uint32_t expert)
{
	const float *behind = p + expert + 1;

	return expert - count_beyond(p, expert, p[expert], -1) +
	       count_beyond(behind, n_expert - expert - 1, p[expert], 1);
}

static float sum_of_squares(const float *p, uint32_t n)
{
	tr_f4 sum = { 0 };
	uint32_t i = 0;
	float rest = 0;

	for (; i + TR_F4 <= n; i += TR_F4)
		sum += tr_f4_load(p + i) * tr_f4_load(p + i);
	for (; i < n; i++)
		rest += p[i] * p[i];
	return (sum[0] + sum[1]) + (sum[2] + sum[3]) + rest;
}

void tr_quality_add(struct tr_quality *q, const float *p, uint32_t n_expert,
	const uint32_t *experts, uint32_t n)
{
	q->n_likely += n_expert - count_beyond(p, n_expert, 0.5f, -1);
	q->squares += (double)sum_of_squares(p, n_expert);
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
