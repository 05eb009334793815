/*
 * bench_dot.c - how close the dot functions come to the memory's speed, and their arithmetic rate.
 *
 *   bench_dot [-t TYPE] [-i ISA] [-j THREADS] [-m MEGABYTES] [-n VALUES] [-r ROUNDS] [-a N]...
 *
 * Per type: a matrix of random valid blocks, larger than any cache, meets one activation (decode).
 * In turn with it a plain vector reader goes over the same bytes with the same threads. The share
 * is that of one round, the median of all, since a shared machine's memory is not equally fast for
 * long; the speeds are medians too. Then a part of the matrix meets several activations (prefill),
 * 32 or as many as -a says; the best round counts. That part is from memory too, unless -m makes it
 * small. The clock is around the parallel loop alone. Run it on an idle machine, or in a session
 * and scheduling class of its own: setsid chrt -f 1 bench_dot ...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reader.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/pool.h"
#include "base/touch.h"
#include "compute/kernels.h"
#include "model/quants/blocks.h"

#define MAX_ACT 512
#define MAX_COUNT 8
#define PREFILL_BYTES ((size_t)64 << 20)
#define GRAIN_BYTES ((size_t)256 << 10) /* as the engine's tasks */
#define MAX_ROUNDS 1000

struct bench {
	const struct tr_kernels *k;
	const struct tr_quant *type;
	struct tr_pool *pool;
	uint8_t *w;
	size_t cap_bytes;
	size_t n_row;
	size_t row_bytes;
	uint8_t *act;
	size_t act_bytes;
	size_t n_act;
	size_t count[MAX_COUNT]; /* of activations, prefill */
	size_t n_count;
	size_t n;
	float *out;
	unsigned rounds;
};

static uint64_t random_u64(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Where a block keeps its binary16 numbers: random bytes there would be huge or not numbers. */
static const struct {
	enum tr_quant_id id;
	size_t at[2];
} half_at[] = {
	{ TR_QUANT_Q4_0, { 0, 0 } }, { TR_QUANT_Q4_1, { 0, 2 } }, { TR_QUANT_Q5_0, { 0, 0 } },
	{ TR_QUANT_Q5_1, { 0, 2 } }, { TR_QUANT_Q8_0, { 0, 0 } }, { TR_QUANT_Q2_K, { 80, 82 } },
	{ TR_QUANT_Q3_K, { 108, 108 } }, { TR_QUANT_Q4_K, { 0, 2 } }, { TR_QUANT_Q5_K, { 0, 2 } },
	{ TR_QUANT_Q6_K, { 208, 208 } }, { TR_QUANT_IQ4_NL, { 0, 0 } },
	{ TR_QUANT_IQ4_XS, { 0, 0 } }, { TR_QUANT_F16, { 0, 0 } }, { TR_QUANT_IQ1_S, { 0, 0 } },
	{ TR_QUANT_IQ2_XXS, { 0, 0 } }, { TR_QUANT_IQ2_XS, { 0, 0 } },
	{ TR_QUANT_IQ2_S, { 0, 0 } }, { TR_QUANT_IQ3_XXS, { 0, 0 } },
	{ TR_QUANT_IQ3_S, { 0, 0 } },
};

static void make_valid(const struct tr_quant *type, uint8_t *block, uint64_t bits)
{
	uint16_t half = (uint16_t)(0x2000 | (bits & 0x8fff));
	uint16_t bf = (uint16_t)(0x3f00 | (bits & 0x80ff));
	float f = (float)(int32_t)bits * 0x1p-31f;

	for (size_t i = 0; i < TR_ARRAY_LEN(half_at); i++)
		if (half_at[i].id == type->id)
			for (int k = 0; k < 2; k++)
				memcpy(block + half_at[i].at[k], &half, sizeof(half));
	if (type->id == TR_QUANT_IQ1_M)
		tr_iq1_m_put_d((struct tr_block_iq1_m *)block, half);
	if (type->id == TR_QUANT_MXFP4)
		block[0] = (uint8_t)(120 + bits % 8);
	if (type->id == TR_QUANT_BF16)
		memcpy(block, &bf, sizeof(bf));
	if (type->id == TR_QUANT_F32)
		memcpy(block, &f, sizeof(f));
}

/* Random blocks to a megabyte or so, then copies of them. */
static void fill(struct bench *b)
{
	size_t bytes = b->n_row * b->row_bytes;
	size_t unit = TR_MIN(bytes, b->row_bytes * (((size_t)1 << 20) / b->row_bytes + 1));
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i + 8 <= unit; i += 8) {
		uint64_t v = random_u64(&state);

		memcpy(b->w + i, &v, sizeof(v));
	}
	for (size_t i = 0; i < unit; i += b->type->block_bytes)
		make_valid(b->type, b->w + i, random_u64(&state));
	for (size_t i = unit; i < bytes; i += unit)
		memcpy(b->w + i, b->w, TR_MIN(unit, bytes - i));
}

static void make_activations(struct bench *b, size_t n_act)
{
	float *x = tr_calloc(b->n, sizeof(*x));
	uint64_t state = 362436069;

	b->n_act = n_act;
	for (size_t t = 0; x && t < n_act; t++) {
		for (size_t i = 0; i < b->n; i++)
			x[i] = (float)(int32_t)random_u64(&state) * 0x1p-31f;
		b->k->quantise(b->type->act, x, b->n, b->act + t * b->act_bytes);
	}
	free(x);
}

static void dot_rows(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	const struct bench *b = ctx;

	(void)worker;
	b->k->dot[b->type->id](b->out + begin, b->n_row, b->w + begin * b->row_bytes, b->row_bytes,
		end - begin, b->act, b->act_bytes, b->n_act, b->n,
		next < b->n_row ? b->w + next * b->row_bytes : NULL);
}

static void read_rows(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	const struct bench *b = ctx;

	(void)worker;
	(void)next;
	tr_touch(b->w + begin * b->row_bytes, (end - begin) * b->row_bytes);
}

static double seconds(struct bench *b, tr_pool_rows_fn *fn)
{
	size_t grain = TR_MAX(GRAIN_BYTES / b->row_bytes / 4 * 4, (size_t)4);
	uint64_t start = tr_now_ns(&tr_clock_real);

	tr_pool_run_rows(b->pool, fn, b, b->n_row, grain);
	return (double)(tr_now_ns(&tr_clock_real) - start) * 1e-9;
}

static int ascending(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), ascending);
	return v[n / 2];
}

/* Operations a second with n_act activations. */
static double prefill_flops(struct bench *b, size_t n_act)
{
	double best = 1e9;

	make_activations(b, n_act);
	for (unsigned i = 0; i < b->rounds; i++)
		best = TR_MIN(best, seconds(b, dot_rows));
	return 2.0 * (double)b->n * (double)b->n_row * (double)n_act / best;
}

static void bench_type(struct bench *b)
{
	double dot[MAX_ROUNDS], plain[MAX_ROUNDS], share[MAX_ROUNDS];
	size_t n_row;
	double bytes;

	b->row_bytes = b->n / b->type->block_values * b->type->block_bytes;
	b->act_bytes = tr_act_bytes(b->type->act, b->n);
	b->n_row = b->cap_bytes / b->row_bytes / 4 * 4;
	bytes = (double)(b->n_row * b->row_bytes);
	fill(b);
	make_activations(b, 1);
	for (unsigned i = 0; i < b->rounds; i++) {
		plain[i] = seconds(b, read_rows);
		dot[i] = seconds(b, dot_rows);
		share[i] = plain[i] / dot[i];
	}
	n_row = b->n_row;
	printf("%-7s %-7s %7u %9.2f %9.2f %6.1f%%", b->type->name, b->k->name,
		tr_pool_size(b->pool), bytes / median(dot, b->rounds) * 1e-9,
		bytes / median(plain, b->rounds) * 1e-9, 100 * median(share, b->rounds));
	b->n_row = TR_MIN(n_row, PREFILL_BYTES / b->row_bytes / 4 * 4);
	for (size_t i = 0; i < b->n_count; i++)
		printf(" %7.1f", prefill_flops(b, b->count[i]) * 1e-9);
	puts("");
	fflush(stdout);
}

static int bench_types(struct bench *b, const char *only)
{
	size_t row_bytes = b->n / 256 * sizeof(struct tr_block_iq1_s); /* the shortest row */
	size_t n_out = TR_MIN(b->cap_bytes, PREFILL_BYTES) / row_bytes * MAX_ACT;
	int n_done = 0;

	n_out = TR_MAX(n_out, b->cap_bytes / row_bytes);

	b->w = tr_pages_alloc(b->cap_bytes);
	b->act = tr_calloc(MAX_ACT, tr_act_bytes(TR_ACT_F32, b->n));
	b->out = tr_calloc(n_out, sizeof(float));
	if (!b->w || !b->act || !b->out) {
		fprintf(stderr, "bench_dot: out of memory\n");
		return 1;
	}
	printf("%-7s %-7s %7s %9s %9s %7s GFLOP/s with", "type", "isa", "threads", "GB/s", "plain",
		"share");
	for (size_t i = 0; i < b->n_count; i++)
		printf(" %zu", b->count[i]);
	puts("");
	for (uint32_t id = 0; id < TR_QUANT_ID_END; id++) {
		b->type = tr_quant_by_id(id);
		if (!b->type || !b->k->dot[id] || (only && strcmp(only, b->type->name)))
			continue;
		bench_type(b);
		n_done++;
	}
	if (!n_done)
		fprintf(stderr, "bench_dot: no type '%s'\n", only);
	tr_pages_free(b->w, b->cap_bytes);
	free(b->act);
	free(b->out);
	return n_done ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct bench b = { .cap_bytes = (size_t)1 << 30, .n = 7168, .rounds = 3 };
	struct tr_pool_cfg cfg = { .n_thread = 1, .pin = true, .spin_us = 1000 };
	const char *isa = NULL, *only = NULL;
	uint64_t v = 0;
	struct tr_err err;
	int opt, rc = 0;

	while (!rc && (opt = getopt(argc, argv, "t:i:j:m:n:r:a:")) != -1) {
		if (opt == 't')
			only = optarg;
		else if (opt == 'i')
			isa = optarg;
		else if (opt == '?')
			return 2;
		else
			rc = tr_opt_u64("number", optarg, 1, 1 << 20, &v, &err);
		if (opt == 'j')
			cfg.n_thread = (unsigned)v;
		else if (opt == 'm')
			b.cap_bytes = (size_t)v << 20;
		else if (opt == 'n')
			b.n = TR_ALIGN_UP((size_t)v, (size_t)256);
		else if (opt == 'r')
			b.rounds = (unsigned)TR_MIN(v, (uint64_t)MAX_ROUNDS);
		else if (opt == 'a' && b.n_count < MAX_COUNT)
			b.count[b.n_count++] = (size_t)TR_MIN(v, (uint64_t)MAX_ACT);
	}
	if (rc || tr_kernels_by_name(&b.k, isa, &err) || tr_pool_new(&b.pool, &cfg, &err)) {
		fprintf(stderr, "bench_dot: %s\n", err.msg);
		return 1;
	}
	if (!b.n_count)
		b.count[b.n_count++] = 32;
	rc = bench_types(&b, only);
	tr_pool_free(b.pool);
	return rc;
}
