/*
 * method_threads.c - a team of threads that each do one pread at a time.
 *
 * For kernels that do not allow io_uring. Two lists, work and finished, under one mutex of
 * TR_RANK_IO_METHOD, which no thread holds while it reads. The number of transfers in flight is
 * limited by the threads (cfg->n_thread), however deep io's queue is.
 */
#include "io/list.h"
#include "base/mem.h"
#include "base/sync.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct threads {
	pthread_t *team;
	uint32_t n_team;
	struct tr_mutex lock;
	pthread_cond_t work_came;
	pthread_cond_t some_finished;

	/* Guarded by lock. */
	struct tr_io_piece_list work;
	struct tr_io_piece_list finished; /* with res */
	size_t n_finished;
	bool closing;
};

static void *serve(void *arg)
{
	struct threads *t = arg;
	struct tr_io_piece *piece;
	ssize_t n;

	tr_mutex_lock(&t->lock);
	for (;;) {
		while (!(piece = tr_io_piece_pop(&t->work)) && !t->closing)
			tr_mutex_wait(&t->lock, &t->work_came);
		if (!piece)
			break;
		tr_mutex_unlock(&t->lock);
		n = pread(piece->file->fd, piece->buf, piece->len, (off_t)piece->off);
		piece->res = n < 0 ? -errno : n;
		tr_mutex_lock(&t->lock);
		tr_io_piece_push(&t->finished, piece);
		t->n_finished++;
		pthread_cond_signal(&t->some_finished);
	}
	tr_mutex_unlock(&t->lock);
	return NULL;
}

static void threads_close(void *state)
{
	struct threads *t = state;

	tr_mutex_lock(&t->lock);
	t->closing = true;
	pthread_cond_broadcast(&t->work_came);
	tr_mutex_unlock(&t->lock);
	for (uint32_t i = 0; i < t->n_team; i++)
		pthread_join(t->team[i], NULL);
	pthread_cond_destroy(&t->some_finished);
	pthread_cond_destroy(&t->work_came);
	tr_mutex_fini(&t->lock);
	free(t->team);
	free(t);
}

/* Signals are the program's; the team takes none. */
static int start_team(struct threads *t, uint32_t n)
{
	sigset_t all, before;
	int rc = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (t->n_team < n && !rc) {
		rc = pthread_create(&t->team[t->n_team], NULL, serve, t);
		if (!rc)
			t->n_team++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static int threads_open(void **state, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	struct threads *t = tr_calloc(1, sizeof(*t));
	int rc;

	if (t)
		t->team = tr_calloc(cfg->n_thread, sizeof(*t->team));
	if (!t || !t->team) {
		free(t);
		return tr_err_set(err, TR_E_NOMEM,
			"I/O method threads: out of memory for %u threads", cfg->n_thread);
	}
	tr_mutex_init(&t->lock, TR_RANK_IO_METHOD);
	pthread_cond_init(&t->work_came, NULL);
	pthread_cond_init(&t->some_finished, NULL);
	rc = start_team(t, cfg->n_thread);
	if (rc) {
		tr_err_sys(err, rc, "I/O method threads: cannot start thread %u of %u",
			t->n_team + 1, cfg->n_thread);
		threads_close(t);
		return rc == EAGAIN ? TR_E_LIMIT : TR_E_NOMEM;
	}
	*state = t;
	return 0;
}

static enum tr_io_answer threads_queue(void *state, struct tr_io_piece *piece)
{
	struct threads *t = state;

	tr_mutex_lock(&t->lock);
	tr_io_piece_push(&t->work, piece);
	pthread_cond_signal(&t->work_came);
	tr_mutex_unlock(&t->lock);
	return TR_IO_ANSWER_QUEUED;
}

static size_t threads_reap(void *state, struct tr_io_reaped *out, size_t cap, size_t min)
{
	struct threads *t = state;
	size_t n = 0;

	tr_mutex_lock(&t->lock);
	while (t->n_finished < min)
		tr_mutex_wait(&t->lock, &t->some_finished);
	for (; n < cap && t->n_finished; n++, t->n_finished--) {
		out[n].piece = tr_io_piece_pop(&t->finished);
		out[n].res = out[n].piece->res;
	}
	tr_mutex_unlock(&t->lock);
	return n;
}

const struct tr_io_method tr_io_method_threads = {
	.name = "threads",
	.open = threads_open,
	.close = threads_close,
	.queue = threads_queue,
	.reap = threads_reap,
};
