/* measure_memory.c - plain reading by threads, the latency of a cache line, and kernels. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/touch.h"
#include "compute/kernels.h"
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#define GRAIN_BYTES ((uint64_t)512 << 10)
#define MAX_REPEAT 32
#define N_HOP 200000 /* dependent loads: 20 ms at 100 ns */
#define N_VALUES 7168 /* columns of a large model */
#define N_BATCH 32
#define BATCH_BYTES ((uint64_t)16 << 20)

struct job {
	const struct tr_measure_area *area;
	unsigned n_thread;
	const struct tr_quant *quant;
	const struct tr_kernels *k;
	size_t row_bytes, act_bytes, n_row, n_act, grain;
	uint8_t *act;
	float *out;
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

static void dot_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct job *j = ctx;

	(void)worker;
	j->k->dot[j->quant->id](j->out + begin, j->n_row, j->area->data + begin * j->row_bytes,
		j->row_bytes, end - begin, j->act, j->act_bytes, j->n_act, N_VALUES);
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

int tr_measure_memory(struct tr_machine_tier *t, const struct tr_measure_area *a, struct tr_err *err)
{
	unsigned all = tr_pool_size(a->pool);

	(void)err;
	read_with(a, all); /* page faults are not the memory's */
	for (unsigned n = 1; t->n_point < TR_MAX_MACHINE_POINT; n = TR_MIN(2 * n, all)) {
		t->point[t->n_point++] = (struct tr_machine_point){ n, 0, read_with(a, n) };
		if (n == all)
			break;
	}
	t->latency_ns = latency(a);
	return 0;
}

/* --- kernels ---------------------------------------------------------------------------------- */

static int make_acts(struct job *j)
{
	float *x = tr_calloc(N_VALUES, sizeof(*x));

	j->act_bytes = tr_act_bytes(j->quant->act, N_VALUES);
	j->act = tr_calloc(N_BATCH, j->act_bytes);
	j->out = tr_calloc(TR_MAX(j->n_row, N_BATCH * BATCH_BYTES / j->row_bytes),
		sizeof(*j->out));
	for (size_t i = 0; x && i < N_VALUES; i++)
		x[i] = (float)(i % 17) - 8;
	for (size_t i = 0; x && j->act && i < N_BATCH; i++)
		j->k->quantise(j->quant->act, x, N_VALUES, j->act + i * j->act_bytes);
	free(x);
	return x && j->act && j->out ? 0 : TR_E_NOMEM;
}

/* Values a second: bits of noise are weights like others to the kernels, whatever comes out. */
static struct tr_spread multiply(struct job *j, size_t n_row, size_t n_act)
{
	unsigned n = TR_MIN(j->area->n_repeat, (unsigned)MAX_REPEAT);
	double rate[MAX_REPEAT];

	j->n_row = n_row;
	j->n_act = n_act;
	for (unsigned i = 0; i < n; i++) {
		uint64_t start = tr_now_ns(&tr_clock_real);

		tr_pool_run(j->area->pool, dot_rows, j, n_row, j->grain);
		rate[i] = (double)n_row * (double)n_act * N_VALUES / seconds_since(start);
	}
	return tr_spread_of(rate, n);
}

int tr_measure_kernel(struct tr_machine_kernel *k, const struct tr_measure_area *area,
	const char *quant, struct tr_err *err)
{
	struct job j = { .area = area, .quant = tr_quant_by_name(quant), .k = tr_kernels_best() };
	struct tr_spread one;
	double bytes;
	size_t n_row;
	int rc;

	if (!j.quant || !j.k->dot[j.quant->id])
		return tr_err_set(err, TR_E_UNSUPPORTED, "measuring: no kernels for type '%s'", quant);
	strncpy(k->quant, quant, sizeof(k->quant) - 1);
	j.row_bytes = N_VALUES / j.quant->block_values * j.quant->block_bytes;
	j.grain = TR_MAX(GRAIN_BYTES / j.row_bytes / 4 * 4, (size_t)4);
	n_row = j.n_row = area->bytes / j.row_bytes;
	rc = make_acts(&j);
	if (!rc) {
		one = multiply(&j, n_row, 1);
		bytes = (double)j.row_bytes / N_VALUES;
		k->bytes_per_s =
			(struct tr_spread){ one.min * bytes, one.mid * bytes, one.max * bytes };
		k->macs_per_s = multiply(&j, TR_MIN(n_row, BATCH_BYTES / j.row_bytes), N_BATCH);
	} else {
		rc = tr_err_set(err, rc, "measuring %s: out of memory", quant);
	}
	free(j.act);
	free(j.out);
	return rc;
}
