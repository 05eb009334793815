/*
 * reader.h - what the memory and the disk give to someone who only reads: the yardstick of benches.
 */
#ifndef TR_TESTS_BENCH_READER_H
#define TR_TESTS_BENCH_READER_H

#include "base/pool.h"
#include "io/io.h"
#include "tierra.h"

/* --- memory ----------------------------------------------------------------------------------- */

struct reader_dram {
	struct tr_pool *pool;
	uint8_t *mem;
	size_t bytes; /* larger than the last-level cache, or the figure is the cache's */
};

int reader_dram_open(struct reader_dram *r, unsigned n_thread, size_t bytes, struct tr_err *err);
void reader_dram_close(struct reader_dram *r);
/* Bytes per second of the fastest of n passes. */
double reader_dram_pass(struct reader_dram *r, unsigned n);

/* --- disk ------------------------------------------------------------------------------------- */

struct reader_disk;

/* Reads experts of the model that opts names, as the engine does: whole experts in random order,
 * their extents as one batch, O_DIRECT, pieces of the same size, by the I/O method given, n_expert
 * of them in flight. */
int reader_disk_open(struct reader_disk **r, const struct tr_model *model,
	const struct tr_engine_opts *opts, const char *method, unsigned n_expert,
	struct tr_err *err);
void reader_disk_close(struct reader_disk *r);
/* Reads for about so many seconds; bytes per second, or 0 with err set. */
double reader_disk_pass(struct reader_disk *r, double seconds, struct tr_err *err);
/* The same, n experts at once and nothing until all of them have arrived, 1 <= n <= n_expert. */
double reader_disk_bursts(struct reader_disk *r, double seconds, double n, struct tr_err *err);

#endif
