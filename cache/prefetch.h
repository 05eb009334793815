/*
 * prefetch.h - how much to read ahead of need, and whether it pays. Pure: numbers in, numbers out.
 *
 * A read ahead is admitted, and then *settled* once: its unit was used (useful, or late when its
 * read was still in flight), its layer went by without it (missed), it was cancelled, or it failed.
 * A missed one stays in the cache and is later either rescued by a use or evicted unused (wasted).
 *
 * A predictor's probability p is right for all experts together, but those that are not in DRAM are
 * used less often than those that are. So it is translated: of absent units given about p, which
 * share was used? That is learned from all that were expected, read ahead or not.
 *
 * Three things limit admission:
 *
 *	budget	bytes admitted and not settled;
 *	reach	units admitted and not settled: doubled by every use, an eighth less for every miss;
 *	waste	misses stay below a share of the uses, twice over. A unit goes only if units as
 *		likely would keep the share by themselves: a read called back before it started
 *		is no miss, and how many of the units not needed come off that lightly is learned
 *		too. And the misses that there would be if all that is under way were missed, by
 *		all that ever happened, keep it: so it holds whatever the predictor says. One miss
 *		is on credit at the start, and one more after every 256 tokens, so that a
 *		predictor that was wrong gets another try.
 *
 * In automatic mode the time of tokens says whether to read ahead at all: windows with and without
 * alternate, the medians are compared, and the better way is kept for a while before the next
 * comparison.
 *
 * No lock of its own: guarded by the cache lock.
 */
#ifndef TR_CACHE_PREFETCH_H
#define TR_CACHE_PREFETCH_H

#include "tierra.h"

enum tr_prefetch_mode { TR_PREFETCH_OFF, TR_PREFETCH_ON, TR_PREFETCH_AUTO };

/* A window is long enough for the cache to settle after a change (its first token is not counted),
 * short enough that text and machine are the same for both ways. Three windows of each way give 21
 * times; a comparison takes 48 tokens of 304. */
enum {
	TR_PREFETCH_WINDOW = 8,
	TR_PREFETCH_ROUNDS = 3,
	TR_PREFETCH_HOLD = 256,
	TR_PREFETCH_BUCKETS = 32,
	TR_PREFETCH_SAMPLES = TR_PREFETCH_ROUNDS * (TR_PREFETCH_WINDOW - 1),
};

struct tr_prefetch_cfg {
	enum tr_prefetch_mode mode;
	double waste;	       /* misses per use, at most */
	uint64_t budget_bytes;
	uint32_t reach_max;    /* units; 0 reads nothing ahead */
};

enum tr_prefetch_end {
	TR_PREFETCH_USEFUL,
	TR_PREFETCH_LATE,
	TR_PREFETCH_MISSED,
	TR_PREFETCH_CANCELLED,
	TR_PREFETCH_FAILED,
};

struct tr_prefetch {
	struct tr_prefetch_cfg cfg;
	bool on;
	uint32_t reach;
	uint32_t n_standing; /* admitted, not settled */
	uint64_t standing_bytes;
	double missed, called_back; /* lately: forgotten token by token */
	uint64_t n_used, n_missed; /* ever; a rescued one is used and not missed */
	struct {
		double seen, used;
	} absent[TR_PREFETCH_BUCKETS]; /* by the predictor's probability */

	/* The comparison; n_token counts within it, or within the time its result is kept. */
	bool comparing;
	uint32_t n_token;
	uint32_t n_sample[2]; /* [off, on] */
	uint64_t sample_ns[2][TR_PREFETCH_SAMPLES];

	struct tr_prefetch_stats stats;
};

void tr_prefetch_init(struct tr_prefetch *p, const struct tr_prefetch_cfg *cfg);

/* An absent unit that a predictor gave p was used, or not, when its layer came. */
void tr_prefetch_learn(struct tr_prefetch *p, float given, bool used);
/* The share of absent units given p that are used. */
float tr_prefetch_translate(const struct tr_prefetch *p, float given);

/* May a unit of so many bytes, expected with this probability, be read ahead now? begin() then takes
 * it into the budget, until settle() is told of the same bytes. */
bool tr_prefetch_allows(const struct tr_prefetch *p, float probability, uint64_t bytes);
void tr_prefetch_begin(struct tr_prefetch *p, float probability, uint64_t bytes);
void tr_prefetch_settle(struct tr_prefetch *p, enum tr_prefetch_end end, uint64_t bytes);
/* A missed unit was used after all. */
void tr_prefetch_rescue(struct tr_prefetch *p);
/* A missed unit left unused. */
void tr_prefetch_waste(struct tr_prefetch *p, uint64_t bytes);

/* A token was decoded in so many ns. */
void tr_prefetch_token(struct tr_prefetch *p, uint64_t ns);

void tr_prefetch_stats(const struct tr_prefetch *p, struct tr_prefetch_stats *out);

#endif
