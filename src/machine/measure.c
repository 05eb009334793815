/*
 * measure.c - fills a machine profile: memory, persistent memory, disks, kernels on each.
 *
 * Areas are larger than last-level caches and touched before the clock starts. Directories get a
 * file of noise, which has no name and is gone with its descriptor. A directory that is not DAX is
 * measured through the page cache, and its tier then says that it is not direct.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define N_LOOP	 2000
#define N_WAKE	 31
#define PAUSE_NS 2000000 /* ten times what the engine's threads spin */

struct run {
	struct tr_machine *m;
	struct tr_measure_opts o;
	struct tr_pool *pool;
	struct tr_err *err;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct tr_spread tr_spread_of(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	return (struct tr_spread){ values[0], values[n / 2], values[n - 1] };
}

static int say(const struct run *r, const char *phase)
{
	if (r->o.progress && r->o.progress(r->o.progress_ctx, phase, 0, 0, ""))
		return tr_err_set(r->err, TR_E_INTERRUPTED, "measuring was interrupted");
	return 0;
}

static void nothing(void *ctx, unsigned worker, size_t begin, size_t end)
{
	(void)ctx;
	(void)worker;
	(void)begin;
	(void)end;
}

static void measure_loop(struct run *r)
{
	uint64_t start = tr_now_ns(&tr_clock_real);

	for (int i = 0; i < N_LOOP; i++)
		tr_pool_run(r->pool, nothing, NULL, tr_pool_size(r->pool), 1);
	r->m->loop_ns = (double)(tr_now_ns(&tr_clock_real) - start) / N_LOOP;
}

/* Threads have gone to sleep, as they do while a layer waits for the disk. */
static void measure_wake(struct run *r)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	double ns[N_WAKE];

	for (int i = 0; i < N_WAKE; i++) {
		uint64_t start;

		nanosleep(&pause, NULL);
		start = tr_now_ns(&tr_clock_real);
		tr_pool_each(r->pool, nothing, NULL);
		ns[i] = (double)(tr_now_ns(&tr_clock_real) - start);
	}
	r->m->wake_ns = tr_spread_of(ns, N_WAKE).mid;
}

static int measure_kernel(
	struct run *r, const struct tr_measure_area *area, const char *quant, uint32_t cols)
{
	struct tr_machine_kernel *k = &r->m->kernel[r->m->n_kernel];
	int rc;

	if (r->m->n_kernel == TR_MAX_MACHINE_KERNEL)
		return tr_err_set(r->err, TR_E_LIMIT, "measuring: more than %d kernels",
			TR_MAX_MACHINE_KERNEL);
	rc = say(r, quant);
	if (rc)
		return rc;
	*k = (struct tr_machine_kernel){ .tier = (uint32_t)r->m->n_tier };
	rc = tr_measure_kernel(k, area, quant, cols, r->err);
	r->m->n_kernel += !rc;
	return rc;
}

/* "TYPE:COLS", or "TYPE" for rows of a small and of a large model. */
static int measure_quant(struct run *r, const struct tr_measure_area *area, const char *text)
{
	const char *colon = strchr(text, ':');
	char quant[32];
	int rc;

	snprintf(quant, sizeof(quant), "%.*s", (int)(colon ? colon - text : 31), text);
	if (colon)
		return measure_kernel(r, area, quant, (uint32_t)strtoul(colon + 1, NULL, 10));
	rc = measure_kernel(r, area, quant, 2048);
	return rc ? rc : measure_kernel(r, area, quant, 7168);
}

static int measure_kernels(struct run *r, const struct tr_measure_area *area)
{
	static const char *const usual[] = { "Q4_K", "Q6_K", "Q8_0", "F32" };
	const char *const *quant = r->o.n_quant ? r->o.quant : usual;
	size_t n = r->o.n_quant ? r->o.n_quant : TR_ARRAY_LEN(usual);
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++)
		rc = measure_quant(r, area, quant[i]);
	return rc;
}

/* A memory and the kernels on it. */
static int measure_area(struct run *r, enum tr_machine_kind kind, const char *path,
	const uint8_t *data, bool direct)
{
	struct tr_measure_area area = { r->pool, data, r->o.memory_bytes, r->o.n_repeat };
	struct tr_machine_tier *t = &r->m->tier[r->m->n_tier];
	int rc;

	*t = (struct tr_machine_tier){ .kind = kind, .direct = direct };
	snprintf(t->path, sizeof(t->path), "%s", path);
	rc = say(r, path[0] ? path : "DRAM");
	if (!rc)
		rc = tr_measure_memory(t, &area, r->err);
	if (!rc)
		rc = measure_kernels(r, &area);
	r->m->n_tier += !rc;
	return rc;
}

static int measure_dram(struct run *r)
{
	uint8_t *data;
	int rc;

	r->m->touch_bytes_per_s = tr_measure_touch(r->pool, r->o.memory_bytes);
	data = tr_pages_alloc(r->o.memory_bytes);
	if (!data)
		return tr_err_set(r->err, TR_E_NOMEM, "measuring: no memory");
	for (uint64_t i = 0, x = 88172645463325252u; i + 8 <= r->o.memory_bytes; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(data + i, &x, 8);
	}
	rc = measure_area(r, TR_MACHINE_DRAM, "", data, true);
	r->m->tier[0].bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	tr_pages_free(data, r->o.memory_bytes);
	return rc;
}

int tr_measure_scratch(const char *dir, uint64_t bytes, struct tr_err *err)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const size_t step = 1 << 20;
	uint64_t *buf = tr_alloc(step, 1), x = 88172645463325252u;

	for (uint64_t at = 0; fd >= 0 && buf && at < bytes; at += step) {
		for (size_t i = 0; i < step / sizeof(x); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			buf[i] = x;
		}
		if (write(fd, buf, step) == (ssize_t)step)
			continue;
		close(fd);
		fd = -1;
	}
	if (fd < 0 || !buf || fsync(fd)) {
		tr_err_set(err, buf ? TR_E_IO : TR_E_NOMEM,
			"'%s': cannot write a file of %llu bytes to measure it (%s)", dir,
			(unsigned long long)bytes, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	free(buf);
	return fd;
}

static int measure_pmem(struct run *r, const char *dir)
{
	int fd = tr_measure_scratch(dir, r->o.memory_bytes, r->err), rc;
	bool dax = true;
	void *p;

	if (fd < 0)
		return TR_E_IO;
	p = mmap(NULL, r->o.memory_bytes, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	if (p == MAP_FAILED) {
		dax = false;
		p = mmap(NULL, r->o.memory_bytes, PROT_READ, MAP_SHARED, fd, 0);
	}
	if (p == MAP_FAILED)
		rc = tr_err_set(r->err, TR_E_IO, "'%s': mmap: %s", dir, strerror(errno));
	else
		rc = measure_area(r, TR_MACHINE_PMEM, dir, p, dax);
	if (p != MAP_FAILED)
		munmap(p, r->o.memory_bytes);
	close(fd);
	return rc;
}

static void fill_opts(struct tr_measure_opts *o)
{
	if (!o->n_repeat)
		o->n_repeat = 5;
	if (!o->memory_bytes)
		o->memory_bytes = (uint64_t)512 << 20;
	if (!o->disk_bytes)
		o->disk_bytes = (uint64_t)1 << 30;
	if (!o->ns)
		o->ns = 100000000;
	o->memory_bytes = TR_ALIGN_UP(o->memory_bytes, (uint64_t)1 << 20);
	o->disk_bytes = TR_ALIGN_UP(o->disk_bytes, (uint64_t)1 << 20);
}

static int measure_all(struct run *r)
{
	int rc = measure_dram(r);

	measure_loop(r);
	measure_wake(r);
	if (!rc)
		rc = tr_measure_layer(r->m, r->pool, r->o.n_repeat, r->err);
	for (size_t i = 0; !rc && i < r->o.n_pmem; i++)
		rc = measure_pmem(r, r->o.pmem[i]);
	for (size_t i = 0; !rc && i < r->o.n_disk; i++) {
		rc = say(r, r->o.disk[i]);
		if (!rc)
			rc = tr_measure_disk(
				&r->m->tier[r->m->n_tier], &r->o, r->o.disk[i], r->err);
		r->m->n_tier += !rc;
	}
	return rc;
}

int tr_machine_measure(struct tr_machine *m, const struct tr_measure_opts *opts, struct tr_err *err)
{
	struct run r = { .m = m, .o = *opts, .err = err };
	struct tr_pool_cfg cfg = { .n_thread = opts->n_thread, .pin = true, .spin_us = 200 };
	int rc;

	*m = (struct tr_machine){ 0 };
	fill_opts(&r.o);
	if (opts->n_pmem + opts->n_disk + 1 > TR_MAX_MACHINE_TIER)
		return tr_err_set(err, TR_E_LIMIT, "measuring: %zu paths, at most %d",
			opts->n_pmem + opts->n_disk, TR_MAX_MACHINE_TIER - 1);
	rc = tr_pool_new(&r.pool, &cfg, err);
	if (rc)
		return rc;
	m->n_thread = tr_pool_size(r.pool);
	gethostname(m->name, sizeof(m->name) - 1);
	snprintf(m->source, sizeof(m->source), "measured by tierra %s", tr_version());
	rc = measure_all(&r);
	tr_pool_free(r.pool);
	return rc;
}
