/*
 * method_uring.c - io_uring: one ring, registered memory and files where the kernel allows.
 *
 * The submission side (queue, commit, register_*) runs under the io lock, the completion side by
 * one thread at a time without it; liburing keeps the two apart. Since any thread may submit, the
 * ring is not bound to one (no SINGLE_ISSUER, no DEFER_TASKRUN). Nor is COOP_TASKRUN set: it spares
 * the submitting thread an interrupt per completion, but while that thread computes, others that
 * wait see nothing until the next timer tick (4 ms in place of 0.1 ms, Linux 6.18, HZ=250).
 *
 * Memory is registered in regions of at most 1 GiB, the kernel's limit; a piece that crosses two of
 * them is read the ordinary way. Needs Linux 5.6 (IORING_OP_READ); registration needs 5.19.
 */
#include "io/method.h"
#include "base/mem.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REGION_BYTES (1ull << 30)
#define MAX_REGION   4096 /* of the 16384 that the kernel allows; one page of table for each 512 */
#define MAX_FILE     1024

/* How long io_uring_enter may refuse with EAGAIN (no memory for requests) before reads fail. */
#define ENTER_TRIES    10000
#define ENTER_PAUSE_NS 100000

struct region {
	const char *base;
	size_t bytes;
};

struct uring {
	struct io_uring ring;
	int broken; /* errno of an enter that failed for good; the ring is then never entered again
		     */

	struct tr_io_piece **pending; /* [depth], queued since the last commit */
	unsigned n_pending;

	struct region *regions; /* [MAX_REGION], index is the kernel's */
	unsigned n_region;
	bool has_regions; /* the kernel made the table */
	int *files;	  /* [MAX_FILE] descriptors, index is the kernel's */
	unsigned n_file;
	bool has_files;
};

static int init_ring(struct io_uring *ring, uint32_t depth)
{
	static const unsigned flags[] = {
		IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_CLAMP, /* Linux before 5.18 */
	};
	int rc = -EINVAL;

	for (size_t i = 0; i < TR_ARRAY_LEN(flags) && rc == -EINVAL; i++)
		rc = io_uring_queue_init(depth, ring, flags[i]);
	return rc;
}

static bool can_read(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool ok = probe && io_uring_opcode_supported(probe, IORING_OP_READ);

	io_uring_free_probe(probe);
	return ok;
}

static void free_uring(struct uring *u)
{
	free(u->files);
	free(u->regions);
	free(u->pending);
	free(u);
}

static int uring_open(void **state, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	struct uring *u = tr_calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for io_uring");
	u->pending = tr_calloc(cfg->depth, sizeof(struct tr_io_piece *));
	u->regions = tr_calloc(MAX_REGION, sizeof(*u->regions));
	u->files = tr_calloc(MAX_FILE, sizeof(*u->files));
	if (!u->pending || !u->regions || !u->files) {
		rc = tr_err_set(err, TR_E_NOMEM, "out of memory for io_uring");
		goto fail;
	}
	rc = init_ring(&u->ring, cfg->depth);
	if (rc) {
		tr_err_sys(err, -rc, "io_uring is not to be had%s",
			rc == -EPERM ? " (see sysctl kernel.io_uring_disabled, seccomp)" : "");
		rc = TR_E_UNSUPPORTED;
		goto fail;
	}
	if (!can_read(&u->ring)) {
		io_uring_queue_exit(&u->ring);
		rc = tr_err_set(
			err, TR_E_UNSUPPORTED, "io_uring of this kernel cannot read (needs 5.6)");
		goto fail;
	}
	*state = u;
	return 0;
fail:
	free_uring(u);
	return rc;
}

static void uring_close(void *state)
{
	struct uring *u = state;

	io_uring_queue_exit(&u->ring);
	free_uring(u);
}

/* --- registration ----------------------------------------------------------------------------- */

static int add_region(struct uring *u, void *base, size_t bytes)
{
	struct iovec iov = { .iov_base = base, .iov_len = bytes };
	__u64 tag = 0;
	int rc;

	if (u->n_region == MAX_REGION)
		return -ENOSPC;
	rc = io_uring_register_buffers_update_tag(&u->ring, u->n_region, &iov, &tag, 1);
	if (rc < 0)
		return rc;
	u->regions[u->n_region++] = (struct region){ .base = base, .bytes = bytes };
	return 0;
}

static int uring_register_mem(void *state, void *base, size_t bytes)
{
	struct uring *u = state;
	int rc = 0;

	if (!u->has_regions) {
		rc = io_uring_register_buffers_sparse(&u->ring, MAX_REGION);
		u->has_regions = !rc;
	}
	for (size_t at = 0; !rc && at < bytes; at += REGION_BYTES)
		rc = add_region(u, (char *)base + at, TR_MIN(bytes - at, (size_t)REGION_BYTES));
	return rc;
}

static int uring_register_file(void *state, const struct tr_file *file)
{
	struct uring *u = state;
	int rc = 0;

	if (!u->has_files) {
		rc = io_uring_register_files_sparse(&u->ring, MAX_FILE);
		u->has_files = !rc;
	}
	if (!rc && u->n_file == MAX_FILE)
		rc = -ENOSPC;
	if (!rc)
		rc = io_uring_register_files_update(&u->ring, u->n_file, &file->fd, 1);
	if (rc < 0)
		return rc;
	u->files[u->n_file] = file->fd;
	return (int)u->n_file++;
}

static int find_region(const struct uring *u, const void *buf, size_t len)
{
	const char *p = buf;

	for (unsigned i = 0; i < u->n_region; i++) {
		const struct region *r = &u->regions[i];

		if (p >= r->base && p + len <= r->base + r->bytes)
			return (int)i;
	}
	return -1;
}

/* A file may have been registered with another ring; only our own entry of it counts. */
static bool is_registered(const struct uring *u, const struct tr_file *file)
{
	return file->reg_idx >= 0 && (unsigned)file->reg_idx < u->n_file &&
	       u->files[file->reg_idx] == file->fd;
}

/* --- transfers -------------------------------------------------------------------------------- */

static enum tr_io_answer uring_queue(void *state, struct tr_io_piece *piece)
{
	struct uring *u = state;
	int region = find_region(u, piece->buf, piece->len);
	bool fixed_file = is_registered(u, piece->file);
	int fd = fixed_file ? piece->file->reg_idx : piece->file->fd;
	struct io_uring_sqe *sqe;

	if (u->broken) {
		piece->res = -u->broken;
		return TR_IO_ANSWER_DONE;
	}
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return TR_IO_ANSWER_BUSY;
	if (region >= 0)
		io_uring_prep_read_fixed(sqe, fd, piece->buf, piece->len, piece->off, region);
	else
		io_uring_prep_read(sqe, fd, piece->buf, piece->len, piece->off);
	if (fixed_file)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, piece);
	u->pending[u->n_pending++] = piece;
	return TR_IO_ANSWER_QUEUED;
}

/* Number of entries taken, or -errno when the ring refuses for good. */
static int enter(struct uring *u)
{
	const struct timespec pause = { .tv_nsec = ENTER_PAUSE_NS };
	int rc = -EAGAIN;

	for (unsigned i = 0; i < ENTER_TRIES; i++) {
		rc = io_uring_submit(&u->ring);
		if (rc != -EAGAIN && rc != -EBUSY && rc != -EINTR)
			break;
		if (rc != -EINTR)
			nanosleep(&pause, NULL);
	}
	return rc ? rc : -EIO;
}

static struct tr_io_piece *uring_commit(void *state)
{
	struct tr_io_piece *refused = NULL;
	struct uring *u = state;
	unsigned n_sent = 0;
	int rc;

	while (!u->broken && n_sent < u->n_pending) {
		rc = enter(u);
		if (rc < 0)
			u->broken = -rc;
		else
			n_sent += (unsigned)rc;
	}
	while (u->n_pending > n_sent) {
		struct tr_io_piece *piece = u->pending[--u->n_pending];

		piece->res = -u->broken;
		piece->next = refused;
		refused = piece;
	}
	u->n_pending = 0;
	return refused;
}

static size_t uring_reap(void *state, struct tr_io_reaped *out, size_t cap, size_t min)
{
	struct uring *u = state;
	struct io_uring_cqe *cqe;
	size_t n = 0;
	int rc;

	while (n < cap) {
		if (n < min)
			rc = io_uring_wait_cqe(&u->ring, &cqe);
		else
			rc = io_uring_peek_cqe(&u->ring, &cqe);
		if (rc && n >= min)
			break;
		if (rc)
			continue; /* a signal */
		out[n].piece = io_uring_cqe_get_data(cqe);
		out[n++].res = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
	}
	return n;
}

const struct tr_io_method tr_io_method_uring = {
	.name = "uring",
	.open = uring_open,
	.close = uring_close,
	.register_mem = uring_register_mem,
	.register_file = uring_register_file,
	.queue = uring_queue,
	.commit = uring_commit,
	.reap = uring_reap,
};
