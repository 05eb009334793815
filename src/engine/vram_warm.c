/*
 * vram_warm.c - the hot units of a profile, on the device before the first token.
 *
 * The hottest of all come here, those behind them to DRAM (cache/warm.c). Units are read past the page
 * cache, a few at a time, and go up through the blocks of tr_gpu_upload.
 */
#include "base/mem.h"
#include "engine/vram.h"

#include <stdlib.h>
#include <string.h>

/* Units whose reads are under way at a time. */
#define WARM_DEPTH 4

struct warm_read {
	uint32_t id;
	uint8_t *buf; /* windows of the parts, one after the other */
	struct tr_io_req req[TR_N_PART];
	const void *part[TR_N_PART];
	unsigned n_left; /* reads; guarded by nothing: done() is called inside the wait of one thread */
};

struct warm {
	struct tr_vram_tier *t;
	const struct tr_vram_warm_cfg *cfg;
	struct warm_read read[WARM_DEPTH];
};

static void note_read(struct tr_io_req *req)
{
	((struct warm_read *)req->ctx)->n_left--;
}

static uint64_t window_bytes(const struct warm *w, const struct tr_extent *e, uint64_t *win_off)
{
	uint64_t bytes;

	tr_file_window(&w->cfg->files[e->shard], e->off, e->bytes, win_off, &bytes);
	return bytes;
}

/* Room for the windows of any unit: each may be longer than its part at both ends. */
static int make_buffers(struct warm *w, uint64_t *bytes, struct tr_err *err)
{
	const struct tr_catalog *c = w->cfg->catalog;
	uint64_t off;

	*bytes = 0;
	for (size_t i = 0; i < c->n_unit; i++) {
		uint64_t sum = 0;

		for (int p = 0; p < TR_N_PART; p++)
			sum += window_bytes(w, &c->units[i].part[p], &off);
		*bytes = TR_MAX(*bytes, sum);
	}
	for (int i = 0; i < WARM_DEPTH; i++) {
		w->read[i].buf = tr_pages_alloc(*bytes);
		if (!w->read[i].buf)
			return tr_err_set(err, TR_E_NOMEM, "VRAM tier: no memory to read experts");
	}
	return 0;
}

static void begin_read(struct warm *w, struct warm_read *r)
{
	const struct tr_unit *u = &w->cfg->catalog->units[r->id];
	struct tr_io_req *reqs[TR_N_PART];
	uint8_t *buf = r->buf;

	for (int p = 0; p < TR_N_PART; p++) {
		const struct tr_extent *e = &u->part[p];
		uint64_t off, len = window_bytes(w, e, &off);

		r->part[p] = buf + (e->off - off);
		r->req[p] = (struct tr_io_req){ .file = &w->cfg->files[e->shard],
			.off = off,
			.len = len,
			.need = e->off + e->bytes - off,
			.buf = buf,
			.prio = TR_IO_DEMAND,
			.done = note_read,
			.ctx = r };
		reqs[p] = &r->req[p];
		buf += len;
	}
	r->n_left = TR_N_PART;
	tr_io_submit(w->cfg->io, reqs, TR_N_PART);
}

static int end_read(struct warm *w, struct warm_read *r, struct tr_err *err)
{
	while (r->n_left)
		tr_io_wait(w->cfg->io);
	for (int p = 0; p < TR_N_PART; p++)
		if (r->req[p].result)
			return tr_io_explain(&r->req[p], err);
	return tr_vram_tier_upload(w->t, r->id, r->part, err);
}

/* What persistent memory has goes up at once; the others are left in ids[0..*n). */
static int upload_stored(struct warm *w, uint32_t *ids, uint32_t *n, struct tr_err *err)
{
	uint32_t n_left = 0, i;
	struct tr_handle h;
	int rc = 0;

	for (i = 0; i < *n && !rc; i++) {
		if (!tr_cache_hold(w->cfg->cache, ids[i], &h)) {
			ids[n_left++] = ids[i];
			continue;
		}
		rc = tr_vram_tier_upload(w->t, ids[i], h.part, err);
		tr_cache_release(w->cfg->cache, &h, 1);
	}
	*n = n_left;
	return rc;
}

/* Lets the caller know, and stop. */
static int tell(const struct warm *w, uint64_t done, uint64_t total, struct tr_err *err)
{
	if (!w->cfg->progress || !w->cfg->progress(w->cfg->progress_ctx, "warm", done, total, "bytes"))
		return 0;
	return tr_err_set(err, TR_E_INTERRUPTED, "loading was interrupted");
}

/* Those whose reads have begun are waited for, whatever happens. */
static int read_files(struct warm *w, const uint32_t *ids, uint32_t n, struct tr_err *err)
{
	uint64_t bytes = 0, total = 0, done = 0;
	uint32_t next = 0, i;
	int rc = make_buffers(w, &bytes, err);

	for (i = 0; i < n; i++)
		total += w->cfg->catalog->units[ids[i]].bytes;
	for (i = 0; i < next || (i < n && !rc); i++) {
		int read_rc;

		for (; next < n && next < i + WARM_DEPTH && !rc; next++) {
			w->read[next % WARM_DEPTH].id = ids[next];
			begin_read(w, &w->read[next % WARM_DEPTH]);
		}
		read_rc = end_read(w, &w->read[i % WARM_DEPTH], rc ? NULL : err);
		rc = rc ? rc : read_rc;
		done += w->cfg->catalog->units[ids[i]].bytes;
		if (!rc)
			rc = tell(w, done, total, err);
	}
	for (i = 0; i < WARM_DEPTH; i++)
		tr_pages_free(w->read[i].buf, bytes);
	return rc;
}

int tr_vram_tier_warm(struct tr_vram_tier *t, const struct tr_vram_warm_cfg *cfg, struct tr_err *err)
{
	size_t n_unit = TR_MAX(cfg->catalog->n_unit, (size_t)1);
	uint32_t *all = tr_calloc(n_unit, 2 * sizeof(*all)), *left = all + n_unit, n, n_file;
	struct warm w = { .t = t, .cfg = cfg };
	int rc;

	if (!all)
		return tr_err_set(err, TR_E_NOMEM, "VRAM tier: out of memory");
	n = n_file = tr_vram_tier_warm_begin(t, all);
	memcpy(left, all, n * sizeof(*all));
	rc = upload_stored(&w, left, &n_file, err);
	if (!rc && n_file)
		rc = read_files(&w, left, n_file, err);
	rc = tr_vram_tier_warm_end(t, all, n, rc, err);
	free(all);
	return rc;
}
