/* kv.cuh - a value of a row of the latent cache (compute/kv_row.h). */
#ifndef TR_CUDA_KV_CUH
#define TR_CUDA_KV_CUH

#include "cuda/lang.cuh"

/* type is known when this is compiled. */
TR_DEV float tr_kv_value(const int type, const uint8_t *row, uint32_t i)
{
	const struct tr_block_q8_0 *b = (const struct tr_block_q8_0 *)row + i / 32;

	if (type == TR_KV_F16)
		return tr_half_to_float(((const uint16_t *)row)[i]);
	if (type == TR_KV_F32)
		return ((const float *)row)[i];
	return tr_load_half((const uint8_t *)b) * (float)b->qs[i % 32];
}

/* A kernel for each type: BODY(name, type). */
#define TR_KV_TYPES(body) body(f16, TR_KV_F16) body(f32, TR_KV_F32) body(q8_0, TR_KV_Q8_0)

/* Launches NAME_f16, NAME_f32 or NAME_q8_0. */
#define TR_KV_LAUNCH(type, name, threads, nx, ny, stream, args)                                    \
	do {                                                                                       \
		if ((type) == TR_KV_F16)                                                           \
			TR_LAUNCH(name##_f16, threads, nx, ny, stream, args);                      \
		else if ((type) == TR_KV_F32)                                                      \
			TR_LAUNCH(name##_f32, threads, nx, ny, stream, args);                      \
		else                                                                               \
			TR_LAUNCH(name##_q8_0, threads, nx, ny, stream, args);                     \
	} while (0)

#endif
