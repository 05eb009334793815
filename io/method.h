/*
 * method.h - how pieces get to the operating system.
 *
 * io cuts requests into pieces and hands each to a method; the method transfers once and says how
 * many bytes arrived or which errno came back. It never retries, splits or orders: io does.
 *
 * Locks. open, close, register_*, queue and commit are called one at a time, with the io lock
 * (TR_RANK_IO) held or no other thread around. reap is called with no lock held, by one thread at a
 * time, and may run beside the others. A method that shares state between the two sides guards it
 * with a mutex of TR_RANK_IO_METHOD.
 */
#ifndef TR_IO_METHOD_H
#define TR_IO_METHOD_H

#include "io/io.h"

struct tr_io_piece {
	/* What to read now: set by io, constant while the method has the piece. */
	const struct tr_file *file;
	uint64_t off; /* in the file */
	void *buf;
	uint32_t len;
	enum tr_io_prio prio;

	/* Belongs to whoever has the piece: io, or the method between queue and reap. */
	struct tr_io_piece *next;
	/* Bytes read or -errno. Written by queue when it answers DONE and by commit for what it
	 * hands back; reap has its own place for it. */
	int64_t res;

	/* Private to io. */
	struct tr_io_req *req;
	uint64_t rel;	/* of the piece, from req->off */
	uint64_t bytes; /* of the whole piece */
	uint64_t done;	/* bytes that have arrived, from rel */
	uint64_t pos; /* where the present attempt starts, from rel: done, or less to keep alignment
		       */
	uint32_t n_retry;
	uint32_t n_again;
	uint64_t due_ns; /* the attempt counts as ended no earlier */
};

enum tr_io_answer {
	TR_IO_ANSWER_DONE,   /* transferred already: piece->res is valid, the piece is io's again */
	TR_IO_ANSWER_QUEUED, /* the method has it until reap or commit gives it back */
	TR_IO_ANSWER_BUSY,   /* not taken; io offers it again after the next completion */
};

struct tr_io_reaped {
	struct tr_io_piece *piece;
	int64_t res; /* bytes read, 0 at the end of the file, or -errno */
};

struct tr_io_method {
	/* Required. What users type. */
	const char *name;

	/* Required. May block. cfg is filled in, no zeros left. On failure nothing is held. */
	int (*open)(void **state, const struct tr_io_cfg *cfg, struct tr_err *err);

	/* Required. May block. No piece is with the method. */
	void (*close)(void *state);

	/* Optional. May block while pages are pinned. 0, or -errno; then reads into the memory, or
	 * into the part of it that was refused, still work, only slower. */
	int (*register_mem)(void *state, void *base, size_t bytes);

	/* Optional. Does not block. The index for file->reg_idx, or -errno. */
	int (*register_file)(void *state, const struct tr_file *file);

	/* Required. Does not block, unless it answers only DONE. Any answer is legal at any time,
	 * but at most cfg->depth pieces are ever with the method. */
	enum tr_io_answer (*queue)(void *state, struct tr_io_piece *piece);

	/* Optional. Passes on what queue took since the last commit. Does not wait for transfers.
	 * Returns the pieces that could not be passed on, chained by next with res set to -errno;
	 * mostly NULL. */
	struct tr_io_piece *(*commit)(void *state);

	/* Required if queue ever answers QUEUED. Stores up to cap finished pieces and returns their
	 * number. Blocks until at least min of them are there; min is at most the number of pieces
	 * that were queued and not reaped when it was called. min == 0 does not block. */
	size_t (*reap)(void *state, struct tr_io_reaped *out, size_t cap, size_t min);
};

/* All methods, in the order of methods.def; NULL at the end. */
extern const struct tr_io_method *const tr_io_methods[];

/* By name; NULL when there is none. */
const struct tr_io_method *tr_io_method_find(const char *name);

/* Opens the method that cfg names. Where it names none and the default is not to be had, opens the
 * fallback and says so. cfg is filled in. */
#define TR_IO_METHOD_DEFAULT  "uring"
#define TR_IO_METHOD_FALLBACK "threads"
int tr_io_method_open(const struct tr_io_method **method, void **state, const struct tr_io_cfg *cfg,
	struct tr_err *err);

/* Puts defaults for zeros and checks limits. */
int tr_io_cfg_fill(struct tr_io_cfg *cfg, struct tr_err *err);

#endif
