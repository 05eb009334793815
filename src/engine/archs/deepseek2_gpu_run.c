/*
 * deepseek2_gpu_run.c - layers on the device, experts on the CPU meanwhile.
 *
 *   device: norm, projections, rotation, cache, attention, output, residual, norm, router
 *           |  one copy: ids, weights, normalised input                ^ residual
 *           v                                                          |  one copy: sum of experts
 *   device: shared expert .................................. add shared, add to residual
 *   host:   experts begin, compute, combine
 *
 * What the host has summed is joined as the next step begins, in the next layer's sequence or the
 * head's. The host waits once in a layer with experts, never in one whose dense network is on the
 * device too. Operations are those of deepseek2_forward.c in its order, so they give its bits. All
 * room is there before the first token.
 *
 * The tokens of a chunk go through these steps by slices, each of which attends to what those
 * before it have stored. Every token is computed on its own, so that changes no bit.
 *
 * A single token's steps are noted as graphs when they are first met, and queued by a call each
 * from then on; those of a prompt are queued one by one.
 *
 * After a call that failed nothing more is queued: work.rc keeps its code.
 */
#include "engine/archs/deepseek2_gpu.h"
#include "base/mem.h"
#include "engine/archs/deepseek2_run.h"
#include "engine/laps.h"

#include <string.h>

/* What the steps of a chunk share. */
struct work {
	struct ds2_chunk *c;
	struct ds2_gpu *g;
	struct tr_stream *stream;
	uint32_t first, n; /* tokens of the slice */
	int rc;		   /* of the first call that failed */
	struct tr_err *err;
};

static struct work work_of(struct ds2_chunk *c, struct tr_err *err)
{
	struct ds2_gpu *g = c->run->gpu_model;

	return (struct work){ c, g, g->cfg.gpu->compute, 0, 0, 0, err };
}

typedef void steps_fn(struct work *w, uint32_t layer);

static void each_slice(struct work *w, uint32_t layer, steps_fn *steps)
{
	for (w->first = 0; w->first < w->c->n && !w->rc; w->first += w->n) {
		w->n = TR_MIN((uint32_t)w->c->n - w->first, w->g->cut.n_slice);
		steps(w, layer);
	}
}

static size_t stride(size_t n)
{
	return tr_ops_stride(n);
}

/* The slice's rows of n_embd floats of an array for the chunk. */
static float *rows(const struct work *w, float *all)
{
	return all + w->first * stride(w->g->d->info.n_embd);
}

static float *back_input(const struct work *w)
{
	return (float *)(void *)(w->g->room.back + ds2_gpu_back(w->g->d, w->c->n).x);
}

/* What has gone by since the last lap; the device's share is seen as waiting for its results. */
static void lap(const struct work *w, enum tr_span_kind kind, uint32_t layer)
{
	tr_lap(w->c->run->laps, kind, layer);
}

/* --- graphs ----------------------------------------------------------------------------------- */

static bool is_foreseen(const struct ds2_chunk *c)
{
	return c->run->foresee && !c->scan;
}

static bool is_single(const struct work *w)
{
	return !w->c->scan;
}

/* What the steps depend on besides the layer. For a layer it never changes. */
static unsigned state_of(const struct work *w)
{
	const struct ds2_gpu *g = w->g;

	return g->has_h | g->has_branch << 1 | g->has_shared << 2 | is_foreseen(w->c) << 3;
}

static void note(struct work *w, struct ds2_gpu_graph *to, uint32_t layer, steps_fn *steps)
{
	int rc;

	w->rc = tr_stream_capture(w->stream, w->err);
	if (w->rc)
		return;
	steps(w, layer);
	rc = tr_stream_captured(&to->graph, w->stream, w->rc ? NULL : w->err);
	if (!w->rc)
		w->rc = rc;
	if (!w->rc)
		return;
	tr_graph_free(to->graph);
	to->graph = NULL;
}

/* Sets what a graph's positions end before. Returns which one that is. */
static unsigned reach(struct work *w)
{
	uint64_t end = DS2_GPU_REACH;
	unsigned i;

	for (i = 0; end <= w->c->pos; i++)
		end *= 4;
	tr_assert(i < DS2_GPU_N_REACH);
	w->g->pos_end = (uint32_t)TR_MIN(end, (uint64_t)w->g->cfg.n_ctx);
	return i;
}

static void queue(struct work *w, enum ds2_gpu_steps kind, uint32_t layer, steps_fn *steps)
{
	bool attends = kind == DS2_GPU_FRONT && layer < w->g->d->info.n_layer;
	unsigned state = state_of(w), far;
	struct ds2_gpu_graph *graph;

	if (!is_single(w)) {
		steps(w, layer);
		return;
	}
	if (w->rc)
		return;
	far = attends ? reach(w) : 0;
	graph = &w->g->graphs[layer][kind][far];
	if (!graph->graph) {
		graph->state = state;
		note(w, graph, layer, steps);
	}
	tr_assert(w->rc || graph->state == state);
	if (!w->rc)
		w->rc = tr_graph_launch(graph->graph, w->stream, w->err);
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
	uint32_t row = is_single(w) ? 0 : w->c->pos + w->first;

	norm(w, x, x, w->g->layers[layer].kv_a_norm, a->n_lat, step, w->n);
	rotate(w, keys, keys, 1, w->first, w->n);
	QUEUE(w, kv_store, { .type = kv->type, .width = kv->width, .n_tok = w->n, .x = x,
		.x_stride = step, .kv = tr_gpu_kv_row(w->c->run->gpu_kv, layer, row),
		.row_bytes = kv->row_bytes, .pos_at = is_single(w) ? w->g->pos : NULL });
}

/* Queries of n_tok tokens from position pos on to latent sums. */
static void attend_to_rows(struct work *w, uint32_t layer, uint32_t pos, uint32_t n_tok)
{
	const struct tr_mla *a = &w->g->d->mla;
	const struct ds2_gpu_room *room = &w->g->room;
	const struct tr_kv *kv = w->c->run->kv;
	const uint8_t *at = tr_gpu_kv_row(w->c->run->gpu_kv, layer, 0);

	if (!is_single(w) && n_tok * a->n_head >= DS2_GPU_PREFILL_PAIRS)
		QUEUE(w, mla_prefill, { .type = kv->type, .pos = pos, .n_tok = n_tok,
			.n_head = a->n_head, .n_lat = a->n_lat, .n_rot = a->n_rot,
			.scale = a->scale, .query = room->query, .kv = at,
			.row_bytes = kv->row_bytes, .ctx = room->ctx });
	else
		QUEUE(w, mla, { .type = kv->type, .pos = is_single(w) ? w->g->pos_end - 1 : pos,
			.pos_at = is_single(w) ? w->g->pos : NULL, .n_tok = n_tok,
			.n_tok_once = TR_MIN(n_tok, w->g->cut.n_once), .n_head = a->n_head,
			.n_lat = a->n_lat, .n_rot = a->n_rot, .scale = a->scale,
			.query = room->query, .kv = at, .row_bytes = kv->row_bytes,
			.ctx = room->ctx, .scratch = room->mla });
}

/* Tokens first .. first + n_tok of the slice. */
static void attend(struct work *w, uint32_t layer, uint32_t first, uint32_t n_tok)
{
	const struct tr_mla *a = &w->g->d->mla;
	const struct ds2_gpu_layer *l = &w->g->layers[layer];
	const struct ds2_gpu_room *room = &w->g->room;
	size_t n_qk = a->n_nope + a->n_rot, width = a->n_lat + a->n_rot;
	size_t q_step = stride(l->q.rows), o_step = stride(l->out.cols);
	struct head_rows q = { room->q + first * q_step, q_step, n_qk };
	struct head_rows q_rot = { q.x + a->n_nope, q_step, n_qk };
	struct head_rows query = { room->query, a->n_head * width, width };
	struct head_rows query_rot = { room->query + a->n_lat, query.stride, width };
	struct head_rows ctx = { room->ctx, (size_t)a->n_head * a->n_lat, a->n_lat };
	struct head_rows o = { room->o + first * o_step, o_step, a->n_v };

	head_matmul(w, query, &l->k_b, q, n_tok);
	rotate(w, q_rot, query_rot, a->n_head, w->first + first, n_tok);
	attend_to_rows(w, layer, w->c->pos + w->first + first, n_tok);
	head_matmul(w, o, &l->v_b, ctx, n_tok);
}

static void attention(struct work *w, uint32_t layer)
{
	const struct ds2 *d = w->g->d;
	const struct ds2_gpu_layer *l = &w->g->layers[layer];
	const struct ds2_gpu_room *room = &w->g->room;
	uint32_t n_embd = d->info.n_embd, at, n;

	norm(w, room->branch, rows(w, w->g->h), l->attn_norm, n_embd, stride(n_embd), w->n);
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
		n = TR_MIN(w->n - at, w->g->cut.n_group);
		attend(w, layer, at, n);
	}
	set_acts(w, room->o, l->out.cols);
	matmul(w, room->branch, &l->out, w->n);
	add(w, rows(w, w->g->h), room->branch);
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

/* Brings ids, weights and input to the host, and for who foresees logits and residual stream. */
static void hand_over(struct work *w, bool moe)
{
	const struct ds2 *d = w->g->d;
	struct ds2_gpu_back at = ds2_gpu_back(d, w->c->n);
	uint8_t *back = w->g->room.back;
	size_t n_expert = stride(d->router.n_expert), n_embd = stride(d->info.n_embd);
	bool all = is_foreseen(w->c);

	if (all && moe)
		copy(w, TR_COPY_IN_DEVICE, back + at.router, w->g->room.router,
			n_expert * sizeof(float));
	if (all)
		copy(w, TR_COPY_IN_DEVICE, back + at.h, w->g->h, n_embd * sizeof(float));
	copy(w, TR_COPY_TO_HOST, w->g->pinned.back, back, all ? at.bytes : at.end);
}

/* Waits for it: the input is c->s->acts_ffn, the rest where the CPU's own steps leave it. */
static void receive(struct work *w, bool moe)
{
	const struct ds2 *d = w->g->d;
	struct ds2_scratch *s = w->c->s;
	struct ds2_gpu_back at = ds2_gpu_back(d, w->c->n);
	const uint8_t *back = w->g->pinned.back;
	size_t n_id = w->c->n * d->router.n_used;

	if (!w->rc)
		w->rc = tr_event_sync(w->g->ready, w->err);
	if (w->rc)
		return;
	tr_acts_set(
		&s->acts_ffn, (const float *)(const void *)(back + at.x), d->info.n_embd, w->c->n);
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

/* What the host waited for, and what the device did meanwhile, are noted. */
static void await(struct work *w, uint32_t layer)
{
	const struct tr_laps *laps = w->c->run->laps;
	uint64_t begin_ns = tr_laps_now(laps); /* of the layer */

	lap(w, TR_SPAN_ATTENTION, layer);
	receive(w, w->g->d->layers[layer].moe);
	lap(w, TR_SPAN_DEVICE_IDS, layer);
	tr_laps_beside(laps, TR_SPAN_DEVICE_LAYER, layer, 0, begin_ns, tr_laps_now(laps));
}

/* --- joining ---------------------------------------------------------------------------------- */

/* What the host computed, and the shared expert, are added to the slice's residual stream. */
static void join(struct work *w)
{
	const struct ds2_gpu *g = w->g;
	size_t n_embd = stride(g->d->info.n_embd);

	if (!g->has_branch)
		return;
	copy(w, TR_COPY_TO_DEVICE, g->room.branch, g->pinned.branch + w->first * n_embd,
		w->n * n_embd * sizeof(float));
	if (g->has_shared)
		add(w, g->room.branch, rows(w, g->room.shared));
	add(w, rows(w, g->h), g->room.branch);
}

static void join_slice(struct work *w, uint32_t layer)
{
	(void)layer;
	join(w);
}

/* The host has left what the layer's experts, or its network, give in pinned.branch. */
static void leave_branch(struct work *w, bool has_shared)
{
	w->g->has_branch = true;
	w->g->has_shared = has_shared;
}

/* --- the residual stream ---------------------------------------------------------------------- */

static size_t h_bytes(const struct ds2_chunk *c)
{
	return c->n * stride(c->d->info.n_embd) * sizeof(float);
}

/* Where it is to be, and what goes there with it. */
static void fill_in(struct work *w)
{
	struct ds2_gpu *g = w->g;
	struct ds2_gpu_in at = ds2_gpu_in(g->d, w->c->n);

	memcpy(g->pinned.in, w->c->s->rope, w->c->n * g->d->mla.n_rot * sizeof(float));
	memcpy(g->pinned.in + at.pos, &w->c->pos, sizeof(w->c->pos));
	memcpy(g->pinned.in + at.h, w->c->s->h, h_bytes(w->c));
	g->h = (float *)(void *)(g->room.in + at.h);
	g->rope = (const float *)(const void *)g->room.in;
	g->pos = (const uint32_t *)(const void *)(g->room.in + at.pos);
}

static void send_h(struct work *w)
{
	copy(w, TR_COPY_TO_DEVICE, w->g->room.in, w->g->pinned.in,
		ds2_gpu_in(w->g->d, w->c->n).bytes);
}

/* --- steps of a layer ------------------------------------------------------------------------- */

static void route(struct work *w, const struct ds2_gpu_layer *l)
{
	const struct ds2 *d = w->g->d;
	struct ds2_gpu_back at = ds2_gpu_back(d, w->c->n);
	uint8_t *back = w->g->room.back;
	size_t first = (size_t)w->first * d->router.n_used;

	matmul(w, w->g->room.router, &l->router, w->n);
	QUEUE(w, router, { .r = d->router, .n_tok = w->n, .logits = w->g->room.router,
		.stride = stride(d->router.n_expert), .bias = l->bias,
		.ids = (uint32_t *)(void *)(back + at.ids) + first,
		.weights = (float *)(void *)(back + at.weights) + first });
}

/* From what the layer before left to what attention adds. */
static void attend_slice(struct work *w, uint32_t layer)
{
	join(w);
	attention(w, layer);
}

/* From there to the network's input. */
static void settle_slice(struct work *w, uint32_t layer)
{
	uint32_t n_embd = w->g->d->info.n_embd;
	float *x = rows(w, back_input(w));

	norm(w, x, rows(w, w->g->h), w->g->layers[layer].ffn_norm, n_embd, stride(n_embd), w->n);
	set_acts(w, x, n_embd);
	if (w->g->d->layers[layer].moe)
		route(w, &w->g->layers[layer]);
}

static void front_slice(struct work *w, uint32_t layer)
{
	attend_slice(w, layer);
	settle_slice(w, layer);
}

/* Of a prompt's last layer nothing but the cache's rows is wanted, or the last token besides. */
static bool is_last_of_prompt(const struct ds2_chunk *c, uint32_t layer)
{
	return c->scan && layer + 1 == c->d->info.n_layer;
}

/* The chunk is its last token from now on. */
static void keep_last(struct work *w)
{
	w->g->h += (w->c->n - 1) * stride(w->c->d->info.n_embd);
	w->c->pos += (uint32_t)w->c->n - 1;
	w->c->n = w->n = 1;
	w->first = 0;
}

static void last_front(struct work *w, uint32_t layer)
{
	each_slice(w, layer, attend_slice);
	if (!w->c->want_logits)
		return;
	keep_last(w);
	settle_slice(w, layer);
}

/* The host looks at what comes of the front: it has experts or the network, or foresees. */
static bool is_waited_for(const struct work *w, uint32_t layer)
{
	if (is_last_of_prompt(w->c, layer) && !w->c->want_logits)
		return false;
	return w->g->d->layers[layer].moe || !w->g->layers[layer].gate.data || is_foreseen(w->c);
}

static void front(struct work *w, uint32_t layer)
{
	if (!w->g->has_h)
		send_h(w);
	if (is_last_of_prompt(w->c, layer))
		last_front(w, layer);
	else
		each_slice(w, layer, front_slice);
	if (is_waited_for(w, layer))
		hand_over(w, w->g->d->layers[layer].moe);
}

/* The shared expert, to be joined, or the dense network. */
static void network_slice(struct work *w, uint32_t layer)
{
	const struct ds2_gpu *g = w->g;
	bool moe = g->d->layers[layer].moe;

	set_acts(w, rows(w, back_input(w)), g->d->info.n_embd);
	feed_forward(w, &g->layers[layer], moe ? rows(w, g->room.shared) : g->room.branch);
	if (!moe)
		add(w, rows(w, g->h), g->room.branch);
}

static void network(struct work *w, uint32_t layer)
{
	each_slice(w, layer, network_slice);
}

/* --- the host's part -------------------------------------------------------------------------- */

/* Experts of the CPU, while the device has the shared one. */
static void experts(struct work *w, uint32_t layer)
{
	const struct ds2_ffn *shared = &w->c->d->layers[layer].ffn;
	struct ds2_scratch *s = w->c->s;
	float *branch = w->g->pinned.branch;
	bool there = w->g->layers[layer].gate.data, here = shared->gate.quant && !there;

	w->rc = ds2_experts_begin(w->c, layer, back_input(w), w->err);
	if (w->rc)
		return;
	lap(w, TR_SPAN_LOOKUP, layer);
	ds2_look_ahead(w->c, layer);
	if (here)
		ds2_feed_forward(w->c, shared, &s->acts_ffn, s->shared);
	lap(w, TR_SPAN_SHARED, layer);
	w->rc = ds2_experts_end(w->c, branch, w->err);
	if (w->rc)
		return;
	if (here)
		tr_op_add(&w->c->run->ops, branch, s->shared, w->c->d->info.n_embd,
			stride(w->c->d->info.n_embd), w->c->n);
	leave_branch(w, there);
	lap(w, TR_SPAN_COMBINE, layer);
}

static void dense(struct work *w, uint32_t layer)
{
	ds2_look_ahead(w->c, layer);
	if (w->g->layers[layer].gate.data)
		return;
	ds2_feed_forward(w->c, &w->c->d->layers[layer].ffn, &w->c->s->acts_ffn,
		w->g->pinned.branch);
	leave_branch(w, false);
}

/* --- a chunk ---------------------------------------------------------------------------------- */

void ds2_gpu_begin(struct ds2_chunk *c)
{
	struct ds2_gpu *g = c->run->gpu_model;

	if (!g)
		return;
	g->has_h = g->has_branch = g->has_shared = false;
	g->is_idle = true;
}

bool ds2_gpu_has_layer(const struct ds2_chunk *c, uint32_t layer)
{
	const struct ds2_gpu *g = c->run->gpu_model;

	return g && g->cfg.place->on[TR_GPU_ATTENTION][layer];
}

int ds2_gpu_layer(struct ds2_chunk *c, uint32_t layer, struct tr_err *err)
{
	struct work w = work_of(c, err);
	bool waits = is_waited_for(&w, layer), moe = c->d->layers[layer].moe;

	if (!w.g->has_h)
		fill_in(&w);
	w.g->is_idle = false;
	queue(&w, DS2_GPU_FRONT, layer, front);
	w.g->has_h = true;
	w.g->has_branch = w.g->has_shared = false;
	if (is_last_of_prompt(c, layer) && !c->want_logits)
		return w.rc;
	if (waits && !w.rc)
		w.rc = tr_stream_record(w.stream, w.g->ready, err);
	if (w.g->layers[layer].gate.data)
		queue(&w, DS2_GPU_NETWORK, layer, network);
	if (waits)
		await(&w, layer);
	if (w.rc)
		return w.rc;
	if (moe)
		experts(&w, layer);
	else if (waits)
		dense(&w, layer);
	if (!moe)
		lap(&w, TR_SPAN_DENSE, layer);
	return w.rc;
}

/* Only the last token is needed from now on. */
static void join_last(struct work *w)
{
	w->first = (uint32_t)w->c->n - 1;
	w->n = 1;
	join(w);
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
	if (only_last)
		join_last(&w);
	else
		each_slice(&w, 0, join_slice);
	copy(&w, TR_COPY_TO_HOST, w.g->pinned.in, w.g->h + first * n_embd,
		(c->n - first) * n_embd * sizeof(float));
	if (!w.rc)
		w.rc = tr_stream_sync(w.stream, err);
	if (!w.rc)
		memcpy(c->s->h + first * n_embd, w.g->pinned.in,
			(c->n - first) * n_embd * sizeof(float));
	w.g->has_h = w.g->has_branch = w.g->has_shared = false;
	w.g->is_idle = !w.rc;
	return w.rc;
}

bool ds2_gpu_has_head(const struct ds2_chunk *c)
{
	const struct ds2_gpu *g = c->run->gpu_model;

	return g && g->cfg.place->on[TR_GPU_HEAD][0];
}

static void head(struct work *w, uint32_t layer)
{
	struct ds2_gpu *g = w->g;
	uint32_t n_embd = g->d->info.n_embd;

	(void)layer;
	if (!g->has_h)
		send_h(w);
	join_last(w);
	norm(w, g->room.branch, rows(w, g->h), g->head.attn_norm, n_embd, stride(n_embd), 1);
	set_acts(w, g->room.branch, n_embd);
	matmul(w, g->room.logits, &g->head.out, 1);
	copy(w, TR_COPY_TO_HOST, g->pinned.logits, g->room.logits,
		g->d->info.n_vocab * sizeof(float));
}

int ds2_gpu_logits(struct ds2_chunk *c, struct tr_err *err)
{
	struct work w = work_of(c, err);

	if (!w.g->has_h)
		fill_in(&w);
	queue(&w, DS2_GPU_FRONT, c->d->info.n_layer, head);
	w.g->has_h = true;
	w.g->has_branch = w.g->has_shared = false;
	if (!w.rc)
		w.rc = tr_stream_sync(w.stream, err);
	w.g->is_idle = !w.rc;
	if (w.rc)
		return w.rc;
	memcpy(c->run->logits, w.g->pinned.logits, c->d->info.n_vocab * sizeof(float));
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
	else if (!w.g->is_idle)
		rc = tr_stream_sync(w.stream, err);
	return rc;
}
