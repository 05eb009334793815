/* deepseek2_run.h - a chunk of tokens on its way through the layers, and the steps that CPU and
 * device share. */
#ifndef TR_ENGINE_ARCHS_DEEPSEEK2_RUN_H
#define TR_ENGINE_ARCHS_DEEPSEEK2_RUN_H

#include "engine/archs/deepseek2.h"

struct ds2_scratch {
	size_t n_tok_max;
	struct tr_acts acts; /* inputs of matrices that share x */
	struct tr_acts
		acts_ffn;   /* inputs of experts: lives while acts is reused by the shared one */
	float *h;	    /* [n_tok][embd] residual stream */
	float *x;	    /* [n_tok][embd] normalised */
	float *branch;	    /* [n_tok][embd] what is added to h */
	float *shared;	    /* [n_tok][embd] */
	float *qa;	    /* [n_tok][q_lora] */
	float *q;	    /* [n_tok][n_head * n_qk] */
	float *kv;	    /* [n_tok][n_lat + n_rot] */
	float *o;	    /* [n_tok][n_head * n_v] */
	float *gate, *up;   /* [n_tok][ff] of dense or shared networks */
	float *rope;	    /* [n_tok][n_rot] */
	float *router;	    /* [n_tok][n_expert] */
	float *router_work; /* [n_tok][2 * n_expert] */
	uint32_t *ids;	    /* [n_tok][n_used] */
	float *weights;	    /* [n_tok][n_used] */
	void *mla;	    /* tr_mla_scratch_bytes */
};

struct ds2_chunk {
	const struct ds2 *d;
	struct tr_run *run;
	struct ds2_scratch *s;
	size_t n;
	uint32_t pos;
	bool scan;	  /* a prefill: it began with several tokens */
	bool want_logits; /* of the last token */
};

/* --- deepseek2_forward.c: what the CPU does --------------------------------------------------- */

/* The experts of s->ids begin: they are recorded, reads are submitted. Their input is s->acts_ffn,
 * and on the device `there`, unless that is NULL. */
int ds2_experts_begin(struct ds2_chunk *c, uint32_t layer, const float *there, struct tr_err *err);
/* out[n_tok][stride(n_embd)] = the weighted sum of their outputs. */
int ds2_experts_end(struct ds2_chunk *c, float *out, struct tr_err *err);

/* Tells who foresees of the layer, whose router's probabilities are in s->router_work. */
void ds2_look_ahead(struct ds2_chunk *c, uint32_t layer);

/* out = down(silu(gate x) * up x) of the layer's dense network or shared expert. */
void ds2_feed_forward(struct ds2_chunk *c, const struct ds2_ffn *f, struct tr_acts *x, float *out);

int ds2_check_logits(const struct ds2_chunk *c, struct tr_err *err);

/* --- deepseek2_gpu_run.c: what the device does ------------------------------------------------ */

/* A chunk begins: s->h and s->rope are there. */
void ds2_gpu_begin(struct ds2_chunk *c);
bool ds2_gpu_has_layer(const struct ds2_chunk *c, uint32_t layer);
int ds2_gpu_layer(struct ds2_chunk *c, uint32_t layer, struct tr_err *err);
/* The residual stream is wanted in s->h, of the last token only or of all. */
int ds2_gpu_fetch(struct ds2_chunk *c, bool only_last, struct tr_err *err);
bool ds2_gpu_has_head(const struct ds2_chunk *c);
int ds2_gpu_logits(struct ds2_chunk *c, struct tr_err *err);
/* Waits for what is queued, whether the chunk came to its end (rc 0) or not. */
int ds2_gpu_end(struct ds2_chunk *c, int rc, struct tr_err *err);

#endif
