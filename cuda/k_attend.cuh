/*
 * k_mla.cuh - attention over the latent cache, split over positions in the chunks of engine/mla.c, so
 * that it gives the CPU's bits.
 *
 *   scores   block: (token, head, chunk); half a warp takes a position: canonical dot, maximum
 *   weigh    block: (token, head, chunk); p = exp(s - max of all), sum of p, latents mixed with one
 *            thread a latent value, positions ascending
 *   join     block: (token, head); chunks added in ascending order, divided by the sum
 *
 * All heads read a chunk of the cache at about the same time, the head being the fastest index of
 * blocks: it comes from memory once and from the second-level cache otherwise.
 */
#ifndef TR_CUDA_K_MLA_CUH
#define TR_CUDA_K_MLA_CUH

#include "cuda/kv.cuh"

#define TR_MLA_THREADS 256
#define TR_MLA_HALF_WARPS (TR_MLA_THREADS / TR_LANES)

struct tr_mla_args {
	struct tr_dop_mla m;
	uint32_t first; /* token */
	float *score, *max, *sum, *part;
	uint32_t n_chunk;
};

/* The piece of a block of threads. */
struct tr_mla_piece {
	uint32_t t, h, chunk;
	uint32_t begin, n; /* positions; n is 0 for a chunk behind the token */
	size_t row;	   /* (token, head) in the scratch */
};

TR_DEV uint32_t tr_mla_pos(const struct tr_mla_args *a)
{
	return a->m.pos_at ? *a->m.pos_at : a->m.pos;
}

TR_DEV struct tr_mla_piece tr_mla_piece(const struct tr_mla_args *a)
{
	struct tr_mla_piece p;
	uint32_t n_pos;

	p.h = tr_block_x % a->m.n_head;
	p.chunk = tr_block_x / a->m.n_head;
	p.t = a->first + tr_block_y;
	p.begin = p.chunk * TR_DOP_MLA_CHUNK;
	n_pos = tr_mla_pos(a) + p.t + 1;
	p.n = p.begin < n_pos ? TR_MIN(n_pos - p.begin, (uint32_t)TR_DOP_MLA_CHUNK) : 0;
	p.row = (size_t)tr_block_y * a->m.n_head + p.h;
	return p;
}

/* NaN is passed over; a zero maximum is +0 in the end. */
TR_DEV float tr_mla_max(float m, float x)
{
	return x > m ? x : m;
}

TR_DEV void tr_mla_score(const struct tr_mla_args *a, const int type, float *query, float *best)
{
	struct tr_mla_piece p = tr_mla_piece(a);
	uint32_t n = a->m.n_lat + a->m.n_rot, lane = tr_thread % TR_LANES, i;
	const float *q = a->m.query + ((size_t)p.t * a->m.n_head + p.h) * n;
	float *score = a->score + p.row * a->n_chunk * TR_DOP_MLA_CHUNK + p.begin;
	float max = -INFINITY;

	if (!p.n)
		return;
	for (i = tr_thread; i < n; i += TR_MLA_THREADS)
		query[i] = q[i];
	tr_sync();
	for (uint32_t at = 0; at < p.n; at += TR_MLA_HALF_WARPS) {
		uint32_t pos = at + tr_thread / TR_LANES, of = TR_MIN(pos, p.n - 1);
		const uint8_t *row = a->m.kv + (size_t)(p.begin + of) * a->m.row_bytes;
		float s = 0;

		for (i = lane; i < n; i += TR_LANES)
			s = tr_fmaf(tr_kv_value(type, row, i), query[i], s);
		s = tr_tree16(s) * a->m.scale;
		if (lane == 0 && pos < p.n) {
			score[pos] = s;
			max = tr_mla_max(max, s);
		}
	}
	if (lane == 0)
		best[tr_thread / TR_LANES] = max;
	tr_sync();
	if (tr_thread != 0)
		return;
	for (i = 0; i < TR_MLA_HALF_WARPS; i++)
		max = tr_mla_max(max, best[i]);
	a->max[p.row * a->n_chunk + p.chunk] = max;
}

/* The canonical sum of up to 256 values in shared memory; thread 0 gets it. All of a warp call. */
TR_DEV float tr_mla_sum(const float *v, uint32_t n)
{
	float lane = 0;

	if (tr_thread < TR_LANES)
		for (uint32_t i = tr_thread; i < n; i += TR_LANES)
			lane += v[i];
	return tr_tree16(lane);
}

TR_DEV void tr_mla_mix(const struct tr_mla_args *a, const int type, float *weight)
{
	struct tr_mla_piece p = tr_mla_piece(a);
	const float *score = a->score + p.row * a->n_chunk * TR_DOP_MLA_CHUNK + p.begin;
	float *part = a->part + (p.row * a->n_chunk + p.chunk) * a->m.n_lat;
	const uint8_t *rows = a->m.kv + (size_t)p.begin * a->m.row_bytes;
	uint32_t n_used = (tr_mla_pos(a) + p.t) / TR_DOP_MLA_CHUNK + 1, i;
	float max = -INFINITY;

	if (!p.n)
		return;
	for (i = 0; i < n_used; i++)
		max = tr_mla_max(max, a->max[p.row * a->n_chunk + i]);
	max += 0.0f;
	if (tr_thread < p.n)
		weight[tr_thread] = tr_exp_canonical(score[tr_thread] - max);
	tr_sync();
	if (tr_thread < TR_WARP) {
		float sum = tr_mla_sum(weight, p.n);

		if (tr_thread == 0)
			a->sum[p.row * a->n_chunk + p.chunk] = sum;
	}
	for (uint32_t v = tr_thread; v < a->m.n_lat; v += TR_MLA_THREADS) {
		float mix = 0;

		for (i = 0; i < p.n; i++)
			mix = tr_fmaf(weight[i],
				tr_kv_value(type, rows + (size_t)i * a->m.row_bytes, v), mix);
		part[v] = mix;
	}
}

#define TR_MLA_KERNELS(name, type)                                                                 \
	TR_KERNEL(tr_mla_score_##name, tr_mla_args, TR_MLA_THREADS)                                \
	{                                                                                          \
		TR_SHARED float query[1024], best[TR_MLA_HALF_WARPS];                              \
                                                                                                   \
		tr_mla_score(&a, type, query, best);                                               \
	}                                                                                          \
	TR_KERNEL(tr_mla_weigh_##name, tr_mla_args, TR_MLA_THREADS)                                \
	{                                                                                          \
		TR_SHARED float weight[TR_DOP_MLA_CHUNK];                                          \
                                                                                                   \
		tr_mla_mix(&a, type, weight);                                                      \
	}

TR_KV_TYPES(TR_MLA_KERNELS)

TR_KERNEL(tr_mla_join, tr_mla_args, TR_MLA_THREADS)
{
	uint32_t t = a.first + tr_block_y, h = tr_block_x, n_used, c;
	size_t row = (size_t)tr_block_y * a.m.n_head + h;
	float *ctx = a.m.ctx + ((size_t)t * a.m.n_head + h) * a.m.n_lat;
	float sum = 0, factor;

	n_used = (tr_mla_pos(&a) + t) / TR_DOP_MLA_CHUNK + 1;
	for (c = 0; c < n_used; c++)
		sum += a.sum[row * a.n_chunk + c];
	factor = 1.0f / sum;
	for (uint32_t v = tr_thread; v < a.m.n_lat; v += TR_MLA_THREADS) {
		float mix = 0;

		for (c = 0; c < n_used; c++)
			mix += a.part[(row * a.n_chunk + c) * a.m.n_lat + v];
		ctx[v] = mix * factor;
	}
}

static inline void tr_launch_mla(tr_launch_stream stream, const struct tr_dop_mla *m)
{
	uint32_t n_pos = m->pos + m->n_tok, n_tok;
	struct tr_dop_mla_room r = tr_dop_mla_room(m->n_tok_once, m->n_head, m->n_lat, n_pos);
	struct tr_mla_args a = { *m, 0, m->scratch + r.score, m->scratch + r.max,
		m->scratch + r.sum, m->scratch + r.part, (uint32_t)r.n_chunk };
	uint32_t n_piece = m->n_head * a.n_chunk;

	for (; a.first < m->n_tok; a.first += m->n_tok_once) {
		n_tok = TR_MIN(m->n_tok_once, m->n_tok - a.first);
		TR_KV_LAUNCH(m->type, tr_mla_score, TR_MLA_THREADS, n_piece, n_tok, stream, &a);
		TR_KV_LAUNCH(m->type, tr_mla_weigh, TR_MLA_THREADS, n_piece, n_tok, stream, &a);
		TR_LAUNCH(tr_mla_join, TR_MLA_THREADS, m->n_head, n_tok, stream, &a);
	}
}

#endif
