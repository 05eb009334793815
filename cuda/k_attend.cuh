/*
 * k_attend.cuh - attention over the cache, split over positions in the chunks of engine/mla.c, so
 * that it gives the CPU's bits. Of latents all heads read the same rows; otherwise each group of
 * heads has keys and values of its own (tr_dop_gqa, of which mla is the case of one group).
 *
 *   scores   block: (token, head, chunk); half a warp takes a position: canonical dot, maximum
 *   weigh    block: (token, head, chunk); p = exp(s - max of all), sum of p, values mixed with one
 *            thread a value of the row, positions ascending
 *   join     block: (token, head); chunks added in ascending order, divided by the sum
 *
 * All heads read a chunk of the cache at about the same time, the head being the fastest index of
 * blocks: it comes from memory once and from the second-level cache otherwise.
 */
#ifndef TR_CUDA_K_ATTEND_CUH
#define TR_CUDA_K_ATTEND_CUH

#include "cuda/kv.cuh"

#define TR_ATTEND_THREADS 256
#define TR_ATTEND_HALF_WARPS (TR_ATTEND_THREADS / TR_LANES)

struct tr_attend_args {
	struct tr_dop_gqa m;
	uint32_t n_group; /* heads that share rows */
	uint32_t first; /* token */
	float *score, *max, *sum, *part;
	uint32_t n_chunk;
};

/* The piece of a block of threads. */
struct tr_attend_piece {
	uint32_t t, h, chunk;
	uint32_t begin, n; /* positions; n is 0 for a chunk behind the token */
	size_t row;	   /* (token, head) in the scratch */
};

TR_DEV uint32_t tr_attend_pos(const struct tr_attend_args *a)
{
	return a->m.pos_at ? *a->m.pos_at : a->m.pos;
}

/* The row of a head at a position. */
TR_DEV const uint8_t *tr_attend_row(
	const struct tr_dop_kv_rows *rows, uint32_t kv_head, uint32_t pos)
{
	return rows->at + kv_head * rows->head_bytes + pos * rows->pos_bytes;
}

TR_DEV struct tr_attend_piece tr_attend_piece(const struct tr_attend_args *a)
{
	struct tr_attend_piece p;
	uint32_t n_pos;

	p.h = tr_block_x % a->m.n_head;
	p.chunk = tr_block_x / a->m.n_head;
	p.t = a->first + tr_block_y;
	p.begin = p.chunk * TR_DOP_MLA_CHUNK;
	n_pos = tr_attend_pos(a) + p.t + 1;
	p.n = p.begin < n_pos ? TR_MIN(n_pos - p.begin, (uint32_t)TR_DOP_MLA_CHUNK) : 0;
	p.row = (size_t)tr_block_y * a->m.n_head + p.h;
	return p;
}

/* NaN is passed over; a zero maximum is +0 in the end. */
TR_DEV float tr_attend_max(float m, float x)
{
	return x > m ? x : m;
}

TR_DEV void tr_attend_score(
	const struct tr_attend_args *a, const int type, float *query, float *best)
{
	struct tr_attend_piece p = tr_attend_piece(a);
	uint32_t n = a->m.n_key, lane = tr_thread % TR_LANES, i;
	const float *q = a->m.query + ((size_t)p.t * a->m.n_head + p.h) * n;
	float *score = a->score + p.row * a->n_chunk * TR_DOP_MLA_CHUNK + p.begin;
	const uint8_t *rows = tr_attend_row(&a->m.keys, p.h / a->n_group, p.begin);
	float max = -INFINITY;

	if (!p.n)
		return;
	for (i = tr_thread; i < n; i += TR_ATTEND_THREADS)
		query[i] = q[i];
	tr_sync();
	for (uint32_t at = 0; at < p.n; at += TR_ATTEND_HALF_WARPS) {
		uint32_t pos = at + tr_thread / TR_LANES, of = TR_MIN(pos, p.n - 1);
		const uint8_t *row = rows + of * a->m.keys.pos_bytes;
		float s = 0;

		for (i = lane; i < n; i += TR_LANES)
			s = tr_fmaf(tr_kv_value(type, row, i), query[i], s);
		s = tr_tree16(s) * a->m.scale;
		if (lane == 0 && pos < p.n) {
			score[pos] = s;
			max = tr_attend_max(max, s);
		}
	}
	if (lane == 0)
		best[tr_thread / TR_LANES] = max;
	tr_sync();
	if (tr_thread != 0)
		return;
	for (i = 0; i < TR_ATTEND_HALF_WARPS; i++)
		max = tr_attend_max(max, best[i]);
	a->max[p.row * a->n_chunk + p.chunk] = max;
}

/* The canonical sum of up to 256 values in shared memory; thread 0 gets it. All of a warp call. */
TR_DEV float tr_attend_sum(const float *v, uint32_t n)
{
	float lane = 0;

	if (tr_thread < TR_LANES)
		for (uint32_t i = tr_thread; i < n; i += TR_LANES)
			lane += v[i];
	return tr_tree16(lane);
}

TR_DEV void tr_attend_mix(const struct tr_attend_args *a, const int type, float *weight)
{
	struct tr_attend_piece p = tr_attend_piece(a);
	const float *score = a->score + p.row * a->n_chunk * TR_DOP_MLA_CHUNK + p.begin;
	float *part = a->part + (p.row * a->n_chunk + p.chunk) * a->m.n_value;
	const uint8_t *rows = tr_attend_row(&a->m.values, p.h / a->n_group, p.begin);
	uint32_t n_used = (tr_attend_pos(a) + p.t) / TR_DOP_MLA_CHUNK + 1, i;
	float max = -INFINITY;

	if (!p.n)
		return;
	for (i = 0; i < n_used; i++)
		max = tr_attend_max(max, a->max[p.row * a->n_chunk + i]);
	max += 0.0f;
	if (tr_thread < p.n)
		weight[tr_thread] = tr_exp_canonical(score[tr_thread] - max);
	tr_sync();
	if (tr_thread < TR_WARP) {
		float sum = tr_attend_sum(weight, p.n);

		if (tr_thread == 0)
			a->sum[p.row * a->n_chunk + p.chunk] = sum;
	}
	for (uint32_t v = tr_thread; v < a->m.n_value; v += TR_ATTEND_THREADS) {
		float mix = 0;

		for (i = 0; i < p.n; i++)
			mix = tr_fmaf(weight[i],
				tr_kv_value(type, rows + i * a->m.values.pos_bytes, v), mix);
		part[v] = mix;
	}
}

#define TR_ATTEND_KERNELS(name, type)                                                              \
	TR_KERNEL(tr_attend_score_##name, tr_attend_args, TR_ATTEND_THREADS)                       \
	{                                                                                          \
		TR_SHARED float query[1024], best[TR_ATTEND_HALF_WARPS];                           \
                                                                                                   \
		tr_attend_score(&a, type, query, best);                                            \
	}                                                                                          \
	TR_KERNEL(tr_attend_weigh_##name, tr_attend_args, TR_ATTEND_THREADS)                       \
	{                                                                                          \
		TR_SHARED float weight[TR_DOP_MLA_CHUNK];                                          \
                                                                                                   \
		tr_attend_mix(&a, type, weight);                                                   \
	}

TR_KV_TYPES(TR_ATTEND_KERNELS)

TR_KERNEL(tr_attend_join, tr_attend_args, TR_ATTEND_THREADS)
{
	uint32_t t = a.first + tr_block_y, h = tr_block_x, n_used, c;
	size_t row = (size_t)tr_block_y * a.m.n_head + h;
	float *ctx = a.m.ctx + ((size_t)t * a.m.n_head + h) * a.m.n_value;
	float sum = 0, factor;

	n_used = (tr_attend_pos(&a) + t) / TR_DOP_MLA_CHUNK + 1;
	for (c = 0; c < n_used; c++)
		sum += a.sum[row * a.n_chunk + c];
	factor = 1.0f / sum;
	for (uint32_t v = tr_thread; v < a.m.n_value; v += TR_ATTEND_THREADS) {
		float mix = 0;

		for (c = 0; c < n_used; c++)
			mix += a.part[(row * a.n_chunk + c) * a.m.n_value + v];
		ctx[v] = mix * factor;
	}
}

/* k_attend_prefill.cuh */
static inline void tr_launch_flash(tr_launch_stream stream, const struct tr_dop_gqa *m);

static inline void tr_launch_gqa(tr_launch_stream stream, const struct tr_dop_gqa *m)
{
	uint32_t n_pos = m->pos + m->n_tok, n_tok;
	struct tr_dop_mla_room r = tr_dop_mla_room(m->n_tok_once, m->n_head, m->n_value, n_pos);
	struct tr_attend_args a = { *m, m->n_head / m->n_kv_head, 0, m->scratch + r.score,
		m->scratch + r.max, m->scratch + r.sum, m->scratch + r.part, (uint32_t)r.n_chunk };
	uint32_t n_piece = m->n_head * a.n_chunk;

	if (!m->scratch) {
		tr_launch_flash(stream, m);
		return;
	}
	for (; a.first < m->n_tok; a.first += m->n_tok_once) {
		n_tok = TR_MIN(m->n_tok_once, m->n_tok - a.first);
		TR_KV_LAUNCH(m->type, tr_attend_score, TR_ATTEND_THREADS, n_piece, n_tok, stream,
			&a);
		TR_KV_LAUNCH(m->type, tr_attend_weigh, TR_ATTEND_THREADS, n_piece, n_tok, stream,
			&a);
		TR_LAUNCH(tr_attend_join, TR_ATTEND_THREADS, m->n_head, n_tok, stream, &a);
	}
}

static inline void tr_launch_mla(tr_launch_stream stream, const struct tr_dop_mla *m)
{
	struct tr_dop_gqa g = tr_dop_mla_as_gqa(m);

	tr_launch_gqa(stream, &g);
}

#endif
