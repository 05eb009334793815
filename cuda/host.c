/*
 * host.c - a device made of threads of this machine.
 *
 * A stream is a queue and a thread that works it off; an event is a number that its stream reaches.
 * One lock guards queues, events and counters of a device. It is not held while something is copied
 * or computed. Computing has a lock of its own, since the team of threads serves one stream at a time.
 *
 * A lost device computes and copies nothing more, but its streams go on and its events happen, so
 * nobody waits for ever.
 */
#include "cuda/backend.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/pool.h"
#include "base/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEM_DEFAULT (256ull << 20)
#define N_TASK 256 /* queued in a stream; one more waits */

enum task_kind { TASK_COPY, TASK_FILL, TASK_LAUNCH, TASK_RECORD, TASK_WAIT };

struct task {
	enum task_kind kind;
	union {
		struct {
			enum tr_copy way;
			void *dst;
			const void *src;
			size_t bytes;
			uint8_t byte;
		} mem;
		struct {
			struct host_event *event;
			uint64_t at;
		} mark;
		struct {
			enum tr_dop op;
			union {
#define TR_DOP(name) struct tr_dop_##name name;
#include "cuda/ops.def"
#undef TR_DOP
			} args;
		} launch;
	};
};

static const size_t args_bytes[TR_N_DOP] = {
#define TR_DOP(name) [TR_DOP_##name] = sizeof(struct tr_dop_##name),
#include "cuda/ops.def"
#undef TR_DOP
};

static const char *const op_names[TR_N_DOP] = {
#define TR_DOP(name) [TR_DOP_##name] = #name,
#include "cuda/ops.def"
#undef TR_DOP
};

struct host {
	struct tr_device base;
	tr_host_op *const *ops;
	struct tr_host_compute compute;
	struct tr_mutex compute_lock; /* guards compute */
	uint64_t mem_bytes, bw;	      /* bw 0: as fast as it goes */
	uint64_t fail_at;	      /* 0: never */
	uint64_t n_thread;

	struct tr_mutex lock; /* guards what follows, and the fields of streams and events */
	pthread_cond_t moved; /* some stream took, did or reached something */
	uint64_t n_op;	      /* copies, fills and launches begun */
	uint64_t copied_bytes, modelled_ns;
	uint64_t link_free_ns; /* when the modelled link has done its last copy */
	bool lost;
	char why[TR_ERR_MSG_BYTES]; /* when lost */
};

struct host_stream {
	struct tr_stream base;
	pthread_t thread;
	struct task tasks[N_TASK];
	uint64_t n_put, n_done;
	bool stop;
	struct host_graph *graph; /* being captured */
};

struct host_graph {
	struct tr_graph base;
	struct task *tasks;
	size_t n, cap;
};

struct host_event {
	struct tr_event base;
	uint64_t recorded, happened; /* how often */
};

static struct host *host_of(struct tr_device *dev)
{
	return (struct host *)dev;
}

/* --- the thread of a stream -------------------------------------------------------------------- */

static void lose_locked(struct host *h, const char *what)
{
	h->lost = true;
	snprintf(h->why, sizeof(h->why),
		"device %s: operation %llu (%s) failed, as option fail=%llu asks; the device is lost",
		h->base.name, (unsigned long long)h->n_op, what, (unsigned long long)h->fail_at);
}

static const char *task_name(const struct task *t)
{
	return t->kind == TASK_COPY ? "copy" :
		t->kind == TASK_FILL ? "fill" : op_names[t->launch.op];
}

/* Counts the operation. False when it must not be carried out. */
static bool begin_operation(struct host *h, const struct task *t)
{
	bool go;

	tr_mutex_lock(&h->lock);
	if (++h->n_op == h->fail_at)
		lose_locked(h, task_name(t));
	go = !h->lost;
	tr_mutex_unlock(&h->lock);
	return go;
}

static void sleep_until(uint64_t ns)
{
	struct timespec at = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL))
		;
}

/* Copies share one link: each starts when the one before it is through. */
static void take_link(struct host *h, uint64_t bytes)
{
	uint64_t now, cost, until = 0;

	tr_mutex_lock(&h->lock);
	h->copied_bytes += bytes;
	if (h->bw) {
		now = tr_now_ns(&tr_clock_real);
		cost = (uint64_t)((double)bytes / (double)h->bw * 1e9);
		until = TR_MAX(now, h->link_free_ns) + cost;
		h->link_free_ns = until;
		h->modelled_ns += cost;
	}
	tr_mutex_unlock(&h->lock);
	if (until)
		sleep_until(until);
}

static void carry_out(struct host *h, struct task *t)
{
	if (!begin_operation(h, t))
		return;
	switch (t->kind) {
	case TASK_COPY:
		memcpy(t->mem.dst, t->mem.src, t->mem.bytes);
		if (t->mem.way != TR_COPY_IN_DEVICE)
			take_link(h, t->mem.bytes);
		break;
	case TASK_FILL:
		memset(t->mem.dst, t->mem.byte, t->mem.bytes);
		break;
	default:
		tr_mutex_lock(&h->compute_lock);
		h->ops[t->launch.op](&h->compute, &t->launch.args);
		tr_mutex_unlock(&h->compute_lock);
	}
}

static void mark_locked(struct host *h, const struct task *t)
{
	struct host_event *e = t->mark.event;

	if (t->kind == TASK_RECORD)
		e->happened = TR_MAX(e->happened, t->mark.at);
	while (t->kind == TASK_WAIT && e->happened < t->mark.at)
		tr_mutex_wait(&h->lock, &h->moved);
}

static void *stream_main(void *arg)
{
	struct host_stream *s = arg;
	struct host *h = host_of(s->base.dev);

	tr_mutex_lock(&h->lock);
	for (;;) {
		struct task *t = &s->tasks[s->n_done % N_TASK];

		if (s->n_done == s->n_put) {
			if (s->stop)
				break;
			tr_mutex_wait(&h->lock, &h->moved);
			continue;
		}
		if (t->kind == TASK_RECORD || t->kind == TASK_WAIT) {
			mark_locked(h, t);
		} else {
			tr_mutex_unlock(&h->lock);
			carry_out(h, t);
			tr_mutex_lock(&h->lock);
		}
		s->n_done++;
		pthread_cond_broadcast(&h->moved);
	}
	tr_mutex_unlock(&h->lock);
	return NULL;
}

/* --- streams ----------------------------------------------------------------------------------- */

/* The state of the device as a result. */
static int state_locked(struct host *h, struct tr_err *err)
{
	return h->lost ? tr_err_set(err, TR_E_IO, "%s", h->why) : 0;
}

static int put_locked(struct host_stream *s, const struct task *t, struct tr_err *err)
{
	struct host *h = host_of(s->base.dev);
	int rc = state_locked(h, err);

	if (rc)
		return rc;
	while (s->n_put - s->n_done == N_TASK)
		tr_mutex_wait(&h->lock, &h->moved);
	s->tasks[s->n_put++ % N_TASK] = *t;
	pthread_cond_broadcast(&h->moved);
	return 0;
}

/* Takes a task into the graph that the stream captures. */
static int note(struct host_graph *g, const struct task *t, struct tr_err *err)
{
	size_t cap = g->cap ? 2 * g->cap : 64;
	struct task *tasks = g->tasks;

	if (g->n == g->cap) {
		tasks = realloc(tasks, cap * sizeof(*tasks));
		if (!tasks)
			return tr_err_set(err, TR_E_NOMEM, "device %s: graph of %zu tasks: out of memory",
				g->base.dev->name, cap);
		g->tasks = tasks;
		g->cap = cap;
	}
	g->tasks[g->n++] = *t;
	return 0;
}

static int put(struct tr_stream *stream, const struct task *t, struct tr_err *err)
{
	struct host *h = host_of(stream->dev);
	int rc;

	if (stream->capturing)
		return note(((struct host_stream *)stream)->graph, t, err);

	tr_mutex_lock(&h->lock);
	rc = put_locked((struct host_stream *)stream, t, err);
	tr_mutex_unlock(&h->lock);
	return rc;
}

/* --- graphs ------------------------------------------------------------------------------------ */

static void graph_free(struct tr_graph *graph)
{
	struct host_graph *g = (struct host_graph *)graph;

	if (g)
		free(g->tasks);
	free(g);
}

static int capture(struct tr_stream *stream, struct tr_err *err)
{
	struct host_graph *g = tr_calloc(1, sizeof(*g));

	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "device %s: graph: out of memory",
			stream->dev->name);
	g->base.dev = stream->dev;
	((struct host_stream *)stream)->graph = g;
	return 0;
}

static int captured(struct tr_graph **out, struct tr_stream *stream, struct tr_err *err)
{
	struct host_stream *s = (struct host_stream *)stream;

	(void)err;
	*out = &s->graph->base;
	s->graph = NULL;
	return 0;
}

static int graph_launch(struct tr_graph *graph, struct tr_stream *stream, struct tr_err *err)
{
	struct host_graph *g = (struct host_graph *)graph;
	size_t i;
	int rc = 0;

	for (i = 0; i < g->n && !rc; i++)
		rc = put(stream, &g->tasks[i], err);
	return rc;
}

/* --- making streams ---------------------------------------------------------------------------- */

static int stream_new(struct tr_stream **out, struct tr_device *dev,
	enum tr_stream_priority priority, struct tr_err *err)
{
	struct host_stream *s = tr_calloc(1, sizeof(*s));
	int rc;

	(void)priority; /* threads of this machine are all alike */
	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "device %s: stream: out of memory", dev->name);
	s->base.dev = dev;
	rc = pthread_create(&s->thread, NULL, stream_main, s);
	if (rc) {
		free(s);
		return tr_err_sys(err, rc, "device %s: thread of a stream", dev->name);
	}
	*out = &s->base;
	return 0;
}

static void stream_free(struct tr_stream *stream)
{
	struct host_stream *s = (struct host_stream *)stream;
	struct host *h = host_of(stream->dev);

	tr_mutex_lock(&h->lock);
	s->stop = true;
	pthread_cond_broadcast(&h->moved);
	tr_mutex_unlock(&h->lock);
	pthread_join(s->thread, NULL);
	graph_free((struct tr_graph *)s->graph);
	free(s);
}

static int copy(struct tr_stream *stream, enum tr_copy way, void *dst, const void *src, size_t bytes,
	struct tr_err *err)
{
	struct task t = { .kind = TASK_COPY, .mem = { way, dst, src, bytes, 0 } };

	return put(stream, &t, err);
}

static int fill(struct tr_stream *stream, void *dst, uint8_t byte, size_t bytes, struct tr_err *err)
{
	struct task t = { .kind = TASK_FILL, .mem = { TR_COPY_IN_DEVICE, dst, NULL, bytes, byte } };

	return put(stream, &t, err);
}

static int launch(struct tr_stream *stream, enum tr_dop op, const void *args, struct tr_err *err)
{
	struct task t = { .kind = TASK_LAUNCH, .launch = { .op = op } };

	memcpy(&t.launch.args, args, args_bytes[op]);
	return put(stream, &t, err);
}

static int sync_stream(struct tr_stream *stream, struct tr_err *err)
{
	struct host_stream *s = (struct host_stream *)stream;
	struct host *h = host_of(stream->dev);
	int rc;

	tr_mutex_lock(&h->lock);
	while (s->n_done != s->n_put)
		tr_mutex_wait(&h->lock, &h->moved);
	rc = state_locked(h, err);
	tr_mutex_unlock(&h->lock);
	return rc;
}

/* --- events ------------------------------------------------------------------------------------ */

static int event_new(struct tr_event **out, struct tr_device *dev, struct tr_err *err)
{
	struct host_event *e = tr_calloc(1, sizeof(*e));

	if (!e)
		return tr_err_set(err, TR_E_NOMEM, "device %s: event: out of memory", dev->name);
	e->base.dev = dev;
	*out = &e->base;
	return 0;
}

static void event_free(struct tr_event *event)
{
	free(event);
}

static int put_mark(struct tr_stream *stream, struct tr_event *event, enum task_kind kind,
	struct tr_err *err)
{
	struct host_event *e = (struct host_event *)event;
	struct host *h = host_of(stream->dev);
	struct task t = { .kind = kind, .mark = { e, 0 } };
	int rc;

	tr_mutex_lock(&h->lock);
	t.mark.at = e->recorded + (kind == TASK_RECORD);
	rc = put_locked((struct host_stream *)stream, &t, err);
	if (!rc)
		e->recorded = t.mark.at;
	tr_mutex_unlock(&h->lock);
	return rc;
}

static int record(struct tr_stream *stream, struct tr_event *event, struct tr_err *err)
{
	return put_mark(stream, event, TASK_RECORD, err);
}

static int wait(struct tr_stream *stream, struct tr_event *event, struct tr_err *err)
{
	return put_mark(stream, event, TASK_WAIT, err);
}

static int event_sync(struct tr_event *event, struct tr_err *err)
{
	struct host_event *e = (struct host_event *)event;
	struct host *h = host_of(event->dev);
	uint64_t at;
	int rc;

	tr_mutex_lock(&h->lock);
	for (at = e->recorded; e->happened < at;)
		tr_mutex_wait(&h->lock, &h->moved);
	rc = state_locked(h, err);
	tr_mutex_unlock(&h->lock);
	return rc;
}

static int event_done(struct tr_event *event, struct tr_err *err)
{
	struct host_event *e = (struct host_event *)event;
	struct host *h = host_of(event->dev);
	int rc;

	tr_mutex_lock(&h->lock);
	rc = state_locked(h, err);
	if (!rc)
		rc = e->happened >= e->recorded;
	tr_mutex_unlock(&h->lock);
	return rc;
}

/* --- the device -------------------------------------------------------------------------------- */

static int info(struct tr_device *dev, struct tr_device_info *out, struct tr_err *err)
{
	struct host *h = host_of(dev);
	int rc;

	tr_mutex_lock(&h->lock);
	out->mem_bytes = h->mem_bytes;
	out->is_main_memory = true;
	out->free_bytes = h->mem_bytes - dev->arena_bytes;
	out->copied_bytes = h->copied_bytes;
	out->modelled_ns = h->modelled_ns;
	rc = state_locked(h, err);
	tr_mutex_unlock(&h->lock);
	return rc;
}

static int arena_new(struct tr_device *dev, uint64_t bytes, void **base, struct tr_err *err)
{
	uint64_t cap = host_of(dev)->mem_bytes;

	*base = bytes <= cap ? tr_pages_alloc(bytes) : NULL;
	if (*base)
		return 0;
	return tr_err_set(err, TR_E_NOMEM, "device %s: no %llu bytes of memory, it has %llu",
		dev->name, (unsigned long long)bytes, (unsigned long long)cap);
}

static void arena_free(struct tr_device *dev, void *base, uint64_t bytes)
{
	(void)dev;
	tr_pages_free(base, bytes);
}

static int pinned_new(struct tr_device *dev, size_t bytes, void **host, void **at, struct tr_err *err)
{
	*host = *at = tr_calloc(bytes, 1);
	if (*host)
		return 0;
	return tr_err_set(err, TR_E_NOMEM, "device %s: no %zu bytes of pinned memory", dev->name,
		bytes);
}

static void pinned_free(struct tr_device *dev, void *host)
{
	(void)dev;
	free(host);
}

static void close_host(struct tr_device *dev)
{
	struct host *h = host_of(dev);

	tr_pool_free(h->compute.pool);
	tr_mutex_fini(&h->compute_lock);
	tr_mutex_fini(&h->lock);
	pthread_cond_destroy(&h->moved);
	free(h);
}

static const struct tr_device_ops host_device = {
	.close = close_host,
	.info = info,
	.arena_new = arena_new,
	.arena_free = arena_free,
	.pinned_new = pinned_new,
	.pinned_free = pinned_free,
	.stream_new = stream_new,
	.stream_free = stream_free,
	.copy = copy,
	.fill = fill,
	.sync = sync_stream,
	.event_new = event_new,
	.event_free = event_free,
	.record = record,
	.wait = wait,
	.event_sync = event_sync,
	.event_done = event_done,
	.capture = capture,
	.captured = captured,
	.graph_launch = graph_launch,
	.graph_free = graph_free,
	.launch = launch,
};

static int set_option(void *ctx, const char *key, const char *value, struct tr_err *err)
{
	struct host *h = ctx;

	if (!strcmp(key, "mem"))
		return tr_opt_size("device host: mem", value, MEM_DEFAULT, &h->mem_bytes, err);
	if (!strcmp(key, "bw"))
		return tr_opt_size("device host: bw", value, 0, &h->bw, err);
	if (!strcmp(key, "threads"))
		return tr_opt_u64("device host: threads", value, 1, 1024, &h->n_thread, err);
	if (!strcmp(key, "fail"))
		return tr_opt_u64("device host: fail", value, 1, UINT64_MAX, &h->fail_at, err);
	return tr_err_set(err, TR_E_INVALID,
		"device host: option '%s' is not known; there are mem, threads, bw, fail", key);
}

static int parse_options(struct host *h, const char *options, struct tr_err *err)
{
	char *text = malloc(strlen(options) + sizeof("device host"));
	int rc;

	if (!text)
		return tr_err_set(err, TR_E_NOMEM, "device host: out of memory");
	sprintf(text, "device host%s", options);
	rc = tr_opt_pairs(text, set_option, h, err);
	free(text);
	return rc;
}

int tr_host_open_with(struct tr_device **dev, const char *options, tr_host_op *const *ops,
	struct tr_err *err)
{
	struct host *h = tr_calloc(1, sizeof(*h));
	struct tr_pool_cfg cfg = { 0 };
	int rc;

	*dev = NULL;
	if (!h)
		return tr_err_set(err, TR_E_NOMEM, "device host: out of memory");
	h->base.ops = &host_device;
	h->ops = ops;
	h->compute.k = tr_kernels_best();
	h->mem_bytes = MEM_DEFAULT;
	h->n_thread = 1;
	rc = parse_options(h, options, err);
	cfg.n_thread = (unsigned)h->n_thread;
	if (!rc)
		rc = tr_pool_new(&h->compute.pool, &cfg, err);
	if (rc) {
		free(h);
		return rc;
	}
	snprintf(h->base.name, sizeof(h->base.name), "host (%s)", h->compute.k->name);
	tr_mutex_init(&h->lock, TR_RANK_LEAF);
	tr_mutex_init(&h->compute_lock, TR_RANK_DEVICE);
	pthread_cond_init(&h->moved, NULL);
	*dev = &h->base;
	return 0;
}

int tr_host_open(struct tr_device **dev, const char *options, struct tr_err *err)
{
	return tr_host_open_with(dev, options, tr_host_ops, err);
}
