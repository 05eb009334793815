/*
 * deepseek2_forward.c - tokens through the layers.
 *
 * Every op handles all tokens of the chunk; each token is computed on its own, so chunk sizes do not
 * change a bit. Reads of missing experts are submitted before the shared expert is computed.
 */
#include "engine/archs/deepseek2_run.h"
#include "base/mem.h"
#include "engine/foresee.h"
#include "engine/laps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t stride(size_t n)
{
	return tr_ops_stride(n);
}

static uint32_t max_ff(const struct ds2 *d)
{
	return TR_MAX(TR_MAX(d->n_ff, d->n_ff_shared), 1u);
}

static bool alloc(struct ds2_scratch *s, const struct ds2 *d, const struct tr_run *run)
{
	const struct tr_mla *a = &d->mla;
	size_t n = s->n_tok_max, n_ff = max_ff(d), n_head_q = a->n_head * (a->n_nope + a->n_rot);
	size_t wide = TR_MAX(TR_MAX(d->info.n_embd, n_ff), TR_MAX(a->n_head * a->n_v, d->q_lora));
	struct {
		float **p;
		size_t width;
	} rows[] = {
		{ &s->h, d->info.n_embd }, { &s->x, d->info.n_embd }, { &s->branch, d->info.n_embd },
		{ &s->shared, d->info.n_embd }, { &s->qa, d->q_lora }, { &s->q, n_head_q },
		{ &s->kv, a->n_lat + a->n_rot }, { &s->o, a->n_head * a->n_v }, { &s->gate, n_ff },
		{ &s->up, n_ff }, { &s->rope, a->n_rot }, { &s->router, d->router.n_expert },
		{ &s->router_work, 2 * (size_t)d->router.n_expert },
	};
	size_t i;

	for (i = 0; i < TR_ARRAY_LEN(rows); i++) {
		*rows[i].p = tr_alloc(n * stride(rows[i].width), sizeof(float));
		if (!*rows[i].p)
			return false;
	}
	s->ids = tr_calloc(n * (run->n_routed + 1), sizeof(*s->ids));
	s->weights = tr_calloc(n * (run->n_routed + 1), sizeof(*s->weights));
	s->mla = tr_alloc(1,
		tr_mla_scratch_bytes(a, run->kv->n_ctx, tr_pool_size(run->ops.pool)));
	return s->ids && s->weights && s->mla && !tr_acts_init(&s->acts, wide, n) &&
		!tr_acts_init(&s->acts_ffn, d->info.n_embd, n);
}

int ds2_scratch_new(void **out, const void *am, const struct tr_run *run, struct tr_err *err)
{
	struct ds2_scratch *s = tr_calloc(1, sizeof(*s));

	if (s)
		s->n_tok_max = run->n_tok_max;
	if (!s || !alloc(s, am, run)) {
		ds2_scratch_free(s);
		return tr_err_set(err, TR_E_NOMEM, "session: no memory for chunks of %u tokens",
			run->n_tok_max);
	}
	*out = s;
	return 0;
}

void ds2_scratch_free(void *scratch)
{
	struct ds2_scratch *s = scratch;

	if (!s)
		return;
	tr_acts_fini(&s->acts);
	tr_acts_fini(&s->acts_ffn);
	free(s->h);
	free(s->x);
	free(s->branch);
	free(s->shared);
	free(s->qa);
	free(s->q);
	free(s->kv);
	free(s->o);
	free(s->gate);
	free(s->up);
	free(s->rope);
	free(s->router);
	free(s->router_work);
	free(s->ids);
	free(s->weights);
	free(s->mla);
	free(s);
}

/* What has been done since the last call of it. */
static void lap(const struct ds2_chunk *c, enum tr_span_kind kind, uint32_t layer)
{
	tr_lap(c->run->laps, kind, layer);
}

static void matmul(struct ds2_chunk *c, float *out, const struct tr_weight *w, struct tr_acts *x)
{
	tr_op_matmul(&c->run->ops, out, stride(w->rows), w, x);
}

static void norm(struct ds2_chunk *c, float *out, const float *x, const float *w, size_t n)
{
	tr_op_rms_norm(&c->run->ops, out, stride(n), x, stride(n), w, n, c->n, c->d->eps);
}

static void add(struct ds2_chunk *c, float *y, const float *x)
{
	tr_op_add(&c->run->ops, y, x, c->d->info.n_embd, stride(c->d->info.n_embd), c->n);
}

static void embed(struct ds2_chunk *c, const int32_t *ids)
{
	const struct tr_weight *w = &c->d->embd;
	size_t t;

	for (t = 0; t < c->n; t++)
		w->quant->dequant(w->data + (uint64_t)ids[t] * w->row_bytes,
			c->s->h + t * stride(w->cols), w->cols);
}

/* Latents and rotated keys of the chunk go to the cache. */
static void store_kv(struct ds2_chunk *c, uint32_t layer, const struct ds2_layer *l)
{
	const struct tr_mla *a = &c->d->mla;
	size_t step = stride(a->n_lat + a->n_rot), t;

	tr_op_rms_norm(&c->run->ops, c->s->kv, step, c->s->kv, step, l->kv_a_norm, a->n_lat, c->n,
		c->d->eps);
	for (t = 0; t < c->n; t++) {
		float *row = c->s->kv + t * step;

		tr_rope_rotate_pairs(row + a->n_lat, c->s->rope + t * a->n_rot, a->n_rot);
		tr_kv_store(c->run->kv, c->run->ops.k, layer, c->pos + (uint32_t)t, row);
	}
}

/* The chunk is its last token from now on, whose rows become the first ones. */
static void keep_last(struct ds2_chunk *c)
{
	size_t n_embd = stride(c->d->info.n_embd), n_rot = c->d->mla.n_rot, at = c->n - 1;
	struct ds2_scratch *s = c->s;

	memmove(s->h, s->h + at * n_embd, n_embd * sizeof(*s->h));
	memmove(s->x, s->x + at * n_embd, n_embd * sizeof(*s->x));
	memmove(s->rope, s->rope + at * n_rot, n_rot * sizeof(*s->rope));
	c->pos += (uint32_t)at;
	c->n = 1;
}

/* What the chunk leaves for later tokens. s->x is the input of the rest. */
static void remember(struct ds2_chunk *c, uint32_t layer)
{
	const struct ds2_layer *l = &c->d->layers[layer];
	struct ds2_scratch *s = c->s;

	norm(c, s->x, s->h, l->attn_norm, c->d->info.n_embd);
	tr_acts_set(&s->acts, s->x, c->d->info.n_embd, c->n);
	matmul(c, s->kv, &l->kv_a, &s->acts);
	store_kv(c, layer, l);
}

static void attention(struct ds2_chunk *c, uint32_t layer)
{
	const struct ds2_layer *l = &c->d->layers[layer];
	const struct tr_mla *a = &c->d->mla;
	struct ds2_scratch *s = c->s;

	if (c->d->q_lora) {
		matmul(c, s->qa, &l->q_a, &s->acts);
		norm(c, s->qa, s->qa, l->q_a_norm, c->d->q_lora);
		tr_acts_set(&s->acts, s->qa, c->d->q_lora, c->n);
	}
	matmul(c, s->q, &l->q, &s->acts);
	tr_mla_attend(a, &c->run->ops, c->run->kv, layer, c->pos, c->n, s->q, stride(l->q.rows),
		s->rope, &l->k_b, &l->v_b, s->o, stride(l->out.cols), s->mla);
	tr_acts_set(&s->acts, s->o, l->out.cols, c->n);
	matmul(c, s->branch, &l->out, &s->acts);
	add(c, s->h, s->branch);
}

void ds2_feed_forward(struct ds2_chunk *c, const struct ds2_ffn *f, struct tr_acts *x, float *out)
{
	struct ds2_scratch *s = c->s;

	matmul(c, s->gate, &f->gate, x);
	matmul(c, s->up, &f->up, x);
	tr_op_silu_mul(&c->run->ops, s->gate, s->gate, s->up, f->gate.rows, stride(f->gate.rows),
		c->n);
	tr_acts_set(&s->acts, s->gate, f->down.cols, c->n);
	matmul(c, out, &f->down, &s->acts);
}

struct route_job {
	struct ds2_chunk *c;
	const struct ds2_layer *l;
};

static void route_tokens(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct route_job *job = ctx;
	const struct tr_router *r = &job->c->d->router;
	struct ds2_scratch *s = job->c->s;

	(void)worker;
	for (; begin < end; begin++)
		tr_router_pick(r, job->c->run->ops.k, s->router + begin * stride(r->n_expert),
			job->l->bias, s->router_work + begin * stride(2 * (size_t)r->n_expert),
			s->ids + begin * r->n_used, s->weights + begin * r->n_used);
}

static void route(struct ds2_chunk *c, uint32_t layer)
{
	struct route_job job = { c, &c->d->layers[layer] };

	matmul(c, c->s->router, &job.l->router, &c->s->acts_ffn);
	tr_pool_run(c->run->ops.pool, route_tokens, &job, c->n, 4);
}

/* Branch, router and acts are free between the reads of a layer and its feed-forward network. */
void ds2_route_ahead(const void *am, struct tr_run *run, uint32_t layer, float *scores)
{
	struct ds2_chunk c = { .d = am, .run = run, .s = run->scratch, .n = 1 };
	const struct ds2_layer *l = &c.d->layers[layer];

	norm(&c, c.s->branch, c.s->h, l->ffn_norm, c.d->info.n_embd);
	tr_acts_set(&c.s->acts, c.s->branch, c.d->info.n_embd, 1);
	matmul(&c, c.s->router, &l->router, &c.s->acts);
	tr_router_scores(&c.d->router, run->ops.k, c.s->router, scores);
}

void ds2_look_ahead(struct ds2_chunk *c, uint32_t layer)
{
	const struct ds2_scratch *s = c->s;
	struct tr_routed routed = { s->ids, s->weights, s->router_work };

	if (!c->run->foresee || c->scan)
		return;
	tr_foresee_look(c->run->foresee, c->run, layer, c->d->layers[layer].moe ? &routed : NULL);
	lap(c, TR_SPAN_PREDICT, layer);
}

int ds2_experts_begin(struct ds2_chunk *c, uint32_t layer, const float *there, struct tr_err *err)
{
	struct ds2_scratch *s = c->s;

	tr_run_routed(c->run, layer, s->ids, s->weights, c->n, c->scan);
	return tr_moe_begin(c->run->moe, layer, &s->acts_ffn, there, s->ids, c->scan, err);
}

int ds2_experts_end(struct ds2_chunk *c, float *out, struct tr_err *err)
{
	int rc = tr_moe_finish(c->run->moe, err);

	if (!rc)
		tr_moe_combine(c->run->moe, c->s->weights, out, stride(c->d->info.n_embd));
	return rc;
}

static int experts(struct ds2_chunk *c, uint32_t layer, struct tr_err *err)
{
	const struct ds2_layer *l = &c->d->layers[layer];
	struct ds2_scratch *s = c->s;
	int rc;

	route(c, layer);
	lap(c, TR_SPAN_ROUTER, layer);
	rc = ds2_experts_begin(c, layer, NULL, err);
	if (rc)
		return rc;
	lap(c, TR_SPAN_LOOKUP, layer);
	ds2_look_ahead(c, layer);
	if (l->ffn.gate.quant)
		ds2_feed_forward(c, &l->ffn, &s->acts_ffn, s->shared);
	lap(c, TR_SPAN_SHARED, layer);
	rc = ds2_experts_end(c, s->branch, err);
	if (rc)
		return rc;
	if (l->ffn.gate.quant)
		add(c, s->branch, s->shared);
	add(c, s->h, s->branch);
	lap(c, TR_SPAN_COMBINE, layer);
	return 0;
}

/* Of the last layer only the last token's output is wanted, and in chunks before the last one
 * nothing but what later tokens attend to. */
static int run_layer(struct ds2_chunk *c, uint32_t layer, struct tr_err *err)
{
	const struct ds2_layer *l = &c->d->layers[layer];
	bool is_last = layer + 1 == c->d->info.n_layer;
	struct ds2_scratch *s = c->s;

	remember(c, layer);
	if (c->scan && is_last) {
		if (!c->want_logits)
			return 0;
		keep_last(c);
		tr_acts_set(&s->acts, s->x, c->d->info.n_embd, c->n);
	}
	attention(c, layer);
	norm(c, s->x, s->h, l->ffn_norm, c->d->info.n_embd);
	tr_acts_set(&s->acts_ffn, s->x, c->d->info.n_embd, c->n);
	lap(c, TR_SPAN_ATTENTION, layer);
	if (l->moe)
		return experts(c, layer, err);
	ds2_look_ahead(c, layer);
	ds2_feed_forward(c, &l->ffn, &s->acts_ffn, s->branch);
	add(c, s->h, s->branch);
	lap(c, TR_SPAN_DENSE, layer);
	return 0;
}

int ds2_check_logits(const struct ds2_chunk *c, struct tr_err *err)
{
	if (isfinite(c->run->ops.k->sum_squares(c->run->logits, c->d->info.n_vocab)))
		return 0;
	return tr_err_set(err, TR_E_FORMAT,
		"logits are not finite: the weights are broken or overflow float32");
}

static int logits(struct ds2_chunk *c, struct tr_err *err)
{
	const struct ds2 *d = c->d;
	struct ds2_scratch *s = c->s;
	float *last = s->h + (c->n - 1) * stride(d->info.n_embd);

	c->n = 1;
	norm(c, s->x, last, d->out_norm, d->info.n_embd);
	tr_acts_set(&s->acts, s->x, d->info.n_embd, 1);
	matmul(c, c->run->logits, &d->head, &s->acts);
	lap(c, TR_SPAN_HEAD, d->info.n_layer - 1);
	return ds2_check_logits(c, err);
}

/* With a device the residual stream goes where the next step is. */
static int layer_anywhere(struct ds2_chunk *c, uint32_t layer, struct tr_err *err)
{
	int rc;

	if (ds2_gpu_has_layer(c, layer))
		return ds2_gpu_layer(c, layer, err);
	rc = ds2_gpu_fetch(c, false, err);
	return rc ? rc : run_layer(c, layer, err);
}

static int logits_anywhere(struct ds2_chunk *c, struct tr_err *err)
{
	int rc;

	if (ds2_gpu_has_head(c))
		return ds2_gpu_logits(c, err);
	rc = ds2_gpu_fetch(c, true, err);
	return rc ? rc : logits(c, err);
}

static int run_chunk(struct ds2_chunk *c, struct tr_err *err)
{
	uint32_t layer;
	int rc = 0;

	ds2_gpu_begin(c);
	for (layer = 0; layer < c->d->info.n_layer && !rc; layer++)
		rc = layer_anywhere(c, layer, err);
	if (!rc && c->want_logits)
		rc = logits_anywhere(c, err);
	return ds2_gpu_end(c, rc, err);
}

int ds2_forward(const void *am, struct tr_run *run, const int32_t *ids, size_t n, uint32_t pos,
	bool want_logits, struct tr_err *err)
{
	struct ds2_chunk c = { am, run, run->scratch, n, pos, n > 1, want_logits };

	tr_assert(n >= 1 && n <= run->n_tok_max && pos + n <= run->kv->n_ctx);
	if (n > 1 && run->moe)
		tr_moe_expect(run->moe, 0, n);
	embed(&c, ids);
	tr_rope_table(&c.d->rope, pos, n, c.s->rope);
	lap(&c, TR_SPAN_OTHER, 0);
	return run_chunk(&c, err);
}
