/*
 * mla_plain.h - attention as mla.c words its canonical order, one head of one token at a time: what
 * tests compare bits with and the benchmark compares time with.
 */
#ifndef TR_TESTS_MLA_PLAIN_H
#define TR_TESTS_MLA_PLAIN_H

#include "engine/mla.h"

struct mla_inputs {
	struct tr_mla mla;
	struct tr_kv kv;
	uint32_t layer, pos;
	size_t n_tok;
	float *q;
	size_t q_stride;
	float *rope;
	struct tr_weight k_b, v_b;
	float *out;
	size_t out_stride;
};

/* Floats that mla_plain_head works in, on a cache line. */
size_t mla_plain_room(const struct mla_inputs *in);

/* The output of head h of token t to out[n_v]. */
void mla_plain_head(const struct mla_inputs *in, const struct tr_kernels *k, uint32_t h, size_t t,
	float *room, float *out);

/* Random inputs of the shape in mla, pos, n_tok and kv.type; q and out are as wide as they must be.
 * k_b and v_b are of type w. -1: out of memory. */
int mla_inputs_new(struct mla_inputs *in, const struct tr_quant *w, uint64_t seed);
void mla_inputs_free(struct mla_inputs *in);

#endif
