/*
 * mla_chunks.c - one token against a long cache: workers share the positions.
 *
 * Four parallel loops: queries by heads; scores by chunks and groups of heads; latent sums of each
 * chunk likewise, once the maxima are known; then by heads the chunks are added in ascending order
 * and become outputs.
 */
#include "engine/mla_job.h"

#include <string.h>

/* Shared by all workers, in floats from the start. Then each worker's inputs and sum. */
struct room {
	size_t query; /* [n_head][n_lat + n_rot] in the latent space */
	size_t score; /* [n_head][stride] */
	size_t max;   /* [n_head][n_chunk] */
	size_t sum;   /* [n_head][n_chunk] denominators */
	size_t part;  /* [n_chunk][n_head][n_lat] */
	size_t own;   /* [n_worker][own_n]: sum, inputs, rows */
	size_t own_n;
};

struct split {
	const struct tr_mla_job *job;
	size_t t;
	size_t n_pos, n_chunk, n_chunk_cap;
	uint32_t n_head; /* heads a task */
	size_t n_group;	 /* tasks a chunk */
	struct room room;
	float *query, *score, *max, *sum, *part;
	size_t query_stride, score_stride;
};

static size_t chunks(size_t n_pos)
{
	return (n_pos + TR_MLA_CHUNK - 1) / TR_MLA_CHUNK;
}

static struct room room_of(const struct tr_mla *m, uint32_t n_ctx)
{
	size_t n = m->n_head, n_chunk = chunks(n_ctx);
	struct room r;

	r.query = 0;
	r.score = r.query + n * tr_mla_floats(m->n_lat + m->n_rot);
	r.max = r.score + n * tr_mla_score_stride(n_ctx);
	r.sum = r.max + tr_mla_floats(n * n_chunk);
	r.part = r.sum + tr_mla_floats(n * n_chunk);
	r.own = r.part + tr_mla_floats(n_chunk * n * m->n_lat);
	r.own_n = tr_mla_floats(m->n_lat) + tr_mla_act_bytes(m, 1) / sizeof(float) +
		tr_mla_rows_floats(m);
	return r;
}

size_t tr_mla_chunks_bytes(const struct tr_mla *m, uint32_t n_ctx, unsigned n_worker)
{
	struct room r = room_of(m, n_ctx);

	return (r.own + n_worker * r.own_n) * sizeof(float);
}

static float *own_ctx(const struct split *s, unsigned worker)
{
	return (float *)s->job->scratch + s->room.own + worker * s->room.own_n;
}

static uint8_t *own_act(const struct split *s, unsigned worker)
{
	return (uint8_t *)(own_ctx(s, worker) + tr_mla_floats(s->job->mla->n_lat));
}

static float *own_rows(const struct split *s, unsigned worker)
{
	return own_ctx(s, worker + 1) - tr_mla_rows_floats(s->job->mla);
}

static void query_heads(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	const struct split *s = ctx;

	for (; begin < end; begin++)
		tr_mla_queries(s->job, (uint32_t)begin, (uint32_t)next, s->t, 1, own_act(s, worker),
			s->query + begin * s->query_stride, 0);
}

/* Positions and heads of a task. */
struct piece {
	size_t chunk, begin, end;
	size_t h, h_end;
};

static struct piece piece_of(const struct split *s, size_t task)
{
	struct piece p = { .chunk = task / s->n_group, .h = task % s->n_group * s->n_head };

	p.begin = p.chunk * TR_MLA_CHUNK;
	p.end = TR_MIN(p.begin + TR_MLA_CHUNK, s->n_pos);
	p.h_end = TR_MIN(p.h + s->n_head, (size_t)s->job->mla->n_head);
	return p;
}

static void score_pieces(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct split *s = ctx;
	const struct tr_kernels *k = s->job->ops->k;
	size_t h;

	for (; begin < end; begin++) {
		struct piece p = piece_of(s, begin);

		tr_mla_scores(s->job, s->query + p.h * s->query_stride, p.h_end - p.h, p.begin,
			p.end, s->score + p.h * s->score_stride, s->score_stride,
			own_rows(s, worker));
		for (h = p.h; h < p.h_end; h++) {
			float *score = s->score + h * s->score_stride + p.begin;

			k->scale(score, s->job->mla->scale, p.end - p.begin);
			s->max[h * s->n_chunk_cap + p.chunk] = k->max(score, p.end - p.begin);
		}
	}
}

static void weigh_pieces(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct split *s = ctx;
	const struct tr_mla *m = s->job->mla;
	const struct tr_kernels *k = s->job->ops->k;
	size_t h;

	for (; begin < end; begin++) {
		struct piece p = piece_of(s, begin);
		float *part = s->part + (p.chunk * m->n_head + p.h) * m->n_lat;

		for (h = p.h; h < p.h_end; h++) {
			float *score = s->score + h * s->score_stride + p.begin;
			float max = k->max(s->max + h * s->n_chunk_cap, s->n_chunk);

			s->sum[h * s->n_chunk_cap + p.chunk] =
				k->exp_sum(score, score, max, p.end - p.begin);
		}
		memset(part, 0, (p.h_end - p.h) * m->n_lat * sizeof(*part));
		tr_mla_mix(s->job, s->score + p.h * s->score_stride, s->score_stride,
			p.h_end - p.h, p.begin, p.end, part, own_rows(s, worker));
	}
}

static void finish_heads(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	const struct split *s = ctx;
	const struct tr_mla *m = s->job->mla;
	const struct tr_kernels *k = s->job->ops->k;
	float *sum = own_ctx(s, worker);
	size_t c;

	for (; begin < end; begin++) {
		float denominator = 0;

		memset(sum, 0, m->n_lat * sizeof(*sum));
		for (c = 0; c < s->n_chunk; c++) {
			denominator += s->sum[begin * s->n_chunk_cap + c];
			k->add(sum, s->part + (c * m->n_head + begin) * m->n_lat, m->n_lat);
		}
		k->scale(sum, 1.0f / denominator, m->n_lat);
		tr_mla_outputs(s->job, (uint32_t)begin, (uint32_t)next, s->t, 1, own_act(s, worker),
			sum, 0);
	}
}

/* As many heads a task as leave every worker several tasks. */
static void share_heads(struct split *s)
{
	size_t n_busy = 4 * (size_t)tr_pool_size(s->job->ops->pool), all = s->job->mla->n_head;

	s->n_head = (uint32_t)TR_ALIGN_UP(all, TR_MLA_HEADS);
	for (;;) {
		s->n_group = (all + s->n_head - 1) / s->n_head;
		if (s->n_head == TR_MLA_HEADS || s->n_chunk * s->n_group >= n_busy)
			return;
		s->n_head = (uint32_t)TR_ALIGN_UP(s->n_head / 2, TR_MLA_HEADS);
	}
}

void tr_mla_by_chunks(const struct tr_mla_job *job, size_t t)
{
	const struct tr_mla *m = job->mla;
	struct split s = { .job = job, .t = t, .n_pos = job->pos + t + 1,
		.room = room_of(m, job->kv->n_ctx) };
	float *base = (float *)job->scratch;

	s.n_chunk = chunks(s.n_pos);
	s.n_chunk_cap = chunks(job->kv->n_ctx);
	s.query = base + s.room.query;
	s.score = base + s.room.score;
	s.max = base + s.room.max;
	s.sum = base + s.room.sum;
	s.part = base + s.room.part;
	s.query_stride = tr_mla_floats(m->n_lat + m->n_rot);
	s.score_stride = tr_mla_score_stride(job->kv->n_ctx);
	share_heads(&s);
	tr_pool_run_rows(job->ops->pool, query_heads, &s, m->n_head, 1);
	tr_pool_run(job->ops->pool, score_pieces, &s, s.n_chunk * s.n_group, 1);
	tr_pool_run(job->ops->pool, weigh_pieces, &s, s.n_chunk * s.n_group, 1);
	tr_pool_run_rows(job->ops->pool, finish_heads, &s, m->n_head, 1);
}
