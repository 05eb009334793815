/*
 * team.c - two lists, work and finished, under one mutex of TR_RANK_IO_METHOD, which no thread
 * holds while it reads.
 */
#include "io/team.h"
#include "io/list.h"
#include "base/mem.h"
#include "base/sync.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

struct tr_io_team {
	tr_io_read_fn *read;
	void *ctx;
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
	struct tr_io_team *t = arg;
	struct tr_io_piece *piece;

	tr_mutex_lock(&t->lock);
	for (;;) {
		while (!(piece = tr_io_piece_pop(&t->work)) && !t->closing)
			tr_mutex_wait(&t->lock, &t->work_came);
		if (!piece)
			break;
		tr_mutex_unlock(&t->lock);
		piece->res = t->read(t->ctx, piece);
		tr_mutex_lock(&t->lock);
		tr_io_piece_push(&t->finished, piece);
		t->n_finished++;
		pthread_cond_signal(&t->some_finished);
	}
	tr_mutex_unlock(&t->lock);
	return NULL;
}

void tr_io_team_close(struct tr_io_team *t)
{
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
static int start_team(struct tr_io_team *t, uint32_t n)
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

int tr_io_team_open(struct tr_io_team **team, const char *method, uint32_t n, tr_io_read_fn *read,
	void *ctx, struct tr_err *err)
{
	struct tr_io_team *t = tr_calloc(1, sizeof(*t));
	int rc;

	if (t)
		t->team = tr_calloc(n, sizeof(*t->team));
	if (!t || !t->team) {
		free(t);
		return tr_err_set(err, TR_E_NOMEM, "I/O method %s: out of memory for %u threads",
			method, n);
	}
	t->read = read;
	t->ctx = ctx;
	tr_mutex_init(&t->lock, TR_RANK_IO_METHOD);
	pthread_cond_init(&t->work_came, NULL);
	pthread_cond_init(&t->some_finished, NULL);
	rc = start_team(t, n);
	if (rc) {
		tr_err_sys(err, rc, "I/O method %s: cannot start thread %u of %u", method,
			t->n_team + 1, n);
		tr_io_team_close(t);
		return rc == EAGAIN ? TR_E_LIMIT : TR_E_NOMEM;
	}
	*team = t;
	return 0;
}

enum tr_io_answer tr_io_team_queue(struct tr_io_team *t, struct tr_io_piece *piece)
{
	tr_mutex_lock(&t->lock);
	tr_io_piece_push(&t->work, piece);
	pthread_cond_signal(&t->work_came);
	tr_mutex_unlock(&t->lock);
	return TR_IO_ANSWER_QUEUED;
}

size_t tr_io_team_reap(struct tr_io_team *t, struct tr_io_reaped *out, size_t cap, size_t min)
{
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
