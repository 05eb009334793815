/*
 * throttle.h - makes tiers as slow as those of another machine.
 *
 * Weights are computed as ever, and then time passes until the tier would have delivered their bytes at the
 * rate given. All tiers of a step count from its beginning, as they would work at the same time. Disk reads
 * are held back by io (tr_io_throttle).
 */
#ifndef TR_ENGINE_THROTTLE_H
#define TR_ENGINE_THROTTLE_H

#include "base/clock.h"
#include "base/rate.h"
#include "tierra.h"

struct tr_throttle {
	const struct tr_clock *clock;
	struct tr_rate tier[TR_MAX_TIER]; /* as in tr_plan; of the last one only the rate is used */
	bool memory;			  /* a tier but the last one has a limit */
};

/* "pmem=30G,nvme=3.5G,dram=80G": bytes a second, each optional. text NULL: no limits. pmem is for
 * each path. n_tier: DRAM, persistent memories, the file. */
int tr_throttle_init(struct tr_throttle *t, const char *text, size_t n_tier,
	const struct tr_clock *clock, struct tr_err *err);

/* bytes[TR_MAX_TIER] of each tier were taken since start_ns: returns when they may have been. */
void tr_throttle_wait(struct tr_throttle *t, uint64_t start_ns, const uint64_t *bytes);

#endif
