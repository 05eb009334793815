/* clock.h - time arrives through a struct, so that a test can own it. */
#ifndef TR_BASE_CLOCK_H
#define TR_BASE_CLOCK_H

#include <stdint.h>

struct tr_clock {
	uint64_t (*now_ns)(void *ctx);
	void *ctx;
	void (*sleep_until)(void *ctx, uint64_t ns); /* optional: without it one looks until then */
};

/* CLOCK_MONOTONIC. Its sleep ends within microseconds of the time asked for: the last stretch is spent
 * awake, since the kernel may wake a sleeper late. */
extern const struct tr_clock tr_clock_real;

static inline uint64_t tr_now_ns(const struct tr_clock *clock)
{
	return clock->now_ns(clock->ctx);
}

/* Returns once the clock shows ns or more. */
void tr_sleep_until(const struct tr_clock *clock, uint64_t ns);

#endif
