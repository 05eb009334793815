/* gpu_experts.c - packs a list, queues it in windows, copies the outputs back. */
#include "engine/gpu_experts.h"
#include "base/mem.h"
#include "compute/ops.h"

#include <stdlib.h>
#include <string.h>

/* Slots computed at a time. A token of any model known fits; for a prefill the matrices of an expert are
 * then read a few times a chunk, while scratch stays at some 15 MiB. */
#define WINDOW 256

#define ALIGN 256

/* Most that a layer needs. */
struct sizes {
	uint32_t n_pair, window, n_window;
	size_t ff_stride, y_stride; /* floats */
	size_t hidden_bytes;	    /* of a slot */
	size_t in_bytes;	    /* the packed block */
};

struct tr_gpu_experts {
	struct tr_gpu *gpu;
	struct tr_gpu_experts_cfg cfg;
	struct sizes size;
	struct tr_buffer *in, *gate, *up, *hidden, *y;
	uint8_t *packed;    /* pinned */
	uint8_t *packed_at; /* where the device sees it */
	struct tr_event *done;
};

bool tr_gpu_takes(const struct tr_moe_layer *layer)
{
	for (int p = 0; p < TR_N_PART; p++)
		if (!tr_device_has_quant(layer->quant[p]->id))
			return false;
	return true;
}

static size_t act_bytes(const struct tr_moe_layer *l, int part)
{
	return tr_act_bytes(l->quant[part]->act, l->cols[part]);
}

static bool has_one_kind(const struct tr_moe_layer *l)
{
	return l->quant[TR_PART_GATE]->act == l->quant[TR_PART_UP]->act;
}

static size_t packed_acts(const struct tr_moe_layer *l, size_t n_tok)
{
	size_t bytes = TR_ALIGN_UP(n_tok * act_bytes(l, TR_PART_GATE), (size_t)ALIGN);

	if (!has_one_kind(l))
		bytes += TR_ALIGN_UP(n_tok * act_bytes(l, TR_PART_UP), (size_t)ALIGN);
	return bytes;
}

static struct sizes measure(const struct tr_gpu_experts_cfg *cfg)
{
	const struct tr_catalog *c = cfg->catalog;
	struct sizes s = { .n_pair = cfg->n_tok_max * c->n_used,
		.y_stride = tr_ops_stride(cfg->n_embd) };

	s.window = TR_MIN(s.n_pair, TR_MAX((uint32_t)WINDOW, c->n_used));
	s.n_window = (s.n_pair + s.window - 1) / s.window;
	for (size_t i = 0; i < c->n_moe_layer; i++) {
		const struct tr_moe_layer *l = &c->moe_layers[i];

		if (!cfg->takes[i])
			continue;
		s.ff_stride = TR_MAX(s.ff_stride, tr_ops_stride(l->rows[TR_PART_GATE]));
		s.hidden_bytes = TR_MAX(s.hidden_bytes, act_bytes(l, TR_PART_DOWN));
		s.in_bytes = TR_MAX(s.in_bytes, packed_acts(l, cfg->n_tok_max));
	}
	s.in_bytes += (size_t)(c->n_expert + s.n_window) * sizeof(struct tr_dop_expert) + ALIGN;
	s.in_bytes += s.n_pair * sizeof(uint32_t);
	return s;
}

/* As the arena cuts them. */
static uint64_t cut(uint64_t bytes)
{
	return TR_ALIGN_UP(bytes, (uint64_t)ALIGN);
}

uint64_t tr_gpu_experts_bytes(const struct tr_gpu_experts_cfg *cfg)
{
	struct sizes s = measure(cfg);

	return cut(s.in_bytes) + 2 * cut(s.window * s.ff_stride * sizeof(float)) +
		cut(s.window * s.hidden_bytes) + cut(s.window * s.y_stride * sizeof(float));
}

static int cut_buffers(struct tr_gpu_experts *x, struct tr_err *err)
{
	const struct sizes *s = &x->size;
	struct {
		struct tr_buffer **buf;
		uint64_t bytes;
		const char *what;
	} want[] = {
		{ &x->in, s->in_bytes, "inputs of experts" },
		{ &x->gate, s->window * s->ff_stride * sizeof(float), "gates of experts" },
		{ &x->up, s->window * s->ff_stride * sizeof(float), "hidden values of experts" },
		{ &x->hidden, s->window * s->hidden_bytes, "inputs of down matrices" },
		{ &x->y, s->window * s->y_stride * sizeof(float), "outputs of experts" },
	};
	int rc = 0;

	for (size_t i = 0; i < TR_ARRAY_LEN(want) && !rc; i++)
		rc = tr_buffer_new(want[i].buf, x->gpu->dev, want[i].bytes, want[i].what, err);
	return rc;
}

int tr_gpu_experts_new(struct tr_gpu_experts **out, struct tr_gpu *gpu,
	const struct tr_gpu_experts_cfg *cfg, struct tr_err *err)
{
	struct tr_gpu_experts *x = tr_calloc(1, sizeof(*x));
	void *packed = NULL, *at = NULL;
	int rc;

	if (!x)
		return tr_err_set(err, TR_E_NOMEM, "experts on the device: out of memory");
	x->gpu = gpu;
	x->cfg = *cfg;
	x->size = measure(cfg);
	rc = cut_buffers(x, err);
	if (!rc)
		rc = tr_pinned_new(gpu->dev, x->size.in_bytes, &packed, &at, err);
	x->packed = packed;
	x->packed_at = at;
	if (!rc)
		rc = tr_event_new(&x->done, gpu->dev, err);
	if (rc) {
		tr_gpu_experts_free(x);
		return rc;
	}
	*out = x;
	return 0;
}

void tr_gpu_experts_free(struct tr_gpu_experts *x)
{
	if (!x)
		return;
	tr_event_free(x->done);
	tr_pinned_free(x->gpu->dev, x->packed);
	tr_buffer_free(x->in);
	tr_buffer_free(x->gate);
	tr_buffer_free(x->up);
	tr_buffer_free(x->hidden);
	tr_buffer_free(x->y);
	free(x);
}

/* --- a list ----------------------------------------------------------------------------------- */

/* Where things lie in the packed block. */
struct packing {
	size_t up, list, rows, end;
	uint32_t n_entry;
};

/* Cuts the list at the ends of windows. The first slot of an entry counts from its window. */
static uint32_t cut_list(const struct tr_gpu_experts *x, const struct tr_gpu_work *w,
	struct tr_dop_expert *to)
{
	uint32_t window = x->size.window, n_entry = 0, done, at;

	for (size_t i = 0; i < w->n_expert; i++)
		for (done = 0; done < w->list[i].n; done += to[n_entry++].n) {
			to[n_entry] = w->list[i];
			at = w->list[i].first + done;
			to[n_entry].first = at % window;
			to[n_entry].n = TR_MIN(w->list[i].n - done, window - at % window);
		}
	return n_entry;
}

static void pack_acts(
	struct tr_gpu_experts *x, const struct tr_gpu_work *w, const struct packing *p)
{
	memcpy(x->packed, w->act[0], w->n_tok * act_bytes(w->layer, TR_PART_GATE));
	if (p->up)
		memcpy(x->packed + p->up, w->act[1], w->n_tok * act_bytes(w->layer, TR_PART_UP));
}

static struct packing pack(struct tr_gpu_experts *x, const struct tr_gpu_work *w)
{
	size_t gate = w->n_tok * act_bytes(w->layer, TR_PART_GATE);
	struct packing p = { 0 };

	if (!has_one_kind(w->layer))
		p.up = TR_ALIGN_UP(gate, (size_t)ALIGN);
	if (!w->x)
		pack_acts(x, w, &p);
	p.list = packed_acts(w->layer, w->n_tok);
	p.n_entry = cut_list(x, w, (struct tr_dop_expert *)(void *)(x->packed + p.list));
	p.rows = p.list + p.n_entry * sizeof(struct tr_dop_expert);
	memcpy(x->packed + p.rows, w->token_of, w->n_slot * sizeof(*w->token_of));
	p.end = p.rows + w->n_slot * sizeof(*w->token_of);
	tr_assert(p.end <= x->size.in_bytes);
	return p;
}

static struct tr_dop_expert_ffn operation(const struct tr_gpu_experts *x,
	const struct tr_gpu_work *w, const struct packing *p)
{
	const struct tr_moe_layer *l = w->layer;
	struct tr_dop_expert_ffn op = { .n_embd = x->cfg.n_embd,
		.n_ff = (uint32_t)l->rows[TR_PART_GATE],
		.act = { tr_buffer_at(x->in, 0), tr_buffer_at(x->in, p->up) },
		.gate = tr_buffer_at(x->gate, 0),
		.up = tr_buffer_at(x->up, 0),
		.ff_stride = x->size.ff_stride,
		.hidden = tr_buffer_at(x->hidden, 0),
		.y = tr_buffer_at(x->y, 0),
		.y_stride = w->y_stride };

	for (int i = 0; i < TR_N_PART; i++) {
		op.quant[i] = l->quant[i]->id;
		op.row_bytes[i] = l->row_bytes[i];
	}
	return op;
}

/* The entries of the window that begins with entry e. Returns the one behind them. */
static uint32_t end_of_window(const struct tr_dop_expert *list, uint32_t e, uint32_t n_entry,
	struct tr_dop_expert_ffn *op)
{
	op->n_expert = op->n_slot = op->n_slot_max = 0;
	do {
		op->n_expert++;
		op->n_slot += list[e].n;
		op->n_slot_max = TR_MAX(op->n_slot_max, list[e].n);
		e++;
	} while (e < n_entry && list[e].first);
	return e;
}

/* The layer's input becomes activations of the part at off of the block. */
static int quantise(struct tr_gpu_experts *x, const struct tr_gpu_work *w, enum tr_part part,
	size_t off, struct tr_err *err)
{
	struct tr_dop_quantise op = { .kind = w->layer->quant[part]->act,
		.n = x->cfg.n_embd,
		.n_row = (uint32_t)w->n_tok,
		.n_group = 1,
		.x = w->x,
		.x_stride = tr_ops_stride(x->cfg.n_embd),
		.act = tr_buffer_at(x->in, off),
		.act_bytes = act_bytes(w->layer, part) };

	return tr_device_quantise(x->gpu->compute, &op, err);
}

/*
 * List and rows are a few hundred bytes of a token. Threads of the device fetch them from pinned
 * memory, as words: a copy would hand the stream over to the engine for copies and back.
 */
static int fetch_list(struct tr_gpu_experts *x, const struct packing *p, struct tr_err *err)
{
	struct tr_dop_quantise op = { .kind = TR_ACT_F32,
		.n = (uint32_t)((p->end - p->list) / sizeof(float)),
		.n_row = 1,
		.n_group = 1,
		.x = (const float *)(const void *)(x->packed_at + p->list),
		.act = tr_buffer_at(x->in, p->list) };

	return tr_device_quantise(x->gpu->compute, &op, err);
}

/* Brings activations, list and rows to the device's block. */
static int bring(struct tr_gpu_experts *x, const struct tr_gpu_work *w, const struct packing *p,
	struct tr_err *err)
{
	int rc;

	if (!w->x)
		return tr_stream_copy(x->gpu->compute, TR_COPY_TO_DEVICE, tr_buffer_at(x->in, 0),
			x->packed, p->end, err);
	rc = quantise(x, w, TR_PART_GATE, 0, err);
	if (!rc && p->up)
		rc = quantise(x, w, TR_PART_UP, p->up, err);
	return rc ? rc : fetch_list(x, p, err);
}

int tr_gpu_experts_begin(struct tr_gpu_experts *x, const struct tr_gpu_work *w, struct tr_err *err)
{
	struct tr_stream *s = x->gpu->compute;
	struct packing p = pack(x, w);
	const struct tr_dop_expert *list = (const void *)(x->packed + p.list);
	struct tr_dop_expert_ffn op = operation(x, w, &p);
	uint32_t e = 0, next, slot = 0;
	int rc;

	tr_assert(w->y_stride == x->size.y_stride && w->n_slot <= x->size.n_pair);
	rc = bring(x, w, &p, err);
	for (; e < p.n_entry && !rc; e = next) {
		next = end_of_window(list, e, p.n_entry, &op);
		op.list = tr_buffer_at(x->in, p.list + e * sizeof(*list));
		op.row_of = tr_buffer_at(x->in, p.rows + slot * sizeof(uint32_t));
		rc = tr_device_expert_ffn(s, &op, err);
		if (!rc)
			rc = tr_stream_copy(s, TR_COPY_TO_HOST, w->y + slot * w->y_stride, op.y,
				op.n_slot * w->y_stride * sizeof(float), err);
		slot += op.n_slot;
	}
	return rc ? rc : tr_stream_record(s, x->done, err);
}

int tr_gpu_experts_finish(struct tr_gpu_experts *x, struct tr_err *err)
{
	return tr_event_sync(x->done, err);
}

size_t tr_gpu_experts_scratch(const struct tr_gpu_experts *x, void **at)
{
	*at = tr_buffer_at(x->y, 0);
	return x->size.window * x->size.y_stride * sizeof(float);
}
