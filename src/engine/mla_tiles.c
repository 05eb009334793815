/*
 * mla_tiles.c - tiles of up to TILE_TOK tokens by TR_MLA_HEADS heads, each whole by one worker.
 *
 * The queries of a tile lie token by token, so that neighbours end at the same position. Scores are
 * computed up to the last token's position for all of them, and read up to each one's own.
 */
#include "engine/mla_job.h"

#include <string.h>

#define TILE_TOK 4
#define TILE_QUERIES (TILE_TOK * TR_MLA_HEADS)

/* What a worker needs, in floats from its base. All parts start on a cache line. */
struct room {
	size_t query; /* [TILE_QUERIES][n_lat + n_rot] in the latent space */
	size_t part;  /* [TILE_QUERIES][n_lat] sums of a chunk */
	size_t ctx;   /* [TILE_QUERIES][n_lat] */
	size_t score; /* [TILE_QUERIES][stride] */
	size_t rows;  /* unpacked */
	size_t act;   /* quantised inputs */
	size_t n;     /* all */
};

struct tile {
	const struct tr_mla_job *job;
	uint32_t h, n_head;
	size_t t, n_tok;
	float *query, *part, *ctx, *score, *rows;
	size_t score_stride;
	uint8_t *act;
	float max[TILE_QUERIES], denominator[TILE_QUERIES];
};

static struct room room_of(const struct tr_mla *m, uint32_t n_ctx)
{
	size_t n_sum = tr_mla_floats((size_t)TILE_QUERIES * m->n_lat);
	struct room r;

	r.query = 0;
	r.part = r.query + TILE_QUERIES * tr_mla_floats(m->n_lat + m->n_rot);
	r.ctx = r.part + n_sum;
	r.score = r.ctx + n_sum;
	r.rows = r.score + TILE_QUERIES * tr_mla_score_stride(n_ctx);
	r.act = r.rows + tr_mla_rows_floats(m);
	r.n = r.act + tr_mla_floats(tr_mla_act_bytes(m, TILE_TOK) / sizeof(float));
	return r;
}

size_t tr_mla_tiles_bytes(const struct tr_mla *m, uint32_t n_ctx, unsigned n_worker)
{
	return n_worker * room_of(m, n_ctx).n * sizeof(float);
}

static size_t n_group(const struct tr_mla_job *job)
{
	return (job->mla->n_head + TR_MLA_HEADS - 1) / TR_MLA_HEADS;
}

size_t tr_mla_tiles_n(const struct tr_mla_job *job)
{
	return (job->n_tok + TILE_TOK - 1) / TILE_TOK * n_group(job);
}

/* Positions that the tile's token i attends to. */
static size_t reach(const struct tile *tile, size_t i)
{
	return tile->job->pos + tile->t + i + 1;
}

static void make_queries(const struct tile *tile)
{
	const struct tr_mla *m = tile->job->mla;
	size_t stride = tr_mla_floats(m->n_lat + m->n_rot);
	uint32_t h;

	for (h = 0; h < tile->n_head; h++)
		tr_mla_queries(tile->job, tile->h + h, tile->h + h + 1, tile->t, tile->n_tok,
			tile->act, tile->query + h * stride, tile->n_head * stride);
}

static void make_scores(struct tile *tile)
{
	const struct tr_kernels *k = tile->job->ops->k;
	size_t n_query = tile->n_tok * tile->n_head, q;

	tr_mla_scores(tile->job, tile->query, n_query, 0, reach(tile, tile->n_tok - 1), tile->score,
		tile->score_stride, tile->rows);
	for (q = 0; q < n_query; q++) {
		float *score = tile->score + q * tile->score_stride;
		size_t n = reach(tile, q / tile->n_head);

		k->scale(score, tile->job->mla->scale, n);
		tile->max[q] = k->max(score, n);
	}
}

/* Adds the chunk that begins at `begin` to the sums of token i. */
static void add_chunk(struct tile *tile, size_t i, size_t begin)
{
	const struct tr_kernels *k = tile->job->ops->k;
	size_t end = TR_MIN(begin + TR_MLA_CHUNK, reach(tile, i)), n_lat = tile->job->mla->n_lat;
	size_t q = i * tile->n_head, n = tile->n_head * n_lat, last = q + tile->n_head;
	float *weight = tile->score + q * tile->score_stride, *part = tile->part + q * n_lat;

	if (begin >= end)
		return;
	for (; q < last; q++) {
		float *score = tile->score + q * tile->score_stride + begin;

		tile->denominator[q] += k->exp_sum(score, score, tile->max[q], end - begin);
	}
	memset(part, 0, n * sizeof(*part));
	tr_mla_mix(tile->job, weight, tile->score_stride, tile->n_head, begin, end, part,
		tile->rows);
	k->add(tile->ctx + i * n, part, n);
}

static void finish(const struct tile *tile)
{
	const struct tr_mla *m = tile->job->mla;
	size_t q;
	uint32_t h;

	for (q = 0; q < tile->n_tok * tile->n_head; q++)
		tile->job->ops->k->scale(tile->ctx + q * m->n_lat, 1.0f / tile->denominator[q],
			m->n_lat);
	for (h = 0; h < tile->n_head; h++)
		tr_mla_outputs(tile->job, tile->h + h, tile->h + h + 1, tile->t, tile->n_tok,
			tile->act, tile->ctx + (size_t)h * m->n_lat,
			(size_t)tile->n_head * m->n_lat);
}

static void attend(struct tile *tile)
{
	size_t n_query = tile->n_tok * tile->n_head, begin, i;

	make_queries(tile);
	make_scores(tile);
	memset(tile->denominator, 0, sizeof(tile->denominator));
	memset(tile->ctx, 0, n_query * tile->job->mla->n_lat * sizeof(float));
	for (begin = 0; begin < reach(tile, tile->n_tok - 1); begin += TR_MLA_CHUNK)
		for (i = 0; i < tile->n_tok; i++)
			add_chunk(tile, i, begin);
	finish(tile);
}

/* The last tokens have the most to read and go first. */
static void attend_tiles(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct tr_mla_job *job = ctx;
	const struct room r = room_of(job->mla, job->kv->n_ctx);
	float *base = (float *)job->scratch + worker * r.n;
	struct tile tile = { .job = job, .query = base + r.query, .part = base + r.part,
		.ctx = base + r.ctx, .score = base + r.score, .rows = base + r.rows,
		.act = (uint8_t *)(base + r.act),
		.score_stride = tr_mla_score_stride(job->kv->n_ctx) };
	size_t n_tile = tr_mla_tiles_n(job);

	for (; begin < end; begin++) {
		size_t i = n_tile - 1 - begin;

		tile.t = i / n_group(job) * TILE_TOK;
		tile.n_tok = TR_MIN(job->n_tok - tile.t, (size_t)TILE_TOK);
		tile.h = (uint32_t)(i % n_group(job)) * TR_MLA_HEADS;
		tile.n_head = TR_MIN(job->mla->n_head - tile.h, (uint32_t)TR_MLA_HEADS);
		attend(&tile);
	}
}

void tr_mla_by_tiles(const struct tr_mla_job *job)
{
	tr_pool_run(job->ops->pool, attend_tiles, (void *)(uintptr_t)job, tr_mla_tiles_n(job), 1);
}
