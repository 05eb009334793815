/*
 * synth_router.h - routers whose experts are used as unevenly as asked.
 *
 * Weights are random. What makes some experts popular is the bias that is added to the scores when
 * experts are chosen (exp_probs_b): normal numbers times an amplitude, which is searched by
 * bisection until the hottest quarter of the experts gets the wanted share of the activations of
 * random hidden states. Popularity falls off smoothly; each layer has its own.
 */
#ifndef TR_TESTS_BENCH_SYNTH_ROUTER_H
#define TR_TESTS_BENCH_SYNTH_ROUTER_H

#include "synth_blocks.h"

struct synth_router {
	uint32_t n_embd;
	uint32_t n_expert;
	uint32_t n_used;
	double hot; /* wanted share */
	/* Results of the last synth_router_make. */
	float *weights; /* [n_expert][n_embd] */
	float *bias;	/* [n_expert] */
	double amplitude;
	double reached; /* share of activations that go to the n_expert / 4 highest biases */
	/* Work space. */
	float *states; /* [N_STATE][n_embd] */
	float *scores; /* [N_STATE][n_expert] */
};

/* n_embd to hot are set. False when out of memory. */
bool synth_router_init(struct synth_router *s, struct synth_rng *r);
void synth_router_fini(struct synth_router *s);
void synth_router_make(struct synth_router *s, struct synth_rng *r);

#endif
