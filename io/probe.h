/*
 * probe.h - what a disk gives to somebody who only reads: random extents, a fixed number in flight,
 * or one burst after the other, as a layer asks for the experts that it misses.
 *
 * Everything runs in the thread that asks; the last read of an extent to end starts another one in
 * its place, or with the last of a burst the next burst starts.
 */
#ifndef TR_IO_PROBE_H
#define TR_IO_PROBE_H

#include "io/io.h"

/* Reads that belong together, as the parts of an expert. */
#define TR_PROBE_MAX_READ 3

struct tr_probe_read {
	struct tr_file *file;
	uint64_t off;
	uint64_t bytes;
};

struct tr_probe_cfg {
	struct tr_io *io;
	const struct tr_clock *clock;
	uint64_t n_item;
	/* Fills reads with those of item i, returns how many. */
	size_t (*item)(void *ctx, uint64_t i, struct tr_probe_read reads[TR_PROBE_MAX_READ]);
	void *ctx;
	uint64_t item_bytes_max;
	uint32_t n_flight; /* items at a time */
	double burst;	   /* > 0: items of a burst, in the mean; at most n_flight */
	uint64_t seed;
};

/* Reads for about so many ns. */
int tr_probe_disk(const struct tr_probe_cfg *cfg, uint64_t ns, double *bytes_per_s,
	struct tr_err *err);

#endif
