/*
 * mla.c - one task is one head with all tokens of the chunk.
 *
 * Canonical order of a (token, head): scores are canonical dot products over n_lat + n_rot values;
 * p = exp(s - max). Positions fall into chunks of CHUNK. Within a chunk the latent sum takes
 * positions in ascending order by fma from 0 and the denominator is the canonical sum; chunks are
 * then added in ascending order, and the result is multiplied by 1 / denominator. Workers may one
 * day split a head by chunks without changing a bit.
 */
#include "engine/mla.h"
#include "engine/rope.h"
#include "base/mem.h"

#include <string.h>

#define CHUNK 256

struct job {
	const struct tr_mla *mla;
	const struct tr_ops *ops;
	const struct tr_kv *kv;
	uint32_t layer, pos;
	size_t n_tok;
	const float *q;
	size_t q_stride;
	const float *rope;
	const struct tr_weight *k_b, *v_b;
	float *out;
	size_t out_stride;
	const struct tr_mla_scratch *scratch;
};

/* What a worker needs for one (token, head). All parts start on a cache line. */
struct workspace {
	float *head;   /* [n_nope + n_rot] the query head, aligned */
	float *query;  /* [n_lat + n_rot] in the latent space */
	float *score;  /* [n_ctx] */
	float *part;   /* [n_lat] sum of a chunk */
	float *ctx;    /* [n_lat] */
	uint8_t *act;  /* quantised input of k_b or v_b */
};

static size_t floats(size_t n)
{
	return TR_ALIGN_UP(n * sizeof(float), TR_CACHE_LINE);
}

static size_t act_room(const struct tr_mla *m)
{
	size_t n = TR_ALIGN_UP((size_t)TR_MAX(m->n_nope, m->n_lat), 256);

	return TR_MAX(tr_act_bytes(TR_ACT_Q8_32, n), tr_act_bytes(TR_ACT_Q8_256, n));
}

size_t tr_mla_scratch_bytes(const struct tr_mla *m, uint32_t n_ctx)
{
	return floats(m->n_nope + m->n_rot) + floats(m->n_lat + m->n_rot) + floats(n_ctx) +
		2 * floats(m->n_lat) + act_room(m);
}

static struct workspace workspace_of(const struct job *job, unsigned worker)
{
	const struct tr_mla *m = job->mla;
	uint8_t *p = job->scratch->base + worker * job->scratch->bytes_per_worker;
	struct workspace ws;

	ws.head = (float *)p;
	p += floats(m->n_nope + m->n_rot);
	ws.query = (float *)p;
	p += floats(m->n_lat + m->n_rot);
	ws.score = (float *)p;
	p += floats(job->kv->n_ctx);
	ws.part = (float *)p;
	p += floats(m->n_lat);
	ws.ctx = (float *)p;
	p += floats(m->n_lat);
	ws.act = p;
	return ws;
}

/* out[r] = rows of matrix h of w . x */
static void head_matvec(const struct tr_kernels *k, const struct tr_weight *w, uint32_t h,
	size_t n_row, const float *x, uint8_t *act, float *out)
{
	const uint8_t *rows = w->data + (size_t)h * n_row * w->row_bytes;
	const void *in = x;

	if (w->quant->act != TR_ACT_F32) {
		k->quantise(w->quant->act, x, w->cols, act);
		in = act;
	}
	k->dot[w->quant->id](out, 0, rows, w->row_bytes, n_row, in, 0, 1, w->cols);
}

static void scores(const struct job *job, const struct workspace *ws, size_t n_pos)
{
	const struct tr_kernels *k = job->ops->k;
	size_t n = job->mla->n_lat + job->mla->n_rot, p;

	for (p = 0; p < n_pos; p++) {
		const void *row = tr_kv_row(job->kv, job->layer, (uint32_t)p);

		ws->score[p] = job->mla->scale *
			(job->kv->type == TR_KV_F16 ? k->dot_f16(row, ws->query, n) :
						      k->dot_f32(row, ws->query, n));
	}
}

/* ctx = sum of exp(score - max) * latent, divided by the sum of the exponentials. */
static void weigh(const struct job *job, const struct workspace *ws, size_t n_pos)
{
	const struct tr_kernels *k = job->ops->k;
	size_t n_lat = job->mla->n_lat, begin, end, p;
	float max = k->max(ws->score, n_pos), denominator = 0;

	memset(ws->ctx, 0, n_lat * sizeof(float));
	for (begin = 0; begin < n_pos; begin = end) {
		end = TR_MIN(begin + CHUNK, n_pos);
		denominator += k->exp_sum(ws->score + begin, ws->score + begin, max, end - begin);
		memset(ws->part, 0, n_lat * sizeof(float));
		for (p = begin; p < end; p++) {
			const void *row = tr_kv_row(job->kv, job->layer, (uint32_t)p);

			if (job->kv->type == TR_KV_F16)
				k->axpy_f16(ws->part, ws->score[p], row, n_lat);
			else
				k->axpy_f32(ws->part, ws->score[p], row, n_lat);
		}
		k->add(ws->ctx, ws->part, n_lat);
	}
	k->scale(ws->ctx, 1.0f / denominator, n_lat);
}

static void attend_head(const struct job *job, const struct workspace *ws, uint32_t h, size_t t)
{
	const struct tr_mla *m = job->mla;
	const struct tr_kernels *k = job->ops->k;
	size_t n_qk = m->n_nope + m->n_rot;

	memcpy(ws->head, job->q + t * job->q_stride + h * n_qk, n_qk * sizeof(float));
	head_matvec(k, job->k_b, h, m->n_lat, ws->head, ws->act, ws->query);
	memcpy(ws->query + m->n_lat, ws->head + m->n_nope, m->n_rot * sizeof(float));
	tr_rope_rotate_pairs(ws->query + m->n_lat, job->rope + t * m->n_rot, m->n_rot);
	scores(job, ws, job->pos + t + 1);
	weigh(job, ws, job->pos + t + 1);
	head_matvec(k, job->v_b, h, m->n_v, ws->ctx, ws->act,
		job->out + t * job->out_stride + (size_t)h * m->n_v);
}

static void attend_heads(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = ctx;
	struct workspace ws = workspace_of(job, worker);
	size_t t;

	for (; begin < end; begin++)
		for (t = 0; t < job->n_tok; t++)
			attend_head(job, &ws, (uint32_t)begin, t);
}

void tr_mla_attend(const struct tr_mla *mla, const struct tr_ops *ops, const struct tr_kv *kv,
	uint32_t layer, uint32_t pos, size_t n_tok, const float *q, size_t q_stride,
	const float *rope, const struct tr_weight *k_b, const struct tr_weight *v_b, float *out,
	size_t out_stride, const struct tr_mla_scratch *scratch)
{
	struct job job = { mla, ops, kv, layer, pos, n_tok, q, q_stride, rope, k_b, v_b, out,
		out_stride, scratch };

	tr_pool_run(ops->pool, attend_heads, &job, mla->n_head, 1);
}
