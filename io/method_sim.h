/*
 * method_sim.h - a device for tests: scripted outcomes, virtual time, no operating system.
 *
 * The test fills a struct tr_io_sim, calls tr_io_sim_init and opens io with
 * { .method = "sim", .method_arg = &sim, .clock = &sim.clock }. Files are plain structs that the
 * test makes (fd is not looked at; bytes is the size of the file; no two simulated files need
 * differ in more than their address).
 *
 * A transfer handed over at time t starts at max(t + latency_ns, end of the one before) and takes
 * bytes / bytes_per_s: one pipe with a latency in front. Bytes appear in the buffer when it is
 * reaped, not before. A blocking reap moves the clock to the next end; tr_io_sim_advance moves it
 * by hand.
 */
#ifndef TR_IO_METHOD_SIM_H
#define TR_IO_METHOD_SIM_H

#include "io/method.h"
#include "base/sync.h"

#include <stdatomic.h>

#define TR_IO_SIM_ANY UINT64_MAX

/* What happens to an attempt that asks for the byte at off. The first rule with tries left is taken
 * and loses one. Without a rule all bytes up to the end of the file arrive. */
struct tr_io_sim_rule {
	const struct tr_file *file; /* NULL: any */
	uint64_t off;		    /* TR_IO_SIM_ANY: any */
	uint32_t times;		    /* UINT32_MAX: for ever */
	int os_errno;		    /* the attempt fails with this, unless 0 */
	bool busy;		    /* queue answers BUSY */
	uint64_t short_bytes;	    /* at most so many bytes arrive, unless 0 */
	uint64_t extra_ns;	    /* added to the latency */
};

/* One attempt that was taken, in the order of arrival. */
struct tr_io_sim_seen {
	const struct tr_file *file;
	uint64_t off;
	uint32_t len;
	enum tr_io_prio prio;
	uint64_t at_ns;
};

#define TR_IO_SIM_SEEN 1024

typedef void tr_io_sim_fill_fn(
	void *ctx, const struct tr_file *file, uint64_t off, void *buf, size_t len);

struct tr_io_sim_op;

struct tr_io_sim {
	/* Set by the test before open, constant while io is open. */
	uint64_t latency_ns;
	uint64_t bytes_per_s;	 /* 0: transfers take no time */
	tr_io_sim_fill_fn *fill; /* content of the files; NULL: tr_io_sim_pattern */
	void *fill_ctx;
	size_t n_rule;
	struct tr_io_sim_rule rule[16];

	/* To be read when no thread is inside io. */
	size_t n_seen; /* attempts taken; those past TR_IO_SIM_SEEN are only counted */
	struct tr_io_sim_seen seen[TR_IO_SIM_SEEN];
	uint32_t n_inside_max[TR_N_IO_PRIO]; /* most attempts of a priority inside at one time */

	/* Set by init. */
	struct tr_clock clock;
	_Atomic uint64_t now_ns;
	struct tr_mutex lock;

	/* Guarded by lock. */
	struct tr_io_sim_op *ops; /* [depth], unordered */
	size_t n_op;
	uint64_t pipe_free_ns;
	uint32_t n_inside[TR_N_IO_PRIO];
};

void tr_io_sim_init(struct tr_io_sim *sim);
void tr_io_sim_fini(struct tr_io_sim *sim);

void tr_io_sim_advance(struct tr_io_sim *sim, uint64_t ns);

/* The default content: a hash of the offset's 8-byte word, the same for every file. */
void tr_io_sim_pattern(void *ctx, const struct tr_file *file, uint64_t off, void *buf, size_t len);

#endif
