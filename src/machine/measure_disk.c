/*
 * measure_disk.c - random reads of a file, by size and number in flight: without a pause, and in
 * bursts.
 *
 * A burst is what a layer asks for: so many reads at once, the next ones when all have come and
 * something has been computed. A drive that is asked again and again gives more.
 *
 * With O_DIRECT where the file system can. What a drive, a hypervisor or a storage network keeps in
 * memory of its own cannot be switched off from here; reads are spread over the whole file to meet
 * little of it.
 */
#include "base/mem.h"
#include "io/probe.h"
#include "machine/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_REPEAT 32

static const struct {
	unsigned depth;
	uint64_t block;
} plan[] = {
	{ 1, 4096 },
	{ 32, 4096 },
	{ 1, 64 << 10 },
	{ 8, 64 << 10 },
	{ 1, 256 << 10 },
	{ 8, 256 << 10 },
	{ 1, 1 << 20 },
	{ 4, 1 << 20 },
	{ 8, 1 << 20 },
	{ 16, 1 << 20 },
	{ 1, 4 << 20 },
	{ 4, 4 << 20 },
};

/* One to sixteen experts, whose parts are next to each other. */
static const unsigned burst_reads[] = { 3, 6, 12, 24, 48 };
/* None a multiple of the pieces that io cuts reads into: those end in a small one, as in a file. */
static const uint64_t burst_block[] = { 12 << 10, 72 << 10, 264 << 10, 776 << 10, 1288 << 10,
	2568 << 10, 5128 << 10 };

#define N_PART	  3 /* reads of an expert */
#define MAX_BURST 48
#define BUF_BYTES ((uint64_t)256 << 20) /* more than caches: bursts go round it */
#define REST_NS	  500000		/* a layer's arithmetic */

struct disk {
	struct tr_file file;
	uint64_t block;
	uint64_t rng;
	uint64_t first_ns; /* when the first expert of the burst had come; 0: none has */
	unsigned n_done[MAX_BURST / N_PART]; /* parts of each */
	struct tr_io_req req[MAX_BURST];
	uint8_t *buf; /* [BUF_BYTES]; NULL until a burst is measured */
	uint64_t buf_at;
};

static size_t one_block(void *ctx, uint64_t i, struct tr_probe_read reads[TR_PROBE_MAX_READ])
{
	struct disk *d = ctx;

	reads[0] = (struct tr_probe_read){ &d->file, i * d->block, d->block };
	return 1;
}

static int measure_point(struct disk *d, struct tr_io *io, const struct tr_measure_opts *o,
	struct tr_machine_point *p, struct tr_err *err)
{
	struct tr_probe_cfg cfg = { .io = io,
		.clock = &tr_clock_real,
		.n_item = d->file.bytes / p->block_bytes,
		.item = one_block,
		.ctx = d,
		.item_bytes_max = p->block_bytes,
		.n_flight = p->n_flight,
		.seed = tr_now_ns(&tr_clock_real) };
	unsigned n = TR_MIN(o->n_repeat, (unsigned)MAX_REPEAT);
	double rate[MAX_REPEAT];
	int rc = 0;

	d->block = p->block_bytes;
	for (unsigned i = 0; !rc && i < n; i++, cfg.seed += 2)
		rc = tr_probe_disk(&cfg, o->ns, &rate[i], err);
	if (!rc)
		p->bytes_per_s = tr_spread_of(rate, n);
	return rc;
}

/* --- bursts ----------------------------------------------------------------------------------- */

static void done(struct tr_io_req *req)
{
	struct disk *d = req->ctx;

	if (++d->n_done[(req - d->req) / N_PART] == N_PART && !d->first_ns)
		d->first_ns = tr_now_ns(&tr_clock_real);
}

static void rest(void)
{
	uint64_t start = tr_now_ns(&tr_clock_real);

	while (tr_now_ns(&tr_clock_real) - start < REST_NS)
		;
}

struct times {
	double all_s, first_s, submit_s;
};

/* Adds those of one burst. */
static int burst(struct disk *d, struct tr_io *io, const struct tr_machine_point *p,
	struct times *sum, struct tr_err *err)
{
	struct tr_io_req *batch[MAX_BURST];
	uint64_t start, submitted, n_at;

	n_at = (d->file.bytes - p->block_bytes) / d->file.align_off;
	if (d->buf_at + p->n_flight * p->block_bytes > BUF_BYTES)
		d->buf_at = 0;
	for (unsigned i = 0; i < p->n_flight; i++) {
		d->rng ^= d->rng << 13;
		d->rng ^= d->rng >> 7;
		d->rng ^= d->rng << 17;
		batch[i] = &d->req[i];
		d->req[i] = (struct tr_io_req){ .file = &d->file,
			.off = d->rng % n_at * d->file.align_off,
			.len = p->block_bytes,
			.need = p->block_bytes,
			.buf = d->buf + d->buf_at,
			.done = done,
			.ctx = d };
		d->buf_at += p->block_bytes;
	}
	rest();
	d->first_ns = 0;
	memset(d->n_done, 0, sizeof(d->n_done));
	start = tr_now_ns(&tr_clock_real);
	tr_io_submit(io, batch, p->n_flight);
	submitted = tr_now_ns(&tr_clock_real);
	while (tr_io_wait(io))
		;
	sum->all_s += (double)(tr_now_ns(&tr_clock_real) - start) * 1e-9;
	sum->first_s += (double)(d->first_ns - start) * 1e-9;
	sum->submit_s += (double)(submitted - start) * 1e-9;
	for (unsigned i = 0; i < p->n_flight; i++)
		if (d->req[i].result)
			return tr_io_explain(&d->req[i], err);
	return 0;
}

/* The mean time of about o->ns of bursts, o->n_repeat times. */
static int measure_burst(struct disk *d, struct tr_io *io, const struct tr_measure_opts *o,
	struct tr_machine_point *p, struct tr_err *err)
{
	unsigned n = TR_MIN(o->n_repeat, (unsigned)MAX_REPEAT);
	double rate[MAX_REPEAT], first[MAX_REPEAT], submit[MAX_REPEAT];
	int rc = 0;

	for (unsigned i = 0; !rc && i < n; i++) {
		uint64_t start = tr_now_ns(&tr_clock_real);
		struct times sum = { 0 };
		unsigned k = 0;

		do {
			rc = burst(d, io, p, &sum, err);
			k++;
		} while (!rc && tr_now_ns(&tr_clock_real) - start < o->ns / 4);
		rate[i] = k * (double)(p->n_flight * p->block_bytes) / sum.all_s;
		first[i] = sum.first_s / sum.all_s;
		submit[i] = sum.submit_s / sum.all_s;
	}
	if (rc)
		return rc;
	p->bytes_per_s = tr_spread_of(rate, n);
	p->first_share = tr_spread_of(first, n).mid;
	p->submit_share = tr_spread_of(submit, n).mid;
	return 0;
}

static int measure_bursts(struct disk *d, struct tr_io *io, const struct tr_measure_opts *o,
	struct tr_machine_tier *t, struct tr_err *err)
{
	int rc = 0;

	d->rng = tr_now_ns(&tr_clock_real) | 1;
	d->buf = tr_pages_alloc(BUF_BYTES);
	if (!d->buf)
		return tr_err_set(err, TR_E_NOMEM, "measuring a disk: out of memory");
	memset(d->buf, 1, BUF_BYTES); /* page faults are not the disk's */
	tr_io_register_mem(io, d->buf, BUF_BYTES);
	for (size_t b = 0; b < TR_ARRAY_LEN(burst_block); b++)
		for (size_t i = 0; !rc && i < TR_ARRAY_LEN(burst_reads); i++) {
			struct tr_machine_point *p = &t->point[t->n_point];

			if (burst_block[b] * 4 > d->file.bytes)
				continue;
			*p = (struct tr_machine_point){ burst_reads[i], true, burst_block[b],
				{ 0, 0, 0 }, 0, 0 };
			rc = measure_burst(d, io, o, p, err);
			t->n_point += !rc;
		}
	return rc;
}

/* --- all -------------------------------------------------------------------------------------- */

static int measure_file(struct disk *d, const struct tr_measure_opts *o, struct tr_machine_tier *t,
	struct tr_err *err)
{
	struct tr_io_cfg cfg = { .clock = &tr_clock_real };
	struct tr_io *io;
	int rc = tr_io_open(&io, &cfg, err);

	for (size_t i = 0; !rc && i < TR_ARRAY_LEN(plan); i++) {
		struct tr_machine_point *p = &t->point[t->n_point];

		if (plan[i].block * 4 > d->file.bytes)
			continue;
		*p = (struct tr_machine_point){ plan[i].depth, false, plan[i].block, { 0, 0, 0 }, 0,
			0 };
		rc = measure_point(d, io, o, p, err);
		t->n_point += !rc;
	}
	if (!rc)
		rc = measure_bursts(d, io, o, t, err);
	if (!rc && t->n_point && t->point[0].block_bytes == 4096) {
		const struct tr_spread *s = &t->point[0].bytes_per_s;

		t->latency_ns =
			(struct tr_spread){ 4096e9 / s->max, 4096e9 / s->mid, 4096e9 / s->min };
	}
	if (io)
		tr_io_close(io);
	if (d->buf)
		tr_pages_free(d->buf, BUF_BYTES);
	return rc;
}

int tr_measure_disk(struct tr_machine_tier *t, const struct tr_measure_opts *o, const char *path,
	struct tr_err *err)
{
	struct disk d = { 0 };
	char name[64];
	struct stat st;
	int fd = -1, rc;

	*t = (struct tr_machine_tier){ .kind = TR_MACHINE_NVME };
	snprintf(t->path, sizeof(t->path), "%s", path);
	if (stat(path, &st))
		return tr_err_set(err, TR_E_NOENT, "'%s': %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode)) {
		fd = tr_measure_scratch(path, o->disk_bytes, err);
		if (fd < 0)
			return TR_E_IO;
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		path = name;
	}
	rc = tr_file_open(&d.file, path, true, err);
	if (!rc) {
		t->direct = d.file.direct;
		t->bytes = S_ISDIR(st.st_mode) ? 0 : d.file.bytes;
		rc = measure_file(&d, o, t, err);
		tr_file_close(&d.file);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}
