/*
 * k_norm.cuh - RMSNorm and addition. A block of threads has a row: all of them bring a tile of it
 * into shared memory, sixteen add squares in the canonical order.
 */
#ifndef TR_CUDA_K_NORM_CUH
#define TR_CUDA_K_NORM_CUH

#include "cuda/lang.cuh"

#define TR_NORM_THREADS 256
#define TR_NORM_TILE 4096 /* floats of shared memory; a multiple of 16, so that lanes stay lanes */

TR_KERNEL(tr_rms_norm, tr_dop_rms_norm, TR_NORM_THREADS)
{
	TR_SHARED float tile[TR_NORM_TILE];
	TR_SHARED float factor;
	const float *x = a.x + tr_block_x * a.x_stride;
	float *out = a.out + tr_block_x * a.out_stride;
	float lane = 0;

	for (uint32_t from = 0; from < a.n; from += TR_NORM_TILE) {
		uint32_t n = TR_MIN(a.n - from, (uint32_t)TR_NORM_TILE);

		for (uint32_t i = tr_thread; i < n; i += TR_NORM_THREADS)
			tile[i] = x[from + i];
		tr_sync();
		if (tr_thread < TR_LANES)
			for (uint32_t i = tr_thread; i < n; i += TR_LANES)
				lane = tr_fmaf(tile[i], tile[i], lane);
		tr_sync();
	}
	if (tr_thread < TR_WARP) {
		lane = tr_tree16(lane);
		if (tr_thread == 0)
			factor = 1.0f / sqrtf(lane / (float)a.n + a.eps);
	}
	tr_sync();
	for (uint32_t i = tr_thread; i < a.n; i += TR_NORM_THREADS)
		out[i] = (x[i] * factor) * a.w[i];
}

TR_KERNEL(tr_add, tr_dop_add, TR_NORM_THREADS)
{
	uint32_t i = tr_block_x * TR_NORM_THREADS + tr_thread;
	size_t at = tr_block_y * a.stride + i;

	if (i < a.n)
		a.y[at] += a.x[at];
}

static inline void tr_launch_rms_norm(tr_launch_stream stream, const struct tr_dop_rms_norm *a)
{
	TR_LAUNCH(tr_rms_norm, TR_NORM_THREADS, a->n_tok, 1, stream, a);
}

static inline void tr_launch_add(tr_launch_stream stream, const struct tr_dop_add *a)
{
	TR_LAUNCH(tr_add, TR_NORM_THREADS, (a->n + TR_NORM_THREADS - 1) / TR_NORM_THREADS, a->n_tok,
		stream, a);
}

#endif
