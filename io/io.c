/*
 * io.c - requests become pieces, pieces go to a method, results come back.
 *
 * Submit puts requests into one queue a priority. start_pieces() carves pieces off the front
 * request and hands them to the method while there are free piece objects, of which there are
 * cfg.depth; background requests hold at most cfg.background_depth of them. A piece that must be
 * read on (short read, EIO with tries left, EAGAIN) keeps its object and goes into the `again` list
 * of its priority, which is served before new pieces.
 *
 *   submit -> waiting[prio] -> carve -> hand_over -> method -> reap -> settle -> finished -> done()
 *
 * A throttled read that comes back before its time is held between reap and settle.
 *                                          ^                             |
 *                                          +------- again[prio] <--------+
 *
 * Locks: io->lock (TR_RANK_IO) guards everything in struct tr_io but what is written before open
 * returns. The method's queue side runs under it; its reap side does not, so that a thread blocked
 * in the kernel stops nobody from submitting. At most one thread reaps at a time (io->reaping);
 * others that wait sleep on io->changed, and one of them takes over when the reaper leaves.
 * done() is called without the lock, by the thread that took the finished list.
 */
#include "io/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rate.h"
#include "base/sync.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* EAGAIN is no failure, but a file that answers nothing else must not turn into a spin. */
#define MAX_AGAIN 1000

struct tr_io {
	struct tr_io_cfg cfg; /* filled in */
	const struct tr_io_method *method;
	void *state; /* of the method */
	struct tr_mutex lock;
	pthread_cond_t changed; /* the reaper left, or finished or n_outstanding changed */

	struct tr_io_piece *pieces; /* [cfg.depth] */
	struct tr_io_piece *free;
	struct tr_io_reaped *reaped; /* [cfg.depth], owned by the reaper */
	bool reaping;
	bool closing;

	struct tr_io_req_list waiting[TR_N_IO_PRIO];
	struct tr_io_piece_list again[TR_N_IO_PRIO];
	struct tr_io_req_list finished; /* done() not called yet */
	size_t n_outstanding;		/* submitted, and done() has not returned */
	uint64_t n_delivered;		/* done() has returned, ever */
	uint32_t n_background;		/* piece objects held by background requests */
	uint32_t n_inflight;		/* pieces with the method, or held */
	uint32_t n_held;
	struct tr_io_piece *held;	/* by due_ns, linked by next: back before their time */
	struct tr_rate rate;
	uint64_t busy_since_ns;		/* valid while n_inflight != 0 */
	bool said_mem, said_file;	/* registration was refused before */
	struct tr_io_stats stats;
};

/* --- requests --------------------------------------------------------------------------------- */

static uint64_t now(const struct tr_io *io)
{
	return tr_now_ns(io->cfg.clock);
}

static void enter_state(struct tr_io_req *req, enum tr_io_state to)
{
	static const unsigned char from[] = {
		[TR_IO_QUEUED] = 1 << TR_IO_IDLE | 1 << TR_IO_DONE,
		[TR_IO_INFLIGHT] = 1 << TR_IO_QUEUED,
		[TR_IO_DONE] = 1 << TR_IO_QUEUED | 1 << TR_IO_INFLIGHT,
	};

	tr_assert(from[to] >> req->state & 1);
	req->state = to;
}

static void finish(struct tr_io *io, struct tr_io_req *req)
{
	enter_state(req, TR_IO_DONE);
	req->end_ns = now(io);
	tr_io_req_push(&io->finished, req);
}

/* What has not been carved never will be. */
static void drop_rest(struct tr_io *io, struct tr_io_req *req)
{
	if (req->next_off < req->len)
		tr_io_req_remove(&io->waiting[req->prio], req);
	req->next_off = req->len;
}

/* The first failure of a request is the one reported. os_errno 0: the file ends early. */
static void fail(struct tr_io *io, struct tr_io_req *req, int os_errno)
{
	if (req->result)
		return;
	req->result = TR_E_IO;
	req->os_errno = os_errno;
	io->stats.errors++;
	drop_rest(io, req);
}

static void enqueue(struct tr_io *io, struct tr_io_req *req)
{
	tr_assert(req->need <= req->len);
	enter_state(req, TR_IO_QUEUED);
	req->gen++;
	req->result = 0;
	req->os_errno = 0;
	req->got = 0;
	req->start_ns = req->end_ns = 0;
	req->next_off = 0;
	req->n_inflight = 0;
	req->cancelled = false;
	io->stats.reqs++;
	io->n_outstanding++;
	if (req->len)
		tr_io_req_push(&io->waiting[req->prio], req);
	else
		finish(io, req);
}

static void cancel(struct tr_io *io, struct tr_io_req *req)
{
	req->cancelled = true;
	req->result = TR_E_INTERRUPTED;
	io->stats.cancels++;
	drop_rest(io, req);
	finish(io, req);
}

/* --- pieces ----------------------------------------------------------------------------------- */

static struct tr_io_piece *carve(struct tr_io *io, enum tr_io_prio prio)
{
	struct tr_io_req *req = io->waiting[prio].head;
	struct tr_io_piece *p = io->free;
	uint64_t most = TR_ALIGN_UP(io->cfg.piece_bytes, req->file->align_off);

	io->free = p->next;
	*p = (struct tr_io_piece){
		.file = req->file,
		.prio = prio,
		.req = req,
		.rel = req->next_off,
		.bytes = TR_MIN(most, req->len - req->next_off),
	};
	req->next_off += p->bytes;
	if (req->next_off == req->len)
		tr_io_req_remove(&io->waiting[prio], req);
	if (req->state == TR_IO_QUEUED) {
		enter_state(req, TR_IO_INFLIGHT);
		req->start_ns = now(io);
	}
	req->n_inflight++;
	io->n_background += prio == TR_IO_BACKGROUND;
	io->stats.pieces++;
	return p;
}

static void release_piece(struct tr_io *io, struct tr_io_piece *p)
{
	struct tr_io_req *req = p->req;

	req->got += p->done;
	io->stats.bytes += p->done;
	io->n_background -= p->prio == TR_IO_BACKGROUND;
	p->next = io->free;
	io->free = p;
	if (!--req->n_inflight && req->next_off == req->len)
		finish(io, req);
}

/* Takes note of the bytes of one attempt. True when the piece must be read on. */
static bool take_bytes(struct tr_io *io, struct tr_io_piece *p, uint64_t n)
{
	uint64_t reach = TR_MIN(p->pos + n, p->bytes);
	bool moved = reach > p->done;

	p->done = TR_MAX(p->done, reach);
	if (p->done == p->bytes || p->rel + p->done >= p->req->need)
		return false;
	if (!n || (!moved && p->n_retry++ >= io->cfg.max_retry)) {
		fail(io, p->req, 0);
		return false;
	}
	p->pos = TR_ALIGN_DOWN(p->done, p->file->align_off);
	io->stats.resubmits++;
	return true;
}

static bool try_again(struct tr_io *io, struct tr_io_piece *p, int os_errno)
{
	switch (os_errno) {
	case EAGAIN:
	case EBUSY:
	case EINTR:
	case ECANCELED: /* io_uring, when the thread that submitted has ended */
		io->stats.resubmits++;
		return p->n_again++ < MAX_AGAIN;
	case EIO:
		if (p->n_retry++ >= io->cfg.max_retry)
			return false;
		io->stats.retries++;
		return true;
	default:
		return false;
	}
}

/* One attempt has ended with res, as the method said it. */
static void settle(struct tr_io *io, struct tr_io_piece *p, int64_t res)
{
	bool more = false;

	if (res >= 0)
		more = take_bytes(io, p, (uint64_t)res);
	else if (try_again(io, p, (int)-res))
		more = true;
	else
		fail(io, p->req, (int)-res);
	if (more && !p->req->result)
		tr_io_piece_push(&io->again[p->prio], p);
	else
		release_piece(io, p);
}

/* --- handing over ----------------------------------------------------------------------------- */

static void note_out(struct tr_io *io)
{
	if (!io->n_inflight++)
		io->busy_since_ns = now(io);
}

static void note_back(struct tr_io *io)
{
	if (!--io->n_inflight)
		io->stats.busy_ns += now(io) - io->busy_since_ns;
}

static uint32_t n_with_method(const struct tr_io *io)
{
	return io->n_inflight - io->n_held;
}

static void hold(struct tr_io *io, struct tr_io_piece *p, int64_t res)
{
	struct tr_io_piece **at = &io->held;

	while (*at && (*at)->due_ns <= p->due_ns)
		at = &(*at)->next;
	p->res = res;
	p->next = *at;
	*at = p;
	io->n_held++;
}

/* The method has given the piece back. */
static void come_back(struct tr_io *io, struct tr_io_piece *p, int64_t res)
{
	if (p->due_ns && p->due_ns > now(io)) {
		hold(io, p, res);
		return;
	}
	note_back(io);
	settle(io, p, res);
}

static void release_due(struct tr_io *io)
{
	struct tr_io_piece *p;

	while ((p = io->held) && p->due_ns <= now(io)) {
		io->held = p->next;
		io->n_held--;
		note_back(io);
		settle(io, p, p->res);
	}
}

static bool has_again(const struct tr_io *io)
{
	return io->again[TR_IO_DEMAND].head || io->again[TR_IO_BACKGROUND].head;
}

static struct tr_io_piece *next_piece(struct tr_io *io)
{
	static const enum tr_io_prio order[] = { TR_IO_DEMAND, TR_IO_BACKGROUND };

	for (size_t i = 0; i < TR_ARRAY_LEN(order); i++) {
		enum tr_io_prio prio = order[i];

		if (io->again[prio].head)
			return tr_io_piece_pop(&io->again[prio]);
		if (!io->waiting[prio].head || !io->free)
			continue;
		if (prio == TR_IO_BACKGROUND && io->n_background >= io->cfg.background_depth)
			continue;
		return carve(io, prio);
	}
	return NULL;
}

/* False when the method is busy. Only a completion can change that, so when it has nothing in
 * flight the refusal counts as an attempt that ended with EAGAIN. */
static bool hand_over(struct tr_io *io, struct tr_io_piece *p)
{
	struct tr_io_req *req = p->req;
	double busy_until = io->rate.free_ns;

	p->off = req->off + p->rel + p->pos;
	p->buf = (char *)req->buf + p->rel + p->pos;
	p->len = (uint32_t)(p->bytes - p->pos);
	if (io->rate.bytes_per_s > 0)
		p->due_ns = tr_rate_take(&io->rate, now(io), p->len);
	note_out(io);
	switch (io->method->queue(io->state, p)) {
	case TR_IO_ANSWER_QUEUED:
		return true;
	case TR_IO_ANSWER_DONE:
		come_back(io, p, p->res);
		return true;
	case TR_IO_ANSWER_BUSY:
		break;
	}
	io->rate.free_ns = busy_until;
	note_back(io);
	if (!n_with_method(io)) {
		settle(io, p, -EAGAIN);
		return true;
	}
	tr_io_piece_push_front(&io->again[p->prio], p);
	return false;
}

static void commit(struct tr_io *io)
{
	struct tr_io_piece *next, *p;

	if (!io->method->commit)
		return;
	for (p = io->method->commit(io->state); p; p = next) {
		next = p->next;
		note_back(io);
		settle(io, p, p->res);
	}
}

static void start_pieces(struct tr_io *io)
{
	struct tr_io_piece *p;
	bool any = false;

	while ((p = next_piece(io))) {
		if (p->req->result) {
			release_piece(io, p);
			continue;
		}
		any = true;
		if (!hand_over(io, p))
			break;
	}
	if (any)
		commit(io);
}

/* --- reaping ---------------------------------------------------------------------------------- */

/* Lets go of the lock while the method waits. */
static void reap(struct tr_io *io, size_t min)
{
	bool any = n_with_method(io);
	size_t n = 0;

	io->reaping = true;
	tr_mutex_unlock(&io->lock);
	if (any)
		n = io->method->reap(io->state, io->reaped, io->cfg.depth, min);
	tr_mutex_lock(&io->lock);
	io->reaping = false;
	for (size_t i = 0; i < n; i++)
		come_back(io, io->reaped[i].piece, io->reaped[i].res);
	release_due(io);
	start_pieces(io);
	pthread_cond_broadcast(&io->changed);
}

/* Sleeps until the first of the pieces held is due. One that the method still has may be due a little
 * earlier and is then late. */
static void await_due(struct tr_io *io)
{
	uint64_t due = io->held->due_ns;

	io->reaping = true;
	tr_mutex_unlock(&io->lock);
	tr_sleep_until(io->cfg.clock, due);
	tr_mutex_lock(&io->lock);
	reap(io, 0);
}

/* Calls done() for what has finished, without the lock. */
static size_t deliver(struct tr_io *io)
{
	struct tr_io_req *req = io->finished.head, *next;
	size_t n = 0;

	if (!req)
		return 0;
	io->finished = (struct tr_io_req_list){ 0 };
	tr_mutex_unlock(&io->lock);
	for (; req; req = next, n++) {
		next = req->next;
		if (req->done)
			req->done(req);
	}
	tr_mutex_lock(&io->lock);
	io->n_outstanding -= n;
	io->n_delivered += n;
	pthread_cond_broadcast(&io->changed);
	return n;
}

size_t tr_io_poll(struct tr_io *io)
{
	size_t n;

	tr_mutex_lock(&io->lock);
	release_due(io);
	start_pieces(io);
	if (!io->reaping && n_with_method(io))
		reap(io, 0);
	n = deliver(io);
	tr_mutex_unlock(&io->lock);
	return n;
}

/* Returns when n_delivered has moved or nothing is outstanding. Nothing in flight, nothing finished
 * and nothing to try again means that another thread is inside deliver(). */
static size_t wait_locked(struct tr_io *io)
{
	uint64_t before = io->n_delivered;

	while (io->n_outstanding && io->n_delivered == before) {
		release_due(io);
		start_pieces(io);
		if (io->finished.head)
			return deliver(io);
		if (!io->reaping && io->held)
			await_due(io);
		else if (!io->reaping && io->n_inflight)
			reap(io, 1);
		else if (io->reaping || !has_again(io))
			tr_mutex_wait(&io->lock, &io->changed);
	}
	return io->n_delivered - before;
}

size_t tr_io_wait(struct tr_io *io)
{
	size_t n;

	tr_mutex_lock(&io->lock);
	n = wait_locked(io);
	tr_mutex_unlock(&io->lock);
	return n;
}

/* --- calls ------------------------------------------------------------------------------------ */

void tr_io_submit(struct tr_io *io, struct tr_io_req *const *reqs, size_t n)
{
	tr_mutex_lock(&io->lock);
	for (size_t i = 0; i < n; i++) {
		enqueue(io, reqs[i]);
		if (io->closing && reqs[i]->state == TR_IO_QUEUED)
			cancel(io, reqs[i]);
	}
	start_pieces(io);
	if (io->finished.head)
		pthread_cond_broadcast(&io->changed);
	tr_mutex_unlock(&io->lock);
}

bool tr_io_cancel(struct tr_io *io, struct tr_io_req *req)
{
	bool queued;

	tr_mutex_lock(&io->lock);
	queued = req->state == TR_IO_QUEUED;
	if (queued) {
		cancel(io, req);
		pthread_cond_broadcast(&io->changed);
	}
	tr_mutex_unlock(&io->lock);
	return queued;
}

void tr_io_promote(struct tr_io *io, struct tr_io_req *req)
{
	tr_mutex_lock(&io->lock);
	if (req->prio == TR_IO_BACKGROUND &&
		(req->state == TR_IO_QUEUED || req->state == TR_IO_INFLIGHT)) {
		if (req->next_off < req->len) {
			tr_io_req_remove(&io->waiting[TR_IO_BACKGROUND], req);
			tr_io_req_push(&io->waiting[TR_IO_DEMAND], req);
		}
		req->prio = TR_IO_DEMAND;
		start_pieces(io);
	}
	tr_mutex_unlock(&io->lock);
}

static void say_once(struct tr_io *io, bool *said, const char *what, int os_errno)
{
	if (*said)
		return;
	*said = true;
	io->stats.fallbacks++;
	tr_warn("I/O method %s: cannot register %s (%s)%s; reads go the ordinary way",
		io->method->name, what, strerror(os_errno),
		os_errno == ENOMEM ? ", see ulimit -l" : "");
}

void tr_io_register_mem(struct tr_io *io, void *base, size_t bytes)
{
	int rc = 0;

	tr_mutex_lock(&io->lock);
	if (io->method->register_mem)
		rc = io->method->register_mem(io->state, base, bytes);
	if (rc)
		say_once(io, &io->said_mem, "memory", -rc);
	tr_mutex_unlock(&io->lock);
}

void tr_io_register_file(struct tr_io *io, struct tr_file *file)
{
	int rc = -1;

	tr_mutex_lock(&io->lock);
	if (io->method->register_file) {
		rc = io->method->register_file(io->state, file);
		if (rc < 0)
			say_once(io, &io->said_file, "files", -rc);
	}
	file->reg_idx = TR_MAX(rc, -1);
	tr_mutex_unlock(&io->lock);
}

int tr_io_explain(const struct tr_io_req *req, struct tr_err *err)
{
	const char *path = req->file->path;

	if (!req->result)
		return 0;
	if (req->result == TR_E_INTERRUPTED)
		return tr_err_set(err, req->result, "'%s': read at offset %" PRIu64 " cancelled",
			path, req->off);
	if (req->os_errno)
		return tr_err_set(err, req->result,
			"'%s': cannot read %" PRIu64 " bytes at offset %" PRIu64 ": %s", path,
			req->len, req->off, strerror(req->os_errno));
	return tr_err_set(err, req->result,
		"'%s': file ends early: %" PRIu64 " bytes needed at offset %" PRIu64 ", %" PRIu64
		" arrived; it had %" PRIu64 " bytes when opened",
		path, req->need, req->off, req->got, req->file->bytes);
}

void tr_io_throttle(struct tr_io *io, double bytes_per_s)
{
	tr_mutex_lock(&io->lock);
	io->rate = (struct tr_rate){ .bytes_per_s = bytes_per_s };
	tr_mutex_unlock(&io->lock);
}

void tr_io_stats(const struct tr_io *io, struct tr_io_stats *out)
{
	struct tr_mutex *lock = (struct tr_mutex *)&io->lock;

	tr_mutex_lock(lock);
	*out = io->stats;
	if (io->n_inflight)
		out->busy_ns += now(io) - io->busy_since_ns;
	tr_mutex_unlock(lock);
}

/* --- open and close --------------------------------------------------------------------------- */

static void free_io(struct tr_io *io)
{
	pthread_cond_destroy(&io->changed);
	tr_mutex_fini(&io->lock);
	free(io->reaped);
	free(io->pieces);
	free(io);
}

int tr_io_open(struct tr_io **out, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	struct tr_io_cfg full = *cfg;
	struct tr_io *io;
	int rc = tr_io_cfg_fill(&full, err);

	if (rc)
		return rc;
	io = tr_calloc(1, sizeof(*io));
	if (!io)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for I/O");
	io->cfg = full;
	tr_mutex_init(&io->lock, TR_RANK_IO);
	pthread_cond_init(&io->changed, NULL);
	io->pieces = tr_calloc(full.depth, sizeof(*io->pieces));
	io->reaped = tr_calloc(full.depth, sizeof(*io->reaped));
	if (!io->pieces || !io->reaped) {
		rc = tr_err_set(err, TR_E_NOMEM, "out of memory for %u pieces of I/O", full.depth);
		goto fail;
	}
	for (uint32_t i = full.depth; i--;) {
		io->pieces[i].next = io->free;
		io->free = &io->pieces[i];
	}
	rc = tr_io_method_open(&io->method, &io->state, &io->cfg, err);
	if (rc)
		goto fail;
	io->stats.fallbacks = !full.method && strcmp(io->method->name, TR_IO_METHOD_DEFAULT);
	strncpy(io->stats.method, io->method->name, sizeof(io->stats.method) - 1);
	*out = io;
	return 0;
fail:
	free_io(io);
	return rc;
}

static void cancel_queued(struct tr_io *io)
{
	for (unsigned prio = 0; prio < TR_N_IO_PRIO; prio++) {
		struct tr_io_req *next, *req = io->waiting[prio].head;

		for (; req; req = next) {
			next = req->next;
			if (req->state == TR_IO_QUEUED)
				cancel(io, req);
		}
	}
}

void tr_io_close(struct tr_io *io)
{
	if (!io)
		return;
	tr_mutex_lock(&io->lock);
	io->closing = true;
	cancel_queued(io);
	while (io->n_outstanding)
		wait_locked(io);
	tr_mutex_unlock(&io->lock);
	io->method->close(io->state);
	free_io(io);
}
