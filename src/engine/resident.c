/*
 * resident.c - reading the always-used weights.
 *
 * Resident tensors are sorted by place and cut into runs: neighbours less than MAX_GAP apart make
 * one run. A run is one read of its aligned window into its own pages, so a file whose attention and
 * norm tensors lie between experts costs one read per layer, not one per tensor.
 */
#include "engine/resident.h"
#include "base/mem.h"
#include "base/node_mem.h"
#include "model/catalog.h"

#include <stdlib.h>

/* Reading over a gap of 256 KiB costs less than another request on any drive measured. */
#define MAX_GAP (256u << 10)

/* Large runs are cut so that progress moves and reads overlap. */
#define MAX_RUN (64ull << 20)
#define IN_FLIGHT 4

/* Smaller tensors stay in the caches of every node, and cuts on pages would not share them evenly. */
#define MIN_PLACED (64u << 10)

struct run {
	uint32_t shard;
	uint64_t begin, end; /* of the file, not aligned */
	uint64_t win_off, win_bytes;
	uint8_t *buf;
	bool done;
	struct tr_io_req req;
};

struct tr_resident {
	size_t n_tensor;
	const struct tr_tensor **tensors; /* by (shard, offset) */
	const uint8_t **data;		  /* [n_tensor] */
	size_t n_run;
	struct run *runs;
};

static int by_place(const void *a, const void *b)
{
	const struct tr_tensor *x = *(const struct tr_tensor *const *)a;
	const struct tr_tensor *y = *(const struct tr_tensor *const *)b;

	if (x->shard != y->shard)
		return x->shard < y->shard ? -1 : 1;
	return x->file_off < y->file_off ? -1 : x->file_off > y->file_off;
}

uint64_t tr_resident_bytes_of(const struct tr_model *model)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < model->n_tensor; i++)
		if (!tr_catalog_is_expert_tensor(model->tensors[i].name))
			bytes += model->tensors[i].bytes;
	return bytes;
}

static void collect(struct tr_resident *res, const struct tr_model *model)
{
	size_t i;

	for (i = 0; i < model->n_tensor; i++)
		if (!tr_catalog_is_expert_tensor(model->tensors[i].name))
			res->tensors[res->n_tensor++] = &model->tensors[i];
	qsort(res->tensors, res->n_tensor, sizeof(*res->tensors), by_place);
}

/* True when t is read by the run before it: near enough, and the run is not too long yet. A tensor is
 * never cut, so that its bytes are in one piece. */
static bool joins(const struct run *run, const struct tr_tensor *t)
{
	return run->shard == t->shard && t->file_off - run->end <= MAX_GAP &&
		t->file_off + t->bytes - run->begin <= MAX_RUN;
}

static void cut_runs(struct tr_resident *res)
{
	struct run *run = NULL;
	size_t i;

	for (i = 0; i < res->n_tensor; i++) {
		const struct tr_tensor *t = res->tensors[i];

		if (!run || !joins(run, t)) {
			run = &res->runs[res->n_run++];
			run->shard = t->shard;
			run->begin = t->file_off;
		}
		run->end = t->file_off + t->bytes;
	}
}

static int alloc_runs(struct tr_resident *res, struct tr_file *files, struct tr_err *err)
{
	size_t i;

	for (i = 0; i < res->n_run; i++) {
		struct run *run = &res->runs[i];
		struct tr_file *file = &files[run->shard];

		tr_file_window(file, run->begin, run->end - run->begin, &run->win_off,
			&run->win_bytes);
		run->buf = tr_pages_alloc(run->win_bytes);
		if (!run->buf)
			return tr_err_set(err, TR_E_NOMEM,
				"resident weights: no memory for %llu bytes of %s",
				(unsigned long long)run->win_bytes, file->path);
		run->req = (struct tr_io_req){
			.file = file,
			.off = run->win_off,
			.len = run->win_bytes,
			.need = run->end - run->win_off,
			.buf = run->buf,
			.prio = TR_IO_DEMAND,
		};
	}
	return 0;
}

static void locate(struct tr_resident *res)
{
	const struct run *run = res->runs;
	size_t i;

	for (i = 0; i < res->n_tensor; i++) {
		const struct tr_tensor *t = res->tensors[i];

		while (run->shard != t->shard || t->file_off >= run->end)
			run++;
		res->data[i] = run->buf + (t->file_off - run->win_off);
	}
}

/* Before the pages are touched. What is not placed by rows is read by all nodes. */
static void place(const struct tr_resident *res, const struct tr_topo *topo)
{
	size_t i;

	for (i = 0; i < res->n_run; i++)
		tr_node_interleave(topo, res->runs[i].buf, res->runs[i].win_bytes);
	for (i = 0; i < res->n_tensor; i++) {
		const struct tr_tensor *t = res->tensors[i];

		if (t->bytes >= MIN_PLACED)
			tr_node_place_rows(topo, res->data[i], t->ne[1] * t->ne[2] * t->ne[3],
				t->row_bytes);
	}
}

static void note_done(struct tr_io_req *req)
{
	((struct run *)req->ctx)->done = true;
}

static void submit_run(struct run *run, struct tr_io *io)
{
	struct tr_io_req *req = &run->req;

	req->done = note_done;
	req->ctx = run;
	tr_io_submit(io, &req, 1);
}

/* Keeps IN_FLIGHT runs going, so that a stop asked for by progress takes effect soon. After an
 * error nothing new is submitted, but what flies is waited for. */
static int read_runs(struct tr_resident *res, struct tr_io *io, tr_progress_fn *progress,
	void *progress_ctx, struct tr_err *err)
{
	uint64_t total = 0, done_bytes = 0;
	size_t next = 0, at, i;
	int rc = 0;

	for (i = 0; i < res->n_run; i++)
		total += res->runs[i].win_bytes;
	for (at = 0; at < res->n_run && (at < next || !rc);) {
		while (next < res->n_run && next < at + IN_FLIGHT && !rc)
			submit_run(&res->runs[next++], io);
		if (!res->runs[at].done) {
			tr_io_wait(io);
			continue;
		}
		if (!rc && res->runs[at].req.result)
			rc = tr_io_explain(&res->runs[at].req, err);
		done_bytes += res->runs[at++].win_bytes;
		if (!rc && progress && progress(progress_ctx, "load", done_bytes, total, "bytes"))
			rc = tr_err_set(err, TR_E_INTERRUPTED, "loading was interrupted");
	}
	return rc;
}

int tr_resident_load(struct tr_resident **out, const struct tr_model *model, struct tr_io *io,
	struct tr_file *files, const struct tr_topo *topo, tr_progress_fn *progress,
	void *progress_ctx, struct tr_err *err)
{
	struct tr_resident *res = tr_calloc(1, sizeof(*res));
	int rc;

	if (!res)
		return tr_err_set(err, TR_E_NOMEM, "resident weights: out of memory");
	res->tensors = tr_calloc(model->n_tensor, sizeof(*res->tensors));
	res->data = tr_calloc(model->n_tensor, sizeof(*res->data));
	res->runs = tr_calloc(model->n_tensor, sizeof(*res->runs));
	if (!res->tensors || !res->data || !res->runs) {
		rc = tr_err_set(err, TR_E_NOMEM, "resident weights: out of memory");
		goto fail;
	}
	collect(res, model);
	cut_runs(res);
	rc = alloc_runs(res, files, err);
	if (rc)
		goto fail;
	locate(res);
	place(res, topo);
	rc = read_runs(res, io, progress, progress_ctx, err);
	if (rc)
		goto fail;
	*out = res;
	return 0;
fail:
	tr_resident_free(res);
	return rc;
}

void tr_resident_free(struct tr_resident *res)
{
	size_t i;

	if (!res)
		return;
	for (i = 0; res->runs && i < res->n_run; i++)
		tr_pages_free(res->runs[i].buf, res->runs[i].win_bytes);
	free(res->runs);
	free(res->data);
	free(res->tensors);
	free(res);
}

const uint8_t *tr_resident_data(const struct tr_resident *res, const struct tr_tensor *t)
{
	const struct tr_tensor **at =
		bsearch(&t, res->tensors, res->n_tensor, sizeof(*res->tensors), by_place);

	tr_assert(at);
	return res->data[at - res->tensors];
}

struct tr_weight tr_resident_weight(const struct tr_resident *res, const struct tr_tensor *t)
{
	struct tr_weight w = { 0 };

	if (t) {
		w.quant = t->quant;
		w.data = tr_resident_data(res, t);
		w.cols = t->ne[0];
		w.rows = t->ne[1] * t->ne[2] * t->ne[3];
		w.row_bytes = t->row_bytes;
	}
	return w;
}

void tr_resident_drop(struct tr_weight *w)
{
	if (w->data)
		tr_pages_drop((void *)(uintptr_t)w->data, w->rows * w->row_bytes);
	w->data = NULL;
}
