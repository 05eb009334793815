#include "cache/prefetch.h"
#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Misses on credit, for units likely enough by themselves: one at the start and one more each time
 * that so many tokens went by, so that a predictor that was wrong gets another try. */
#define TOKENS_PER_TRY 256
/* Share of missed and called back that one token leaves: half is forgotten after 44 tokens. */
#define KEEP_PER_TOKEN (1.0 - 1.0 / 64)
#define REACH_START 2

/* What is taken for known of a bucket before anything was seen: as if of so many units, half as many
 * had been used as the predictor says. Reading starts when it is known better. */
#define PRIOR 8.0
/* A bucket forgets by halves when it has seen this many. */
#define SEEN_MAX 4096.0

void tr_prefetch_init(struct tr_prefetch *p, const struct tr_prefetch_cfg *cfg)
{
	*p = (struct tr_prefetch){ .cfg = *cfg };
	p->on = cfg->mode != TR_PREFETCH_OFF && cfg->reach_max;
	p->comparing = cfg->mode == TR_PREFETCH_AUTO && cfg->reach_max;
	p->reach = TR_MIN((uint32_t)REACH_START, cfg->reach_max);
}

/* Share of the units not needed whose read had started when that was known. Begins at all. */
static double started_share(const struct tr_prefetch *p)
{
	return (p->missed + PRIOR) / (p->missed + p->called_back + PRIOR);
}

static uint32_t bucket_of(float given)
{
	uint32_t b = (uint32_t)(TR_MAX(given, 0.0f) * TR_PREFETCH_BUCKETS);

	return TR_MIN(b, (uint32_t)TR_PREFETCH_BUCKETS - 1);
}

void tr_prefetch_learn(struct tr_prefetch *p, float given, bool used)
{
	uint32_t b = bucket_of(given);

	p->absent[b].seen++;
	p->absent[b].used += used;
	if (p->absent[b].seen >= SEEN_MAX) {
		p->absent[b].seen /= 2;
		p->absent[b].used /= 2;
	}
}

float tr_prefetch_translate(const struct tr_prefetch *p, float given)
{
	uint32_t b = bucket_of(given);

	return (float)((p->absent[b].used + PRIOR / 2 * (double)given) / (p->absent[b].seen + PRIOR));
}

/* Would units as likely as this one by themselves keep misses within their share of the uses? Less
 * likely ones would eat up what is allowed, and then the likely ones could not go. */
static bool is_worth_it(const struct tr_prefetch *p, double probability)
{
	return (1 - probability) * started_share(p) <= p->cfg.waste * probability;
}

/* Would all misses, if all that is under way were missed? Nothing is forgotten here. */
static bool is_safe(const struct tr_prefetch *p)
{
	double credit = TR_MAX(1, p->cfg.waste) +
			floor((double)p->stats.tokens / TOKENS_PER_TRY);
	double used = (double)p->n_used, missed = (double)p->n_missed;

	return missed + p->n_standing + 1 <= p->cfg.waste * used + credit;
}

bool tr_prefetch_allows(const struct tr_prefetch *p, float probability, uint64_t bytes)
{
	return p->on && p->n_standing < p->reach &&
		bytes <= p->cfg.budget_bytes - p->standing_bytes && is_safe(p) &&
		is_worth_it(p, probability);
}

void tr_prefetch_begin(struct tr_prefetch *p, float probability, uint64_t bytes)
{
	tr_assert(tr_prefetch_allows(p, probability, bytes));
	p->n_standing++;
	p->standing_bytes += bytes;
	p->stats.issued++;
	p->stats.bytes += bytes;
}

static void note_use(struct tr_prefetch *p)
{
	p->n_used++;
	p->reach = TR_MIN(2 * p->reach, p->cfg.reach_max);
}

static void note_miss(struct tr_prefetch *p)
{
	p->missed++;
	p->n_missed++;
	p->reach -= TR_MAX(p->reach / 8, 1u);
	p->reach = TR_MAX(p->reach, 1u);
}

void tr_prefetch_settle(struct tr_prefetch *p, enum tr_prefetch_end end, uint64_t bytes)
{
	tr_assert(p->n_standing && p->standing_bytes >= bytes);
	p->n_standing--;
	p->standing_bytes -= bytes;
	switch (end) {
	case TR_PREFETCH_USEFUL:
		p->stats.useful++;
		note_use(p);
		break;
	case TR_PREFETCH_LATE:
		p->stats.late++;
		note_use(p);
		break;
	case TR_PREFETCH_MISSED:
		note_miss(p);
		break;
	case TR_PREFETCH_CANCELLED:
		p->stats.cancelled++;
		p->called_back++;
		p->stats.bytes -= bytes;
		break;
	case TR_PREFETCH_FAILED:
		p->stats.failed++;
		break;
	}
}

void tr_prefetch_rescue(struct tr_prefetch *p)
{
	p->stats.useful++;
	p->missed -= TR_MIN(p->missed, 1.0);
	p->n_used++;
	p->n_missed--;
}

void tr_prefetch_waste(struct tr_prefetch *p, uint64_t bytes)
{
	p->stats.wasted++;
	p->stats.wasted_bytes += bytes;
}

/* --- does it pay? ----------------------------------------------------------------------------- */

static int compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t median(uint64_t *ns, uint32_t n)
{
	qsort(ns, n, sizeof(*ns), compare_ns);
	return ns[n / 2];
}

static void turn(struct tr_prefetch *p, bool on)
{
	p->stats.switches += on != p->on;
	p->on = on;
}

static void conclude(struct tr_prefetch *p)
{
	p->stats.off_ns = median(p->sample_ns[0], p->n_sample[0]);
	p->stats.on_ns = median(p->sample_ns[1], p->n_sample[1]);
	p->stats.comparisons++;
	p->comparing = false;
	p->n_token = 0;
	turn(p, p->stats.on_ns < p->stats.off_ns);
}

/* Windows alternate, the first with. */
static void compare(struct tr_prefetch *p, uint64_t ns)
{
	bool first_of_window = p->n_token % TR_PREFETCH_WINDOW == 0;

	if (!first_of_window)
		p->sample_ns[p->on][p->n_sample[p->on]++] = ns;
	if (++p->n_token == 2 * TR_PREFETCH_ROUNDS * TR_PREFETCH_WINDOW)
		conclude(p);
	else
		turn(p, p->n_token / TR_PREFETCH_WINDOW % 2 == 0);
}

static void begin_comparing(struct tr_prefetch *p)
{
	p->comparing = true;
	p->n_token = 0;
	p->n_sample[0] = p->n_sample[1] = 0;
	turn(p, true);
}

void tr_prefetch_token(struct tr_prefetch *p, uint64_t ns)
{
	p->missed *= KEEP_PER_TOKEN;
	p->called_back *= KEEP_PER_TOKEN;
	p->stats.tokens_on += p->on;
	p->stats.tokens++;
	if (p->cfg.mode != TR_PREFETCH_AUTO || !p->cfg.reach_max)
		return;
	if (p->comparing)
		compare(p, ns);
	else if (++p->n_token == TR_PREFETCH_HOLD)
		begin_comparing(p);
}

void tr_prefetch_stats(const struct tr_prefetch *p, struct tr_prefetch_stats *out)
{
	static const char *const mode[] = { "off", "on", "auto" };

	*out = p->stats;
	strcpy(out->mode, mode[p->cfg.mode]);
	out->on = p->on;
	out->reach = p->reach;
	out->budget_bytes = p->cfg.budget_bytes;
}
