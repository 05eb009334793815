/*
 * device.c - opens devices by name, cuts buffers from the arena, checks the arguments of operations.
 */
#include "cuda/backend.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_ALIGN 256

struct tr_buffer {
	struct tr_device *dev;
	struct tr_buffer *next;
	uint64_t off, bytes;
};

int tr_device_open(struct tr_device **dev, const char *spec, struct tr_err *err)
{
	uint64_t idx;
	int rc;

	*dev = NULL;
	if (!strcmp(spec, "none"))
		return 0;
	if (!strncmp(spec, "host", 4) && (!spec[4] || spec[4] == ','))
		return tr_host_open(dev, spec + 4, err);
	if (!strncmp(spec, "cuda:", 5)) {
		rc = tr_opt_u64("device cuda", spec + 5, 0, 63, &idx, err);
		return rc ? rc : tr_cuda_open(dev, (unsigned)idx, err);
	}
	return tr_err_set(err, TR_E_INVALID,
		"device '%s' is not known; there are none, cuda:N and host[,option=value..]", spec);
}

void tr_device_close(struct tr_device *dev)
{
	if (!dev)
		return;
	tr_assert(!dev->buffers);
	if (dev->arena)
		dev->ops->arena_free(dev, dev->arena, dev->arena_bytes);
	dev->ops->close(dev);
}

static void count(uint64_t *n, uint64_t more)
{
	__atomic_fetch_add(n, more, __ATOMIC_RELAXED);
}

int tr_device_info(struct tr_device *dev, struct tr_device_info *info, struct tr_err *err)
{
	memset(info, 0, sizeof(*info));
	memcpy(info->name, dev->name, sizeof(info->name));
	info->n_wait = __atomic_load_n(&dev->n_wait, __ATOMIC_RELAXED);
	info->wait_ns = __atomic_load_n(&dev->wait_ns, __ATOMIC_RELAXED);
	info->n_queued = __atomic_load_n(&dev->n_queued, __ATOMIC_RELAXED);
	info->n_copy = __atomic_load_n(&dev->n_copy, __ATOMIC_RELAXED);
	info->n_made = __atomic_load_n(&dev->n_made, __ATOMIC_RELAXED);
	return dev->ops->info(dev, info, err);
}

/* --- memory ------------------------------------------------------------------------------------ */

int tr_device_reserve(struct tr_device *dev, uint64_t bytes, struct tr_err *err)
{
	void *base;
	int rc;

	tr_assert(!dev->arena && bytes);
	count(&dev->n_made, 1);
	rc = dev->ops->arena_new(dev, bytes, &base, err);
	if (rc)
		return rc;
	dev->arena = base;
	dev->arena_bytes = bytes;
	return 0;
}

static uint64_t end_of(const struct tr_buffer *b)
{
	return TR_ALIGN_UP(b->off + b->bytes, (uint64_t)BUFFER_ALIGN);
}

/* The first gap that is large enough: *at is the link before it. False when there is none. */
static bool find_gap(struct tr_device *dev, uint64_t bytes, struct tr_buffer ***at, uint64_t *off)
{
	uint64_t end;

	*off = 0;
	for (*at = &dev->buffers;; *at = &(**at)->next) {
		end = **at ? (**at)->off : dev->arena_bytes;
		if (*off <= end && bytes <= end - *off)
			return true;
		if (!**at)
			return false;
		*off = end_of(**at);
	}
}

static uint64_t taken(const struct tr_device *dev)
{
	const struct tr_buffer *b;
	uint64_t sum = 0;

	for (b = dev->buffers; b; b = b->next)
		sum += b->bytes;
	return sum;
}

int tr_buffer_new(struct tr_buffer **buf, struct tr_device *dev, uint64_t bytes, const char *what,
	struct tr_err *err)
{
	struct tr_buffer *b, **at;
	uint64_t off;

	*buf = NULL;
	if (!find_gap(dev, bytes, &at, &off))
		return tr_err_set(err, TR_E_NOMEM,
			"device %s: no room for %llu bytes of %s: %llu of %llu are taken", dev->name,
			(unsigned long long)bytes, what, (unsigned long long)taken(dev),
			(unsigned long long)dev->arena_bytes);
	count(&dev->n_made, 1);
	b = tr_calloc(1, sizeof(*b));
	if (!b)
		return tr_err_set(err, TR_E_NOMEM, "device %s: out of memory", dev->name);
	*b = (struct tr_buffer){ dev, *at, off, bytes };
	*at = b;
	*buf = b;
	return 0;
}

void tr_buffer_free(struct tr_buffer *buf)
{
	struct tr_buffer **at;

	if (!buf)
		return;
	for (at = &buf->dev->buffers; *at != buf; at = &(*at)->next)
		;
	*at = buf->next;
	free(buf);
}

void *tr_buffer_at(const struct tr_buffer *buf, uint64_t off)
{
	tr_assert(off <= buf->bytes);
	return buf->dev->arena + buf->off + off;
}

int tr_pinned_new(struct tr_device *dev, size_t bytes, void **host, void **at, struct tr_err *err)
{
	count(&dev->n_made, 1);
	return dev->ops->pinned_new(dev, bytes, host, at, err);
}

void tr_pinned_free(struct tr_device *dev, void *host)
{
	if (host)
		dev->ops->pinned_free(dev, host);
}

/* --- streams and events ------------------------------------------------------------------------ */

int tr_stream_new(struct tr_stream **stream, struct tr_device *dev,
	enum tr_stream_priority priority, struct tr_err *err)
{
	*stream = NULL;
	count(&dev->n_made, 1);
	return dev->ops->stream_new(stream, dev, priority, err);
}

void tr_stream_free(struct tr_stream *stream)
{
	if (stream)
		stream->dev->ops->stream_free(stream);
}

/* What is noted for a graph is not queued. */
static void count_queued(struct tr_stream *stream)
{
	if (!stream->capturing)
		count(&stream->dev->n_queued, 1);
}

int tr_stream_copy(struct tr_stream *stream, enum tr_copy way, void *dst, const void *src,
	size_t bytes, struct tr_err *err)
{
	if (way != TR_COPY_IN_DEVICE)
		count(stream->capturing ? &stream->n_captured_copy : &stream->dev->n_copy, 1);
	count_queued(stream);
	return stream->dev->ops->copy(stream, way, dst, src, bytes, err);
}

int tr_stream_fill(struct tr_stream *stream, void *dst, uint8_t byte, size_t bytes,
	struct tr_err *err)
{
	count_queued(stream);
	return stream->dev->ops->fill(stream, dst, byte, bytes, err);
}

/* The host waits since then, and not any more. */
static int waited(struct tr_device *dev, uint64_t since_ns, int rc)
{
	uint64_t ns = tr_now_ns(&tr_clock_real) - since_ns;

	__atomic_fetch_add(&dev->wait_ns, ns, __ATOMIC_RELAXED);
	return rc;
}

/* What a stream cannot do while it captures. */
static int not_capturing(const struct tr_stream *stream, const char *what, struct tr_err *err)
{
	if (!stream->capturing)
		return 0;
	return tr_err_set(err, TR_E_INVALID,
		"device %s: %s: a stream that captures a graph takes copies, fills and operations only",
		stream->dev->name, what);
}

int tr_stream_capture(struct tr_stream *stream, struct tr_err *err)
{
	int rc = not_capturing(stream, "capture", err);

	if (!rc)
		rc = stream->dev->ops->capture(stream, err);
	if (rc)
		return rc;
	stream->capturing = true;
	stream->n_captured_copy = 0;
	return 0;
}

int tr_stream_captured(struct tr_graph **graph, struct tr_stream *stream, struct tr_err *err)
{
	int rc;

	*graph = NULL;
	tr_assert(stream->capturing);
	stream->capturing = false;
	count(&stream->dev->n_made, 1);
	rc = stream->dev->ops->captured(graph, stream, err);
	if (!rc)
		(*graph)->n_copy = stream->n_captured_copy;
	return rc;
}

int tr_graph_launch(struct tr_graph *graph, struct tr_stream *stream, struct tr_err *err)
{
	int rc = not_capturing(stream, "launch of a graph", err);

	tr_assert(graph->dev == stream->dev);
	if (rc)
		return rc;
	count_queued(stream);
	count(&stream->dev->n_copy, graph->n_copy);
	return graph->dev->ops->graph_launch(graph, stream, err);
}

void tr_graph_free(struct tr_graph *graph)
{
	if (graph)
		graph->dev->ops->graph_free(graph);
}

int tr_stream_sync(struct tr_stream *stream, struct tr_err *err)
{
	uint64_t start = tr_now_ns(&tr_clock_real);
	int rc = not_capturing(stream, "wait", err);

	if (rc)
		return rc;
	count(&stream->dev->n_wait, 1);
	return waited(stream->dev, start, stream->dev->ops->sync(stream, err));
}

int tr_event_new(struct tr_event **event, struct tr_device *dev, struct tr_err *err)
{
	*event = NULL;
	count(&dev->n_made, 1);
	return dev->ops->event_new(event, dev, err);
}

void tr_event_free(struct tr_event *event)
{
	if (event)
		event->dev->ops->event_free(event);
}

int tr_stream_record(struct tr_stream *stream, struct tr_event *event, struct tr_err *err)
{
	int rc = not_capturing(stream, "record", err);

	count_queued(stream);
	return rc ? rc : stream->dev->ops->record(stream, event, err);
}

int tr_stream_wait(struct tr_stream *stream, struct tr_event *event, struct tr_err *err)
{
	int rc = not_capturing(stream, "wait for an event", err);

	count_queued(stream);
	return rc ? rc : stream->dev->ops->wait(stream, event, err);
}

int tr_event_sync(struct tr_event *event, struct tr_err *err)
{
	uint64_t start = tr_now_ns(&tr_clock_real);

	count(&event->dev->n_wait, 1);
	return waited(event->dev, start, event->dev->ops->event_sync(event, err));
}

int tr_event_done(struct tr_event *event, struct tr_err *err)
{
	return event->dev->ops->event_done(event, err);
}

/* --- operations -------------------------------------------------------------------------------- */

/* Limits of the kernels, which the host device keeps as well. */
#define MAX_GRID_Y 65535

static int too_many(const char *op, const char *what, uint64_t n, uint64_t limit, struct tr_err *err)
{
	if (n <= limit)
		return 0;
	return tr_err_set(err, TR_E_LIMIT, "%s: %llu %s, at most %llu", op, (unsigned long long)n,
		what, (unsigned long long)limit);
}

bool tr_device_has_quant(enum tr_quant_id quant)
{
	switch (quant) {
	case TR_QUANT_F32:
	case TR_QUANT_F16:
	case TR_QUANT_BF16:
	case TR_QUANT_Q4_0:
	case TR_QUANT_Q4_1:
	case TR_QUANT_Q5_0:
	case TR_QUANT_Q5_1:
	case TR_QUANT_Q8_0:
	case TR_QUANT_Q2_K:
	case TR_QUANT_Q3_K:
	case TR_QUANT_Q4_K:
	case TR_QUANT_Q5_K:
	case TR_QUANT_Q6_K:
	case TR_QUANT_IQ1_S:
	case TR_QUANT_IQ1_M:
	case TR_QUANT_IQ2_XXS:
	case TR_QUANT_IQ2_XS:
	case TR_QUANT_IQ2_S:
	case TR_QUANT_IQ3_XXS:
	case TR_QUANT_IQ3_S:
	case TR_QUANT_IQ4_NL:
	case TR_QUANT_IQ4_XS:
	case TR_QUANT_MXFP4:
		return true;
	default:
		return false;
	}
}

static int check_rows(enum tr_quant_id quant, uint32_t n, struct tr_err *err)
{
	const struct tr_quant *q = tr_quant_by_id(quant);

	if (!tr_device_has_quant(quant))
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"devices have no kernel for weights of type %s (%d)", q ? q->name : "unknown",
			(int)quant);
	tr_assert(n % q->block_values == 0);
	return 0;
}

static int check_quantise(const struct tr_dop_quantise *a, struct tr_err *err)
{
	tr_assert(a->kind == TR_ACT_F32 || a->n % (a->kind == TR_ACT_Q8_32 ? 32 : 256) == 0);
	return too_many("quantise", "rows", (uint64_t)a->n_row * a->n_group, MAX_GRID_Y, err);
}

static int check_matmul(const struct tr_dop_matmul *a, struct tr_err *err)
{
	int rc = check_rows(a->quant, a->n, err);

	tr_assert(a->n_row && a->n_act);
	return rc ? rc : too_many("matmul", "matrices", a->n_mat, MAX_GRID_Y, err);
}

static int check_rms_norm(const struct tr_dop_rms_norm *a, struct tr_err *err)
{
	(void)err;
	tr_assert(a->n && a->n_tok);
	return 0;
}

static int check_add(const struct tr_dop_add *a, struct tr_err *err)
{
	return too_many("add", "tokens", a->n_tok, MAX_GRID_Y, err);
}

static int check_rope(const struct tr_dop_rope *a, struct tr_err *err)
{
	tr_assert(a->n_rot && a->n_rot % 2 == 0);
	return too_many("rope", "tokens", a->n_tok, MAX_GRID_Y, err);
}

static int check_kv_store(const struct tr_dop_kv_store *a, struct tr_err *err)
{
	return too_many("kv_store", "tokens", a->n_tok, MAX_GRID_Y, err);
}

static int check_mla(const struct tr_dop_mla *a, struct tr_err *err)
{
	int rc = too_many("mla", "values a position", a->n_lat + a->n_rot, TR_DEVICE_MLA_WIDTH, err);

	tr_assert(a->n_tok && a->n_tok_once);
	return rc ? rc : too_many("mla", "tokens at once", a->n_tok_once, MAX_GRID_Y, err);
}

static int check_mla_prefill(const struct tr_dop_mla_prefill *a, struct tr_err *err)
{
	int rc = too_many("mla_prefill", "values a position", a->n_lat + a->n_rot,
		TR_DEVICE_MLA_WIDTH, err);

	tr_assert(a->n_tok && a->n_head);
	return rc ? rc :
		    too_many("mla_prefill", "queries", (uint64_t)a->n_tok * a->n_head, INT32_MAX, err);
}

static int check_gqa(const struct tr_dop_gqa *a, struct tr_err *err)
{
	uint64_t n_query = (uint64_t)a->n_tok * a->n_head;
	int rc = too_many("gqa", "values a row", TR_MAX(a->n_key, a->n_value), TR_DEVICE_MLA_WIDTH,
		err);

	tr_assert(a->n_tok && a->n_kv_head && a->n_head % a->n_kv_head == 0);
	tr_assert(a->scratch ? a->n_tok_once > 0 : !a->pos_at);
	if (rc || (rc = too_many("gqa", "queries", n_query, INT32_MAX, err)))
		return rc;
	return too_many("gqa", a->scratch ? "tokens at once" : "heads of keys",
		a->scratch ? a->n_tok_once : a->n_kv_head, MAX_GRID_Y, err);
}

static int check_router(const struct tr_dop_router *a, struct tr_err *err)
{
	tr_assert(a->r.n_used <= a->r.n_expert && a->r.n_used <= TR_ROUTER_MAX_USED &&
		a->r.n_group <= TR_ROUTER_MAX_GROUP);
	return too_many("router", "experts", a->r.n_expert, TR_DEVICE_N_EXPERT, err);
}

static int check_expert_ffn(const struct tr_dop_expert_ffn *a, struct tr_err *err)
{
	int rc;

	tr_assert(a->n_expert && a->n_slot && a->n_slot_max);
	if ((rc = check_rows(a->quant[0], a->n_embd, err)) ||
		(rc = check_rows(a->quant[1], a->n_embd, err)) ||
		(rc = check_rows(a->quant[2], a->n_ff, err)))
		return rc;
	return too_many("expert_ffn", "slots", TR_MAX((uint64_t)a->n_slot, 2ull * a->n_expert),
		MAX_GRID_Y, err);
}

static int check_combine(const struct tr_dop_combine *a, struct tr_err *err)
{
	return too_many("combine", "tokens", a->n_tok, MAX_GRID_Y, err);
}

#define TR_DOP(name)                                                                               \
	int tr_device_##name(struct tr_stream *stream, const struct tr_dop_##name *args,           \
		struct tr_err *err)                                                                \
	{                                                                                          \
		int rc = check_##name(args, err);                                                  \
                                                                                                   \
		count_queued(stream);                                                              \
		return rc ? rc : stream->dev->ops->launch(stream, TR_DOP_##name, args, err);       \
	}
#include "cuda/ops.def"
#undef TR_DOP
