/*
 * tune_threads.c - threads per tier, as far as a machine's figures tell.
 *
 * A memory that was measured by threads gives a rate for each count: persistent memory has its most
 * at fewer threads than there are. What kernels reach of DRAM is taken to change as plain reading
 * does. The gain is forecast for uses of which half are served from DRAM, since routing has not
 * been looked at yet.
 */
#include "tools/tune.h"

#include <string.h>

static const struct tr_machine_tier *tier_of(const struct tr_tune *t, enum tr_machine_kind kind)
{
	for (size_t i = 0; i < t->machine.n_tier; i++)
		if (t->machine.tier[i].kind == kind && t->machine.tier[i].n_point)
			return &t->machine.tier[i];
	return NULL;
}

/* Of so many threads: the point that comes nearest from below. */
static double rate_of(const struct tr_machine_tier *tier, unsigned n_thread)
{
	const struct tr_machine_point *best = NULL;

	for (size_t i = 0; i < tier->n_point; i++) {
		const struct tr_machine_point *p = &tier->point[i];

		if (p->n_flight <= n_thread && (!best || p->n_flight > best->n_flight))
			best = p;
	}
	return best ? best->bytes_per_s.mid : tier->point[0].bytes_per_s.mid;
}

static double speed(const struct tr_tune *t, const struct tr_speeds *s)
{
	struct tr_workload w = t->model.work;
	struct tr_forecast f;

	w.share[TR_MACHINE_DRAM] = 0.5;
	w.share[TR_MACHINE_PMEM] = 0.5 * t->in_pmem;
	w.share[TR_MACHINE_NVME] = 0.5 * (1 - t->in_pmem);
	w.position = t->model.n_ctx / 2.0;
	tr_forecast_token(&w, s, &f);
	return 1 / f.token_s;
}

/* What n threads give instead of those that the speeds are of. */
static struct tr_speeds with_threads(
	const struct tr_tune *t, const struct tr_machine_tier *tier, unsigned n, unsigned of)
{
	double by = rate_of(tier, n) / rate_of(tier, of);
	struct tr_speeds s = t->speeds;

	s.tier[tier->kind] *= by;
	s.n_thread[tier->kind] = n;
	if (tier->kind == TR_MACHINE_DRAM && !t->args.gpu) {
		s.resident_s /= by;
		s.macs *= (double)n / of;
	}
	return s;
}

/* Speeds are those of `most` threads; they become those of the best count. */
static void search(struct tr_tune *t, const char *option, enum tr_machine_kind kind, unsigned most)
{
	const struct tr_machine_tier *tier = tier_of(t, kind);
	struct tr_tune_step *step = tr_tune_step(t, option);
	struct tr_speeds best = t->speeds;
	char name[16];

	snprintf(step->chosen, sizeof(step->chosen), "%u", most);
	step->before = step->after = speed(t, &t->speeds);
	for (size_t i = 0; i < tier->n_point; i++) {
		unsigned n = tier->point[i].n_flight;
		struct tr_speeds s = with_threads(t, tier, n, most);

		snprintf(name, sizeof(name), "%u", n);
		tr_tune_step_tried(step, name);
		if (n >= most || speed(t, &s) <= step->after)
			continue;
		step->after = speed(t, &s);
		if (step->after < step->before * (1 + TR_TUNE_NOISE_SAID))
			continue;
		snprintf(step->chosen, sizeof(step->chosen), "%s", name);
		step->taken = true;
		best = s;
	}
	t->speeds = best;
}

/* tr_machine_speeds takes each memory at its best count; the engine uses all threads if not told.
 */
static void take_all_threads(struct tr_tune *t, enum tr_machine_kind kind)
{
	const struct tr_machine_tier *tier = tier_of(t, kind);
	unsigned n = t->machine.n_thread;

	if (tier && n)
		t->speeds = with_threads(t, tier, n, t->speeds.n_thread[kind]);
}

void tr_tune_threads(struct tr_tune *t)
{
	unsigned n = t->machine.n_thread;

	if (!n)
		return;
	if (tier_of(t, TR_MACHINE_PMEM))
		take_all_threads(t, TR_MACHINE_PMEM);
	t->speeds.n_thread[TR_MACHINE_DRAM] = n; /* kernels were measured with all */
	if (tier_of(t, TR_MACHINE_DRAM))
		search(t, "-t", TR_MACHINE_DRAM, n);
	if (tier_of(t, TR_MACHINE_PMEM))
		search(t, "--pmem-threads", TR_MACHINE_PMEM, n);
}
