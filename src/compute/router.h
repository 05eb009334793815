/* router.h - from router logits to the experts of a token and their weights. Pure. */
#ifndef TR_COMPUTE_ROUTER_H
#define TR_COMPUTE_ROUTER_H

#include "compute/kernels.h"

/* Numbers as in the metadata key expert_gating_func. */
enum tr_gating {
	TR_GATING_SOFTMAX = 1,	    /* over all experts */
	TR_GATING_SIGMOID = 2,
	TR_GATING_SOFTMAX_TOPK = 3, /* over the logits of the chosen */
};

#define TR_ROUTER_MAX_USED 64
#define TR_ROUTER_MAX_GROUP 64

struct tr_router {
	enum tr_gating gating;
	uint32_t n_expert;
	uint32_t n_used;
	uint32_t n_group;      /* contiguous groups of experts; 1: none */
	uint32_t n_group_used;
	bool norm;	       /* weights are divided by their sum */
	float scale;	       /* and multiplied by this */
};

/* The probability that the router gives each expert, before any bias. Where weights come from a
 * softmax over the chosen, that over all experts. */
void tr_router_scores(const struct tr_router *r, const struct tr_kernels *k, const float *logits,
	float *scores);

/*
 * Chooses n_used experts by descending p + bias, lowest index first on ties; bias may be NULL. With
 * groups, only experts of the n_group_used groups with the highest sum of their two best scores
 * take part (DeepSeek-V3, arXiv:2412.19437). Weights are made of the unbiased p. scratch holds
 * 2 * n_expert floats.
 */
void tr_router_pick(const struct tr_router *r, const struct tr_kernels *k, const float *logits,
	const float *bias, float *scratch, uint32_t *ids, float *weights);

#endif
