#include "io/probe.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Buffers start at multiples of it: no device asks for more. */
#define ROOM 65536

struct lane {
	struct probe *p;
	struct tr_io_req req[TR_PROBE_MAX_READ];
	uint8_t *buf;
	size_t n_left;
};

struct probe {
	const struct tr_probe_cfg *cfg;
	struct lane *lanes;
	uint8_t *mem;
	size_t lane_bytes;
	uint64_t rng, stop_ns, bytes;
	double owed; /* items of bursts that are not started yet */
	const struct tr_io_req *failed;
};

static uint64_t draw(struct probe *p)
{
	p->rng ^= p->rng << 13;
	p->rng ^= p->rng >> 7;
	p->rng ^= p->rng << 17;
	return p->rng % p->cfg->n_item;
}

static bool goes_on(const struct probe *p)
{
	return !p->failed && tr_now_ns(p->cfg->clock) < p->stop_ns;
}

static void read_done(struct tr_io_req *req);

static void read_next(struct lane *l)
{
	struct tr_probe_read reads[TR_PROBE_MAX_READ];
	struct tr_io_req *batch[TR_PROBE_MAX_READ];
	uint8_t *buf = l->buf;

	l->n_left = l->p->cfg->item(l->p->cfg->ctx, draw(l->p), reads);
	for (size_t i = 0; i < l->n_left; i++) {
		struct tr_io_req *req = batch[i] = &l->req[i];
		const struct tr_probe_read *r = &reads[i];

		*req = (struct tr_io_req){
			.file = r->file, .buf = buf, .done = read_done, .ctx = l
		};
		tr_file_window(r->file, r->off, r->bytes, &req->off, &req->len);
		req->need = r->off - req->off + r->bytes;
		buf += TR_ALIGN_UP(req->len, (uint64_t)ROOM);
	}
	tr_io_submit(l->p->cfg->io, batch, l->n_left);
}

static void read_done(struct tr_io_req *req)
{
	struct lane *l = req->ctx;
	struct probe *p = l->p;

	if (req->result && !p->failed)
		p->failed = req;
	p->bytes += req->got;
	if (!--l->n_left && p->cfg->burst <= 0 && goes_on(p))
		read_next(l);
}

static bool make_lanes(struct probe *p)
{
	uint32_t n = p->cfg->n_flight;

	p->lane_bytes = TR_ALIGN_UP(p->cfg->item_bytes_max, (uint64_t)ROOM) +
		TR_PROBE_MAX_READ * 2 * ROOM;
	p->lanes = tr_calloc(n, sizeof(*p->lanes));
	p->mem = tr_pages_alloc(n * p->lane_bytes);
	if (!p->lanes || !p->mem)
		return false;
	memset(p->mem, 1, n * p->lane_bytes); /* page faults are not the disk's */
	for (uint32_t i = 0; i < n; i++) {
		p->lanes[i].p = p;
		p->lanes[i].buf = p->mem + i * p->lane_bytes;
	}
	return true;
}

/* Bursts are of whole items, the rest is carried over to the next. */
static uint32_t burst_items(struct probe *p)
{
	uint32_t n = p->cfg->n_flight;

	if (p->cfg->burst <= 0)
		return n;
	p->owed = TR_MIN(p->owed + TR_MAX(p->cfg->burst, 1.0), (double)n);
	n = (uint32_t)p->owed;
	p->owed -= n;
	return n;
}

static int read_all(struct probe *p, uint64_t ns, double *bytes_per_s, struct tr_err *err)
{
	uint64_t start = tr_now_ns(p->cfg->clock);

	p->stop_ns = start + ns;
	do {
		for (uint32_t i = 0, n = burst_items(p); i < n; i++)
			read_next(&p->lanes[i]);
		while (tr_io_wait(p->cfg->io))
			;
	} while (p->cfg->burst > 0 && goes_on(p));
	ns = tr_now_ns(p->cfg->clock) - start;
	if (p->failed)
		return tr_io_explain(p->failed, err);
	*bytes_per_s = (double)p->bytes * 1e9 / (double)TR_MAX(ns, (uint64_t)1);
	return 0;
}

int tr_probe_disk(const struct tr_probe_cfg *cfg, uint64_t ns, double *bytes_per_s,
	struct tr_err *err)
{
	struct probe p = { .cfg = cfg, .rng = cfg->seed | 1 };
	int rc;

	if (make_lanes(&p))
		rc = read_all(&p, ns, bytes_per_s, err);
	else
		rc = tr_err_set(err, TR_E_NOMEM, "disk probe: no memory for %u buffers of %zu bytes",
			cfg->n_flight, p.lane_bytes);
	if (p.mem)
		tr_pages_free(p.mem, cfg->n_flight * p.lane_bytes);
	free(p.lanes);
	return rc;
}
