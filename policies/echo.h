/*
 * echo.h - where routing has been like this before, and what followed there.
 *
 * Text repeats itself, and so does routing: not the experts of the last token come again, but those
 * that followed the last time the routing looked as it looks now. For each lag up to the depth of
 * the memory a running match says how alike the stream is to itself that many tokens ago (share of
 * the layer's experts in common, averaged over about the last token's layers). The best lags vote,
 * with a weight exponential in their match, on what the next visits of a layer use. It is attention
 * over past routing, with no training.
 *
 * What was used is kept twice, by token and by expert: the first tells what a voter says, the
 * second which tokens used the experts of now, which are few. Memory: two bits per expert and
 * remembered token (60 layers x 384 experts x 1024 tokens: 6 MB). Cost of a layer: a count per token
 * that shares an expert, and a multiplication per lag: a microsecond or two.
 */
#ifndef TR_POLICIES_ECHO_H
#define TR_POLICIES_ECHO_H

#include <stdbool.h>
#include <stdint.h>

#define TR_ECHO_VOTERS 32

struct tr_echo {
	uint32_t n_layer;
	uint32_t n_expert;
	uint32_t n_word;  /* 64-bit words of a set */
	uint32_t depth;	  /* tokens remembered; slots of the ring */
	uint32_t now;	  /* index of the current token, from 0 */
	uint32_t last;	  /* layer observed last in this token, UINT32_MAX: none yet */
	float decay;	  /* of a match, per layer */
	uint32_t n_span;  /* 64-bit words of a bit per token */
	uint64_t *bits;	  /* [depth][n_layer][n_word] */
	uint64_t *tokens; /* [n_layer][n_expert][n_span] the same, a bit per slot of the ring */
	uint32_t *common; /* [depth] by lag, scratch: experts in common */
	uint32_t *seen;	  /* [n_layer] token of the last visit, plus 1 */
	float *match;	  /* [depth] by lag, 0 unused */
	float *weight;	  /* [depth] by lag, of the voters */
	uint32_t n_voter; /* voters, best match first */
	uint32_t voter[TR_ECHO_VOTERS];
};

/* 0 or TR_E_NOMEM; the echo is then as after fini. depth >= 2. */
int tr_echo_init(struct tr_echo *e, uint32_t n_layer, uint32_t n_expert, uint32_t depth);
void tr_echo_fini(struct tr_echo *e);

/* A layer was routed to these experts. A layer not behind the last one begins a new token. */
void tr_echo_observe(struct tr_echo *e, uint32_t layer, const uint32_t *experts, uint32_t n);
/* The token ends: whatever is observed next belongs to another. */
void tr_echo_end_token(struct tr_echo *e);

/* share[n_expert]: by weight, the share of the voters that say the expert is used at the layer's
 * visit `horizon` from now (1: the next). False, with all 0, when no lag reaches that far. */
bool tr_echo_predict(const struct tr_echo *e, uint32_t layer, uint32_t horizon, float *share);

#endif
