/*
 * store_fill.c - from the model file to a store file, once.
 *
 * A few lanes each hold one unit: its three parts are read at once through io into aligned windows,
 * and when they are there the unit is written with one gathered write, without a copy in between.
 * Rows ascend by unit, so reads of neighbouring experts are neighbours in the model file. Room is
 * reserved before the first byte is read, so that a full disk shows at once and not after an hour.
 */
#include "cache/store_fill.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <xxhash.h>

/* Units in flight: 12 parts keep an NVMe busy (io splits each into pieces), and with experts of
 * 24 MB the lanes take 100 MB for as long as a store is filled. */
#define N_LANE 4
#define N_SAMPLE 8
#define PROGRESS_NS 200000000u

/* Takes one unit that has been read. */
typedef int sink_fn(void *ctx, struct tr_store_row *row, const void *const part[TR_N_PART],
	struct tr_err *err);

struct lane {
	struct tr_store_row *row; /* NULL: idle */
	struct tr_io_req req[TR_N_PART];
	const void *part[TR_N_PART];
	atomic_uint n_left; /* parts on their way; reaped by any thread */
};

struct reader {
	const struct tr_store_cfg *cfg;
	struct lane lanes[N_LANE];
	void *mem;
	size_t mem_bytes;
	size_t window_bytes[TR_N_PART]; /* of one lane */
};

/* --- reading units ---------------------------------------------------------------------------- */

static void part_done(struct tr_io_req *req)
{
	struct lane *lane = req->ctx;

	atomic_fetch_sub_explicit(&lane->n_left, 1, memory_order_release);
}

static uint32_t buffer_align(const struct tr_store_cfg *cfg)
{
	uint32_t align = TR_STORE_EXTENT_ALIGN;

	for (size_t s = 0; s < cfg->model->n_shard; s++)
		align = TR_MAX(align, TR_MAX(cfg->files[s].align_mem, cfg->files[s].align_off));
	return align;
}

static int reader_init(struct reader *r, const struct tr_store_cfg *cfg, struct tr_err *err)
{
	uint32_t align = buffer_align(cfg);
	size_t lane_bytes = 0;
	uint8_t *at;

	*r = (struct reader){ .cfg = cfg };
	for (size_t u = 0; u < cfg->catalog->n_unit; u++)
		for (int p = 0; p < TR_N_PART; p++)
			r->window_bytes[p] = TR_MAX(r->window_bytes[p],
				(size_t)TR_ALIGN_UP(cfg->catalog->units[u].part[p].bytes, align) +
					2 * align);
	for (int p = 0; p < TR_N_PART; p++)
		lane_bytes += r->window_bytes[p];
	r->mem_bytes = N_LANE * lane_bytes + align;
	r->mem = tr_pages_alloc(r->mem_bytes);
	if (!r->mem)
		return tr_err_set(err, TR_E_NOMEM, "no memory for %zu bytes of buffers",
			r->mem_bytes);
	at = (uint8_t *)TR_ALIGN_UP((uintptr_t)r->mem, align);
	for (int l = 0; l < N_LANE; l++) {
		for (int p = 0; p < TR_N_PART; p++) {
			r->lanes[l].req[p].buf = at;
			at += r->window_bytes[p];
		}
	}
	return 0;
}

static void start_lane(struct reader *r, struct lane *lane, struct tr_store_row *row)
{
	const struct tr_unit *u = &r->cfg->catalog->units[row->unit];
	struct tr_io_req *reqs[TR_N_PART];

	lane->row = row;
	atomic_store_explicit(&lane->n_left, TR_N_PART, memory_order_relaxed);
	for (int p = 0; p < TR_N_PART; p++) {
		const struct tr_extent *x = &u->part[p];
		struct tr_io_req *req = &lane->req[p];

		req->file = &r->cfg->files[x->shard];
		tr_file_window(req->file, x->off, x->bytes, &req->off, &req->len);
		tr_assert(req->len <= r->window_bytes[p]);
		req->need = x->off - req->off + x->bytes;
		req->prio = TR_IO_DEMAND;
		req->done = part_done;
		req->ctx = lane;
		lane->part[p] = (const uint8_t *)req->buf + (x->off - req->off);
		reqs[p] = req;
	}
	tr_io_submit(r->cfg->io, reqs, TR_N_PART);
}

static bool is_busy(struct lane *lane)
{
	return atomic_load_explicit(&lane->n_left, memory_order_acquire) != 0;
}

static int check_lane(const struct reader *r, const struct lane *lane, struct tr_err *err)
{
	const struct tr_unit *u = &r->cfg->catalog->units[lane->row->unit];

	for (int p = 0; p < TR_N_PART; p++) {
		int rc = tr_io_explain(&lane->req[p], err);

		if (rc) {
			tr_err_prefix(err, "layer %u expert %u", u->layer, u->expert);
			return rc;
		}
	}
	return 0;
}

/* Buffers are io's until every request is done. */
static void drain(struct reader *r)
{
	for (int l = 0; l < N_LANE; l++) {
		if (!r->lanes[l].row)
			continue;
		for (int p = 0; p < TR_N_PART; p++)
			tr_io_cancel(r->cfg->io, &r->lanes[l].req[p]);
		while (is_busy(&r->lanes[l]))
			if (!tr_io_wait(r->cfg->io))
				sched_yield();
	}
}

/* One round over the lanes. Returns the number that are busy, or a negative code. */
static int turn(struct reader *r, struct tr_store_row **next, struct tr_store_row *end,
	sink_fn *sink, void *ctx, struct tr_err *err)
{
	int busy = 0, rc;

	for (int l = 0; l < N_LANE; l++) {
		struct lane *lane = &r->lanes[l];

		if (lane->row && !is_busy(lane)) {
			rc = check_lane(r, lane, err);
			if (!rc)
				rc = sink(ctx, lane->row, lane->part, err);
			if (rc)
				return rc;
			lane->row = NULL;
		}
		if (!lane->row && *next < end)
			start_lane(r, lane, (*next)++);
		busy += lane->row != NULL;
	}
	return busy;
}

/* Gives each unit of rows to sink, in no particular order. */
static int read_units(const struct tr_store_cfg *cfg, struct tr_store_row *rows, size_t n,
	sink_fn *sink, void *ctx, struct tr_err *err)
{
	struct tr_store_row *next = rows;
	struct reader r;
	int rc = reader_init(&r, cfg, err);

	if (rc)
		return rc;
	while ((rc = turn(&r, &next, rows + n, sink, ctx, err)) > 0)
		if (!tr_io_wait(cfg->io))
			sched_yield();
	drain(&r);
	tr_pages_free(r.mem, r.mem_bytes);
	return rc;
}

static uint64_t sum_of(XXH3_state_t *hash, const struct tr_unit *u, const void *const *part)
{
	XXH3_64bits_reset(hash);
	for (int p = 0; p < TR_N_PART; p++)
		XXH3_64bits_update(hash, part[p], u->part[p].bytes);
	return XXH3_64bits_digest(hash);
}

/* --- filling ---------------------------------------------------------------------------------- */

struct fill {
	const struct tr_store_cfg *cfg;
	const char *path;
	int fd;
	XXH3_state_t *hash;
	uint64_t done, total; /* bytes of extents */
	uint64_t told_ns;
	uint8_t zeros[TR_STORE_EXTENT_ALIGN];
};

static int err_write(const struct fill *f, int e, struct tr_err *err)
{
	unsigned long long free_bytes = 0, need = f->total;
	struct statvfs fs;

	if (!fstatvfs(f->fd, &fs))
		free_bytes = (unsigned long long)fs.f_bavail * fs.f_frsize;
	if (e == ENOSPC || e == EDQUOT || e == EFBIG)
		return tr_err_sys(err, e,
			"%s: no room for %llu bytes of experts (%llu written, %llu free on the file "
			"system); give a smaller size",
			f->path, need, (unsigned long long)f->done, free_bytes);
	return tr_err_sys(err, e, "%s: writing %llu bytes of experts", f->path, need);
}

static int tell(struct fill *f, bool always, struct tr_err *err)
{
	uint64_t now = tr_now_ns(&tr_clock_real);

	if (!f->cfg->progress || (!always && now - f->told_ns < PROGRESS_NS))
		return 0;
	f->told_ns = now;
	if (!f->cfg->progress(f->cfg->progress_ctx, "copying experts", f->done, f->total, "bytes"))
		return 0;
	return tr_err_set(err, TR_E_INTERRUPTED, "%s: stopped after %llu of %llu bytes of experts",
		f->path, (unsigned long long)f->done, (unsigned long long)f->total);
}

static int write_unit(void *ctx, struct tr_store_row *row, const void *const part[TR_N_PART],
	struct tr_err *err)
{
	struct fill *f = ctx;
	const struct tr_unit *u = &f->cfg->catalog->units[row->unit];
	struct iovec iov[TR_N_PART + 1];
	uint64_t pad = TR_ALIGN_UP(row->bytes, TR_STORE_EXTENT_ALIGN) - row->bytes;
	int e;

	row->sum = sum_of(f->hash, u, part);
	for (int p = 0; p < TR_N_PART; p++)
		iov[p] = (struct iovec){ (void *)(uintptr_t)part[p], u->part[p].bytes };
	iov[TR_N_PART] = (struct iovec){ f->zeros, pad };
	e = tr_store_write_all(f->fd, iov, TR_N_PART + (pad != 0), row->off);
	if (e)
		return err_write(f, e, err);
	f->done += row->bytes + pad;
	return tell(f, f->done == f->total, err);
}

/* Not every file system can reserve; a full disk then shows while writing. */
static int reserve(const struct fill *f, uint64_t bytes, struct tr_err *err)
{
	int rc;

	do
		rc = fallocate(f->fd, 0, 0, (off_t)bytes);
	while (rc && errno == EINTR);
	if (rc && errno != EOPNOTSUPP && errno != ENOSYS)
		return err_write(f, errno, err);
	return 0;
}

int tr_store_fill(const struct tr_store_cfg *cfg, struct tr_store_table *table, int fd,
	const char *path, struct tr_err *err)
{
	struct fill f = { .cfg = cfg, .path = path, .fd = fd,
		.total = table->file_bytes - table->data_off };
	int rc;

	f.hash = XXH3_createState();
	if (!f.hash)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a checksum");
	rc = reserve(&f, table->file_bytes, err);
	if (!rc)
		rc = tell(&f, true, err);
	if (!rc)
		rc = read_units(cfg, table->rows, table->n_row, write_unit, &f, err);
	XXH3_freeState(f.hash);
	return rc;
}

/* --- sampling --------------------------------------------------------------------------------- */

struct sample {
	const struct tr_catalog *catalog;
	XXH3_state_t *hash;
};

static int compare_unit(void *ctx, struct tr_store_row *row, const void *const part[TR_N_PART],
	struct tr_err *err)
{
	struct sample *s = ctx;
	const struct tr_unit *u = &s->catalog->units[row->unit];

	if (sum_of(s->hash, u, part) == row->sum)
		return 0;
	return tr_err_set(err, TR_E_FORMAT, "its layer %u expert %u differs from the model's",
		u->layer, u->expert);
}

int tr_store_sample(const struct tr_store_cfg *cfg, const struct tr_store_table *table,
	const struct tr_store_table *plan, struct tr_err *err)
{
	struct sample s = { .catalog = cfg->catalog, .hash = XXH3_createState() };
	struct tr_store_row rows[N_SAMPLE];
	size_t n = TR_MIN((size_t)N_SAMPLE, plan->n_row);
	int rc;

	if (!s.hash)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a checksum");
	for (size_t i = 0; i < n; i++)
		rows[i] = *tr_store_table_find(table, plan->rows[i * plan->n_row / n].unit);
	rc = read_units(cfg, rows, n, compare_unit, &s, err);
	XXH3_freeState(s.hash);
	return rc;
}
