/* measure_memory.c - plain reading by threads, the latency of a cache line, the first use of pages.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/touch.h"
#include "machine/machine.h"

#include <string.h>

#define MAX_REPEAT 32
#define N_HOP	   200000 /* dependent loads: 20 ms at 100 ns */

struct job {
	const struct tr_measure_area *area;
	unsigned n_thread;
};

struct touch {
	uint8_t *data;
	uint64_t share; /* of each worker */
};

/* Workers beyond n_thread stay idle; the others have an even share. */
static void touch_share(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct job *j = ctx;
	uint64_t n = j->area->bytes / j->n_thread;

	(void)begin;
	(void)end;
	if (worker < j->n_thread)
		tr_touch(j->area->data + worker * n, n);
}

static double seconds_since(uint64_t start)
{
	return (double)(tr_now_ns(&tr_clock_real) - start) * 1e-9;
}

static struct tr_spread read_with(const struct tr_measure_area *a, unsigned n_thread)
{
	struct job j = { .area = a, .n_thread = n_thread };
	unsigned n = TR_MIN(a->n_repeat, (unsigned)MAX_REPEAT);
	double rate[MAX_REPEAT];

	for (unsigned i = 0; i < n; i++) {
		uint64_t start = tr_now_ns(&tr_clock_real);

		tr_pool_each(a->pool, touch_share, &j);
		rate[i] = (double)a->bytes / seconds_since(start);
	}
	return tr_spread_of(rate, n);
}

/* Each load's address depends on what the one before gave. */
static struct tr_spread latency(const struct tr_measure_area *a)
{
	unsigned n = TR_MIN(a->n_repeat, (unsigned)MAX_REPEAT);
	uint64_t n_line = a->bytes / 64, at = 0, word;
	double ns[MAX_REPEAT];

	for (unsigned i = 0; i < n; i++) {
		uint64_t start = tr_now_ns(&tr_clock_real);

		for (uint64_t hop = 0; hop < N_HOP; hop++) {
			memcpy(&word, a->data + at * 64, sizeof(word));
			at = (at * 6364136223846793005u + (word & 7) + hop * 1442695040888963407u) %
			     n_line;
		}
		ns[i] = seconds_since(start) * 1e9 / N_HOP;
	}
	__asm__ volatile("" : : "r"(at));
	return tr_spread_of(ns, n);
}

int tr_measure_memory(
	struct tr_machine_tier *t, const struct tr_measure_area *a, struct tr_err *err)
{
	unsigned all = tr_pool_size(a->pool);

	(void)err;
	read_with(a, all); /* page faults are not the memory's */
	for (unsigned n = 1; t->n_point < TR_MAX_MACHINE_POINT; n = TR_MIN(2 * n, all)) {
		t->point[t->n_point++] =
			(struct tr_machine_point){ .n_flight = n, .bytes_per_s = read_with(a, n) };
		if (n == all)
			break;
	}
	t->latency_ns = latency(a);
	return 0;
}

static void touch_fresh(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct touch *t = ctx;

	(void)begin;
	(void)end;
	if (!tr_pages_touch(t->data + worker * t->share, t->share))
		memset(t->data + worker * t->share, 0, t->share);
}

/* Twice: a hypervisor that took memory back hands it out the first time, at a rate that is not the
 * machine's nor the same from one minute to the next. */
double tr_measure_touch(struct tr_pool *pool, uint64_t bytes)
{
	struct touch t = { .share = TR_ALIGN_DOWN(bytes / tr_pool_size(pool), (uint64_t)2 << 20) };
	double s = 0;

	for (int i = 0; i < 2 && t.share; i++) {
		uint64_t start;

		t.data = tr_pages_alloc(bytes);
		if (!t.data)
			return 0;
		start = tr_now_ns(&tr_clock_real);
		tr_pool_each(pool, touch_fresh, &t);
		s = seconds_since(start);
		tr_pages_free(t.data, bytes);
	}
	return s > 0 ? (double)(t.share * tr_pool_size(pool)) / s : 0;
}
