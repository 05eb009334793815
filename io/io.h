/*
 * io.h - reads of whole extents, many in flight.
 *
 * A request asks for [off, off + len) of a file into memory. io splits it into pieces of at most
 * piece_bytes so that one large extent keeps the device busy, hands pieces to a *method* (uring,
 * threads, sync, or the scripted sim of the tests), resubmits what came back short, retries EIO a
 * few times, and reports the request as one result. Demand requests go before background ones.
 *
 * Completion never raises: the result is stored in the request and done() is called once, from
 * inside poll, wait or close by whichever thread reaps, with no io lock held (submit and cancel
 * never call it, so a caller may hold the lock that done() takes). Each submission gives the request
 * a new generation: who remembers (request, generation) can tell a reused request.
 *
 * Locks: every call below may come from any thread. TR_RANK_IO guards queues and counters.
 */
#ifndef TR_IO_IO_H
#define TR_IO_IO_H

#include "base/clock.h"
#include "base/err.h"

struct tr_io;

/* --- files ------------------------------------------------------------------------------------ */

struct tr_file {
	char *path;
	int fd;
	bool direct;	    /* O_DIRECT is in force */
	uint32_t align_mem; /* of buffers, when direct; else 1 */
	uint32_t align_off; /* of offsets and lengths, when direct; else 1 */
	uint64_t bytes;	    /* size when opened */
	int reg_idx;	    /* index in the method's registered files, -1: not registered */
};

/* want_direct: O_DIRECT where the file system can, else buffered with one logged warning.
 * Alignment comes from statx(STATX_DIOALIGN), else 4096. */
int tr_file_open(struct tr_file *file, const char *path, bool want_direct, struct tr_err *err);
void tr_file_close(struct tr_file *file);

/* The aligned window of the file that holds [off, off + len): *win_off <= off, and len_out counts
 * from there. It may end past the end of the file; a read of it then comes back shorter. */
void tr_file_window(const struct tr_file *file, uint64_t off, uint64_t len, uint64_t *win_off,
	uint64_t *win_len);

/* --- requests --------------------------------------------------------------------------------- */

enum tr_io_prio { TR_IO_DEMAND, TR_IO_BACKGROUND, TR_N_IO_PRIO };

enum tr_io_state {
	TR_IO_IDLE,	/* never submitted, or reaped and free for reuse */
	TR_IO_QUEUED,	/* no piece given to the method yet */
	TR_IO_INFLIGHT, /* at least one piece is with the method */
	TR_IO_DONE,	/* result is valid; done() is about to be called or was */
};

struct tr_io_req;
typedef void tr_io_done_fn(struct tr_io_req *req);

struct tr_io_req {
	/* Asked: set by the caller before submit, unchanged until done (but prio, by promote). */
	struct tr_file *file;
	uint64_t off; /* aligned as the file says */
	uint64_t len;
	uint64_t need; /* bytes from off that must arrive; the rest may lie past the end of file */
	void *buf;
	enum tr_io_prio prio;
	tr_io_done_fn *done; /* may submit new requests; must not wait */
	void *ctx;

	/* Answer: written before done(). 0, TR_E_IO, or TR_E_INTERRUPTED when cancelled. */
	int result;
	int os_errno;	   /* of the failed transfer, 0 otherwise: TR_E_IO with 0 is a file too short */
	uint64_t got;	   /* bytes that arrived; contiguous from off unless the request failed */
	uint64_t start_ns; /* first piece handed to the method */
	uint64_t end_ns;

	/* Private to io; guarded by the io lock. */
	enum tr_io_state state;
	uint32_t gen;
	uint64_t next_off; /* first byte not yet given to a piece, relative to off */
	uint32_t n_inflight;
	bool cancelled;
	struct tr_io_req *next;
};

struct tr_io_cfg {
	const char *method;	    /* "uring", "threads", "sync", "cufile"; NULL: uring,
				     * else threads */
	void *method_arg;	    /* of "sim": its struct tr_io_sim; else NULL */
	const struct tr_clock *clock;
	uint32_t depth;		    /* pieces in flight; 0: 64 */
	uint32_t background_depth;  /* of which background; 0: depth / 4 */
	uint64_t piece_bytes;	    /* 0: 1 MiB */
	uint32_t n_thread;	    /* of method threads; 0: 8 */
	uint32_t max_retry;	    /* of EIO, per piece; 0: 3 */
};

struct tr_io_stats {
	char method[16]; /* the one in use after fallbacks */
	uint64_t reqs, pieces, bytes, resubmits, retries, errors, cancels, fallbacks;
	uint64_t busy_ns; /* time with at least one piece in flight */
};

int tr_io_open(struct tr_io **io, const struct tr_io_cfg *cfg, struct tr_err *err);
/* Cancels what is queued, waits for what is in flight, calls done() for both. */
void tr_io_close(struct tr_io *io);

/* Registers memory that later buffers lie in (io_uring fixed buffers) and files. Best effort: where
 * the kernel refuses (memlock limit), reads go the ordinary way, said once and counted. */
void tr_io_register_mem(struct tr_io *io, void *base, size_t bytes);
void tr_io_register_file(struct tr_io *io, struct tr_file *file);

/* Queues n requests as one batch and starts as many pieces as depth allows. Never blocks (but for
 * the sync method, which has read them all on return; done() is still left to poll or wait). */
void tr_io_submit(struct tr_io *io, struct tr_io_req *const *reqs, size_t n);

/* Reaps what is complete, starts what waits. Returns the number of requests finished. */
size_t tr_io_poll(struct tr_io *io);

/* As poll, but blocks until at least one request finishes, here or in another thread; returns 0 at
 * once when none is outstanding. A request is outstanding until its done() has returned. */
size_t tr_io_wait(struct tr_io *io);

/* Cancels a request if none of it has started; one in flight runs to its end. Returns true when
 * done() will report TR_E_INTERRUPTED. */
bool tr_io_cancel(struct tr_io *io, struct tr_io_req *req);

/* A background request that somebody now waits for: what of it has not started goes behind the
 * demand requests, as one of them. Does nothing to others. */
void tr_io_promote(struct tr_io *io, struct tr_io_req *req);

/* What went wrong with a finished request: file, offset, size, cause. Returns its result. */
int tr_io_explain(const struct tr_io_req *req, struct tr_err *err);

/* From now on reads end no earlier than a device of so many bytes a second, which takes them in the order
 * in which they are handed to it, would have them ended. 0: no limit, as at first. */
void tr_io_throttle(struct tr_io *io, double bytes_per_s);

void tr_io_stats(const struct tr_io *io, struct tr_io_stats *out);

#endif
