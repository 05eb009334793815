/*
 * rope.h - rotary position embedding, with YaRN (Peng et al. 2023, arXiv:2309.00071).
 */
#ifndef TR_COMPUTE_ROPE_H
#define TR_COMPUTE_ROPE_H

#include "base/err.h"

struct tr_rope {
	uint32_t n_rot;	     /* values that rotate; even */
	float freq_base;
	bool yarn;
	float factor;	     /* yarn: context extension */
	uint32_t orig_ctx;   /* yarn: context of the original training */
	float beta_fast, beta_slow;
	float magnitude;     /* cos and sin are multiplied by this */
	float *freq;	     /* [n_rot / 2] angle per position, derived; owned */
};

/* Derives freq from the other members. */
int tr_rope_init(struct tr_rope *rope);
void tr_rope_fini(struct tr_rope *rope);

/* cos and sin of n positions from pos: table[t * n_rot + 2 i] = cos, [.. + 1] = sin of pair i. */
void tr_rope_table(const struct tr_rope *rope, uint32_t pos, size_t n, float *table);

/* Rotates consecutive pairs (x[2i], x[2i+1]) in place by one row of the table. */
void tr_rope_rotate_pairs(float *x, const float *table_row, uint32_t n_rot);

#endif
