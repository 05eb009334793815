/* host_ops.c - operations of the host device, with the kernels that the CPU uses everywhere. */
#include "cuda/backend.h"
#include "base/mem.h"
#include "base/pool.h"
#include "compute/ops.h"
#include "compute/rope.h"

#include <math.h>
#include <string.h>

static void silu_row(const struct tr_kernels *k, const struct tr_dop_quantise *a, size_t at,
	uint8_t *act)
{
	/* Ranges of a row that is not kept anywhere. */
	_Alignas(64) float part[TR_ACT_RANGE_MAX];
	uint32_t i, n;

	for (i = 0; i < a->n; i += n) {
		n = TR_MIN(a->n - i, (uint32_t)TR_ACT_RANGE_MAX);
		k->silu_mul(part, a->x + at + i, a->up + at + i, n);
		tr_act_quantise_range(k, a->kind, part, i, n, act, a->n);
	}
}

static void run_quantise(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_quantise *a = args;
	uint32_t g, i;

	for (g = 0; g < a->n_group; g++)
		for (i = 0; i < a->n_row; i++) {
			uint8_t *act = a->act + g * a->act_group_bytes + i * a->act_bytes;
			size_t at = g * a->x_group_stride + i * a->x_stride;

			if (a->up)
				silu_row(c->k, a, at, act);
			else
				c->k->quantise(a->kind, a->x + at, a->n, act);
		}
}

struct matmul_job {
	const struct tr_dop_matmul *a;
	const struct tr_kernels *k;
};

static void matmul_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct matmul_job *job = ctx;
	const struct tr_dop_matmul *a = job->a;
	size_t m, row, n;

	(void)worker;
	for (; begin < end; begin += n) {
		m = begin / a->n_row;
		row = begin % a->n_row;
		n = TR_MIN(end - begin, a->n_row - row);
		job->k->dot[a->quant](a->out + m * a->out_mat_stride + row, a->out_stride,
			a->w + m * a->mat_bytes + row * a->row_bytes, a->row_bytes, n,
			a->act + m * a->act_mat_bytes, a->act_bytes, a->n_act, a->n);
	}
}

static void run_matmul(struct tr_host_compute *c, const void *args)
{
	struct matmul_job job = { args, c->k };

	tr_pool_run(c->pool, matmul_rows, &job, (size_t)job.a->n_mat * job.a->n_row, 32);
}

static void run_rms_norm(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_rms_norm *a = args;
	struct tr_ops ops = { c->pool, c->k };

	tr_op_rms_norm(&ops, a->out, a->out_stride, a->x, a->x_stride, a->w, a->n, a->n_tok, a->eps);
}

static void run_add(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_add *a = args;
	struct tr_ops ops = { c->pool, c->k };

	tr_op_add(&ops, a->y, a->x, a->n, a->stride, a->n_tok);
}

static void rotate_halves(float *out, const float *x, const float *table, uint32_t n_rot)
{
	uint32_t half = n_rot / 2, i;

	for (i = 0; i < half; i++) {
		float u = x[i], v = x[i + half], cos = table[2 * i], sin = table[2 * i + 1];

		out[i] = u * cos - v * sin;
		out[i + half] = u * sin + v * cos;
	}
}

static void run_rope(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_rope *a = args;
	uint32_t t, h;

	(void)c;
	for (t = 0; t < a->n_tok; t++)
		for (h = 0; h < a->n_head; h++) {
			const float *x = a->x + t * a->x_stride + h * a->x_head_stride;
			float *out = a->out + t * a->out_stride + h * a->out_head_stride;
			const float *table = a->table + (size_t)t * a->n_rot;

			if (a->pairing == TR_ROPE_HALVES) {
				rotate_halves(out, x, table, a->n_rot);
				continue;
			}
			memmove(out, x, a->n_rot * sizeof(*out));
			tr_rope_rotate_pairs(out, table, a->n_rot);
		}
}

static void run_kv_store(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_kv_store *a = args;
	uint32_t t;

	for (t = 0; t < a->n_tok; t++) {
		const float *x = a->x + t * a->x_stride;
		uint8_t *row = a->kv + t * a->row_bytes;

		if (a->type == TR_KV_F16)
			c->k->to_f16((uint16_t *)row, x, a->width);
		else
			memcpy(row, x, a->width * sizeof(*x));
	}
}

struct mla_job {
	const struct tr_dop_mla *a;
	const struct tr_kernels *k;
	uint32_t first; /* token */
};

/* One token and head, as engine/mla.c words it. */
static void attend(const struct mla_job *job, uint32_t t, uint32_t h, size_t row)
{
	const struct tr_dop_mla *a = job->a;
	struct tr_dop_mla_room r = tr_dop_mla_room(a->n_tok_once, a->n_head, a->n_lat,
		a->pos + a->n_tok);
	bool half = a->type == TR_KV_F16;
	size_t width = a->n_lat + a->n_rot, n_pos = a->pos + t + 1, begin;
	size_t stride = a->row_bytes / (half ? 2 : 4), at = (size_t)t * a->n_head + h;
	float *score = a->scratch + r.score + row * r.n_chunk * TR_DOP_MLA_CHUNK;
	float *part = a->scratch + r.part + row * r.n_chunk * a->n_lat;
	float *ctx = a->ctx + at * a->n_lat, max, sum = 0;
	struct tr_panel all = { a->kv, half, stride, n_pos };
	struct tr_panel query = { a->query + at * width, false, width, 1 };
	struct tr_ahead none = { NULL, 0 };

	job->k->dots(score, 0, &all, &query, width, none);
	job->k->scale(score, a->scale, n_pos);
	max = job->k->max(score, n_pos);
	memset(ctx, 0, a->n_lat * sizeof(*ctx));
	for (begin = 0; begin < n_pos; begin += TR_DOP_MLA_CHUNK) {
		size_t n = TR_MIN(n_pos - begin, (size_t)TR_DOP_MLA_CHUNK);
		struct tr_panel rows = { a->kv + begin * a->row_bytes, half, stride, n };
		struct tr_panel weights = { score + begin, false, n, 1 };

		sum += job->k->exp_sum(score + begin, score + begin, max, n);
		memset(part, 0, a->n_lat * sizeof(*part));
		job->k->mix(part, 0, &rows, &weights, a->n_lat, none);
		job->k->add(ctx, part, a->n_lat);
	}
	job->k->scale(ctx, 1.0f / sum, a->n_lat);
}

static void attend_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct mla_job *job = ctx;

	(void)worker;
	for (; begin < end; begin++)
		attend(job, job->first + (uint32_t)(begin / job->a->n_head),
			(uint32_t)(begin % job->a->n_head), begin);
}

static void run_mla(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_mla *a = args;
	struct mla_job job = { a, c->k, 0 };

	for (; job.first < a->n_tok; job.first += a->n_tok_once)
		tr_pool_run(c->pool, attend_rows, &job,
			(size_t)TR_MIN(a->n_tok_once, a->n_tok - job.first) * a->n_head, 1);
}

struct prefill_job {
	const struct tr_dop_mla_prefill *a;
	const struct tr_kernels *k;
};

/* Scores of positions [begin, begin + n) with the query of a (token, head) pair. */
static void prefill_scores(const struct prefill_job *job, size_t pair, size_t begin, size_t n,
	float *score)
{
	const struct tr_dop_mla_prefill *a = job->a;
	bool half = a->type == TR_KV_F16;
	size_t width = a->n_lat + a->n_rot;
	struct tr_panel rows = { a->kv + begin * a->row_bytes, half, a->row_bytes / (half ? 2 : 4), n };
	struct tr_panel query = { a->query + pair * width, false, width, 1 };

	job->k->dots(score, 0, &rows, &query, width, (struct tr_ahead){ NULL, 0 });
	job->k->scale(score, a->scale, n);
}

static void prefill_chunk(const struct prefill_job *job, size_t begin, size_t n,
	const float *weight, float *part)
{
	const struct tr_dop_mla_prefill *a = job->a;
	bool half = a->type == TR_KV_F16;
	struct tr_panel rows = { a->kv + begin * a->row_bytes, half, a->row_bytes / (half ? 2 : 4), n };
	struct tr_panel weights = { weight, false, n, 1 };

	memset(part, 0, a->n_lat * sizeof(*part));
	job->k->mix(part, 0, &rows, &weights, a->n_lat, (struct tr_ahead){ NULL, 0 });
}

/* In two passes over the chunks, as the kernel does it: there is no room for all scores. */
static void prefill_pair(const struct prefill_job *job, size_t pair)
{
	const struct tr_dop_mla_prefill *a = job->a;
	float score[TR_DOP_MLA_CHUNK], part[1024]; /* the limit of values that device.c checks */
	float *ctx = a->ctx + pair * a->n_lat, max = -INFINITY, sum = 0;
	size_t n_pos = a->pos + pair / a->n_head + 1, begin, n;

	for (begin = 0; begin < n_pos; begin += n) {
		n = TR_MIN(n_pos - begin, (size_t)TR_DOP_MLA_CHUNK);
		prefill_scores(job, pair, begin, n, score);
		max = fmaxf(max, job->k->max(score, n));
	}
	memset(ctx, 0, a->n_lat * sizeof(*ctx));
	for (begin = 0; begin < n_pos; begin += n) {
		n = TR_MIN(n_pos - begin, (size_t)TR_DOP_MLA_CHUNK);
		prefill_scores(job, pair, begin, n, score);
		sum += job->k->exp_sum(score, score, max, n);
		prefill_chunk(job, begin, n, score, part);
		job->k->add(ctx, part, a->n_lat);
	}
	job->k->scale(ctx, 1.0f / sum, a->n_lat);
}

static void prefill_pairs(void *ctx, unsigned worker, size_t begin, size_t end)
{
	(void)worker;
	for (; begin < end; begin++)
		prefill_pair(ctx, begin);
}

static void run_mla_prefill(struct tr_host_compute *c, const void *args)
{
	struct prefill_job job = { args, c->k };

	tr_pool_run(c->pool, prefill_pairs, &job, (size_t)job.a->n_tok * job.a->n_head, 1);
}

static void run_router(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_router *a = args;
	float scratch[2 * 2048]; /* the limit of experts that device.c checks */
	uint32_t t;

	for (t = 0; t < a->n_tok; t++)
		tr_router_pick(&a->r, c->k, a->logits + t * a->stride, a->bias, scratch,
			a->ids + (size_t)t * a->r.n_used, a->weights + (size_t)t * a->r.n_used);
}

struct expert_job {
	const struct tr_dop_expert_ffn *a;
	const struct tr_kernels *k;
};

static size_t act_bytes(const struct tr_dop_expert_ffn *a, int part)
{
	return tr_act_bytes(tr_quant_by_id(a->quant[part])->act, part == 2 ? a->n_ff : a->n_embd);
}

/* One slot of one expert. */
static void run_slot(const struct expert_job *job, const struct tr_dop_expert *e, uint32_t slot)
{
	const struct tr_dop_expert_ffn *a = job->a;
	size_t row = a->row_of ? a->row_of[slot] : 0;
	float *out[2] = { a->gate + slot * a->ff_stride, a->up + slot * a->ff_stride };
	struct tr_dop_quantise q = { .kind = tr_quant_by_id(a->quant[2])->act, .n = a->n_ff,
		.x = out[0], .up = out[1] };
	uint8_t *hidden = a->hidden + slot * act_bytes(a, 2);
	int p;

	for (p = 0; p < 2; p++)
		job->k->dot[a->quant[p]](out[p], 0, e->part[p], a->row_bytes[p], a->n_ff,
			a->act[p] + row * act_bytes(a, p), 0, 1, a->n_embd);
	silu_row(job->k, &q, 0, hidden);
	job->k->dot[a->quant[2]](a->y + slot * a->y_stride, 0, e->part[2], a->row_bytes[2],
		a->n_embd, hidden, 0, 1, a->n_ff);
}

static void run_experts(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct expert_job *job = ctx;
	uint32_t slot;

	(void)worker;
	for (; begin < end; begin++) {
		const struct tr_dop_expert *e = &job->a->list[begin];

		for (slot = e->first; slot < e->first + e->n; slot++)
			run_slot(job, e, slot);
	}
}

static void run_expert_ffn(struct tr_host_compute *c, const void *args)
{
	struct expert_job job = { args, c->k };

	tr_pool_run(c->pool, run_experts, &job, job.a->n_expert, 1);
}

static void run_combine(struct tr_host_compute *c, const void *args)
{
	const struct tr_dop_combine *a = args;
	float sum[TR_ACT_RANGE_MAX];
	uint32_t t, i, r, n;

	for (t = 0; t < a->n_tok; t++)
		for (i = 0; i < a->n; i += n) {
			n = TR_MIN(a->n - i, (uint32_t)TR_ARRAY_LEN(sum));
			memset(sum, 0, sizeof(sum));
			for (r = t * a->n_used; r < (t + 1) * a->n_used; r++)
				c->k->axpy_f32(sum, a->weights[r],
					a->y + a->slot_of[r] * a->y_stride + i, n);
			if (a->shared)
				c->k->add(sum, a->shared + t * a->shared_stride + i, n);
			c->k->add(a->h + t * a->h_stride + i, sum, n);
		}
}

tr_host_op *const tr_host_ops[TR_N_DOP] = {
#define TR_DOP(name) [TR_DOP_##name] = run_##name,
#include "cuda/ops.def"
#undef TR_DOP
};
