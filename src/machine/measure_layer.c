/*
 * measure_layer.c - what a layer takes beside the bytes of its weights: norms, sums, quantising,
 * and attention over the positions before.
 *
 * Two widths and two positions make lines. The attention is of Kimi's shape with 16 heads; its
 * matrices stay in a cache, because their bytes are counted with the other weights.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "compute/ops.h"
#include "engine/mla.h"
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REPEAT 32
#define NARROW	   2048
#define WIDE	   7168
#define NEAR	   64
#define FAR	   1024
#define N_TIMES	   20

static double median(double *ns, unsigned n)
{
	return tr_spread_of(ns, n).mid;
}

static double ns_since(uint64_t start, unsigned n)
{
	return (double)(tr_now_ns(&tr_clock_real) - start) / n;
}

/* --- between matrices ------------------------------------------------------------------------- */

/* A layer has two norms over its width (and two narrow ones), three sums, and makes three forms of
 * input. */
static double rest_ns(const struct tr_ops *ops, struct tr_acts *acts, float *x, float *y, size_t n)
{
	uint64_t start = tr_now_ns(&tr_clock_real);
	size_t step = tr_ops_stride(n);

	for (unsigned i = 0; i < N_TIMES; i++) {
		for (int k = 0; k < 3; k++) {
			tr_op_rms_norm(ops, y, step, x, step, x, n, 1, 1e-5f);
			tr_acts_set(acts, y, n, 1);
			tr_acts_get(acts, ops, TR_ACT_Q8_32);
			tr_acts_get(acts, ops, TR_ACT_Q8_256);
			tr_op_add(ops, y, x, n, step, 1);
		}
	}
	return ns_since(start, N_TIMES);
}

static int measure_rest(struct tr_machine *m, const struct tr_ops *ops, unsigned n_repeat)
{
	float *x = tr_calloc(tr_ops_stride(WIDE), sizeof(*x)),
	      *y = tr_calloc(tr_ops_stride(WIDE), sizeof(*y));
	double narrow[MAX_REPEAT], wide[MAX_REPEAT], a, b;
	struct tr_acts acts = { 0 };
	int rc = x && y && !tr_acts_init(&acts, WIDE, 1) ? 0 : TR_E_NOMEM;

	for (size_t i = 0; !rc && i < WIDE; i++)
		x[i] = (float)(i % 17) - 8;
	for (unsigned i = 0; !rc && i < n_repeat; i++) {
		narrow[i] = rest_ns(ops, &acts, x, y, NARROW);
		wide[i] = rest_ns(ops, &acts, x, y, WIDE);
	}
	if (!rc) {
		a = median(narrow, n_repeat);
		b = median(wide, n_repeat);
		m->rest_value_ns = TR_MAX(b - a, 0.0) / (WIDE - NARROW);
		m->rest_ns = TR_MAX(a - m->rest_value_ns * NARROW, 0.0);
	}
	tr_acts_fini(&acts);
	free(x);
	free(y);
	return rc;
}

/* --- attention -------------------------------------------------------------------------------- */

struct attention {
	struct tr_mla mla;
	struct tr_kv kv;
	struct tr_weight k_b, v_b;
	float *q, *rope, *out;
	void *scratch;
};

static double attend_ns(const struct tr_ops *ops, struct attention *a, uint32_t pos)
{
	size_t n_q = tr_ops_stride(a->mla.n_head * (a->mla.n_nope + a->mla.n_rot));
	uint64_t start = tr_now_ns(&tr_clock_real);

	for (unsigned i = 0; i < N_TIMES; i++)
		tr_mla_attend(&a->mla, ops, &a->kv, 0, pos, 1, a->q, n_q, a->rope, &a->k_b, &a->v_b,
			a->out, tr_ops_stride(a->mla.n_head * a->mla.n_v), a->scratch);
	return ns_since(start, N_TIMES);
}

static int make_matrix(struct tr_weight *w, uint64_t rows, uint64_t cols)
{
	const struct tr_quant *q = tr_quant_by_name("Q8_0");
	uint64_t row_bytes = cols / q->block_values * q->block_bytes;

	*w = (struct tr_weight){ q, tr_calloc(rows, row_bytes), rows, cols, row_bytes };
	return w->data ? 0 : TR_E_NOMEM;
}

static int make_attention(struct attention *a, const struct tr_ops *ops, struct tr_err *err)
{
	struct tr_mla *m = &a->mla;
	size_t n_q = m->n_head * (m->n_nope + m->n_rot);

	if (tr_kv_init(&a->kv, TR_KV_F16, 1, FAR + 1, m->n_lat + m->n_rot, err))
		return TR_E_NOMEM;
	memset(a->kv.data, 0, (FAR + 1) * a->kv.row_bytes);
	a->q = tr_calloc(tr_ops_stride(n_q), sizeof(float));
	a->rope = tr_calloc(m->n_rot, sizeof(float));
	a->out = tr_calloc(tr_ops_stride(m->n_head * m->n_v), sizeof(float));
	a->scratch = tr_calloc(1, tr_mla_scratch_bytes(m, FAR + 1, tr_pool_size(ops->pool)));
	if (!a->q || !a->rope || !a->out || !a->scratch ||
		make_matrix(&a->k_b, m->n_head * m->n_lat, m->n_nope) ||
		make_matrix(&a->v_b, m->n_head * m->n_v, m->n_lat))
		return TR_E_NOMEM;
	return 0;
}

static int measure_attention(
	struct tr_machine *m, const struct tr_ops *ops, unsigned n_repeat, struct tr_err *err)
{
	struct attention a = { .mla = { 16, 128, 64, 512, 128, 0.07f } };
	double near[MAX_REPEAT], far[MAX_REPEAT], x, y, a_position;
	int rc = make_attention(&a, ops, err);

	for (unsigned i = 0; !rc && i < n_repeat; i++) {
		near[i] = attend_ns(ops, &a, NEAR);
		far[i] = attend_ns(ops, &a, FAR);
	}
	if (!rc) {
		x = tr_spread_of(near, n_repeat).min;
		y = tr_spread_of(far, n_repeat).min;
		a_position = y > x ? (y - x) / (FAR - NEAR) : y / FAR;
		m->attend_macs_per_s = 16.0 * (2 * 512 + 64) * 1e9 / a_position;
		m->attend_ns = TR_MAX(x - NEAR * a_position, 0.0);
	}
	tr_kv_fini(&a.kv);
	free((void *)a.k_b.data);
	free((void *)a.v_b.data);
	free(a.q);
	free(a.rope);
	free(a.out);
	free(a.scratch);
	return rc;
}

int tr_measure_layer(
	struct tr_machine *m, struct tr_pool *pool, unsigned n_repeat, struct tr_err *err)
{
	struct tr_ops ops = { pool, tr_kernels_best() };
	int rc;

	n_repeat = TR_MIN(n_repeat, (unsigned)MAX_REPEAT);
	rc = measure_rest(m, &ops, n_repeat);
	if (!rc)
		rc = measure_attention(m, &ops, n_repeat, err);
	return rc ? tr_err_set(err, rc, "measuring a layer: out of memory") : 0;
}
