/* method_sync.c - each piece is read by the caller, inside submit. For debugging and as a baseline.
 */
#include "io/method.h"

#include <errno.h>
#include <unistd.h>

static int sync_open(void **state, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	(void)cfg;
	(void)err;
	*state = NULL;
	return 0;
}

static void sync_close(void *state)
{
	(void)state;
}

static enum tr_io_answer sync_queue(void *state, struct tr_io_piece *piece)
{
	ssize_t n = pread(piece->file->fd, piece->buf, piece->len, (off_t)piece->off);

	(void)state;
	piece->res = n < 0 ? -errno : n;
	return TR_IO_ANSWER_DONE;
}

const struct tr_io_method tr_io_method_sync = {
	.name = "sync",
	.open = sync_open,
	.close = sync_close,
	.queue = sync_queue,
};
