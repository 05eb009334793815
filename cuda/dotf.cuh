/* dotf.cuh - the dot of a row of floats by half a warp: value i belongs to lane i mod 16. */
#ifndef TR_CUDA_DOTF_CUH
#define TR_CUDA_DOTF_CUH

#include "cuda/dot32.cuh"

typedef float tr_float_fn(const uint8_t *row, uint32_t i);

TR_DEV float tr_float_f32(const uint8_t *row, uint32_t i)
{
	return ((const float *)row)[i];
}

TR_DEV float tr_float_f16(const uint8_t *row, uint32_t i)
{
	return tr_half_to_float(((const uint16_t *)row)[i]);
}

TR_DEV float tr_float_bf16(const uint8_t *row, uint32_t i)
{
	return tr_bf16_to_f32(((const uint16_t *)row)[i]);
}

/* As tr_dot32. Of one activation every thread has the sum. */
TR_DEV float tr_dotf(const struct tr_dot_in *in, const int n_act, tr_float_fn *value)
{
	float acc[TR_GROUP] = { 0, 0, 0, 0 }, own = 0;

	for (uint32_t i = tr_thread % TR_LANES; i < in->n; i += TR_LANES) {
		float w = value(in->row, i);

		TR_UNROLL
		for (int t = 0; t < n_act; t++)
			acc[t] = tr_fmaf(w, ((const float *)in->act[t])[i], acc[t]);
	}
	TR_UNROLL
	for (int t = 0; t < n_act; t++) {
		float sum = acc[t];

		/* The tree, in every thread: which side of a sum comes first is no matter. */
		sum += tr_shfl_xor(sum, 8);
		sum += tr_shfl_xor(sum, 4);
		sum += tr_shfl_xor(sum, 2);
		sum += tr_shfl_xor(sum, 1);
		own = (int)(tr_thread % TR_GROUP) == t || n_act == 1 ? sum : own;
	}
	return own;
}

#endif
