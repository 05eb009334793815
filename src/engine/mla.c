/*
 * mla.c - the steps of attention, and which way to split it.
 *
 * Canonical order of a (token, head): scores are canonical dot products over n_lat + n_rot values;
 * p = exp(s - max). Positions fall into chunks of TR_MLA_CHUNK. Within a chunk the latent sum takes
 * positions in ascending order by fma from 0 and the denominator is the canonical sum; chunks are
 * then added in ascending order, and the result is multiplied by 1 / denominator. So queries may
 * meet rows in any grouping, and chunks may be summed by different workers, without changing a bit.
 *
 * A prompt has queries enough for everyone: tiles of tokens and heads. A single token against a
 * long cache has not, and would read the cache once per group of heads: there chunks are handed
 * out, and all heads meet a chunk while it is in the second-level cache. That takes three barriers
 * more, which a cache of one chunk does not pay unless workers would be idle.
 */
#include "engine/mla_job.h"
#include "compute/kv_row.h"
#include "compute/rope.h"

#include <string.h>

/* Tiles per worker that keep all of them busy to the end. */
#define TILES_PER_WORKER 4

/* Rows of Q8_0 that are unpacked at a time. */
#define UNPACKED 32

static size_t act_stride(const struct tr_mla *m)
{
	size_t n = TR_ALIGN_UP((size_t)TR_MAX(m->n_nope, m->n_lat), 256);
	size_t bytes = 0;
	int kind;

	for (kind = 0; kind < TR_N_ACT_KIND; kind++)
		bytes = TR_MAX(bytes, tr_act_bytes(kind, n));
	return bytes;
}

size_t tr_mla_act_bytes(const struct tr_mla *m, size_t n_tok)
{
	return n_tok * act_stride(m);
}

size_t tr_mla_scratch_bytes(const struct tr_mla *m, uint32_t n_ctx, unsigned n_worker)
{
	return TR_MAX(tr_mla_tiles_bytes(m, n_ctx, n_worker),
		tr_mla_chunks_bytes(m, n_ctx, n_worker));
}

/* Rows of matrix h of w, n_row a matrix, by n_tok inputs that are x_stride floats apart. Afterwards
 * this thread takes matrix next_h, if there is one. */
static void head_matmul(const struct tr_kernels *k, const struct tr_weight *w, uint32_t h,
	uint32_t next_h, size_t n_row, const float *x, size_t x_stride, size_t n_tok, uint8_t *act,
	float *out, size_t out_stride)
{
	const uint8_t *rows = w->data + (size_t)h * n_row * w->row_bytes;
	bool more = (size_t)next_h * n_row < w->rows;
	size_t bytes = tr_act_bytes(w->quant->act, w->cols), t;

	for (t = 0; t < n_tok; t++)
		k->quantise(w->quant->act, x + t * x_stride, w->cols, act + t * bytes);
	k->dot[w->quant->id](out, out_stride, rows, w->row_bytes, n_row, act, bytes, n_tok, w->cols,
		more ? w->data + (size_t)next_h * n_row * w->row_bytes : NULL);
}

void tr_mla_queries(const struct tr_mla_job *job, uint32_t h, uint32_t next_h, size_t t,
	size_t n_tok, uint8_t *act, float *out, size_t out_stride)
{
	const struct tr_mla *m = job->mla;
	const float *q = job->q + t * job->q_stride + h * (size_t)(m->n_nope + m->n_rot);
	size_t i;

	head_matmul(job->ops->k, job->k_b, h, next_h, m->n_lat, q, job->q_stride, n_tok, act, out,
		out_stride);
	for (i = 0; i < n_tok; i++) {
		float *rot = out + i * out_stride + m->n_lat;

		memcpy(rot, q + i * job->q_stride + m->n_nope, m->n_rot * sizeof(float));
		tr_rope_rotate_pairs(rot, job->rope + (t + i) * m->n_rot, m->n_rot);
	}
}

void tr_mla_outputs(const struct tr_mla_job *job, uint32_t h, uint32_t next_h, size_t t,
	size_t n_tok, uint8_t *act, const float *ctx, size_t ctx_stride)
{
	const struct tr_mla *m = job->mla;

	head_matmul(job->ops->k, job->v_b, h, next_h, m->n_v, ctx, ctx_stride, n_tok, act,
		job->out + t * job->out_stride + (size_t)h * m->n_v, job->out_stride);
}

/* Fewer rows at a time when they are unpacked first: four times as many bytes want to stay near. */
static size_t block_rows(const struct tr_mla_job *job)
{
	return job->kv->type == TR_KV_Q8_0 ? UNPACKED : TR_MLA_BLOCK;
}

size_t tr_mla_rows_floats(const struct tr_mla *m)
{
	return tr_mla_floats(tr_kv_room_floats(UNPACKED, m->n_lat + m->n_rot));
}

/* The first width values of rows begin..end. */
static struct tr_panel positions(const struct tr_mla_job *job, size_t begin, size_t end,
	size_t width, float *room)
{
	const struct tr_kv *kv = job->kv;

	return tr_kv_panel(job->ops->k, kv->type, tr_kv_row(kv, job->layer, (uint32_t)begin),
		kv->row_bytes, end - begin, width, room);
}

/* The rows behind a block, one block of them at most. */
static struct tr_ahead rows_after(const struct tr_mla_job *job, size_t end, size_t last)
{
	return (struct tr_ahead){ tr_kv_row(job->kv, job->layer, (uint32_t)end),
		TR_MIN(last - end, block_rows(job)) * job->kv->row_bytes };
}

void tr_mla_scores(const struct tr_mla_job *job, const float *query, size_t n_query, size_t begin,
	size_t end, float *score, size_t stride, float *room)
{
	const struct tr_mla *m = job->mla;
	size_t n = m->n_lat + m->n_rot, stop;
	struct tr_panel queries = { query, false, tr_mla_floats(n), n_query };

	for (; begin < end; begin = stop) {
		struct tr_panel rows;

		stop = TR_MIN(begin + block_rows(job), end);
		rows = positions(job, begin, stop, n, room);
		job->ops->k->dots(score + begin, stride, &rows, &queries, n,
			rows_after(job, stop, end));
	}
}

void tr_mla_mix(const struct tr_mla_job *job, const float *weight, size_t stride, size_t n_query,
	size_t begin, size_t end, float *part, float *room)
{
	size_t n = job->mla->n_lat, stop;

	for (; begin < end; begin = stop) {
		struct tr_panel rows, weights = { weight + begin, false, stride, n_query };

		stop = TR_MIN(begin + block_rows(job), end);
		rows = positions(job, begin, stop, n, room);
		job->ops->k->mix(part, n, &rows, &weights, n, rows_after(job, stop, end));
	}
}

void tr_mla_attend(const struct tr_mla *mla, const struct tr_ops *ops, const struct tr_kv *kv,
	uint32_t layer, uint32_t pos, size_t n_tok, const float *q, size_t q_stride,
	const float *rope, const struct tr_weight *k_b, const struct tr_weight *v_b, float *out,
	size_t out_stride, void *scratch)
{
	const struct tr_mla_job job = { mla, ops, kv, layer, pos, n_tok, q, q_stride, rope, k_b,
		v_b, out, out_stride, scratch };
	size_t n_worker = tr_pool_size(ops->pool), n_tile = tr_mla_tiles_n(&job), t;
	bool is_short = pos + n_tok <= TR_MLA_CHUNK;

	if (is_short ? n_tile >= n_worker : n_tok > 1 && n_tile >= TILES_PER_WORKER * n_worker)
		tr_mla_by_tiles(&job);
	else
		for (t = 0; t < n_tok; t++)
			tr_mla_by_chunks(&job, t);
}
