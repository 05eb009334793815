#include "compute/ops.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* Bytes of weights of a task. Tasks of a worker follow one another in memory (share.h), but each costs
 * a call, and one taken from another worker begins with cold prefetchers: while none were
 * consecutive, decoding a Kimi-shaped model ran at 104 tokens/s with 16 KiB, 120 with 64, 123 with 128
 * and 125 with 256 (2 threads, Sapphire Rapids, medians of one run each). Small matrices take smaller
 * tasks so that every thread gets some, down to the size that streams from memory in the time it takes
 * to hand a task out. With several tokens the same holds, as kernels fetch 16 rows ahead of those they
 * are at, but a task takes longer: prefill of that model 1058 to 1095 tokens/s with 36 KiB, 1241 with
 * 64, 1344 with 128, 1328 with 256 (2 threads, AMD EPYC, best of ten, machine shared). */
#define TASK_BYTES_MAX (256u << 10)
#define TASK_BYTES_BATCH (128u << 10)
#define TASK_BYTES_MIN (16u << 10)
#define TASKS_PER_THREAD 4

size_t tr_ops_stride(size_t n)
{
	return tr_act_bytes(TR_ACT_F32, n) / sizeof(float);
}

int tr_acts_init(struct tr_acts *acts, size_t n_max, size_t n_tok_max)
{
	int kind;

	for (kind = 0; kind < TR_N_ACT_KIND; kind++) {
		acts->buf[kind] = NULL;
		if (kind == TR_ACT_F32)
			continue;
		acts->buf[kind] = tr_alloc(n_tok_max, tr_act_bytes(kind, TR_ALIGN_UP(n_max, 256)));
		if (!acts->buf[kind]) {
			tr_acts_fini(acts);
			return TR_E_NOMEM;
		}
	}
	return 0;
}

void tr_acts_fini(struct tr_acts *acts)
{
	int kind;

	for (kind = 0; kind < TR_N_ACT_KIND; kind++) {
		free(acts->buf[kind]);
		acts->buf[kind] = NULL;
	}
}

void tr_acts_set(struct tr_acts *acts, const float *x, size_t n, size_t n_tok)
{
	int kind;

	tr_assert((uintptr_t)x % TR_CACHE_LINE == 0);
	acts->x = x;
	acts->n = n;
	acts->n_tok = n_tok;
	acts->stride = tr_ops_stride(n);
	for (kind = 0; kind < TR_N_ACT_KIND; kind++)
		acts->made[kind] = kind == TR_ACT_F32;
}

struct quantise_job {
	const struct tr_acts *acts;
	const struct tr_kernels *k;
	enum tr_act_kind kind;
	size_t act_bytes;
};

static void quantise_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct quantise_job *job = ctx;
	const struct tr_acts *a = job->acts;

	(void)worker;
	for (; begin < end; begin++)
		job->k->quantise(job->kind, a->x + begin * a->stride, a->n,
			a->buf[job->kind] + begin * job->act_bytes);
}

const uint8_t *tr_acts_get(struct tr_acts *acts, const struct tr_ops *ops, enum tr_act_kind kind)
{
	struct quantise_job job = { acts, ops->k, kind, tr_act_bytes(kind, acts->n) };

	if (kind == TR_ACT_F32)
		return (const uint8_t *)acts->x;
	if (!acts->made[kind]) {
		tr_pool_run(ops->pool, quantise_rows, &job, acts->n_tok, 1);
		acts->made[kind] = true;
	}
	return acts->buf[kind];
}

size_t tr_ops_row_grain(const struct tr_ops *ops, uint64_t row_bytes, uint64_t n_row, size_t n_tok)
{
	uint64_t share = row_bytes * n_row / (tr_pool_size(ops->pool) * TASKS_PER_THREAD);
	uint64_t bytes = TR_MIN(TR_MAX(share, (uint64_t)TASK_BYTES_MIN),
		n_tok > 1 ? (uint64_t)TASK_BYTES_BATCH : (uint64_t)TASK_BYTES_MAX);

	/* Kernels take 4 rows with one activation, 16 with several. */
	return (size_t)TR_ALIGN_UP(bytes / row_bytes + 1, (uint64_t)(n_tok > 1 ? 16 : 4));
}

struct matmul_job {
	tr_dot_fn *dot;
	const struct tr_weight *w;
	const uint8_t *act;
	size_t act_bytes;
	size_t n_tok;
	float *out;
	size_t out_stride;
};

static void matmul_rows(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	const struct matmul_job *job = ctx;
	const struct tr_weight *w = job->w;

	(void)worker;
	job->dot(job->out + begin, job->out_stride, w->data + begin * w->row_bytes, w->row_bytes,
		end - begin, job->act, job->act_bytes, job->n_tok, w->cols,
		next < w->rows ? w->data + next * w->row_bytes : NULL);
}

void tr_op_matmul(const struct tr_ops *ops, float *out, size_t out_stride,
	const struct tr_weight *w, struct tr_acts *x)
{
	struct matmul_job job = {
		.dot = ops->k->dot[w->quant->id],
		.w = w,
		.act = tr_acts_get(x, ops, w->quant->act),
		.act_bytes = tr_act_bytes(w->quant->act, w->cols),
		.n_tok = x->n_tok,
		.out = out,
		.out_stride = out_stride,
	};

	tr_assert(x->n == w->cols);
	tr_pool_run_rows(ops->pool, matmul_rows, &job, w->rows,
		tr_ops_row_grain(ops, w->row_bytes, w->rows, x->n_tok));
}

struct norm_job {
	const struct tr_kernels *k;
	float *out;
	const float *x;
	const float *w;
	size_t out_stride, x_stride, n;
	float eps;
};

static void norm_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct norm_job *job = ctx;

	(void)worker;
	for (; begin < end; begin++) {
		const float *x = job->x + begin * job->x_stride;
		float mean = job->k->sum_squares(x, job->n) / (float)job->n;

		job->k->mul_scaled(job->out + begin * job->out_stride, x,
			1.0f / sqrtf(mean + job->eps), job->w, job->n);
	}
}

void tr_op_rms_norm(const struct tr_ops *ops, float *out, size_t out_stride, const float *x,
	size_t x_stride, const float *w, size_t n, size_t n_tok, float eps)
{
	struct norm_job job = { ops->k, out, x, w, out_stride, x_stride, n, eps };

	tr_pool_run(ops->pool, norm_rows, &job, n_tok, 4);
}

struct silu_job {
	const struct tr_kernels *k;
	float *out;
	const float *gate, *up;
	size_t n, stride;
};

static void silu_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct silu_job *job = ctx;
	size_t at;

	(void)worker;
	for (; begin < end; begin++) {
		at = begin * job->stride;
		job->k->silu_mul(job->out + at, job->gate + at, job->up + at, job->n);
	}
}

void tr_op_silu_mul(const struct tr_ops *ops, float *out, const float *gate, const float *up,
	size_t n, size_t stride, size_t n_tok)
{
	struct silu_job job = { ops->k, out, gate, up, n, stride };

	tr_pool_run(ops->pool, silu_rows, &job, n_tok, 2);
}

struct add_job {
	const struct tr_kernels *k;
	float *y;
	const float *x;
	size_t n, stride;
};

static void add_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct add_job *job = ctx;

	(void)worker;
	for (; begin < end; begin++)
		job->k->add(job->y + begin * job->stride, job->x + begin * job->stride, job->n);
}

void tr_op_add(const struct tr_ops *ops, float *y, const float *x, size_t n, size_t stride,
	size_t n_tok)
{
	struct add_job job = { ops->k, y, x, n, stride };

	tr_pool_run(ops->pool, add_rows, &job, n_tok, 8);
}
