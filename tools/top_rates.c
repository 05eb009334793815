/*
 * top_rates.c - what a run does now: the difference of two statuses some seconds apart.
 */
#include "tools/tool.h"
#include "tools/top.h"

#include <stdlib.h>
#include <string.h>

const char *const tr_lane_names[TR_N_LANE] = { "rest", "attention", "other_weights", "experts_dram",
	"experts_pmem", "experts_disk", "disk_wait", "cache", "predictor",
	"device_wait" };
const char *const tr_phase_names[TR_N_LIVE_PHASE] = { "load", "prefill", "decode" };

/* Statuses that are kept are at least so far apart, so that the ring spans the window. */
#define APART_NS (TR_TOP_WINDOW_NS / (TR_TOP_N_PAST - 2))

void tr_top_init(struct tr_top *t)
{
	*t = (struct tr_top){ .past = tr_tool_calloc(TR_TOP_N_PAST, sizeof(*t->past)) };
}

void tr_top_fini(struct tr_top *t)
{
	free(t->past);
}

static const struct tr_live *past_at(const struct tr_top *t, size_t age)
{
	return &t->past[(t->next + TR_TOP_N_PAST - 1 - age) % TR_TOP_N_PAST];
}

void tr_top_add(struct tr_top *t, const struct tr_live *live, uint64_t seen_ns)
{
	if (t->now.now_ns && (!t->n_past || t->now.now_ns - past_at(t, 0)->now_ns >= APART_NS)) {
		t->past[t->next] = t->now;
		t->next = (t->next + 1) % TR_TOP_N_PAST;
		t->n_past += t->n_past < TR_TOP_N_PAST;
	}
	t->now = *live;
	t->seen_ns = seen_ns;
}

/* The oldest of the window that has lanes; NULL: none. */
static const struct tr_live *base_of(const struct tr_top *t)
{
	const struct tr_live *base = NULL, *p;

	for (size_t i = 0; i < t->n_past; i++) {
		p = past_at(t, i);
		if (t->now.now_ns - p->now_ns > TR_TOP_WINDOW_NS || !p->stats.n_tier)
			break;
		if (p->now_ns < t->now.now_ns)
			base = p;
	}
	return base;
}

static double share(double part, double whole)
{
	return whole > 0 ? part / whole : -1;
}

static double since(uint64_t now, uint64_t then)
{
	return now > then ? (double)(now - then) : 0;
}

/* Hits of those that came as far as this tier. */
static void rate_tier(struct tr_top_tier *out, const struct tr_tier_stats *now,
	const struct tr_tier_stats *then, double seconds)
{
	double hits, misses;

	out->hit = share((double)now->hits, (double)now->hits + (double)now->misses);
	out->hit_now = out->bytes_per_s = -1;
	if (!then)
		return;
	hits = since(now->hits, then->hits);
	misses = since(now->misses, then->misses);
	out->hit_now = share(hits, hits + misses);
	out->bytes_per_s = since(now->bytes, then->bytes) / seconds;
}

static void rate_lanes(double out[TR_N_LANE], const struct tr_live *now, const struct tr_live *then)
{
	double all = 0;

	for (size_t i = 0; i < TR_N_LANE; i++)
		all += out[i] = since(now->lane_ns[i], then ? then->lane_ns[i] : 0);
	for (size_t i = 0; i < TR_N_LANE; i++)
		out[i] = share(out[i], all);
}

static void rate_layers(
	struct tr_top_rates *out, const struct tr_live *now, const struct tr_live *then)
{
	static const struct tr_live_layer none;

	for (uint32_t i = 0; i < now->n_layer; i++) {
		const struct tr_live_layer *a = then ? &then->layer[i] : &none, *b = &now->layer[i];
		double uses;

		if (b->uses == a->uses) /* nothing now: what is known of before */
			a = &none;
		uses = since(b->uses, a->uses);
		out->dram[i] = share(since(b->dram, a->dram), uses);
		out->memory[i] = share(since(b->dram, a->dram) + since(b->pmem, a->pmem), uses);
	}
}

/* Whole seconds of the last minute, as far as the engine has been there. */
static void list_minute(struct tr_top_rates *out, const struct tr_live *now)
{
	uint64_t first = now->second >= 60 ? now->second - 60 : 0;
	uint64_t start = now->start_ns / 1000000000u;

	for (uint64_t s = first > start ? first : start; s < now->second; s++)
		out->minute[out->n_minute++] = now->rate[s % TR_LIVE_SECONDS];
}

/* Tokens between the ends of two tokens; the last alone if it took the whole window. A token that
 * takes longer than those before lowers the rate as it goes on. */
static double decode_rate(const struct tr_top *t, const struct tr_live *then)
{
	const struct tr_live *now = &t->now;
	double rate, open_s, spent;

	if (!now->n_decode || !now->token_ns)
		return -1;
	rate = 1e9 / (double)now->token_ns;
	if (then && now->n_decode > then->n_decode) {
		spent = then->n_decode ? since(now->token_end_ns, then->token_end_ns) :
					 (double)now->decode_ns;
		rate = (double)(now->n_decode - then->n_decode) * 1e9 / spent;
	}
	open_s = since(t->seen_ns, now->token_end_ns) / 1e9;
	return open_s > 1 && open_s * rate > 2 ? 1 / open_s : rate;
}

static double overall_rate(const struct tr_live *now)
{
	if (now->n_decode)
		return share((double)now->n_decode * 1e9, (double)now->decode_ns);
	return share((double)now->n_prefill * 1e9, (double)now->prefill_ns);
}

void tr_top_rates(const struct tr_top *t, struct tr_top_rates *out)
{
	const struct tr_live *now = &t->now, *then = base_of(t);

	memset(out, 0, sizeof(*out));
	out->seconds = then ? since(now->now_ns, then->now_ns) / 1e9 : 0;
	out->idle_s = since(t->seen_ns, now->now_ns) / 1e9;
	out->run_s = since(t->seen_ns, now->start_ns) / 1e9;
	out->tokens_per_s = decode_rate(t, then);
	out->overall = overall_rate(now);
	list_minute(out, now);
	for (size_t i = 0; i < now->stats.n_tier; i++)
		rate_tier(&out->tier[i], &now->stats.tier[i], then ? &then->stats.tier[i] : NULL,
			out->seconds);
	rate_lanes(out->lane_all, now, NULL);
	rate_lanes(out->lane, now, then);
	rate_layers(out, now, then);
	out->disk_bytes_per_s =
		now->stats.n_tier ? out->tier[now->stats.n_tier - 1].bytes_per_s : -1;
	out->disk_busy =
		then ? since(now->stats.io_busy_ns, then->stats.io_busy_ns) / 1e9 / out->seconds
		     : -1;
	out->ahead =
		share((double)now->stats.predictor.ahead_ns, (double)now->stats.predictor.token_ns);
}
