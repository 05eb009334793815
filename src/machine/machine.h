/* machine.h - the parts of machine profiles: built-in ones, their file, how they are measured. */
#ifndef TR_MACHINE_MACHINE_H
#define TR_MACHINE_MACHINE_H

#include "base/pool.h"
#include "tierra.h"

extern const char *const tr_machine_kind_name[TR_N_MACHINE_KIND];

/* JSON text of a file; name is for messages. */
int tr_machine_parse(
	struct tr_machine *m, const char *text, size_t n, const char *name, struct tr_err *err);

/* The spread of n values, which it sorts. */
struct tr_spread tr_spread_of(double *values, size_t n);

/* Puts what the run took in the place of what was measured part by part. */
void tr_run_believe(
	const struct tr_machine_run *r, const struct tr_workload *w, struct tr_speeds *s);

/* Weights as kernels see them: bytes that are mapped, in a tier. */
struct tr_measure_area {
	struct tr_pool *pool;
	const uint8_t *data;
	uint64_t bytes;
	unsigned n_repeat;
};

/* Points by threads and the latency of a tier that is memory. */
int tr_measure_memory(
	struct tr_machine_tier *t, const struct tr_measure_area *area, struct tr_err *err);
/* Bytes a second of pages that nobody has used; 0: not known. */
double tr_measure_touch(struct tr_pool *pool, uint64_t bytes);
/* One type's kernel on the area, rows of cols values. */
int tr_measure_kernel(struct tr_machine_kernel *k, const struct tr_measure_area *area,
	const char *quant, uint32_t cols, struct tr_err *err);
/* Norms, sums and attention. */
int tr_measure_layer(
	struct tr_machine *m, struct tr_pool *pool, unsigned n_repeat, struct tr_err *err);
/* Points by block and depth of a file or directory. */
int tr_measure_disk(struct tr_machine_tier *t, const struct tr_measure_opts *opts, const char *path,
	struct tr_err *err);
/* A file of that many bytes of noise in dir, without a name. Returns a descriptor or -1. */
int tr_measure_scratch(const char *dir, uint64_t bytes, struct tr_err *err);

#endif
