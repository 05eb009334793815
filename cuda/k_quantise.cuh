/*
 * k_quantise.cuh - activations to int8, as kernels.h words it. A warp has a block of 32 or 256 values,
 * a thread 1 or 8 neighbours of it.
 */
#ifndef TR_CUDA_K_QUANTISE_CUH
#define TR_CUDA_K_QUANTISE_CUH

#include "cuda/lang.cuh"

#define TR_QUANTISE_THREADS 128
#define TR_QUANTISE_BLOCKS (TR_QUANTISE_THREADS / TR_WARP)

TR_DEV float tr_quantise_input(const struct tr_dop_quantise *a, size_t at)
{
	return a->up ? tr_silu_canonical(a->x[at]) * a->up[at] : a->x[at];
}

/* What a row is, and where. */
struct tr_quantise_row {
	size_t x;
	uint8_t *act;
};

TR_DEV struct tr_quantise_row tr_quantise_row(const struct tr_dop_quantise *a, uint32_t row)
{
	uint32_t g = row / a->n_row, i = row % a->n_row;
	struct tr_quantise_row r = { g * a->x_group_stride + i * a->x_stride,
		a->act + g * a->act_group_bytes + i * a->act_bytes };

	return r;
}

/* The factor of a block from its values, and its scale. All threads of the warp get the same. */
TR_DEV float tr_quantise_factor(const float *v, int per, float *d)
{
	float amax = 0;
	int broken = 0;

	for (int i = 0; i < per; i++) {
		broken |= !(fabsf(v[i]) < INFINITY);
		if (fabsf(v[i]) > amax)
			amax = fabsf(v[i]);
	}
	for (int m = TR_WARP / 2; m > 0; m /= 2)
		amax = fmaxf(amax, tr_shfl_xor(amax, m));
	*d = 0;
	if (tr_any(broken)) {
		*d = NAN;
		return 0;
	}
	if (amax < (float)TR_ACT_TINY)
		return 0;
	*d = amax / 127.0f;
	return 127.0f / amax;
}

TR_DEV void tr_quantise_block(const struct tr_dop_quantise *a, const int per)
{
	uint32_t block = tr_block_x * TR_QUANTISE_BLOCKS + tr_thread / TR_WARP;
	uint32_t lane = tr_thread % TR_WARP, n_block = a->n / (TR_WARP * (uint32_t)per);
	struct tr_quantise_row r = tr_quantise_row(a, tr_block_y);
	uint32_t at = (block * TR_WARP + lane) * (uint32_t)per, d_off = TR_ALIGN_UP(a->n, 64u);
	float v[8], factor, d;
	int sum = 0;

	if (block >= n_block)
		return;
	for (int i = 0; i < per; i++)
		v[i] = tr_quantise_input(a, r.x + at + (uint32_t)i);
	factor = tr_quantise_factor(v, per, &d);
	for (int i = 0; i < per; i++) {
		/* Times 0 would make NaN of an infinity. */
		int q = factor > 0 ? tr_round_int(v[i] * factor) : 0;

		((int8_t *)r.act)[at + (uint32_t)i] = (int8_t)q;
		sum += q;
	}
	if (lane == 0)
		((float *)(r.act + d_off))[block] = d;
	if (per == 8) {
		uint32_t sum_off = TR_ALIGN_UP(d_off + n_block * 4, 64u);

		sum += (int)tr_shfl_xor_u32((uint32_t)sum, 1);
		if (lane % 2 == 0)
			((int16_t *)(r.act + sum_off))[at / 16] = (int16_t)sum;
	}
}

TR_KERNEL(tr_quantise_32, tr_dop_quantise, TR_QUANTISE_THREADS)
{
	tr_quantise_block(&a, 1);
}

TR_KERNEL(tr_quantise_256, tr_dop_quantise, TR_QUANTISE_THREADS)
{
	tr_quantise_block(&a, 8);
}

TR_KERNEL(tr_quantise_copy, tr_dop_quantise, TR_QUANTISE_THREADS)
{
	uint32_t i = tr_block_x * TR_QUANTISE_THREADS + tr_thread;
	struct tr_quantise_row r = tr_quantise_row(&a, tr_block_y);

	if (i < a.n)
		((float *)r.act)[i] = tr_quantise_input(&a, r.x + i);
}

static inline void tr_launch_quantise(tr_launch_stream stream, const struct tr_dop_quantise *a)
{
	uint32_t n = a->kind == TR_ACT_Q8_32 ? a->n / 32 : a->n / 256;
	uint32_t nx = (n + TR_QUANTISE_BLOCKS - 1) / TR_QUANTISE_BLOCKS, ny = a->n_row * a->n_group;

	switch (a->kind) {
	case TR_ACT_Q8_32:
		TR_LAUNCH(tr_quantise_32, TR_QUANTISE_THREADS, nx, ny, stream, a);
		break;
	case TR_ACT_Q8_256:
		TR_LAUNCH(tr_quantise_256, TR_QUANTISE_THREADS, nx, ny, stream, a);
		break;
	default:
		nx = (a->n + TR_QUANTISE_THREADS - 1) / TR_QUANTISE_THREADS;
		TR_LAUNCH(tr_quantise_copy, TR_QUANTISE_THREADS, nx, ny, stream, a);
		break;
	}
}

#endif
