/*
 * replay.h - the smallest replay of a trace that is right: the reference of the policy tests.
 *
 * The ids of one token and layer are a set. Those resident when it arrives are hits and cannot be
 * victims; then the misses enter in ascending order, and those that entered cannot be victims
 * either. One cache spans all layers. A token ends with a tick.
 */
#ifndef TR_TESTS_REPLAY_H
#define TR_TESTS_REPLAY_H

#include "policies/policy.h"

#include <stdio.h>

struct replay_set {
	uint32_t token;
	uint64_t first; /* index into id */
	uint32_t n;
};

struct replay_trace {
	uint32_t n_id;
	uint32_t n_layer_id; /* ids of a layer */
	uint32_t *id; /* [n] ascending within a set, no id twice */
	uint64_t n;
	struct replay_set *set; /* [n_set] in order of time */
	uint64_t n_set;
	uint64_t cap, cap_set; /* room in id, set */
};

/* Appends a set. False when it holds an id twice or tokens go backwards, or out of memory. */
bool replay_add(struct replay_trace *t, uint32_t token, uint32_t *ids, uint32_t n);
void replay_free(struct replay_trace *t);

/* CSV of token,layer,expert[,...] with a line of names. 0, or the number of the bad line. */
unsigned long replay_read_csv(struct replay_trace *t, FILE *in);
/* A line for each token, a word for each layer, a character of the base64 alphabet for each
 * expert of at most 64; lines that start with # are comments. 0, or the number of the bad line. */
unsigned long replay_read_letters(struct replay_trace *t, FILE *in);

struct replay_count {
	uint64_t requests;
	uint64_t hits;
};

/* 300 tokens of 4 layers that use 6 of 64 experts by Zipf's law; the hot ones move on every 100. */
bool replay_make_zipf(struct replay_trace *t);

/* Counts uses of tokens >= from. spec is what tr_policy_open takes. A miss of id costs 1 + id % 5;
 * the ids worth keeping are 0, 7, 14 and so on modulo n_id. */
int replay_run(const struct replay_trace *t, const char *spec, uint32_t n_slot, uint32_t from,
	struct replay_count *out, struct tr_err *err);

#endif
