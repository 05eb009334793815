/* host_ops.c - operations of the host device, with the kernels that the CPU uses everywhere. */
#include "cuda/backend.h"
#include "base/mem.h"
#include "base/pool.h"
#include "compute/kv_row.h"
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
			a->act + m * a->act_mat_bytes, a->act_bytes, a->n_act, a->n, NULL);
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
	size_t first = a->pos_at ? *a->pos_at : 0;
	uint32_t t;

	for (t = 0; t < a->n_tok; t++)
		tr_kv_row_store(c->k, a->type, a->kv + (first + t) * a->row_bytes,
			a->x + t * a->x_stride, a->width);
}

/* What attention of one (token, head) pair needs. */
struct attention {
	const struct tr_kernels *k;
	enum tr_kv_type type;
	uint32_t n_key, n_value;
	float scale;
	struct tr_dop_kv_rows keys, values; /* of the head */
	const float *query;
	size_t n_pos;
	float *ctx;
};

#define UNPACKED 16	 /* rows of Q8_0 at a time */

/* Scores of positions [begin, begin + n). */
static void scores(const struct attention *a, size_t begin, size_t n, float *score)
{
	_Alignas(64) float room[UNPACKED * TR_DEVICE_MLA_WIDTH];
	struct tr_panel query = { a->query, false, a->n_key, 1 }, rows;
	size_t i, some;

	for (i = 0; i < n; i += some) {
		some = TR_MIN(n - i, (size_t)UNPACKED);
		rows = tr_kv_panel(a->k, a->type, a->keys.at + (begin + i) * a->keys.pos_bytes,
			a->keys.pos_bytes, some, a->n_key, room);
		a->k->dots(score + i, 0, &rows, &query, a->n_key, (struct tr_ahead){ NULL, 0 });
	}
	a->k->scale(score, a->scale, n);
}

/* part = weighted sum of the values of positions [begin, begin + n). */
static void mix(const struct attention *a, size_t begin, size_t n, const float *weight, float *part)
{
	_Alignas(64) float room[UNPACKED * TR_DEVICE_MLA_WIDTH];
	struct tr_panel rows;
	size_t i, some;

	memset(part, 0, a->n_value * sizeof(*part));
	for (i = 0; i < n; i += some) {
		struct tr_panel weights = { weight + i, false, n, 1 };

		some = TR_MIN(n - i, (size_t)UNPACKED);
		rows = tr_kv_panel(a->k, a->type, a->values.at + (begin + i) * a->values.pos_bytes,
			a->values.pos_bytes, some, a->n_value, room);
		a->k->mix(part, 0, &rows, &weights, a->n_value, (struct tr_ahead){ NULL, 0 });
	}
}

/* As engine/mla.c words it. There is no room for all scores, so they are computed twice. */
static void attend(const struct attention *a)
{
	float score[TR_DOP_MLA_CHUNK], part[TR_DEVICE_MLA_WIDTH], max = -INFINITY, sum = 0;
	size_t begin, n;

	for (begin = 0; begin < a->n_pos; begin += n) {
		n = TR_MIN(a->n_pos - begin, (size_t)TR_DOP_MLA_CHUNK);
		scores(a, begin, n, score);
		max = fmaxf(max, a->k->max(score, n));
	}
	memset(a->ctx, 0, a->n_value * sizeof(*a->ctx));
	for (begin = 0; begin < a->n_pos; begin += n) {
		n = TR_MIN(a->n_pos - begin, (size_t)TR_DOP_MLA_CHUNK);
		scores(a, begin, n, score);
		sum += a->k->exp_sum(score, score, max, n);
		mix(a, begin, n, score, part);
		a->k->add(a->ctx, part, a->n_value);
	}
	a->k->scale(a->ctx, 1.0f / sum, a->n_value);
}

struct gqa_job {
	const struct tr_dop_gqa *a;
	const struct tr_kernels *k;
};

static struct tr_dop_kv_rows rows_of(const struct tr_dop_kv_rows *rows, size_t kv_head)
{
	return (struct tr_dop_kv_rows){ rows->at + kv_head * rows->head_bytes, rows->pos_bytes, 0 };
}

static void attend_pairs(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct gqa_job *job = ctx;
	const struct tr_dop_gqa *a = job->a;
	size_t pos = a->pos_at ? *a->pos_at : a->pos;

	(void)worker;
	for (; begin < end; begin++) {
		size_t kv_head = begin % a->n_head / (a->n_head / a->n_kv_head);
		struct attention pair = { job->k, a->type, a->n_key, a->n_value, a->scale,
			rows_of(&a->keys, kv_head), rows_of(&a->values, kv_head),
			a->query + begin * a->n_key, pos + begin / a->n_head + 1,
			a->ctx + begin * a->n_value };

		attend(&pair);
	}
}

static void run_gqa(struct tr_host_compute *c, const void *args)
{
	struct gqa_job job = { args, c->k };

	tr_pool_run(c->pool, attend_pairs, &job, (size_t)job.a->n_tok * job.a->n_head, 1);
}

static void run_mla(struct tr_host_compute *c, const void *args)
{
	struct tr_dop_gqa same = tr_dop_mla_as_gqa(args);

	run_gqa(c, &same);
}

static void run_mla_prefill(struct tr_host_compute *c, const void *args)
{
	struct tr_dop_gqa same = tr_dop_mla_prefill_as_gqa(args);

	run_gqa(c, &same);
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
			a->act[p] + row * act_bytes(a, p), 0, 1, a->n_embd, NULL);
	silu_row(job->k, &q, 0, hidden);
	job->k->dot[a->quant[2]](a->y + slot * a->y_stride, 0, e->part[2], a->row_bytes[2],
		a->n_embd, hidden, 0, 1, a->n_ff, NULL);
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
