/*
 * forecast.c - what a token should take: per layer the slowest lane, and what comes in turn.
 *
 * A layer's experts are computed in two steps, as the engine does it. Those that are there: lanes (DRAM,
 * persistent memory, GPU) work at the same time, and DRAM and persistent memory share a bus. Meanwhile those on
 * disk are read, all at once; they are computed from DRAM as they arrive, so that of these only the last is
 * computed after the last read. Which lane has how many of the n_used experts is a multinomial draw.
 *
 * Not in it: attention's arithmetic beyond reading the KV cache, the sampler, page faults, and others on the
 * machine.
 */
#include "base/mem.h"
#include "tierra.h"

#include <math.h>

/* Parallel loops of a layer of deepseek2: norms, seven matrices of attention, the attention itself,
 * the router, shared experts, the two loops of experts, sums. */
#define LOOPS_PER_LAYER 22

enum { DRAM = TR_MACHINE_DRAM, PMEM = TR_MACHINE_PMEM, NVME = TR_MACHINE_NVME,
	VRAM = TR_MACHINE_VRAM };

static double time_of(double bytes, double bytes_per_s)
{
	return bytes > 0 ? bytes / bytes_per_s : 0;
}

/* Adds a layer with k experts in each tier, which happens with probability p. */
static void add_layer(struct tr_forecast *f, const struct tr_workload *w, const struct tr_speeds *s,
	const unsigned k[TR_N_MACHINE_KIND], double p)
{
	double busy[TR_N_MACHINE_KIND], ready = 0, bus = 0, one, read, arrived;
	double *slowest = &f->lane_s[DRAM];

	for (int i = 0; i < TR_N_MACHINE_KIND; i++) {
		busy[i] = time_of(k[i] * w->unit_bytes, s->tier[i]);
		if (i != NVME && busy[i] > ready) {
			ready = busy[i];
			slowest = &f->lane_s[i];
		}
	}
	if (s->bus > 0)
		bus = (k[DRAM] + k[PMEM]) * w->unit_bytes / s->bus;
	if (bus > ready) {
		ready = bus;
		slowest = &f->bus_s;
	}
	for (int i = 0; i < TR_N_MACHINE_KIND; i++)
		f->lane_busy_s[i] += p * busy[i];
	*slowest += p * ready;
	if (!k[NVME])
		return;
	one = time_of(w->unit_bytes, s->tier[DRAM]);
	arrived = k[NVME] * one;
	read = s->disk_latency_s + busy[NVME] - time_of(w->beside_bytes, s->resident);
	f->arrived_s += p * arrived;
	f->disk_wait_s += p * fmax(read - ready - (arrived - one), 0);
}

/* All ways to spread n experts over the tiers from `kind` on; p is the probability of those before. */
static void spread(struct tr_forecast *f, const struct tr_workload *w, const struct tr_speeds *s,
	unsigned k[TR_N_MACHINE_KIND], int kind, unsigned n, double p)
{
	double ways = 1;

	if (kind == TR_N_MACHINE_KIND - 1) {
		k[kind] = n;
		p *= pow(w->share[kind], n);
		if (p > 0)
			add_layer(f, w, s, k, p);
		return;
	}
	for (k[kind] = 0; k[kind] <= n; k[kind]++) {
		double q = p * ways * pow(w->share[kind], k[kind]);

		if (q > 0)
			spread(f, w, s, k, kind + 1, n - k[kind], q);
		ways = ways * (n - k[kind]) / (k[kind] + 1);
	}
}

void tr_forecast_token(const struct tr_workload *w, const struct tr_speeds *s,
	struct tr_forecast *out)
{
	unsigned k[TR_N_MACHINE_KIND];

	*out = (struct tr_forecast){ 0 };
	spread(out, w, s, k, 0, w->n_used, w->n_moe_layer);
	out->resident_s = time_of(w->resident_bytes, s->resident);
	out->kv_s = time_of(w->kv_bytes, s->resident);
	out->loop_s = w->n_layer * LOOPS_PER_LAYER * s->loop_s;
	out->token_s = out->bus_s + out->disk_wait_s + out->arrived_s + out->resident_s + out->kv_s +
		out->loop_s;
	for (int i = 0; i < TR_N_MACHINE_KIND; i++)
		out->token_s += out->lane_s[i];
}

/* A chunk wants an expert if any of its tokens does. Each of the two sides, arithmetic and the way of weights,
 * is busy while the other is. */
static double chunk(const struct tr_workload *w, const struct tr_speeds *s, uint32_t n_token)
{
	double one = (double)w->n_used / w->n_expert;
	double wanted = w->n_expert * (1 - pow(1 - one, n_token)) * w->n_moe_layer;
	double macs = w->resident_macs + (double)w->n_used * w->n_moe_layer * w->unit_macs;
	double slowest = 0, lane;

	for (int i = 0; i < TR_N_MACHINE_KIND; i++) {
		lane = time_of(wanted * w->held[i] * w->unit_bytes, s->tier[i]);
		slowest = fmax(slowest, lane);
	}
	lane = time_of(w->resident_bytes, s->resident) + slowest;
	return s->macs > 0 ? fmax(lane, macs * n_token / s->macs) : lane;
}

double tr_forecast_prompt(const struct tr_workload *w, const struct tr_speeds *s, uint32_t n_token,
	uint32_t n_batch)
{
	double sum = 0;

	for (uint32_t n; n_token; n_token -= n) {
		n = TR_MIN(n_token, n_batch);
		sum += chunk(w, s, n);
	}
	return sum;
}
