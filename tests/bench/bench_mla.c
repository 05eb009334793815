/*
 * bench_mla.c - time of one layer's attention, and how far it is from what bounds it.
 *
 *   bench_mla [-i ISA] [-j THREADS] [-r ROUNDS] [-h HEADS] [-c CONTEXT] [-p PROMPT] [-b BASELINE]
 *
 * Shape of Kimi K2: 128 + 64 values a query head, latent 512, 128 outputs, k_b and v_b Q8_0, KV
 * F16. Decode is one token behind CONTEXT positions, prefill PROMPT tokens from position 0; without
 * -c and -p a list of both. Decode goes through as many layers as make 512 MiB, or 64 of them, so
 * that rows come from memory as in a model. In the same run and in turn, with the same threads: one
 * head at a time by single-row kernels (-b 0 leaves it out), a loop of nothing but fma in registers,
 * and a plain reader of the same rows. Best of ROUNDS.
 *   GFMA/s  fma of scores and latent sums over the time of everything, k_b and v_b included
 *   GB/s    rows read, each once per token that reads them, over the same time
 * The clock is around the parallel loops alone. Run it on an idle machine, or in a session and
 * scheduling class of its own: setsid chrt -f 1 bench_mla ...
 */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../mla_plain.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/touch.h"
#include "reader.h"

#define KV_BYTES ((size_t)512 << 20)
#define PEAK_STEPS 200000
#define ROW_BYTES 1152

struct bench {
	struct tr_ops ops;
	struct mla_inputs in;
	void *scratch;
	float *room; /* of the plain way, per worker */
	unsigned rounds;
	bool baseline;
	double peak; /* GFMA/s */
};

#define FMA_12(type, set)                                                                          \
	type c = set(0.5f), a0 = c, a1 = c, a2 = c, a3 = c, a4 = c, a5 = c, a6 = c, a7 = c, a8 = c, \
	     a9 = c, a10 = c, a11 = c;                                                             \
	for (unsigned i = 0; i < PEAK_STEPS; i++)                                                  \
		__asm__ volatile("vfmadd213ps %12, %12, %0\n\tvfmadd213ps %12, %12, %1\n\t"        \
				 "vfmadd213ps %12, %12, %2\n\tvfmadd213ps %12, %12, %3\n\t"        \
				 "vfmadd213ps %12, %12, %4\n\tvfmadd213ps %12, %12, %5\n\t"        \
				 "vfmadd213ps %12, %12, %6\n\tvfmadd213ps %12, %12, %7\n\t"        \
				 "vfmadd213ps %12, %12, %8\n\tvfmadd213ps %12, %12, %9\n\t"        \
				 "vfmadd213ps %12, %12, %10\n\tvfmadd213ps %12, %12, %11"          \
				 : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5),     \
				   "+v"(a6), "+v"(a7), "+v"(a8), "+v"(a9), "+v"(a10), "+v"(a11)    \
				 : "v"(c))

__attribute__((target("avx512f"))) static void fma_avx512(void)
{
	FMA_12(__m512, _mm512_set1_ps);
}

__attribute__((target("avx2,fma"))) static void fma_avx2(void)
{
	FMA_12(__m256, _mm256_set1_ps);
}

static void fma_only(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct bench *b = ctx;

	(void)worker;
	for (; begin < end; begin++) {
		if (b->ops.k->isa == TR_ISA_AVX512)
			fma_avx512();
		else
			fma_avx2();
	}
}

static double seconds_since(uint64_t start)
{
	return (double)(tr_now_ns(&tr_clock_real) - start) * 1e-9;
}

static void measure_peak(struct bench *b)
{
	unsigned n = tr_pool_size(b->ops.pool);
	double lanes = b->ops.k->isa == TR_ISA_AVX512 ? 16 : 8, best = 1e9;

	for (unsigned i = 0; i < 4 * b->rounds; i++) {
		uint64_t start = tr_now_ns(&tr_clock_real);

		tr_pool_run(b->ops.pool, fma_only, b, n, 1);
		best = TR_MIN(best, seconds_since(start));
	}
	b->peak = 12.0 * PEAK_STEPS * lanes * n / best * 1e-9;
}

/* Rows of the current layer. */
static void read_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct bench *b = ctx;

	(void)worker;
	tr_touch(tr_kv_row(&b->in.kv, b->in.layer, (uint32_t)begin),
		(end - begin) * b->in.kv.row_bytes);
}

static void plain_heads(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct bench *b = ctx;
	const struct mla_inputs *in = &b->in;
	float *room = b->room + worker * mla_plain_room(in);

	for (; begin < end; begin++)
		for (size_t t = 0; t < in->n_tok; t++)
			mla_plain_head(in, b->ops.k, (uint32_t)begin, t, room,
				in->out + t * in->out_stride + begin * in->mla.n_v);
}

static void run_new(struct bench *b)
{
	struct mla_inputs *in = &b->in;

	tr_mla_attend(&in->mla, &b->ops, &in->kv, in->layer, in->pos, in->n_tok, in->q,
		in->q_stride, in->rope, &in->k_b, &in->v_b, in->out, in->out_stride, b->scratch);
}

static void run_plain(struct bench *b)
{
	tr_pool_run(b->ops.pool, plain_heads, b, b->in.mla.n_head, 1);
}

static void run_reader(struct bench *b)
{
	tr_pool_run(b->ops.pool, read_rows, b, b->in.pos + b->in.n_tok, 256);
}

/* Seconds a layer, over n_layer of them. */
static double time_layers(struct bench *b, void (*fn)(struct bench *), uint32_t n_layer)
{
	uint64_t start = tr_now_ns(&tr_clock_real);

	for (b->in.layer = 0; b->in.layer < n_layer; b->in.layer++)
		fn(b);
	b->in.layer = 0;
	return seconds_since(start) / n_layer;
}

static void print_row(const struct bench *b, double t, double plain, double reader)
{
	const struct mla_inputs *in = &b->in;
	double n_row = 0, gfma;

	for (size_t i = 0; i < in->n_tok; i++)
		n_row += (double)(in->pos + i + 1);
	gfma = n_row * in->mla.n_head * (2 * in->mla.n_lat + in->mla.n_rot) / t * 1e-9;
	printf("%-8s %6u %7zu %10.1f %10.1f %7.2f %8.1f %6.1f%% %8.2f %8.2f\n",
		in->n_tok == 1 ? "decode" : "prefill", in->mla.n_head, in->pos + in->n_tok, t * 1e6,
		b->baseline ? plain * 1e6 : 0.0, b->baseline ? plain / t : 0.0, gfma,
		100 * gfma / b->peak, n_row * ROW_BYTES / t * 1e-9,
		(double)(in->pos + in->n_tok) * ROW_BYTES / reader * 1e-9);
	fflush(stdout);
}

static int bench_shape(struct bench *b, uint32_t n_head, uint32_t pos, size_t n_tok)
{
	double best = 1e9, plain = 1e9, reader = 1e9;
	unsigned n = tr_pool_size(b->ops.pool);
	uint32_t n_ctx = pos + (uint32_t)n_tok;
	uint32_t n_layer = n_tok > 1 ? 1 : (uint32_t)(KV_BYTES / ((size_t)n_ctx * ROW_BYTES)) + 1;

	b->in = (struct mla_inputs){
		.mla = { n_head, 128, 64, 512, 128, 0.07f },
		.kv = { .type = TR_KV_F16, .n_layer = TR_MIN(n_layer, 64u), .n_ctx = n_ctx },
		.pos = pos,
		.n_tok = n_tok,
	};
	if (mla_inputs_new(&b->in, tr_quant_by_id(TR_QUANT_Q8_0), 1))
		return 1;
	b->scratch = tr_calloc(1, tr_mla_scratch_bytes(&b->in.mla, n_ctx, n));
	b->room = tr_calloc(n, mla_plain_room(&b->in) * sizeof(float));
	if (!b->scratch || !b->room)
		return 1;
	for (unsigned i = 0; i < b->rounds; i++) {
		best = TR_MIN(best, time_layers(b, run_new, b->in.kv.n_layer));
		reader = TR_MIN(reader, time_layers(b, run_reader, b->in.kv.n_layer));
		if (b->baseline)
			plain = TR_MIN(plain, time_layers(b, run_plain, 1));
	}
	print_row(b, best, plain, reader);
	free(b->scratch);
	free(b->room);
	mla_inputs_free(&b->in);
	return 0;
}

static int bench_all(struct bench *b, uint32_t heads, uint32_t context, size_t prompt)
{
	static const uint32_t all_heads[] = { 16, 64 }, contexts[] = { 511, 4095, 32767 };
	int rc = 0;

	measure_peak(b);
	printf("%s, %u threads, fma alone %.1f GFMA/s\n", b->ops.k->name,
		tr_pool_size(b->ops.pool), b->peak);
	printf("%-8s %6s %7s %10s %10s %7s %8s %7s %8s %8s\n", "what", "heads", "context",
		"us", "plain us", "ratio", "GFMA/s", "share", "KV GB/s", "reader");
	for (size_t h = 0; h < TR_ARRAY_LEN(all_heads); h++) {
		if (heads && heads != all_heads[h])
			continue;
		for (size_t c = 0; c < TR_ARRAY_LEN(contexts) && !rc && !context && !prompt; c++)
			rc = bench_shape(b, all_heads[h], contexts[c], 1);
		if (context && !rc)
			rc = bench_shape(b, all_heads[h], context - 1, 1);
		if ((prompt || !context) && !rc)
			rc = bench_shape(b, all_heads[h], 0, prompt ? prompt : 512);
	}
	if (rc)
		fprintf(stderr, "bench_mla: out of memory\n");
	return rc;
}

int main(int argc, char **argv)
{
	struct bench b = { .rounds = 3, .baseline = true };
	struct tr_pool_cfg cfg = { .n_thread = 1, .pin = true, .spin_us = 1000 };
	uint64_t v = 0, heads = 0, context = 0, prompt = 0;
	const char *isa = NULL;
	struct tr_err err;
	int opt, rc = 0;

	while (!rc && (opt = getopt(argc, argv, "i:j:r:h:c:p:b:")) != -1) {
		if (opt == '?')
			return 2;
		if (opt == 'i') {
			isa = optarg;
			continue;
		}
		rc = tr_opt_u64("number", optarg, opt != 'b', 1 << 20, &v, &err);
		if (opt == 'j')
			cfg.n_thread = (unsigned)v;
		else if (opt == 'r')
			b.rounds = (unsigned)v;
		else if (opt == 'h')
			heads = v;
		else if (opt == 'c')
			context = v;
		else if (opt == 'p')
			prompt = v;
		else
			b.baseline = v;
	}
	if (rc || tr_kernels_by_name(&b.ops.k, isa, &err) || tr_pool_new(&b.ops.pool, &cfg, &err)) {
		fprintf(stderr, "bench_mla: %s\n", err.msg);
		return 1;
	}
	rc = bench_all(&b, (uint32_t)heads, (uint32_t)context, prompt);
	tr_pool_free(b.ops.pool);
	return rc;
}
