/* avx2_vec.h - the float vector functions of AVX2, as struct tr_kernels describes them. */
#ifndef TR_COMPUTE_CPU_AVX2_VEC_H
#define TR_COMPUTE_CPU_AVX2_VEC_H

#include "compute/kernels.h"

void tr_avx2_quantise(enum tr_act_kind kind, const float *x, size_t n, void *act);
float tr_avx2_dot_vec_f32(const float *x, const float *y, size_t n);
float tr_avx2_dot_vec_f16(const uint16_t *x, const float *y, size_t n);
float tr_avx2_sum_squares(const float *x, size_t n);
float tr_avx2_max(const float *x, size_t n);
void tr_avx2_axpy_f32(float *y, float a, const float *x, size_t n);
void tr_avx2_axpy_f16(float *y, float a, const uint16_t *x, size_t n);
void tr_avx2_add(float *y, const float *x, size_t n);
void tr_avx2_scale(float *y, float a, size_t n);
void tr_avx2_mul_scaled(float *out, const float *x, float a, const float *w, size_t n);
void tr_avx2_silu_mul(float *out, const float *gate, const float *up, size_t n);
void tr_avx2_sigmoid(float *out, const float *x, size_t n);
float tr_avx2_exp_sum(float *out, const float *x, float shift, size_t n);
void tr_avx2_to_f16(uint16_t *out, const float *x, size_t n);
void tr_avx2_from_q8_0(float *out, const void *blocks, size_t n);
void tr_avx2_dots(float *out, size_t out_stride, const struct tr_panel *rows,
	const struct tr_panel *queries, size_t n, struct tr_ahead ahead);
void tr_avx2_mix(float *out, size_t out_stride, const struct tr_panel *rows,
	const struct tr_panel *weights, size_t n, struct tr_ahead ahead);

#endif
