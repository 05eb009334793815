/*
 * bench_io.c - how fast each I/O method reads a large file with O_DIRECT, by piece size and depth.
 *
 * usage: bench_io [DIR [MIB]]. Writes a file of MIB (default 2048) MiB in DIR (default the current
 * one), reads it front to back in requests of 12 MiB (about one expert) for each combination,
 * prints a table in GB/s (10^9 bytes) and deletes it. Not part of make check.
 */
#include "io/io.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQ_BYTES (12ull << 20)
#define N_REQ	  16

struct run {
	const char *method;
	uint32_t depth;
	uint64_t piece_bytes;
	bool registered;
};

static char path[4096];

static int make_file(const char *dir, uint64_t mib)
{
	const size_t chunk = 1 << 20;
	char *buf = tr_calloc(1, chunk);
	int fd, rc = -1;

	snprintf(path, sizeof(path), "%s/bench_io.XXXXXX", dir);
	fd = mkstemp(path);
	if (!buf || fd < 0)
		goto out;
	for (uint64_t i = 0; i < mib; i++) {
		memset(buf, (int)(i % 251 + 1), chunk);
		if (write(fd, buf, chunk) != (ssize_t)chunk)
			goto out;
	}
	rc = fsync(fd);
out:
	if (fd >= 0)
		close(fd);
	free(buf);
	return rc;
}

/* Asks for [off, ...) if the file has that much left. */
static bool ask(struct tr_io *io, struct tr_io_req *req, uint64_t *off)
{
	uint64_t left = req->file->bytes - *off;

	if (!left)
		return false;
	req->off = *off;
	req->len = req->need = TR_MIN(left, REQ_BYTES);
	*off += req->len;
	tr_io_submit(io, &req, 1);
	return true;
}

struct job {
	struct tr_io *io;
	uint64_t off;
	unsigned n_failed;
};

static void ask_next(struct tr_io_req *req)
{
	struct job *job = req->ctx;

	job->n_failed += req->result != 0;
	ask(job->io, req, &job->off);
}

static int measure(const struct run *run, struct tr_file *file, char *mem)
{
	struct tr_io_cfg cfg = { .method = run->method,
		.depth = run->depth,
		.piece_bytes = run->piece_bytes,
		.n_thread = TR_MIN(run->depth, 64u) };
	struct tr_io_req req[N_REQ] = { 0 };
	struct job job = { 0 };
	struct tr_io_stats stats;
	uint64_t start, ns;
	struct tr_err err;

	if (tr_io_open(&job.io, &cfg, &err)) {
		printf("%-8s %s\n", run->method, err.msg);
		return -1;
	}
	file->reg_idx = -1;
	if (run->registered) {
		tr_io_register_mem(job.io, mem, N_REQ * REQ_BYTES);
		tr_io_register_file(job.io, file);
	}
	start = tr_now_ns(&tr_clock_real);
	for (size_t i = 0; i < N_REQ; i++) {
		req[i].file = file;
		req[i].buf = mem + i * REQ_BYTES;
		req[i].done = ask_next;
		req[i].ctx = &job;
		ask(job.io, &req[i], &job.off);
	}
	while (tr_io_wait(job.io))
		;
	ns = tr_now_ns(&tr_clock_real) - start;
	tr_io_stats(job.io, &stats);
	printf("%-8s %-10s %8" PRIu64 " %6u %8.3f%s%s\n", run->method,
		run->registered ? "registered" : "plain", run->piece_bytes >> 10, run->depth,
		(double)stats.bytes / (double)ns, stats.fallbacks ? "  (registration refused)" : "",
		job.n_failed ? "  (reads failed)" : "");
	fflush(stdout);
	tr_io_close(job.io);
	return 0;
}

static void measure_all(struct tr_file *file, char *mem)
{
	static const uint64_t pieces[] = { 256u << 10, 1u << 20, 4u << 20 };
	static const uint32_t depths[] = { 1, 4, 16, 64 };

	printf("%-8s %-10s %8s %6s %8s\n", "method", "buffers", "KiB", "depth", "GB/s");
	for (size_t p = 0; p < TR_ARRAY_LEN(pieces); p++) {
		measure(&(struct run){ "sync", 1, pieces[p], false }, file, mem);
		for (size_t d = 0; d < TR_ARRAY_LEN(depths); d++) {
			measure(&(struct run){ "threads", depths[d], pieces[p], false }, file, mem);
			measure(&(struct run){ "uring", depths[d], pieces[p], false }, file, mem);
			measure(&(struct run){ "uring", depths[d], pieces[p], true }, file, mem);
		}
	}
}

int main(int argc, char **argv)
{
	const char *dir = argc > 1 ? argv[1] : ".";
	uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 2048;
	struct tr_file file;
	struct tr_err err;
	char *mem;
	int rc;

	if (make_file(dir, mib)) {
		fprintf(stderr, "bench_io: cannot write %s: %s\n", path, strerror(errno));
		return 1;
	}
	rc = tr_file_open(&file, path, true, &err);
	unlink(path);
	mem = tr_pages_alloc(N_REQ * REQ_BYTES);
	if (rc || !mem) {
		fprintf(stderr, "bench_io: %s\n", rc ? err.msg : "out of memory");
		return 1;
	}
	memset(mem, 1, N_REQ * REQ_BYTES);
	printf("%s, %" PRIu64 " MiB, alignment %u\n", file.direct ? "O_DIRECT" : "buffered", mib,
		file.align_off);
	measure_all(&file, mem);
	tr_pages_free(mem, N_REQ * REQ_BYTES);
	tr_file_close(&file);
	return 0;
}
