/*
 * tune_advice.c - what follows from the best row: the command line, where its time goes, what a
 * purchase would change, which assumptions decide, and what will go wrong.
 */
#include "tools/table.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct tr_tune_row *best_of(const struct tr_tune *t)
{
	return &t->row[t->best];
}

/* --- the command line ------------------------------------------------------------------------- */

struct line {
	char *to;
	size_t cap, n;
};

static void __attribute__((format(printf, 2, 3))) put(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->n >= l->cap)
		return;
	va_start(ap, fmt);
	n = vsnprintf(l->to + l->n, l->cap - l->n, fmt, ap);
	va_end(ap);
	l->n += n > 0 ? (size_t)n : 0;
}

static void put_pmem(struct line *l, const struct tr_tune *t)
{
	for (size_t i = 0; i < t->machine.n_tier; i++)
		if (t->machine.tier[i].kind == TR_MACHINE_PMEM)
			put(l, " --pmem %s",
				t->machine.tier[i].path[0] ? t->machine.tier[i].path : "DIR");
	if (!t->pmem_bytes)
		return;
	if (t->speeds.n_thread[TR_MACHINE_PMEM] < t->machine.n_thread)
		put(l, " --pmem-threads %u", t->speeds.n_thread[TR_MACHINE_PMEM]);
	if (best_of(t)->choice.promote)
		put(l, " --promote %u%%", best_of(t)->choice.promote);
	else
		put(l, " --promote off");
}

void tr_tune_command(const struct tr_tune *t, char *to, size_t cap)
{
	const struct tr_tune_choice *c = &best_of(t)->choice;
	struct line l = { to, cap, 0 };

	put(&l, "tierra generate -m %s -c %u -t %u --dram %" PRIu64 "M --policy %s",
		t->args.model ? t->args.model : "MODEL", t->model.n_ctx,
		t->speeds.n_thread[TR_MACHINE_DRAM] ? t->speeds.n_thread[TR_MACHINE_DRAM]
						    : t->machine.n_thread,
		c->dram_bytes >> 20, c->policy);
	if (c->predictor && c->n_ahead)
		put(&l, " --predictor %s --prefetch auto --prefetch-budget %" PRIu64 "M",
			c->predictor, (c->n_ahead * t->model.slot_bytes >> 20) + 1);
	else if (c->predictor)
		put(&l, " --predictor %s --prefetch off", c->predictor);
	put_pmem(&l, t);
	if (t->vram_room)
		put(&l, " --device cuda:0 --vram %" PRIu64 "M", t->vram_room >> 20);
}

/* --- where the time goes ---------------------------------------------------------------------- */

size_t tr_tune_parts(const struct tr_forecast *f, struct tr_tune_part parts[TR_TUNE_MAX_PART])
{
	const struct tr_tune_part all[] = { { "experts, bound by DRAM",
						    f->lane_s[TR_MACHINE_DRAM] },
		{ "experts, bound by persistent memory", f->lane_s[TR_MACHINE_PMEM] },
		{ "experts, bound by the GPU", f->lane_s[TR_MACHINE_VRAM] },
		{ "experts, bound by the memory bus", f->bus_s },
		{ "experts that came from disk", f->arrived_s },
		{ "waiting for the disk", f->disk_wait_s },
		{ "weights that every token uses", f->resident_s },
		{ "attention over the context", f->kv_s }, { "threads, norms, sums", f->loop_s },
		{ "looking up and asking for experts", f->cache_s } };

	memcpy(parts, all, sizeof(all));
	return sizeof(all) / sizeof(*all);
}

/* --- purchases and assumptions ---------------------------------------------------------------- */

static double speed_with(const struct tr_tune *t, const struct tr_speeds *s)
{
	struct tr_forecast f;

	tr_tune_forecast(t, &best_of(t)->last, s, &f);
	return f.token_s > 0 ? 1 / f.token_s : 0;
}

static void scale_disk(struct tr_speeds *s, double by)
{
	s->tier[TR_MACHINE_NVME] *= by;
	s->disk_bytes_per_s *= by;
	for (int k = 0; k <= TR_MAX_READ_TABLE; k++) {
		s->read_s[k] /= by;
		s->first_s[k] /= by;
	}
}

static void add_what(
	struct tr_tune_what *what, size_t *n, const char *name, double speed, double other)
{
	struct tr_tune_what *w = &what[(*n)++];

	snprintf(w->name, sizeof(w->name), "%s", name);
	w->tokens_per_s = speed;
	w->other = other;
}

/* Another drive of the kind takes half of each layer's reads; none is quicker than one expert. */
static double with_drive(const struct tr_tune *t)
{
	struct tr_speeds s = t->speeds;

	for (int k = TR_MAX_READ_TABLE; k > 0; k--) {
		s.read_s[k] = t->speeds.read_s[(k + 1) / 2];
		s.first_s[k] = t->speeds.first_s[(k + 1) / 2];
	}
	s.disk_bytes_per_s *= 2;
	return speed_with(t, &s);
}

/* The same routing with more room in DRAM; 0 when it cannot be told. */
static double with_dram(struct tr_tune *t, uint64_t more)
{
	struct tr_tune_row *row = tr_tool_calloc(1, sizeof(*row));
	struct tr_tune_choice c = best_of(t)->choice;
	double speed = 0;

	c.dram_bytes += more;
	if (!tr_tune_row(t, &c, row))
		speed = 1 / row->warm.token_s;
	free(row);
	return speed;
}

size_t tr_tune_purchases(struct tr_tune *t, struct tr_tune_what what[TR_TUNE_MAX_WHAT])
{
	uint64_t all = t->model.n_unit * t->model.slot_bytes, dimm = (uint64_t)32 << 30;
	struct tr_speeds s = t->speeds;
	size_t n = 0;

	if (t->speeds.disk_bytes_per_s > 0 && t->in_pmem < 1)
		add_what(what, &n, "a second drive", with_drive(t), 0);
	if (best_of(t)->choice.dram_bytes < all)
		add_what(what, &n, "32 GiB more of DRAM", with_dram(t, dimm), 0);
	if (t->pmem_bytes) {
		s.tier[TR_MACHINE_PMEM] *= 7.0 / 6;
		add_what(what, &n, "a seventh PMem module for six", speed_with(t, &s), 0);
	}
	return n;
}

enum assumption {
	OF_DRAM,
	OF_PMEM,
	OF_DISK,
	OF_BUS,
	OF_VRAM,
	OF_RESIDENT,
	OF_HITS,
	OF_OVERHEAD,
	N_ASSUMPTION
};

static const char *const assumption_name[N_ASSUMPTION] = { "rate of experts from DRAM",
	"rate of experts from persistent memory", "rate of the disk", "rate of the memory bus",
	"rate of experts from VRAM", "time of weights that every token uses",
	"share of uses that miss DRAM", "time of threads, norms, sums" };

/* As many misses more or fewer; where the speed is needed only. */
static double with_misses(const struct tr_tune *t, double by)
{
	struct tr_workload w = t->model.work;
	double n[TR_N_MACHINE_KIND] = { 0 }, sum = 0, low;
	const struct tr_tune_window *win = &best_of(t)->last;
	struct tr_forecast f;

	for (size_t i = 0; i < win->n_kind; i++)
		for (int k = 0; k < TR_N_MACHINE_KIND; k++) {
			n[k] += win->kind[i].n[k] * win->kind[i].count;
			sum += win->kind[i].n[k] * win->kind[i].count;
		}
	if (!(sum > 0))
		return 0;
	for (int k = 0; k < TR_N_MACHINE_KIND; k++)
		w.share[k] = n[k] / sum;
	low = w.share[TR_MACHINE_PMEM] + w.share[TR_MACHINE_NVME];
	by = low * by > 1 ? 1 / low : by;
	w.share[TR_MACHINE_PMEM] *= by;
	w.share[TR_MACHINE_NVME] *= by;
	if (low < 1)
		for (int k = 0; k < TR_N_MACHINE_KIND; k += TR_MACHINE_VRAM)
			w.share[k] *= (1 - low * by) / (1 - low);
	w.position = win->position_sum / win->n_token;
	tr_forecast_token(&w, &t->speeds, &f);
	return 1 / f.token_s;
}

/* The speed if the k-th assumption were so many times what it is. Of times: more is slower. */
static double with(const struct tr_tune *t, int k, double by)
{
	static const enum tr_machine_kind tier[] = { [OF_DRAM] = TR_MACHINE_DRAM,
		[OF_PMEM] = TR_MACHINE_PMEM,
		[OF_VRAM] = TR_MACHINE_VRAM };
	struct tr_speeds s = t->speeds;

	switch (k) {
	case OF_DRAM:
	case OF_PMEM:
	case OF_VRAM:
		s.tier[tier[k]] *= by;
		break;
	case OF_DISK:
		scale_disk(&s, by);
		break;
	case OF_BUS:
		s.bus *= by;
		break;
	case OF_RESIDENT:
		s.resident_s *= by;
		break;
	case OF_OVERHEAD:
		s.resident_op_s *= by;
		s.step_s *= by;
		break;
	default:
		/* Drawn anew on both sides, so that the draw is not taken for the assumption. */
		return with_misses(t, by) * speed_with(t, &s) / with_misses(t, 1);
	}
	return speed_with(t, &s);
}

static int by_effect(const void *a, const void *b)
{
	const struct tr_tune_what *x = a, *y = b;
	double dx = x->tokens_per_s - x->other, dy = y->tokens_per_s - y->other;

	dx = dx < 0 ? -dx : dx;
	dy = dy < 0 ? -dy : dy;
	return (dx < dy) - (dx > dy);
}

size_t tr_tune_assumptions(const struct tr_tune *t, struct tr_tune_what what[TR_TUNE_MAX_WHAT])
{
	double base = speed_with(t, &t->speeds);
	size_t n = 0;

	for (int k = 0; k < N_ASSUMPTION; k++) {
		double more = with(t, k, 1.2), less = with(t, k, 0.8);

		if (more / base > 1.001 || more / base < 0.999 || less / base > 1.001 ||
			less / base < 0.999)
			add_what(what, &n, assumption_name[k], more, less);
	}
	qsort(what, n, sizeof(*what), by_effect);
	return n;
}

/* --- by share --------------------------------------------------------------------------------- */

size_t tr_tune_shares(const struct tr_tune *t, struct tr_tune_share share[TR_TUNE_N_SHARE])
{
	static const double plan[TR_TUNE_N_SHARE][2] = { { 0, 0 }, { 0.25, 0 }, { 0.5, 0 },
		{ 0.75, 0 }, { 1, 0 }, { 0.5, 0.03 } };
	size_t n = 0;

	for (size_t i = 0; i < TR_TUNE_N_SHARE; i++) {
		struct tr_workload w = t->model.work;
		struct tr_forecast f;
		double rest = 1 - plan[i][0] - plan[i][1];

		if (plan[i][1] > 0 && !(t->speeds.tier[TR_MACHINE_VRAM] > 0))
			continue;
		w.share[TR_MACHINE_DRAM] = plan[i][0];
		w.share[TR_MACHINE_VRAM] = plan[i][1];
		w.share[TR_MACHINE_PMEM] = rest * t->in_pmem;
		w.share[TR_MACHINE_NVME] = rest * (1 - t->in_pmem);
		w.position = t->model.n_ctx / 2.0;
		tr_forecast_token(&w, &t->speeds, &f);
		share[n++] = (struct tr_tune_share){ plan[i][0], plan[i][1], 1 / f.token_s };
	}
	return n;
}

/* --- traps ------------------------------------------------------------------------------------ */

/* Memory of this machine that is free, and swap in use: what /proc/meminfo says, 0 where it does
 * not. */
static uint64_t meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "r");
	size_t n = strlen(key);
	unsigned long long kib = 0;
	char text[128];

	while (f && fgets(text, sizeof(text), f))
		if (!strncmp(text, key, n) && text[n] == ':')
			kib = strtoull(text + n + 1, NULL, 10);
	if (f)
		fclose(f);
	return (uint64_t)kib << 10;
}

bool tr_tune_is_here(const struct tr_tune *t)
{
	return !strncmp(t->machine.source, "measured", 8);
}

static void __attribute__((format(printf, 3, 4)))
trap(char (*to)[TR_TUNE_TRAP_BYTES], size_t *n, const char *fmt, ...)
{
	va_list ap;

	if (*n == TR_TUNE_MAX_TRAP)
		return;
	va_start(ap, fmt);
	vsnprintf(to[(*n)++], TR_TUNE_TRAP_BYTES, fmt, ap);
	va_end(ap);
}

#define SIZE(bytes) tr_table_bytes(bytes, (char[32]){ 0 }, 32)

static void memory_traps(const struct tr_tune *t, char (*to)[TR_TUNE_TRAP_BYTES], size_t *n)
{
	const struct tr_tune_row *r = best_of(t);
	uint64_t want = r->choice.dram_bytes +
			(t->args.gpu ? 0 : t->model.resident_bytes + t->model.kv_bytes);
	uint64_t has = meminfo("MemAvailable"), swap = meminfo("SwapTotal") - meminfo("SwapFree");

	if (r->choice.dram_bytes < t->model.floor_bytes)
		trap(to, n,
			"%s of DRAM are below the floor, one token's experts (%s): recency "
			"policies hit nothing",
			SIZE(r->choice.dram_bytes), SIZE(t->model.floor_bytes));
	if (want > t->dram_bytes)
		trap(to, n,
			"%s are needed and the machine has %s: it would swap, and each page "
			"swapped out costs more than a miss",
			SIZE(want), SIZE(t->dram_bytes));
	if (!tr_tune_is_here(t))
		return;
	if (has && want > has)
		trap(to, n, "%s are needed, but only %s are free now: it would swap", SIZE(want),
			SIZE(has));
	if (swap > (uint64_t)64 << 20)
		trap(to, n,
			"%s of swap are in use on this machine: switch it off, or leave more to "
			"the system (--reserve)",
			SIZE(swap));
}

static void size_traps(const struct tr_tune *t, char (*to)[TR_TUNE_TRAP_BYTES], size_t *n)
{
	const struct tr_tune_row *r = best_of(t), *largest = r;

	for (size_t i = 0; i < t->n_row; i++)
		if (t->row[i].choice.dram_bytes > largest->choice.dram_bytes)
			largest = &t->row[i];
	if (largest->warm.token_s > 0.99 * r->warm.token_s &&
		largest->choice.dram_bytes > r->choice.dram_bytes * 5 / 4)
		trap(to, n,
			"a cache larger than %" PRIu64
			"M is too large: it gains less than 1%%, and "
			"filling it takes time",
			r->choice.dram_bytes >> 20);
	if (r->fills)
		trap(to, n,
			"%u tokens do not fill this cache: what is called warm is still filling, "
			"and gets faster (a longer trace tells more; --profile begins with the "
			"hot experts)",
			r->n_token);
	if (r->n_token && r->first.token_s > 1.1 * r->warm.token_s)
		trap(to, n,
			"the cache is cold at first: the first %u tokens come at %.1f tokens/s, "
			"later ones at %.1f (--profile begins with the hot experts)",
			r->n_token, 1 / r->first.token_s, 1 / r->warm.token_s);
}

#define RUN_OFF 1.5 /* the memory of a virtual machine moves as much as 1.4 within minutes */

/* A run that was much slower than what was measured part by part, or the other way round. */
static void run_traps(const struct tr_tune *t, char (*to)[TR_TUNE_TRAP_BYTES], size_t *n)
{
	const struct tr_machine_run *run = tr_tune_run_of(t);
	struct tr_machine *m = tr_tool_calloc(1, sizeof(*m));
	struct tr_speeds parts;
	double reads = 1, experts;

	*m = t->machine;
	m->n_run = 0;
	tr_machine_speeds(m, &t->model.work, t->args.gpu, &parts);
	free(m);
	if (!run)
		return;
	if (run->n_read && parts.read_s[run->n_read] > 0)
		reads = run->read_s[run->n_read] / parts.read_s[run->n_read];
	experts = run->unit_s * parts.tier[TR_MACHINE_DRAM] / t->model.work.unit_bytes;
	if (reads > RUN_OFF || experts > RUN_OFF || reads < 1 / RUN_OFF || experts < 1 / RUN_OFF)
		trap(to, n,
			"in the run of this model reads took %.1f times, an expert %.1f times what "
			"the machine's figures say: others were at work during one of them; "
			"--measure or --calibrate again",
			reads, experts);
}

size_t tr_tune_traps(const struct tr_tune *t, char to[TR_TUNE_MAX_TRAP][TR_TUNE_TRAP_BYTES])
{
	const struct tr_tune_row *r = best_of(t);
	double busy = r->warm.lane_busy_s[TR_MACHINE_NVME] / r->warm.token_s;
	size_t n = 0;

	run_traps(t, to, &n);
	memory_traps(t, to, &n);
	size_traps(t, to, &n);
	if (busy > 0.5)
		trap(to, &n,
			"the disk is saturated (busy %.0f%% of a token, waited for %.0f%%): "
			"reading ahead finds little time; more DRAM, a profile to begin with or a "
			"second drive help",
			100 * busy, 100 * r->warm.disk_wait_s / r->warm.token_s);
	if (t->vram_room || t->args.gpu)
		trap(to, &n,
			"what VRAM gains is a forecast: the GPU's figures have not been measured "
			"by tierra");
	return n;
}
