/*
 * sketch.h - what is kept of a router's scores: the best few, and the mean of the others.
 *
 * Predictors are told scores in this form, in a run as in a replay of it, so that both know the
 * same. Experts that have a chance lie among the first four times n_used; numbers are binary16. A
 * sketch takes an eighth of the scores of 384 experts of which 8 are used.
 */
#ifndef TR_CACHE_SKETCH_H
#define TR_CACHE_SKETCH_H

#include <stdint.h>

#define TR_SKETCH_PER_USED 4

struct tr_sketch {
	uint32_t n;
	uint16_t rest;	  /* mean of the others */
	uint16_t *expert; /* [n] in descending order of score */
	uint16_t *score;  /* [n] */
};

/* Experts that a sketch has. */
uint32_t tr_sketch_size(uint32_t n_expert, uint32_t n_used);
/* scores[n_expert] into s, whose arrays are there; scratch[s->n]. */
void tr_sketch_draw(struct tr_sketch *s, const float *scores, uint32_t n_expert, uint32_t *scratch);
/* The scores that are left of it. */
void tr_sketch_fill(const struct tr_sketch *s, float *scores, uint32_t n_expert);

#endif
