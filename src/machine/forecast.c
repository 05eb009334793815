/*
 * forecast.c - what a token should take: per layer the slowest lane, and what comes in turn.
 *
 * A layer's experts are computed in two steps, as the engine does it. Those that are there: lanes
 * (DRAM, persistent memory, GPU) work at the same time, and DRAM and persistent memory share a bus.
 * Meanwhile those on disk are read, asked for all at once (which takes the time of the thread that
 * asks); they come at an even pace between the first and the last. Each is computed from DRAM as it
 * comes, when the one before has been.
 *
 * Not in it: the sampler, and others on the machine.
 */
#include "base/mem.h"
#include "tierra.h"

#include <math.h>

enum {
	DRAM = TR_MACHINE_DRAM,
	PMEM = TR_MACHINE_PMEM,
	NVME = TR_MACHINE_NVME,
	VRAM = TR_MACHINE_VRAM
};

static double time_of(double bytes, double bytes_per_s)
{
	return bytes > 0 ? bytes / bytes_per_s : 0;
}

/* When the k-th of n reads has come. */
static double arrival(const struct tr_speeds *s, uint32_t k, uint32_t n)
{
	double first = s->read_s[1], last = s->read_s[TR_MIN(n, (uint32_t)TR_MAX_READ_TABLE)];

	if (s->first_s[TR_MIN(n, (uint32_t)TR_MAX_READ_TABLE)] > 0)
		first = s->first_s[TR_MIN(n, (uint32_t)TR_MAX_READ_TABLE)];
	return n > 1 ? first + (fmax(last, first) - first) * (k - 1) / (n - 1) : first;
}

/* Experts that are there; returns when they have been computed. */
static double add_ready(const struct tr_workload *w, const struct tr_speeds *s,
	const uint32_t n[TR_N_MACHINE_KIND], double p, struct tr_forecast *f)
{
	double ready = 0, busy, bus = 0, *slowest = &f->lane_s[DRAM];

	for (int i = 0; i < TR_N_MACHINE_KIND; i++) {
		if (i == NVME)
			continue;
		busy = time_of(n[i] * w->unit_bytes, s->tier[i]);
		f->lane_busy_s[i] += p * busy;
		if (busy > ready) {
			ready = busy;
			slowest = &f->lane_s[i];
		}
	}
	if (s->bus > 0)
		bus = (n[DRAM] + n[PMEM]) * w->unit_bytes / s->bus;
	if (bus > ready) {
		ready = bus;
		slowest = &f->bus_s;
	}
	*slowest += p * ready;
	return ready;
}

void tr_forecast_layer(const struct tr_workload *w, const struct tr_speeds *s,
	const uint32_t n[TR_N_MACHINE_KIND], double p, struct tr_forecast *f)
{
	bool ready = n[DRAM] + n[PMEM] + n[VRAM] > 0;
	double one = time_of(w->unit_bytes, s->tier[DRAM]);
	double ask = s->lookup_s + s->ask_s[TR_MIN(n[NVME], (uint32_t)TR_MAX_READ_TABLE)];
	double now = ask + s->beside_s + add_ready(w, s, n, p, f), wait, step;

	f->cache_s += p * ask;
	f->loop_s += n[NVME] ? p * s->after_read_s : 0;
	f->loop_s += ready ? p * s->step_s : 0;
	now += ready ? s->step_s : 0;
	f->lane_busy_s[NVME] += n[NVME] ? p * arrival(s, n[NVME], n[NVME]) : 0;
	for (uint32_t k = 1; k <= n[NVME]; k++) {
		wait = fmax(arrival(s, k, n[NVME]) - now, 0);
		step = k == 1 || wait > 0 ? s->step_s : 0; /* those that came meanwhile join it */
		if (wait > 0) {
			f->loop_s += p * s->wake_s;
			now += s->wake_s;
		}
		f->disk_wait_s += p * wait;
		f->arrived_s += p * (one + step);
		now += wait + one + step;
	}
}

void tr_forecast_rest(const struct tr_speeds *s, double position, double p, struct tr_forecast *f)
{
	f->resident_s += p * s->resident_s;
	f->loop_s += p * s->resident_op_s;
	f->kv_s += p * position * s->position_s;
}

void tr_forecast_total(struct tr_forecast *f)
{
	f->token_s = f->bus_s + f->disk_wait_s + f->arrived_s + f->resident_s + f->kv_s +
		     f->loop_s + f->cache_s;
	for (int i = 0; i < TR_N_MACHINE_KIND; i++)
		f->token_s += f->lane_s[i];
}

/* All ways to spread n experts over the tiers from `kind` on; p is the probability of those before.
 */
static void spread(struct tr_forecast *f, const struct tr_workload *w, const struct tr_speeds *s,
	uint32_t k[TR_N_MACHINE_KIND], int kind, uint32_t n, double p)
{
	double ways = 1;

	if (kind == TR_N_MACHINE_KIND - 1) {
		k[kind] = n;
		p *= pow(w->share[kind], n);
		if (p > 0)
			tr_forecast_layer(w, s, k, p, f);
		return;
	}
	for (k[kind] = 0; k[kind] <= n; k[kind]++) {
		double q = p * ways * pow(w->share[kind], k[kind]);

		if (q > 0)
			spread(f, w, s, k, kind + 1, n - k[kind], q);
		ways = ways * (n - k[kind]) / (k[kind] + 1);
	}
}

void tr_forecast_token(
	const struct tr_workload *w, const struct tr_speeds *s, struct tr_forecast *out)
{
	uint32_t k[TR_N_MACHINE_KIND];

	*out = (struct tr_forecast){ 0 };
	spread(out, w, s, k, 0, w->n_used, w->n_moe_layer);
	tr_forecast_rest(s, w->position, 1, out);
	tr_forecast_total(out);
}

/* --- prompts ---------------------------------------------------------------------------------- */

/* The way of weights and arithmetic are each busy while the other is. What is read goes to memory
 * that was never used. */
double tr_forecast_chunk_layer(const struct tr_workload *w, const struct tr_speeds *s,
	uint32_t n_token, const double n[TR_N_MACHINE_KIND])
{
	double macs = (double)w->n_used * n_token * w->unit_macs, all = 0, slowest = 0;

	for (int i = 0; i < TR_N_MACHINE_KIND; i++) {
		double rate = s->tier[i];

		all += n[i];
		if (i == NVME && s->touch_bytes_per_s > 0)
			rate = 1 / (1 / rate + 1 / s->touch_bytes_per_s);
		slowest = fmax(slowest, time_of(n[i] * w->unit_bytes, rate));
	}
	slowest = fmax(slowest, time_of(all * w->unit_bytes, s->tier[DRAM]));
	return s->macs > 0 ? fmax(slowest, macs / s->macs) : slowest;
}

double tr_forecast_chunk_rest(
	const struct tr_workload *w, const struct tr_speeds *s, uint32_t n_token)
{
	double bytes = s->resident_s + s->resident_op_s;

	return s->macs > 0 ? fmax(bytes, w->resident_macs * n_token / s->macs) : bytes;
}

double tr_forecast_prompt(
	const struct tr_workload *w, const struct tr_speeds *s, uint32_t n_token, uint32_t n_batch)
{
	double sum = 0, held[TR_N_MACHINE_KIND];

	for (uint32_t n; n_token; n_token -= n) {
		double unused =
			pow(1 - (double)w->n_used / w->n_expert, n = TR_MIN(n_token, n_batch));

		for (int i = 0; i < TR_N_MACHINE_KIND; i++)
			held[i] = w->n_expert * (1 - unused) * w->held[i];
		sum += w->n_moe_layer * tr_forecast_chunk_layer(w, s, n, held);
		sum += tr_forecast_chunk_rest(w, s, n);
	}
	return sum;
}
