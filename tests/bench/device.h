/* device.h - what the kernel counts of the block device that a file lies on. */
#ifndef TR_TESTS_BENCH_DEVICE_H
#define TR_TESTS_BENCH_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

struct device_count {
	uint64_t read_bytes;
	uint64_t busy_ns; /* with at least one request under way */
};

/* False where the file lies on no block device, or the kernel does not tell. */
bool device_count(const char *path, struct device_count *out);

#endif
