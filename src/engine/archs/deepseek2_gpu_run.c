/*
 * deepseek2_gpu_run.c - layers on the device, experts on the CPU meanwhile.
 *
 *   device: norm, projections, rotation, cache, attention, output, residual, norm, router
 *           |  one copy: ids, weights, normalised input                ^ residual
 *           v                                                          |  one copy: sum of experts
 *   device: shared expert .................................. add shared, add to residual
 *   host:   experts begin, compute, combine
 *
 * The host waits once in a layer with experts, never in one whose dense network is on the device
 * too. Operations are those of deepseek2_forward.c in its order, so they give its bits. All room is
 * there before the first token.
 *
 * After a call that failed nothing more is queued: work.rc keeps its code.
 */
#include "engine/archs/deepseek2_gpu.h"
#include "base/mem.h"
#include "engine/archs/deepseek2_run.h"
#include "engine/timeline.h"

#include <string.h>

/* What the steps of a chunk share. */
struct work {
	struct ds2_chunk *c;
	struct ds2_gpu *g;
	struct tr_stream *stream;
	uint32_t n;
	int rc; /* of the first call that failed */
	struct tr_err *err;
};

static struct work work_of(struct ds2_chunk *c, struct tr_err *err)
{
	struct ds2_gpu *g = c->run->gpu_model;

	return (struct work){ c, g, g->cfg.gpu->compute, (uint32_t)c->n, 0, err };
}

static size_t stride(size_t n)
{
	return tr_ops_stride(n);
}

/* What has gone by since the last lap; the device's share is seen as waiting for its results. */
static void lap(const struct work *w, enum tr_span_kind kind, uint32_t layer)
{
	tr_lap(w->c->run->timeline, kind, layer);
}

/* --- operations ------------------------------------------------------------------------------- */

#define QUEUE(w, name, ...)                                                                        \
	do {                                                                                       \
		const struct tr_dop_##name queue_args = __VA_ARGS__;                               \
		if (!(w)->rc)                                                                      \
			(w)->rc = tr_device_##name((w)->stream, &queue_args, (w)->err);            \
	} while (0)

static void copy(struct work *w, enum tr_copy way, void *dst, const void *src, size_t bytes)
{
	if (!w->rc)
		w->rc = tr_stream_copy(w->stream, way, dst, src, bytes, w->err);
}

static void norm(struct work *w, float *out, const float *x, const float *weight, uint32_t n,
	size_t row, uint32_t n_tok)
{
	QUEUE(w, rms_norm, { .n = n, .n_tok = n_tok, .eps = w->g->d->eps, .out = out, .x = x,
		.w = weight, .out_stride = row, .x_stride = row });
}

static void add(struct work *w, float *y, const float *x)
{
	uint32_t n = w->g->d->info.n_embd;

	QUEUE(w, add, { .n = n, .n_tok = w->n, .y = y, .x = x, .stride = stride(n) });
}

/* The inputs of the matrices that follow: n_tok rows of n values. */
static void set_acts(struct work *w, const float *x, size_t n)
{
	w->g->acts_x = x;
	w->g->acts_n = n;
	memset(w->g->acts_made, 0, sizeof(w->g->acts_made));
}

static const uint8_t *get_acts(struct work *w, enum tr_act_kind kind, uint32_t n_tok)
{
	struct ds2_gpu *g = w->g;
	uint32_t n = (uint32_t)g->acts_n;

	if (kind == TR_ACT_F32)
		return (const uint8_t *)g->acts_x;
	if (!g->acts_made[kind])
		QUEUE(w, quantise, { .kind = kind, .n = n, .n_row = n_tok, .n_group = 1,
			.x = g->acts_x, .x_stride = stride(n), .act = g->room.act[kind],
			.act_bytes = tr_act_bytes(kind, n) });
	g->acts_made[kind] = true;
	return g->room.act[kind];
}

static void multiply(struct work *w, float *out, const struct tr_weight *m, const uint8_t *act,
	uint32_t n_tok)
{
	QUEUE(w, matmul, { .quant = m->quant->id, .n = (uint32_t)m->cols,
		.n_row = (uint32_t)m->rows, .n_act = n_tok, .n_mat = 1, .w = m->data, .row_bytes = m->row_bytes, .act = act,
		.act_bytes = tr_act_bytes(m->quant->act, m->cols), .out = out,
		.out_stride = stride(m->rows) });
}

static void matmul(struct work *w, float *out, const struct tr_weight *m, uint32_t n_tok)
{
	multiply(w, out, m, get_acts(w, m->quant->act, n_tok), n_tok);
}

/* Rows of n_tok tokens, and of the heads within one. */
struct head_rows {
	float *x;
	size_t stride, head_stride;
};

/* A matrix of m->rows / n_head rows for every head. */
static void head_matmul(struct work *w, struct head_rows out, const struct tr_weight *m,
	struct head_rows x, uint32_t n_tok)
{
	uint32_t n_head = w->g->d->mla.n_head, n = (uint32_t)m->cols;
	uint32_t n_row = (uint32_t)(m->rows / n_head);
	enum tr_act_kind kind = m->quant->act;
	size_t bytes = tr_act_bytes(kind, n);
	uint8_t *act = w->g->room.act[kind];

	QUEUE(w, quantise, { .kind = kind, .n = n, .n_row = n_tok, .n_group = n_head, .x = x.x,
		.x_stride = x.stride, .x_group_stride = x.head_stride, .act = act,
		.act_bytes = bytes, .act_group_bytes = n_tok * bytes });
	QUEUE(w, matmul, { .quant = m->quant->id, .n = n, .n_row = n_row, .n_act = n_tok,
		.n_mat = n_head, .w = m->data, .row_bytes = m->row_bytes,
		.mat_bytes = n_row * m->row_bytes, .act = act, .act_bytes = bytes,
		.act_mat_bytes = n_tok * bytes, .out = out.x, .out_stride = out.stride,
		.out_mat_stride = out.head_stride });
}

static void rotate(struct work *w, struct head_rows x, struct head_rows out, uint32_t n_head,
	uint32_t first, uint32_t n_tok)
{
	uint32_t n_rot = w->g->d->mla.n_rot;

	QUEUE(w, rope, { .pairing = TR_ROPE_PAIRS, .n_rot = n_rot, .n_head = n_head, .n_tok = n_tok,
		.x = x.x, .x_stride = x.stride, .x_head_stride = x.head_stride, .out = out.x,
		.out_stride = out.stride, .out_head_stride = out.head_stride,
		.table = w->g->rope + (size_t)first * n_rot });
}

/* --- attention -------------------------------------------------------------------------------- */

static void store_kv(struct work *w, uint32_t layer)
{
	const struct tr_mla *a = &w->g->d->mla;
	const struct tr_kv *kv = w->c->run->kv;
	float *x = w->g->room.kv;
	size_t step = stride(a->n_lat + a->n_rot);
	struct head_rows keys = { x + a->n_lat, step, 0 };

	norm(w, x, x, w->g->layers[layer].kv_a_norm, a->n_lat, step, w->n);
	rotate(w, keys, keys, 1, 0, w->n);
	QUEUE(w, kv_store, { .type = kv->type, .width = kv->width, .n_tok = w->n, .x = x,
		.x_stride = step, .kv = tr_gpu_kv_row(w->c->run->gpu_kv, layer, w->c->pos),
		.row_bytes = kv->row_bytes });
}

/* Tokens first .. first + n_tok of the chunk. */
static void attend(struct work *w, uint32_t layer, uint32_t first, uint32_t n_tok)
{
	const struct tr_mla *a = &w->g->d->mla;
	const struct ds2_gpu_layer *l = &w->g->layers[layer];
	const struct ds2_gpu_room *room = &w->g->room;
	const struct tr_kv *kv = w->c->run->kv;
	size_t n_qk = a->n_nope + a->n_rot, width = a->n_lat + a->n_rot;
	size_t q_step = stride(l->q.rows), o_step = stride(l->out.cols);
	struct head_rows q = { room->q + first * q_step, q_step, n_qk };
	struct head_rows q_rot = { q.x + a->n_nope, q_step, n_qk };
	struct head_rows query = { room->query, a->n_head * width, width };
	struct head_rows query_rot = { room->query + a->n_lat, query.stride, width };
	struct head_rows ctx = { room->ctx, (size_t)a->n_head * a->n_lat, a->n_lat };
	struct head_rows o = { room->o + first * o_step, o_step, a->n_v };

	head_matmul(w, query, &l->k_b, q, n_tok);
	rotate(w, q_rot, query_rot, a->n_head, first, n_tok);
	QUEUE(w, mla, { .type = kv->type, .pos = w->c->pos + first, .n_tok = n_tok,
		.n_tok_once = n_tok, .n_head = a->n_head, .n_lat = a->n_lat, .n_rot = a->n_rot,
		.scale = a->scale, .query = query.x,
		.kv = tr_gpu_kv_row(w->c->run->gpu_kv, layer, 0), .row_bytes = kv->row_bytes, .ctx = ctx.x, .scratch = room->mla });
	head_matmul(w, o, &l->v_b, ctx, n_tok);
}

static void attention(struct work *w, uint32_t layer)
{
	const struct ds2 *d = w->g->d;
	const struct ds2_gpu_layer *l = &w->g->layers[layer];
	const struct ds2_gpu_room *room = &w->g->room;
	uint32_t n_embd = d->info.n_embd, at, n;

	norm(w, room->branch, w->g->h, l->attn_norm, n_embd, stride(n_embd), w->n);
	set_acts(w, room->branch, n_embd);
	matmul(w, room->kv, &l->kv_a, w->n);
	if (d->q_lora) {
		matmul(w, room->qa, &l->q_a, w->n);
		norm(w, room->qa, room->qa, l->q_a_norm, d->q_lora, stride(d->q_lora), w->n);
		set_acts(w, room->qa, d->q_lora);
	}
	matmul(w, room->q, &l->q, w->n);
	store_kv(w, layer);
	for (at = 0; at < w->n; at += n) {
		n = TR_MIN(w->n - at, w->g->n_group);
		attend(w, layer, at, n);
	}
	set_acts(w, room->o, l->out.cols);
	matmul(w, room->branch, &l->out, w->n);
	add(w, w->g->h, room->branch);
}

/* --- after attention -------------------------------------------------------------------------- */

/* The inputs were set; they are others when it returns. */
static void feed_forward(struct work *w, const struct ds2_gpu_layer *l, float *out)
{
	const struct ds2_gpu_room *room = &w->g->room;
	enum tr_act_kind kind = l->down.quant->act;
	uint32_t n_ff = (uint32_t)l->gate.rows;
	size_t bytes = tr_act_bytes(kind, n_ff);

	matmul(w, room->gate, &l->gate, w->n);
	matmul(w, room->up, &l->up, w->n);
	QUEUE(w, quantise, { .kind = kind, .n = n_ff, .n_row = w->n, .n_group = 1, .x = room->gate,
		.up = room->up, .x_stride = stride(n_ff), .act = room->act[kind],
		.act_bytes = bytes });
	multiply(w, out, &l->down, room->act[kind], w->n);
}

static bool is_foreseen(const struct ds2_chunk *c)
{
	return c->run->foresee && c->n == 1;
}

/* Brings ids, weights and input to the host, and for who foresees logits and residual stream. */
static void hand_over(struct work *w, bool moe)
{
	const struct ds2 *d = w->g->d;
	struct ds2_gpu_back at = ds2_gpu_back(d, w->n);
	uint8_t *back = w->g->room.back;
	size_t n_expert = stride(d->router.n_expert), n_embd = stride(d->info.n_embd);
	bool all = is_foreseen(w->c);

	if (all && moe)
		copy(w, TR_COPY_IN_DEVICE, back + at.router, w->g->room.router,
			n_expert * sizeof(float));
	if (all)
		copy(w, TR_COPY_IN_DEVICE, back + at.h, w->g->h, n_embd * sizeof(float));
	copy(w, TR_COPY_TO_HOST, w->g->pinned.back, back, all ? at.bytes : at.end);
	if (!w->rc)
		w->rc = tr_stream_record(w->stream, w->g->ready, w->err);
}

/* Waits for it: the input is c->s->acts_ffn, the rest where the CPU's own steps leave it. */
static void receive(struct work *w, bool moe)
{
	const struct ds2 *d = w->g->d;
	struct ds2_scratch *s = w->c->s;
	struct ds2_gpu_back at = ds2_gpu_back(d, w->n);
	const uint8_t *back = w->g->pinned.back;
	size_t n_id = (size_t)w->n * d->router.n_used;

	if (!w->rc)
		w->rc = tr_event_sync(w->g->ready, w->err);
	if (w->rc)
		return;
	tr_acts_set(&s->acts_ffn, (const float *)(const void *)(back + at.x), d->info.n_embd, w->n);
	if (moe) {
		memcpy(s->ids, back + at.ids, n_id * sizeof(*s->ids));
		memcpy(s->weights, back + at.weights, n_id * sizeof(*s->weights));
	}
	if (!is_foreseen(w->c))
		return;
	memcpy(s->h, back + at.h, d->info.n_embd * sizeof(*s->h));
	if (moe) {
		memcpy(s->router, back + at.router, d->router.n_expert * sizeof(*s->router));
		tr_router_scores(&d->router, w->c->run->ops.k, s->router, s->router_work);
	}
}

/* What the host computed comes to room.branch. */
static void send_branch(struct work *w)
{
	copy(w, TR_COPY_TO_DEVICE, w->g->room.branch, w->g->pinned.branch,
		w->n * stride(w->g->d->info.n_embd) * sizeof(float));
}

static float *back_input(const struct work *w)
{
	return (float *)(void *)(w->g->room.back + ds2_gpu_back(w->g->d, w->n).x);
}

static void route(struct work *w, const struct ds2_gpu_layer *l)
{
	const struct ds2 *d = w->g->d;
	struct ds2_gpu_back at = ds2_gpu_back(d, w->n);
	uint8_t *back = w->g->room.back;

	matmul(w, w->g->room.router, &l->router, w->n);
	QUEUE(w, router, { .r = d->router, .n_tok = w->n, .logits = w->g->room.router,
		.stride = stride(d->router.n_expert), .bias = l->bias,
		.ids = (uint32_t *)(void *)(back + at.ids),
		.weights = (float *)(void *)(back + at.weights) });
}

/* Those of the CPU, while the device has the shared one. */
static void experts(struct work *w, uint32_t layer)
{
	const struct ds2_ffn *shared = &w->c->d->layers[layer].ffn;
	const struct ds2_gpu_layer *l = &w->g->layers[layer];
	struct ds2_scratch *s = w->c->s;
	float *branch = w->g->pinned.branch;
	bool there = l->gate.data;

	route(w, l);
	hand_over(w, true);
	if (there)
		feed_forward(w, l, w->g->room.shared);
	receive(w, true);
	lap(w, TR_SPAN_ATTENTION, layer);
	if (!w->rc)
		w->rc = ds2_experts_begin(w->c, layer, w->err);
	if (w->rc)
		return;
	lap(w, TR_SPAN_LOOKUP, layer);
	ds2_look_ahead(w->c, layer);
	if (shared->gate.quant && !there)
		ds2_feed_forward(w->c, shared, &s->acts_ffn, s->shared);
	lap(w, TR_SPAN_SHARED, layer);
	w->rc = ds2_experts_end(w->c, branch, w->err);
	if (w->rc)
		return;
	if (shared->gate.quant && !there)
		tr_op_add(&w->c->run->ops, branch, s->shared, w->c->d->info.n_embd,
			stride(w->c->d->info.n_embd), w->c->n);
	send_branch(w);
	if (there)
		add(w, w->g->room.branch, w->g->room.shared);
	add(w, w->g->h, w->g->room.branch);
	lap(w, TR_SPAN_COMBINE, layer);
}

static void dense(struct work *w, uint32_t layer)
{
	const struct ds2_gpu_layer *l = &w->g->layers[layer];
	bool there = l->gate.data;

	if (!there || is_foreseen(w->c)) {
		hand_over(w, false);
		receive(w, false);
		if (w->rc)
			return;
		ds2_look_ahead(w->c, layer);
	}
	if (there) {
		feed_forward(w, l, w->g->room.branch);
	} else {
		ds2_feed_forward(w->c, &w->c->d->layers[layer].ffn, &w->c->s->acts_ffn,
			w->g->pinned.branch);
		send_branch(w);
	}
	add(w, w->g->h, w->g->room.branch);
	lap(w, TR_SPAN_DENSE, layer);
}

/* --- the residual stream ---------------------------------------------------------------------- */

static size_t h_bytes(const struct ds2_chunk *c)
{
	return c->n * stride(c->d->info.n_embd) * sizeof(float);
}

/* The table of rotations goes with it: the first layer on the device needs both. */
static void send_h(struct work *w)
{
	struct ds2_gpu *g = w->g;
	struct ds2_gpu_in at = ds2_gpu_in(g->d, w->n);

	if (g->has_h)
		return;
	memcpy(g->pinned.in, w->c->s->rope, w->n * g->d->mla.n_rot * sizeof(float));
	memcpy(g->pinned.in + at.h, w->c->s->h, h_bytes(w->c));
	copy(w, TR_COPY_TO_DEVICE, g->room.in, g->pinned.in, at.bytes);
	g->h = (float *)(void *)(g->room.in + at.h);
	g->rope = (const float *)(const void *)g->room.in;
	g->has_h = true;
}

int ds2_gpu_fetch(struct ds2_chunk *c, bool only_last, struct tr_err *err)
{
	size_t n_embd = stride(c->d->info.n_embd), first = only_last ? c->n - 1 : 0;
	struct work w;

	if (!c->run->gpu_model)
		return 0;
	w = work_of(c, err);
	if (!w.g->has_h)
		return 0;
	copy(&w, TR_COPY_TO_HOST, w.g->pinned.in, w.g->h + first * n_embd,
		(c->n - first) * n_embd * sizeof(float));
	if (!w.rc)
		w.rc = tr_stream_sync(w.stream, err);
	if (!w.rc)
		memcpy(c->s->h + first * n_embd, w.g->pinned.in,
			(c->n - first) * n_embd * sizeof(float));
	w.g->has_h = false;
	return w.rc;
}

/* --- a chunk ---------------------------------------------------------------------------------- */

void ds2_gpu_begin(struct ds2_chunk *c)
{
	struct ds2_gpu *g = c->run->gpu_model;

	if (g)
		g->has_h = false;
}

bool ds2_gpu_has_layer(const struct ds2_chunk *c, uint32_t layer)
{
	const struct ds2_gpu *g = c->run->gpu_model;

	return g && g->cfg.place->on[TR_GPU_ATTENTION][layer];
}

/* The chunk is its last token from now on. */
static void keep_last(struct work *w)
{
	w->g->h += (w->c->n - 1) * stride(w->c->d->info.n_embd);
	w->c->pos += (uint32_t)w->c->n - 1;
	w->n = 1;
	w->c->n = 1;
}

/* As run_layer of deepseek2_forward.c; attention is of all tokens here. */
int ds2_gpu_layer(struct ds2_chunk *c, uint32_t layer, struct tr_err *err)
{
	bool is_last = layer + 1 == c->d->info.n_layer;
	struct work w = work_of(c, err);
	uint32_t n_embd = c->d->info.n_embd;
	float *x;

	send_h(&w);
	attention(&w, layer);
	if (c->scan && is_last) {
		if (!c->want_logits)
			return w.rc;
		keep_last(&w);
	}
	x = back_input(&w);
	norm(&w, x, w.g->h, w.g->layers[layer].ffn_norm, n_embd, stride(n_embd), w.n);
	set_acts(&w, x, n_embd);
	if (c->d->layers[layer].moe)
		experts(&w, layer);
	else
		dense(&w, layer);
	return w.rc;
}

bool ds2_gpu_has_head(const struct ds2_chunk *c)
{
	const struct ds2_gpu *g = c->run->gpu_model;

	return g && g->cfg.place->on[TR_GPU_HEAD][0];
}

int ds2_gpu_logits(struct ds2_chunk *c, struct tr_err *err)
{
	struct work w = work_of(c, err);
	struct ds2_gpu *g = w.g;
	uint32_t n_embd = c->d->info.n_embd;
	size_t bytes = c->d->info.n_vocab * sizeof(float);
	const float *last;

	send_h(&w);
	last = g->h + (c->n - 1) * stride(n_embd);
	norm(&w, g->room.branch, last, g->head.attn_norm, n_embd, stride(n_embd), 1);
	set_acts(&w, g->room.branch, n_embd);
	matmul(&w, g->room.logits, &g->head.out, 1);
	copy(&w, TR_COPY_TO_HOST, g->pinned.logits, g->room.logits, bytes);
	if (!w.rc)
		w.rc = tr_stream_sync(w.stream, err);
	if (w.rc)
		return w.rc;
	memcpy(c->run->logits, g->pinned.logits, bytes);
	lap(&w, TR_SPAN_HEAD, c->d->info.n_layer - 1);
	return ds2_check_logits(c, err);
}

int ds2_gpu_end(struct ds2_chunk *c, int rc, struct tr_err *err)
{
	struct work w;

	if (!c->run->gpu_model)
		return rc;
	w = work_of(c, err);
	if (rc)
		tr_stream_sync(w.stream, NULL); /* pinned memory is written anew */
	else
		rc = tr_stream_sync(w.stream, err);
	return rc;
}
