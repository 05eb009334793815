/* reader_disk.c - the experts of a model for io/probe.h. */
#include "reader.h"

#include "base/clock.h"
#include "base/mem.h"
#include "io/probe.h"

#include <stdlib.h>

struct reader_disk {
	struct tr_io *io;
	struct tr_file *files;
	size_t n_file;
	struct tr_unit_info *units;
	size_t n_unit;
	struct tr_probe_cfg cfg;
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
	r->cfg.item_bytes_max = plan.unit_bytes_max;
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

static size_t unit_reads(void *ctx, uint64_t i, struct tr_probe_read reads[TR_PROBE_MAX_READ])
{
	const struct reader_disk *r = ctx;

	for (size_t p = 0; p < TR_ARRAY_LEN(r->units[i].part); p++)
		reads[p] = (struct tr_probe_read){ &r->files[r->units[i].part[p].shard],
			r->units[i].part[p].off, r->units[i].part[p].bytes };
	return TR_ARRAY_LEN(r->units[i].part);
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
	if ((rc = tr_io_open(&r->io, &cfg, err)) || (rc = find_units(r, opts, err)) ||
		(rc = open_files(r, model, err))) {
		reader_disk_close(r);
		return rc;
	}
	r->cfg.io = r->io;
	r->cfg.clock = &tr_clock_real;
	r->cfg.n_item = r->n_unit;
	r->cfg.item = unit_reads;
	r->cfg.ctx = r;
	r->cfg.n_flight = n_expert;
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
	free(r->files);
	free(r->units);
	free(r);
}

double reader_disk_pass(struct reader_disk *r, double seconds, struct tr_err *err)
{
	return reader_disk_bursts(r, seconds, 0, err);
}

double reader_disk_bursts(struct reader_disk *r, double seconds, double n, struct tr_err *err)
{
	double bytes_per_s;

	r->cfg.burst = n;
	r->cfg.seed += 2; /* other experts than the pass before */
	if (tr_probe_disk(&r->cfg, (uint64_t)(seconds * 1e9), &bytes_per_s, err))
		return 0;
	return bytes_per_s;
}
