/* clock.h - time arrives through a struct, so that a test can own it. */
#ifndef TR_BASE_CLOCK_H
#define TR_BASE_CLOCK_H

#include <stdint.h>

struct tr_clock {
	uint64_t (*now_ns)(void *ctx);
	void *ctx;
};

/* CLOCK_MONOTONIC. */
extern const struct tr_clock tr_clock_real;

static inline uint64_t tr_now_ns(const struct tr_clock *clock)
{
	return clock->now_ns(clock->ctx);
}

#endif
