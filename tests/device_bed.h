/*
 * device_bed.h - devices for tests: what is computed on them, and host copies of it.
 *
 * Without TR_DEVICE in the environment tests run on the host device and on the emulated kernels,
 * fibers in ascending and in descending order; with it on the device that it names.
 */
#ifndef TR_TESTS_DEVICE_BED_H
#define TR_TESTS_DEVICE_BED_H

#include "cuda/device.h"

#define BED_MAX_BUFFER 64

struct bed {
	const char *name;
	struct tr_device *dev;
	struct tr_stream *stream;
	struct tr_buffer *bufs[BED_MAX_BUFFER];
	size_t n_buf;
};

/* The i-th device; false behind the last. */
bool bed_open(struct bed *b, size_t i);
void bed_close(struct bed *b);

#define for_each_device(b)                                                                         \
	for (size_t dev_ = 0; bed_open(&(b), dev_); bed_close(&(b)), dev_++)

/* Frees all buffers. */
void bed_clear(struct bed *b);

/* Device memory with the bytes of p, or with 0xff. */
void *bed_put(struct bed *b, const void *p, size_t bytes);
void *bed_room(struct bed *b, size_t bytes);

/* Waits and copies; fails the test when the device failed. */
void bed_get(struct bed *b, void *p, const void *at, size_t bytes);

/* Fails the test, naming device and what, where got and want differ. NaN equals NaN. */
void bed_same_floats(const struct bed *b, const char *what, const float *got, const float *want,
	size_t n);
void bed_same_bytes(const struct bed *b, const char *what, const void *got, const void *want,
	size_t n);

float *random_row(size_t n, uint64_t *seed); /* on a cache line; free() */

#endif
