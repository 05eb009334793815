/*
 * measure_disk.c - random reads of a file, by size and number in flight.
 *
 * With O_DIRECT where the file system can. What a drive, a hypervisor or a storage network keeps in memory of
 * its own cannot be switched off from here; reads are spread over the whole file to meet little of it.
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
	{ 1, 4096 }, { 32, 4096 }, { 1, 64 << 10 }, { 8, 64 << 10 }, { 1, 256 << 10 },
	{ 8, 256 << 10 }, { 1, 1 << 20 }, { 4, 1 << 20 }, { 8, 1 << 20 }, { 16, 1 << 20 },
	{ 1, 4 << 20 }, { 4, 4 << 20 },
};

struct disk {
	struct tr_file file;
	uint64_t block;
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
	struct tr_probe_cfg cfg = { .io = io, .clock = &tr_clock_real,
		.n_item = d->file.bytes / p->block_bytes, .item = one_block, .ctx = d,
		.item_bytes_max = p->block_bytes, .n_flight = p->n_flight,
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
		*p = (struct tr_machine_point){ plan[i].depth, plan[i].block, { 0, 0, 0 } };
		rc = measure_point(d, io, o, p, err);
		t->n_point += !rc;
	}
	if (!rc && t->n_point && t->point[0].block_bytes == 4096) {
		const struct tr_spread *s = &t->point[0].bytes_per_s;

		t->latency_ns = (struct tr_spread){ 4096e9 / s->max, 4096e9 / s->mid,
			4096e9 / s->min };
	}
	if (io)
		tr_io_close(io);
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
