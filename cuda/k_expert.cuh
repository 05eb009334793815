/*
 * k_expert.cuh - the feed-forward networks of a list of experts in three or four launches whatever
 * their number: gate and up in one when they are of one type, silu and requantisation, down. And the
 * weighted sum of what came out.
 */
#ifndef TR_CUDA_K_EXPERT_CUH
#define TR_CUDA_K_EXPERT_CUH

#include "cuda/k_matmul.cuh"
#include "cuda/k_quantise.cuh"
#include "model/quant.h"

#define TR_COMBINE_THREADS 128

TR_KERNEL(tr_combine_rows, tr_dop_combine, TR_COMBINE_THREADS)
{
	uint32_t i = tr_block_x * TR_COMBINE_THREADS + tr_thread, t = tr_block_y;
	float sum = 0;

	if (i >= a.n)
		return;
	for (uint32_t r = 0; r < a.n_used; r++) {
		uint32_t pair = t * a.n_used + r;

		sum = tr_fmaf(a.weights[pair], a.y[a.slot_of[pair] * a.y_stride + i], sum);
	}
	if (a.shared)
		sum += a.shared[t * a.shared_stride + i];
	a.h[t * a.h_stride + i] += sum;
}

static inline void tr_launch_combine(tr_launch_stream stream, const struct tr_dop_combine *a)
{
	TR_LAUNCH(tr_combine_rows, TR_COMBINE_THREADS,
		(a->n + TR_COMBINE_THREADS - 1) / TR_COMBINE_THREADS, a->n_tok, stream, a);
}

#define TR_PART_DOWN_IDX 2 /* in part[] of struct tr_dop_expert */

/* Parts [first, first + n_part) of all experts of the list. */
static inline void tr_launch_parts(tr_launch_stream stream, const struct tr_dop_expert_ffn *e,
	uint32_t first, uint32_t n_part)
{
	bool down = first == TR_PART_DOWN_IDX;
	uint32_t n = down ? e->n_ff : e->n_embd;
	struct tr_dop_matmul m = { e->quant[first], n, down ? e->n_embd : e->n_ff, 0, 0, NULL,
		e->row_bytes[first], 0, NULL, tr_act_bytes(tr_quant_by_id(e->quant[first])->act, n),
		0, NULL, down ? e->y_stride : e->ff_stride, 0 };
	struct tr_matmul_args a = { m, e->list, down ? NULL : e->row_of, first, n_part,
		{ down ? e->hidden : e->act[first], e->act[1] },
		{ down ? e->y : first ? e->up : e->gate, e->up }, !down && !e->row_of };

	tr_launch_matmul_args(stream, &a, e->n_expert * n_part, e->n_slot_max);
}

static inline void tr_launch_expert_ffn(tr_launch_stream stream, const struct tr_dop_expert_ffn *e)
{
	enum tr_act_kind kind = tr_quant_by_id(e->quant[TR_PART_DOWN_IDX])->act;
	size_t bytes = tr_act_bytes(kind, e->n_ff), at = e->first_slot * e->ff_stride;
	struct tr_dop_quantise q = { kind, e->n_ff, e->n_slot, 1, e->gate + at, e->up + at,
		e->ff_stride, 0, e->hidden + e->first_slot * bytes, bytes, 0 };
	bool together = e->quant[0] == e->quant[1] && e->row_bytes[0] == e->row_bytes[1];

	tr_launch_parts(stream, e, 0, together ? 2 : 1);
	if (!together)
		tr_launch_parts(stream, e, 1, 1);
	tr_launch_quantise(stream, &q);
	tr_launch_parts(stream, e, TR_PART_DOWN_IDX, 1);
}

#endif
