/* kv.cuh - a value of a row of the latent cache. */
#ifndef TR_CUDA_KV_CUH
#define TR_CUDA_KV_CUH

#include "cuda/lang.cuh"

/* type is known when this is compiled. */
TR_DEV float tr_kv_value(const int type, const uint8_t *row, uint32_t i)
{
	return type == TR_KV_F16 ? tr_half_to_float(((const uint16_t *)row)[i]) :
				   ((const float *)row)[i];
}

#endif
