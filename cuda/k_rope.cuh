/* k_rope.cuh - rotation by a table, and rows into the cache: one value or pair a thread. */
#ifndef TR_CUDA_K_ROPE_CUH
#define TR_CUDA_K_ROPE_CUH

#include "cuda/k_quantise.cuh"

#define TR_ROPE_THREADS 128

/* Rounds each product and sum on its own, as the CPU does: compiled with -fmad=false. */
TR_KERNEL(tr_rope_rotate, tr_dop_rope, TR_ROPE_THREADS)
{
	uint32_t half = a.n_rot / 2, at = tr_block_x * TR_ROPE_THREADS + tr_thread;
	uint32_t h = at / half, i = at % half, t = tr_block_y;
	uint32_t first = a.pairing == TR_ROPE_PAIRS ? 2 * i : i;
	uint32_t second = a.pairing == TR_ROPE_PAIRS ? 2 * i + 1 : i + half;
	const float *x = a.x + t * a.x_stride + h * a.x_head_stride;
	float *out = a.out + t * a.out_stride + h * a.out_head_stride;
	float u, v, c, s;

	if (h >= a.n_head)
		return;
	u = x[first];
	v = x[second];
	c = a.table[t * a.n_rot + 2 * i];
	s = a.table[t * a.n_rot + 2 * i + 1];
	out[first] = u * c - v * s;
	out[second] = u * s + v * c;
}

TR_DEV uint8_t *tr_kv_row(const struct tr_dop_kv_store *a, uint32_t t)
{
	return a->kv + ((a->pos_at ? *a->pos_at : 0) + (size_t)t) * a->row_bytes;
}

TR_KERNEL(tr_kv_put, tr_dop_kv_store, TR_ROPE_THREADS)
{
	uint32_t i = tr_block_x * TR_ROPE_THREADS + tr_thread, t = tr_block_y;
	uint8_t *row = tr_kv_row(&a, t);

	if (i >= a.width)
		return;
	if (a.type == TR_KV_F16)
		((uint16_t *)row)[i] = tr_float_to_half(a.x[t * a.x_stride + i]);
	else
		((float *)row)[i] = a.x[t * a.x_stride + i];
}

/* A warp a block of 32 values. Which NaN d becomes is fixed. */
TR_KERNEL(tr_kv_put_q8_0, tr_dop_kv_store, TR_ROPE_THREADS)
{
	uint32_t i = tr_block_x * TR_ROPE_THREADS + tr_thread, t = tr_block_y;
	float v = i < a.width ? a.x[t * a.x_stride + i] : 0, d;
	float factor = tr_quantise_factor(&v, 1, &d);
	struct tr_block_q8_0 *b = (struct tr_block_q8_0 *)tr_kv_row(&a, t) + i / TR_WARP;

	if (i / TR_WARP * TR_WARP >= a.width)
		return;
	b->qs[i % TR_WARP] = (int8_t)(factor > 0 ? tr_round_int(v * factor) : 0);
	if (i % TR_WARP == 0)
		b->d = d == d ? tr_float_to_half(d) : 0x7e00;
}

static inline uint32_t tr_rope_blocks(uint32_t n)
{
	return (n + TR_ROPE_THREADS - 1) / TR_ROPE_THREADS;
}

static inline void tr_launch_rope(tr_launch_stream stream, const struct tr_dop_rope *a)
{
	TR_LAUNCH(tr_rope_rotate, TR_ROPE_THREADS, tr_rope_blocks(a->n_head * (a->n_rot / 2)),
		a->n_tok, stream, a);
}

static inline void tr_launch_kv_store(tr_launch_stream stream, const struct tr_dop_kv_store *a)
{
	uint32_t nx = tr_rope_blocks(a->width);

	if (a->type == TR_KV_Q8_0)
		TR_LAUNCH(tr_kv_put_q8_0, TR_ROPE_THREADS, nx, a->n_tok, stream, a);
	else
		TR_LAUNCH(tr_kv_put, TR_ROPE_THREADS, nx, a->n_tok, stream, a);
}

#endif
