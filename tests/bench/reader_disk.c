/*
 * reader_disk.c - a fixed number of slots, each with one expert in flight; the last of its requests
 * to finish starts the next expert there. Everything runs in the thread that waits.
 */
#include "reader.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

#define N_PART 3
#define ROOM   65536 /* buffers start at multiples of it: no device asks for more */

struct slot {
	struct reader_disk *r;
	struct tr_io_req req[N_PART];
	uint8_t *buf;
	unsigned n_left;
};

struct reader_disk {
	struct tr_io *io;
	struct tr_file *files;
	size_t n_file;
	struct tr_unit_info *units;
	size_t n_unit;
	struct slot *slots;
	unsigned n_slot;
	uint8_t *mem;
	size_t slot_bytes;
	uint64_t rng;
	uint64_t stop_ns;
	uint64_t bytes;
	const struct tr_io_req *failed;
};

static int keep_unit(void *ctx, const struct tr_unit_info *unit)
{
	struct reader_disk *r = ctx;

	r->units[r->n_unit++] = *unit;
	return 0;
}

static int find_units(struct reader_disk *r, const struct tr_engine_opts *opts, struct tr_err *err)
{
	struct tr_plan plan;
	int rc = tr_engine_plan(opts, &plan, err);

	if (rc)
		return rc;
	r->units = tr_calloc(plan.n_unit, sizeof(*r->units));
	if (!r->units)
		return tr_err_set(err, TR_E_NOMEM, "reader: out of memory");
	r->slot_bytes = TR_ALIGN_UP(plan.unit_bytes_max, (uint64_t)ROOM) + N_PART * 2 * ROOM;
	rc = tr_engine_plan_units(opts, keep_unit, r, err);
	if (!rc && !r->n_unit)
		rc = tr_err_set(err, TR_E_INVALID, "reader: the model has no experts");
	return rc;
}

static int open_files(struct reader_disk *r, const struct tr_model *model, struct tr_err *err)
{
	size_t n = tr_model_n_shard(model);

	r->files = tr_calloc(n, sizeof(*r->files));
	if (!r->files)
		return tr_err_set(err, TR_E_NOMEM, "reader: out of memory");
	for (; r->n_file < n; r->n_file++) {
		struct tr_shard_info info;
		int rc;

		tr_model_shard_info(model, r->n_file, &info);
		rc = tr_file_open(&r->files[r->n_file], info.path, true, err);
		if (rc)
			return rc;
		tr_io_register_file(r->io, &r->files[r->n_file]);
	}
	return 0;
}

static int make_slots(struct reader_disk *r, unsigned n, struct tr_err *err)
{
	r->slots = tr_calloc(n, sizeof(*r->slots));
	r->mem = tr_pages_alloc(n * r->slot_bytes);
	r->n_slot = n;
	if (!r->slots || !r->mem)
		return tr_err_set(err, TR_E_NOMEM, "reader: out of memory");
	for (unsigned i = 0; i < n; i++) {
		r->slots[i].r = r;
		r->slots[i].buf = r->mem + i * r->slot_bytes;
	}
	tr_io_register_mem(r->io, r->mem, n * r->slot_bytes);
	return 0;
}

int reader_disk_open(struct reader_disk **out, const struct tr_model *model,
	const struct tr_engine_opts *opts, const char *method, unsigned n_expert,
	struct tr_err *err)
{
	struct tr_io_cfg cfg = { .method = method, .clock = &tr_clock_real };
	struct reader_disk *r = tr_calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return tr_err_set(err, TR_E_NOMEM, "reader: out of memory");
	r->rng = 88172645463325252u;
	if ((rc = tr_io_open(&r->io, &cfg, err)) || (rc = find_units(r, opts, err)) ||
		(rc = open_files(r, model, err)) || (rc = make_slots(r, n_expert, err))) {
		reader_disk_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

void reader_disk_close(struct reader_disk *r)
{
	if (!r)
		return;
	if (r->io)
		tr_io_close(r->io);
	while (r->n_file)
		tr_file_close(&r->files[--r->n_file]);
	if (r->mem)
		tr_pages_free(r->mem, r->n_slot * r->slot_bytes);
	free(r->files);
	free(r->units);
	free(r->slots);
	free(r);
}

static const struct tr_unit_info *pick(struct reader_disk *r)
{
	r->rng ^= r->rng << 13;
	r->rng ^= r->rng >> 7;
	r->rng ^= r->rng << 17;
	return &r->units[r->rng % r->n_unit];
}

static void part_done(struct tr_io_req *req);

static void read_next(struct slot *s)
{
	const struct tr_unit_info *unit = pick(s->r);
	struct tr_io_req *batch[N_PART];
	uint8_t *buf = s->buf;

	s->n_left = N_PART;
	for (int p = 0; p < N_PART; p++) {
		struct tr_io_req *req = batch[p] = &s->req[p];
		struct tr_file *file = &s->r->files[unit->part[p].shard];
		uint64_t off = unit->part[p].off;

		*req = (struct tr_io_req){ .file = file, .buf = buf, .done = part_done, .ctx = s };
		tr_file_window(file, off, unit->part[p].bytes, &req->off, &req->len);
		req->need = off - req->off + unit->part[p].bytes;
		buf += TR_ALIGN_UP(req->len, (uint64_t)ROOM);
	}
	tr_io_submit(s->r->io, batch, N_PART);
}

static void part_done(struct tr_io_req *req)
{
	struct slot *s = req->ctx;
	struct reader_disk *r = s->r;

	if (req->result && !r->failed)
		r->failed = req;
	r->bytes += req->need;
	if (!--s->n_left && !r->failed && tr_now_ns(&tr_clock_real) < r->stop_ns)
		read_next(s);
}

double reader_disk_pass(struct reader_disk *r, double seconds, struct tr_err *err)
{
	uint64_t start = tr_now_ns(&tr_clock_real), ns;

	r->bytes = 0;
	r->stop_ns = start + (uint64_t)(seconds * 1e9);
	for (unsigned i = 0; i < r->n_slot; i++)
		read_next(&r->slots[i]);
	while (tr_io_wait(r->io))
		;
	ns = tr_now_ns(&tr_clock_real) - start;
	if (r->failed) {
		tr_io_explain(r->failed, err);
		return 0;
	}
	return (double)r->bytes * 1e9 / (double)ns;
}
