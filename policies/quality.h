/*
 * quality.h - how good predictions were, counted one layer's visit at a time.
 *
 * Experts are ranked by probability, equal ones by number. With k experts used in a visit, recall@k
 * is the share of them among the first k, recall@1.5k among the first 1.5 k (rounded up). Precision
 * is the share used among those given at least a half. The Brier score is the mean squared
 * difference of probability and outcome over all experts: 0 is perfect, always saying the overall
 * share q gives q (1 - q).
 */
#ifndef TR_POLICIES_QUALITY_H
#define TR_POLICIES_QUALITY_H

#include <stdint.h>

struct tr_quality {
	uint64_t n_visit;
	uint64_t n_used;
	uint64_t n_found;      /* of these among the first k */
	uint64_t n_found_wide; /* among the first 1.5 k */
	uint64_t n_likely;     /* given at least a half */
	uint64_t n_likely_used;
	uint64_t n_p;	/* probabilities given */
	double squares; /* sum of squared differences */
};

/* The visit predicted by p[n_expert] used these n experts, each once. */
void tr_quality_add(struct tr_quality *q, const float *p, uint32_t n_expert,
	const uint32_t *experts, uint32_t n);

/* All are 0 before there is anything to divide by. */
double tr_quality_recall(const struct tr_quality *q);
double tr_quality_recall_wide(const struct tr_quality *q);
double tr_quality_precision(const struct tr_quality *q);
double tr_quality_brier(const struct tr_quality *q);

#endif
