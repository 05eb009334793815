/* method_threads.c - a team of threads that each do one pread, for kernels that do not allow io_uring. */
#include "io/team.h"

#include <errno.h>
#include <unistd.h>

static int64_t read_piece(void *ctx, const struct tr_io_piece *piece)
{
	ssize_t n = pread(piece->file->fd, piece->buf, piece->len, (off_t)piece->off);

	(void)ctx;
	return n < 0 ? -errno : n;
}

static int threads_open(void **state, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	struct tr_io_team *team;
	int rc = tr_io_team_open(&team, "threads", cfg->n_thread, read_piece, NULL, err);

	*state = rc ? NULL : team;
	return rc;
}

static void threads_close(void *state)
{
	tr_io_team_close(state);
}

static enum tr_io_answer threads_queue(void *state, struct tr_io_piece *piece)
{
	return tr_io_team_queue(state, piece);
}

static size_t threads_reap(void *state, struct tr_io_reaped *out, size_t cap, size_t min)
{
	return tr_io_team_reap(state, out, cap, min);
}

const struct tr_io_method tr_io_method_threads = {
	.name = "threads",
	.open = threads_open,
	.close = threads_close,
	.queue = threads_queue,
	.reap = threads_reap,
};
