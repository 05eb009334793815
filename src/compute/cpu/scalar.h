/* scalar.h - what the files of the portable table share. */
#ifndef TR_COMPUTE_SCALAR_H
#define TR_COMPUTE_SCALAR_H

#include "compute/kernels.h"

/* The closing tree of every canonical sum; destroys lane. */
static inline float tr_scalar_tree(float lane[16])
{
	for (int half = 8; half > 0; half /= 2)
		for (int i = 0; i < half; i++)
			lane[i] += lane[i + half];
	return lane[0];
}

/* The sums of a row of quantised blocks: block i goes to number i mod TR_N_SUM. */
#define TR_N_SUM 4

static inline float tr_scalar_join(const float sum[TR_N_SUM])
{
	return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* Rows of dots; scalar_dot32.c, scalar_dot256.c, scalar_dotf.c. */
tr_dot_fn tr_scalar_dot_f32, tr_scalar_dot_f16, tr_scalar_dot_bf16;
tr_dot_fn tr_scalar_dot_q4_0, tr_scalar_dot_q4_1, tr_scalar_dot_q5_0, tr_scalar_dot_q5_1;
tr_dot_fn tr_scalar_dot_q8_0, tr_scalar_dot_iq4_nl, tr_scalar_dot_mxfp4;
tr_dot_fn tr_scalar_dot_q2_k, tr_scalar_dot_q3_k, tr_scalar_dot_q4_k, tr_scalar_dot_q5_k;
tr_dot_fn tr_scalar_dot_q6_k, tr_scalar_dot_iq4_xs;
tr_dot_fn tr_scalar_dot_iq1_s, tr_scalar_dot_iq1_m, tr_scalar_dot_iq2_xxs, tr_scalar_dot_iq2_xs;
tr_dot_fn tr_scalar_dot_iq2_s, tr_scalar_dot_iq3_xxs, tr_scalar_dot_iq3_s;

/* scalar_act.c */
void tr_scalar_quantise(enum tr_act_kind kind, const float *x, size_t n, void *act);

/* scalar_dotf.c */
float tr_scalar_vec_dot_f32(const float *x, const float *y, size_t n);
float tr_scalar_vec_dot_f16(const uint16_t *x, const float *y, size_t n);

#endif
