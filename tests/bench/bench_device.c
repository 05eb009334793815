/*
 * bench_device.c - how near the kernels of a device come to its memory.
 *
 *   bench_device [-d DEVICE] [-m MIB] [-r ROUNDS]
 *
 * Measures copies within the device (bytes read and written), then matrix-vector products of MIB of
 * weights (default 256, more than a second-level cache holds) of each type with 7168 columns, and
 * attention of one token of 64 heads behind 4k and 32k positions of one layer, F16: in the shape of
 * Kimi K2 (latent 512 + 64), and with 8 heads of 128 keys and values. A line each: GB/s read, and its
 * share of what the copy reached. Then products with 512 activations of 4096 rows, and attention of
 * 512 tokens behind 3584 positions, with billions of multiplications and additions a second. What
 * does not fit MIB is left out. Best of ROUNDS, wall clock from the first launch to the end of the
 * last. Weights are noise in which every float is below 2; activations are zeros.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"
#include "cuda/device.h"

#define N_COL 7168
#define N_LAUNCH 8 /* between two waits */

struct bench {
	struct tr_device *dev;
	struct tr_stream *stream;
	struct tr_buffer *weights, *room;
	uint64_t bytes;
	uint64_t n_round;
	double copy_rate;
	struct tr_err err;
};

static void check(struct bench *b, int rc)
{
	if (rc) {
		fprintf(stderr, "bench_device: %s\n", b->err.msg);
		exit(1);
	}
}

typedef void launch_fn(struct bench *b, void *ctx);

/* Nanoseconds of one launch. */
static double time_of(struct bench *b, launch_fn *launch, void *ctx)
{
	uint64_t best = UINT64_MAX, r, i, start;

	for (r = 0; r <= b->n_round; r++) {
		start = tr_now_ns(&tr_clock_real);
		for (i = 0; i < N_LAUNCH; i++)
			launch(b, ctx);
		check(b, tr_stream_sync(b->stream, &b->err));
		if (r) /* the first one warms up */
			best = TR_MIN(best, tr_now_ns(&tr_clock_real) - start);
	}
	return (double)best / N_LAUNCH;
}

static void report(const struct bench *b, const char *what, uint64_t bytes, double ns)
{
	double rate = (double)bytes / ns;

	printf("%-24s %9.1f us %8.1f GB/s %6.1f%%\n", what, ns / 1e3, rate,
		100 * rate / b->copy_rate);
	fflush(stdout);
}

static void launch_copy(struct bench *b, void *ctx)
{
	(void)ctx;
	check(b, tr_stream_copy(b->stream, TR_COPY_IN_DEVICE, tr_buffer_at(b->weights, b->bytes / 2),
			tr_buffer_at(b->weights, 0), b->bytes / 2, &b->err));
}

static void launch_matvec(struct bench *b, void *ctx)
{
	check(b, tr_device_matmul(b->stream, ctx, &b->err));
}

static void bench_matvec(struct bench *b, const struct tr_quant *q)
{
	size_t row_bytes = N_COL / q->block_values * q->block_bytes;
	uint32_t n_row = (uint32_t)(b->bytes / row_bytes);
	struct tr_dop_matmul a = { .quant = (enum tr_quant_id)q->id, .n = N_COL, .n_row = n_row,
		.n_act = 1, .n_mat = 1, .w = tr_buffer_at(b->weights, 0), .row_bytes = row_bytes,
		.act = tr_buffer_at(b->room, 0), .act_bytes = tr_act_bytes(q->act, N_COL),
		.out_stride = n_row };
	char what[64];

	a.out = tr_buffer_at(b->room, TR_ALIGN_UP(a.act_bytes, (size_t)256));
	snprintf(what, sizeof(what), "matvec %s", q->name);
	report(b, what, n_row * row_bytes, time_of(b, launch_matvec, &a));
}

static void launch_attention(struct bench *b, void *ctx)
{
	check(b, tr_device_gqa(b->stream, ctx, &b->err));
}

/* One token; row_bytes of the cache are read for each position. */
static void bench_attention(struct bench *b, const char *name, struct tr_dop_gqa a, uint64_t row_bytes)
{
	uint32_t n_pos = a.pos + 1;
	size_t query = (size_t)a.n_head * a.n_key * 4, ctx = (size_t)a.n_head * a.n_value * 4;
	struct tr_buffer *scratch;
	char what[64];

	if (n_pos * row_bytes > b->bytes)
		return;
	check(b, tr_buffer_new(&scratch, b->dev,
			query + ctx + 4 * tr_dop_mla_floats(1, a.n_head, a.n_value, n_pos),
			"scratch", &b->err));
	a.query = tr_buffer_at(scratch, 0);
	a.ctx = tr_buffer_at(scratch, query);
	a.scratch = tr_buffer_at(scratch, query + ctx);
	check(b, tr_stream_fill(b->stream, tr_buffer_at(scratch, 0), 0, query, &b->err));
	snprintf(what, sizeof(what), "%s at %u", name, n_pos);
	report(b, what, n_pos * row_bytes, time_of(b, launch_attention, &a));
	tr_buffer_free(scratch);
}

/* Latents, as Kimi K2 has them. */
static void bench_mla(struct bench *b, uint32_t n_pos)
{
	struct tr_dop_mla m = { .type = TR_KV_F16, .pos = n_pos - 1, .n_tok = 1, .n_tok_once = 1,
		.n_head = 64, .n_lat = 512, .n_rot = 64, .scale = 0.1f, .row_bytes = 1152,
		.kv = tr_buffer_at(b->weights, 0) };

	bench_attention(b, "attention", tr_dop_mla_as_gqa(&m), m.row_bytes);
}

/* 8 heads of keys and of values for 64. */
static void bench_groups(struct bench *b, uint32_t n_pos)
{
	enum { N_KV = 8, N = 128 };
	struct tr_dop_kv_rows keys = { tr_buffer_at(b->weights, 0), N_KV * N * 2, N * 2 };
	struct tr_dop_kv_rows values = keys;
	struct tr_dop_gqa a = { .type = TR_KV_F16, .pos = n_pos - 1, .n_tok = 1, .n_tok_once = 1,
		.n_head = 64, .n_kv_head = N_KV, .n_key = N, .n_value = N, .scale = 0.1f };

	if ((uint64_t)n_pos * N_KV * N * 4 > b->bytes)
		return;
	values.at += (uint64_t)n_pos * keys.pos_bytes;
	a.keys = keys;
	a.values = values;
	bench_attention(b, "attention, 8 groups", a, 2 * keys.pos_bytes);
}

/* n: pairs of a multiplication and an addition */
static void report_work(const char *what, double n, double ns)
{
	printf("%-24s %9.1f us %8.1f G/s\n", what, ns / 1e3, n / ns);
	fflush(stdout);
}

static struct tr_buffer *scratch(struct bench *b, uint64_t bytes)
{
	struct tr_buffer *buf;

	check(b, tr_buffer_new(&buf, b->dev, bytes, "scratch", &b->err));
	check(b, tr_stream_fill(b->stream, tr_buffer_at(buf, 0), 0, bytes, &b->err));
	return buf;
}

static void bench_batch(struct bench *b, const struct tr_quant *q)
{
	enum { N_ACT = 512, N_ROW = 4096 };
	size_t row_bytes = N_COL / q->block_values * q->block_bytes;
	struct tr_dop_matmul a = { .quant = (enum tr_quant_id)q->id, .n = N_COL, .n_row = N_ROW,
		.n_act = N_ACT, .n_mat = 1, .w = tr_buffer_at(b->weights, 0), .row_bytes = row_bytes,
		.act_bytes = tr_act_bytes(q->act, N_COL), .out_stride = N_ROW };
	struct tr_buffer *act = scratch(b, N_ACT * a.act_bytes);
	struct tr_buffer *out = scratch(b, (uint64_t)N_ACT * N_ROW * 4);
	char what[64];

	a.act = tr_buffer_at(act, 0);
	a.out = tr_buffer_at(out, 0);
	snprintf(what, sizeof(what), "512 of %s", q->name);
	if (row_bytes * N_ROW <= b->bytes)
		report_work(what, (double)N_ACT * N_ROW * N_COL, time_of(b, launch_matvec, &a));
	tr_buffer_free(out);
	tr_buffer_free(act);
}

static void launch_prefill(struct bench *b, void *ctx)
{
	check(b, tr_device_mla_prefill(b->stream, ctx, &b->err));
}

static void bench_prefill(struct bench *b)
{
	struct tr_dop_mla_prefill a = { .type = TR_KV_F16, .pos = 3584, .n_tok = 512, .n_head = 64,
		.n_lat = 512, .n_rot = 64, .scale = 0.1f, .row_bytes = 1152,
		.kv = tr_buffer_at(b->weights, 0) };
	struct tr_buffer *query = scratch(b, (uint64_t)512 * 64 * 576 * 4);
	struct tr_buffer *ctx = scratch(b, (uint64_t)512 * 64 * 512 * 4);

	a.query = tr_buffer_at(query, 0);
	a.ctx = tr_buffer_at(ctx, 0);
	/* Scores are computed twice, but counted once. */
	report_work("512 tokens at 4096", 512.0 * 64 * (3584 + 256) * (576 + 512),
		time_of(b, launch_prefill, &a));
	tr_buffer_free(ctx);
	tr_buffer_free(query);
}

/* Bit 6 is clear in all bytes: in what is read as a float it is the highest of the exponent. */
static void fill_with_noise(struct bench *b)
{
	static uint8_t noise[1 << 20];
	uint64_t x = 88172645463325252u, at, n;

	for (size_t i = 0; i < sizeof(noise); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		noise[i] = (uint8_t)(x >> 32) & 0xbf;
	}
	for (at = 0; at < b->bytes; at += n) {
		n = TR_MIN(b->bytes - at, (uint64_t)sizeof(noise));
		check(b, tr_stream_copy(b->stream, TR_COPY_TO_DEVICE, tr_buffer_at(b->weights, at),
				noise, n, &b->err));
	}
	check(b, tr_stream_sync(b->stream, &b->err));
}

static void open_bench(struct bench *b, const char *device)
{
	/* Activations, one output a row of the narrowest type, scratch of attention at 32k. */
	uint64_t room = b->bytes / 64 + (4 << 20), scratch = 256 << 20;
	struct tr_device_info info;

	check(b, tr_device_open(&b->dev, device, &b->err));
	if (!b->dev) {
		fprintf(stderr, "bench_device: '%s' is no device\n", device);
		exit(1);
	}
	check(b, tr_device_reserve(b->dev, b->bytes + room + scratch, &b->err));
	check(b, tr_stream_new(&b->stream, b->dev, TR_STREAM_HIGH, &b->err));
	check(b, tr_buffer_new(&b->weights, b->dev, b->bytes, "weights", &b->err));
	check(b, tr_buffer_new(&b->room, b->dev, room, "vectors", &b->err));
	fill_with_noise(b);
	check(b, tr_stream_fill(b->stream, tr_buffer_at(b->room, 0), 0, room, &b->err));
	check(b, tr_device_info(b->dev, &info, &b->err));
	printf("%s, %.1f GiB\n", info.name, (double)info.mem_bytes / (1 << 30));
}

int main(int argc, char **argv)
{
	struct bench b = { .bytes = 256, .n_round = 5 };
	const char *device = "cuda:0";
	const struct tr_quant *q;
	uint32_t id;
	double ns;
	int opt;

	while ((opt = getopt(argc, argv, "d:m:r:")) != -1) {
		switch (opt) {
		case 'd':
			device = optarg;
			break;
		case 'm':
			check(&b, tr_opt_u64("-m", optarg, 1, 65536, &b.bytes, &b.err));
			break;
		case 'r':
			check(&b, tr_opt_u64("-r", optarg, 1, 1000, &b.n_round, &b.err));
			break;
		default:
			return 2;
		}
	}
	b.bytes <<= 20;
	open_bench(&b, device);
	ns = time_of(&b, launch_copy, NULL);
	b.copy_rate = (double)b.bytes / ns; /* half is read, half written */
	report(&b, "copy", b.bytes, ns);
	for (id = 0; id < TR_QUANT_ID_END; id++)
		if ((q = tr_quant_by_id(id)) && tr_device_has_quant((enum tr_quant_id)id))
			bench_matvec(&b, q);
	for (id = 4096; id <= 32768; id *= 8) {
		bench_mla(&b, id);
		bench_groups(&b, id);
	}
	for (id = 0; id < TR_QUANT_ID_END; id++)
		if ((q = tr_quant_by_id(id)) && tr_device_has_quant((enum tr_quant_id)id))
			bench_batch(&b, q);
	if ((uint64_t)4096 * 1152 <= b.bytes)
		bench_prefill(&b);
	tr_buffer_free(b.room);
	tr_buffer_free(b.weights);
	tr_stream_free(b.stream);
	tr_device_close(b.dev);
	return 0;
}
