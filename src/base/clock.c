#include "base/clock.h"

#include <time.h>

/* A sleeper wakes up to 50 us late by the kernel's timer slack, and takes a little to be scheduled. */
#define AWAKE_NS 100000u

static uint64_t monotonic_ns(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void monotonic_sleep(void *ctx, uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)((ns - AWAKE_NS) / 1000000000u),
		.tv_nsec = (long)((ns - AWAKE_NS) % 1000000000u) };

	if (monotonic_ns(ctx) + AWAKE_NS < ns)
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

const struct tr_clock tr_clock_real = { .now_ns = monotonic_ns, .sleep_until = monotonic_sleep };

void tr_sleep_until(const struct tr_clock *clock, uint64_t ns)
{
	if (clock->sleep_until)
		clock->sleep_until(clock->ctx, ns);
	while (tr_now_ns(clock) < ns)
		;
}
