/*
 * measure_kernel.c - matrices of a weight type by one vector and by many, as the engine multiplies
 * them.
 *
 * Small and large matrices follow one another through the area, so that none is in a cache. Two
 * sizes make a line: what a matrix takes beside its bytes, and the rate of its bytes. Bits of noise
 * are weights like others to the kernels, whatever comes out.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "compute/ops.h"
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REPEAT  32
#define N_BATCH	    32
#define SMALL_BYTES ((uint64_t)768 << 10) /* a matrix of attention */
#define LARGE_BYTES ((uint64_t)12 << 20)  /* a layer's experts */
#define BATCH_BYTES ((uint64_t)4 << 20)
#define PASS_BYTES  ((uint64_t)192 << 20) /* multiplied by each repeat */

struct bench {
	struct tr_ops ops;
	const struct tr_measure_area *area;
	struct tr_weight w;
	struct tr_acts acts;
	float *x, *out;
	size_t out_stride;
	uint64_t at; /* in the area */
};

/* The next n_row rows of the area. */
static void next_matrix(struct bench *b, uint64_t n_row)
{
	uint64_t bytes = n_row * b->w.row_bytes;

	if (b->at + bytes > b->area->bytes)
		b->at = 0;
	b->w.rows = n_row;
	b->w.data = b->area->data + b->at;
	b->at += TR_ALIGN_UP(bytes, (uint64_t)4096);
}

/* Seconds for a matrix of about so many bytes; sets how many it had. */
static double multiply(struct bench *b, uint64_t want, size_t n_tok, double *bytes)
{
	uint64_t n_row = TR_MAX(TR_MIN(want, b->area->bytes) / b->w.row_bytes, (uint64_t)4);
	uint64_t n =
		TR_MAX(TR_MIN(PASS_BYTES, b->area->bytes) / (n_row * b->w.row_bytes), (uint64_t)1);
	uint64_t start;

	if (n_tok > 1)
		n = 1;
	b->out_stride = tr_ops_stride(n_row);
	tr_acts_set(&b->acts, b->x, b->w.cols, n_tok);
	tr_acts_get(&b->acts, &b->ops, b->w.quant->act);
	start = tr_now_ns(&tr_clock_real);
	for (uint64_t i = 0; i < n; i++) {
		next_matrix(b, n_row);
		tr_op_matmul(&b->ops, b->out, b->out_stride, &b->w, &b->acts);
	}
	*bytes = (double)(n_row * b->w.row_bytes);
	return (double)(tr_now_ns(&tr_clock_real) - start) * 1e-9 / (double)n;
}

static void measure(struct bench *b, struct tr_machine_kernel *k)
{
	unsigned n = TR_MIN(b->area->n_repeat, (unsigned)MAX_REPEAT);
	double rate[MAX_REPEAT], op[MAX_REPEAT], macs[MAX_REPEAT];

	for (unsigned i = 0; i < n; i++) {
		double few, many, batch, values = (double)b->w.cols / (double)b->w.row_bytes;
		double small = multiply(b, SMALL_BYTES, 1, &few);
		double large = multiply(b, LARGE_BYTES, 1, &many);
		double batch_s = multiply(b, BATCH_BYTES, N_BATCH, &batch);

		rate[i] =
			many > few && large > small ? (many - few) / (large - small) : many / large;
		op[i] = TR_MAX(small - few / rate[i], 0.0) * 1e9;
		macs[i] = batch * values * N_BATCH / batch_s;
	}
	k->bytes_per_s = tr_spread_of(rate, n);
	k->op_ns = tr_spread_of(op, n);
	k->macs_per_s = tr_spread_of(macs, n);
}

static int alloc(struct bench *b)
{
	uint64_t rows = TR_MAX(TR_MIN(LARGE_BYTES, b->area->bytes) / b->w.row_bytes, (uint64_t)4);
	uint64_t batch_rows = TR_MAX(BATCH_BYTES / b->w.row_bytes, (uint64_t)4);
	size_t n = tr_ops_stride(b->w.cols);

	b->x = tr_calloc(N_BATCH * n, sizeof(float));
	b->out = tr_calloc(
		TR_MAX(tr_ops_stride(rows), N_BATCH * tr_ops_stride(batch_rows)), sizeof(float));
	if (!b->x || !b->out || tr_acts_init(&b->acts, b->w.cols, N_BATCH))
		return TR_E_NOMEM;
	for (size_t i = 0; i < N_BATCH * n; i++)
		b->x[i] = (float)(i % 17) - 8;
	return 0;
}

int tr_measure_kernel(struct tr_machine_kernel *k, const struct tr_measure_area *area,
	const char *quant, uint32_t cols, struct tr_err *err)
{
	const struct tr_quant *q = tr_quant_by_name(quant);
	struct bench b = { .ops = { area->pool, tr_kernels_best() }, .area = area };
	int rc;

	if (!q || !b.ops.k->dot[q->id])
		return tr_err_set(
			err, TR_E_UNSUPPORTED, "measuring: no kernels for type '%s'", quant);
	if (!cols || cols % q->block_values)
		return tr_err_set(err, TR_E_INVALID,
			"measuring %s: rows of %u values, %u are a block", quant, cols,
			(unsigned)q->block_values);
	strncpy(k->quant, quant, sizeof(k->quant) - 1);
	k->cols = cols;
	b.w = (struct tr_weight){ .quant = q,
		.cols = cols,
		.row_bytes = (uint64_t)cols / q->block_values * q->block_bytes };
	if (b.w.row_bytes * 4 > area->bytes)
		return tr_err_set(err, TR_E_LIMIT,
			"measuring %s: rows of %u values, at most %llu bytes", quant, cols,
			(unsigned long long)area->bytes / 4);
	rc = alloc(&b);
	if (rc)
		rc = tr_err_set(err, rc, "measuring %s: out of memory", quant);
	else
		measure(&b, k);
	tr_acts_fini(&b.acts);
	free(b.x);
	free(b.out);
	return rc;
}
