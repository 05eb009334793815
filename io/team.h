/*
 * team.h - threads that each read one piece at a time, for methods whose reads block. The number of
 * transfers in flight is limited by the threads, however deep io's queue is.
 */
#ifndef TR_IO_TEAM_H
#define TR_IO_TEAM_H

#include "io/method.h"

struct tr_io_team;

/* Reads where the piece says; bytes read, 0 at the end of the file, or -errno. Called by several
 * threads at once. */
typedef int64_t tr_io_read_fn(void *ctx, const struct tr_io_piece *piece);

/* method is named in errors. */
int tr_io_team_open(struct tr_io_team **team, const char *method, uint32_t n, tr_io_read_fn *read,
	void *ctx, struct tr_err *err);
void tr_io_team_close(struct tr_io_team *team);

/* As the members of struct tr_io_method. */
enum tr_io_answer tr_io_team_queue(struct tr_io_team *team, struct tr_io_piece *piece);
size_t tr_io_team_reap(struct tr_io_team *team, struct tr_io_reaped *out, size_t cap, size_t min);

#endif
