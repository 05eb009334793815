/*
 * outlook.h - how likely each expert of a layer is used at the layer's next visits, learned online.
 *
 * One logistic regression per horizon, shared by the layers, over: what followed when the routing
 * last looked like this (echo.h), a fast and a slow average of the uses, and whether the last visit
 * used it. The weights start where three recorded models agree and learn from every visit: features
 * are kept at each fourth visit of a layer, and each of the four that follow teaches its horizon.
 * Cost of a visit: one exponential per expert and horizon, by four. Nothing but ids is needed.
 *
 * Arrays over the experts of a layer are `stride` long: n_expert, filled up to a multiple of four.
 */
#ifndef TR_POLICIES_OUTLOOK_H
#define TR_POLICIES_OUTLOOK_H

#include "policies/echo.h"
#include "policies/logit.h"

enum { TR_OUTLOOK_HORIZON = 4 };

struct tr_outlook {
	uint32_t n_layer;
	uint32_t n_expert;
	uint32_t stride;
	float fast; /* steps of the two averages, set by the owner after init */
	float slow;
	struct tr_echo echo;
	struct tr_logit model[TR_OUTLOOK_HORIZON];
	uint32_t *n_visit; /* [n_layer] */
	float *n_used;	   /* [n_layer] experts per visit, averaged slowly */
	float *fast_sum;   /* [n_layer] weight that the averages have gathered; towards 1 */
	float *slow_sum;
	float *real;	  /* [stride] 1 for an expert, 0 for filling */
	float *fast_mean; /* [n_layer][stride] uses per visit */
	float *slow_mean;
	float *used; /* [n_layer][stride] 1: at the layer's last visit */
	float *kept; /* [n_layer][8][stride] features of the visit that is learned from */
	float *p;    /* [TR_OUTLOOK_HORIZON][stride] the answer of estimate */
	float *rate; /* [stride] uses per visit in the long run */
};

/* 0 or TR_E_NOMEM; the outlook is then as after fini. depth: tokens that the echo remembers. */
int tr_outlook_init(struct tr_outlook *o, uint32_t n_layer, uint32_t n_expert, uint32_t depth);
void tr_outlook_fini(struct tr_outlook *o);

/* A visit of layer used these experts, each once. Learns from it. */
void tr_outlook_visit(struct tr_outlook *o, uint32_t layer, const uint32_t *experts, uint32_t n);
void tr_outlook_end_token(struct tr_outlook *o);

/* Fills o->p and o->rate for the visits of layer to come. To be called after each visit: what it
 * says then is what is learned from. */
void tr_outlook_estimate(struct tr_outlook *o, uint32_t layer);
/* The same for one horizon, from 1, at any time: that row of o->p. */
const float *tr_outlook_glance(struct tr_outlook *o, uint32_t layer, uint32_t horizon);

#endif
