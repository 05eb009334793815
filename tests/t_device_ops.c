/* t_device_ops.c - operations other than products: on a device they have the bits of src/compute. */
#include "test.h"
#include "base/mem.h"
#include "compute/kv_row.h"
#include "compute/ops.h"
#include "compute/rope.h"
#include "device_bed.h"
#include "kernels_data.h"
#include "model/quants/blocks.h"

#include <math.h>
#include <stdio.h>

#define check(b, call)                                                                             \
	do {                                                                                       \
		struct tr_err err_;                                                                \
		if (call)                                                                          \
			fail_msg("%s: %s", (b)->name, err_.msg);                                   \
	} while (0)

static const struct tr_kernels *scalar(void)
{
	return tr_kernels_get(TR_ISA_SCALAR);
}

static uint64_t fresh_seed(uint64_t seed)
{
	const char *text = getenv("TR_SEED");

	return text ? seed + strtoull(text, NULL, 10) : seed;
}

static float *put_floats(struct bed *b, const float *x, size_t n)
{
	return bed_put(b, x, n * sizeof(*x));
}

static float *new_floats(size_t n)
{
	float *x = tr_alloc(n, sizeof(*x));

	assert_non_null(x);
	memset(x, 0xff, n * sizeof(*x));
	return x;
}

/* --- norm, add, rope, kv ------------------------------------------------------------------------ */

static void check_norm(struct bed *b, size_t n, uint64_t *seed)
{
	size_t n_tok = 3, stride = n + 5;
	float *x = random_row(n_tok * stride, seed), *w = random_row(n, seed);
	float *want = new_floats(n_tok * stride), *got = new_floats(n_tok * stride);
	struct tr_dop_rms_norm a = { .n = (uint32_t)n, .n_tok = (uint32_t)n_tok, .eps = 1e-5f,
		.out_stride = stride, .x_stride = stride };

	for (size_t t = 0; t < n_tok; t++) {
		float mean = scalar()->sum_squares(x + t * stride, n) / (float)n;

		scalar()->mul_scaled(want + t * stride, x + t * stride, 1.0f / sqrtf(mean + a.eps),
			w, n);
	}
	a.x = put_floats(b, x, n_tok * stride);
	a.w = put_floats(b, w, n);
	a.out = bed_room(b, n_tok * stride * sizeof(*got));
	check(b, tr_device_rms_norm(b->stream, &a, &err_));
	bed_get(b, got, a.out, n_tok * stride * sizeof(*got));
	bed_same_floats(b, "norm", got, want, n_tok * stride);
	bed_clear(b);
	free(x);
	free(w);
	free(want);
	free(got);
}

static void norms_have_the_bits_of_the_cpu(void **state)
{
	static const size_t n[] = { 1, 5, 16, 100, 2048, 4096, 4099, 7168, 8200 };
	uint64_t seed = fresh_seed(1);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (size_t i = 0; i < TR_ARRAY_LEN(n); i++)
			check_norm(&b, n[i], &seed);
}

static void sums_are_added_in_place(void **state)
{
	uint64_t seed = fresh_seed(2);
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		size_t n = 3 * 310;
		float *x = random_row(n, &seed), *y = random_row(n, &seed), *got = new_floats(n);
		struct tr_dop_add a = { .n = 301, .n_tok = 3, .stride = 310 };

		a.x = put_floats(&b, x, n);
		a.y = put_floats(&b, y, n);
		check(&b, tr_device_add(b.stream, &a, &err_));
		bed_get(&b, got, a.y, n * sizeof(*got));
		for (size_t t = 0; t < 3; t++)
			scalar()->add(y + t * 310, x + t * 310, 301);
		bed_same_floats(&b, "sums", got, y, n);
		free(x);
		free(y);
		free(got);
	}
}

/* The pairs of halves, gathered, rotated as neighbours, and put back. */
static void rotate(float *x, const float *table, uint32_t n, enum tr_rope_pairing pairing)
{
	float pairs[64];

	if (pairing == TR_ROPE_PAIRS) {
		tr_rope_rotate_pairs(x, table, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		pairs[i] = x[i / 2 + i % 2 * n / 2];
	tr_rope_rotate_pairs(pairs, table, n);
	for (uint32_t i = 0; i < n; i++)
		x[i / 2 + i % 2 * n / 2] = pairs[i];
}

static void check_rope(struct bed *b, enum tr_rope_pairing pairing, bool in_place, uint64_t *seed)
{
	enum { N_ROT = 64, N_HEAD = 5, N_TOK = 3, HEAD = 80, TOK = 5 * 80 + 7 };
	struct tr_rope yarn = { .n_rot = N_ROT, .freq_base = 50000, .yarn = true, .factor = 32,
		.orig_ctx = 4096, .beta_fast = 32, .beta_slow = 1, .magnitude = 1.1f };
	float *x = random_row(N_TOK * TOK, seed), *got = new_floats(N_TOK * TOK);
	float *want = new_floats(N_TOK * TOK), table[N_TOK * N_ROT];
	struct tr_dop_rope a = { .pairing = pairing, .n_rot = N_ROT, .n_head = N_HEAD,
		.n_tok = N_TOK, .x_stride = TOK, .x_head_stride = HEAD, .out_stride = TOK,
		.out_head_stride = HEAD };

	assert_int_equal(tr_rope_init(&yarn), 0);
	tr_rope_table(&yarn, 77777, N_TOK, table);
	tr_rope_fini(&yarn);
	if (in_place)
		memcpy(want, x, N_TOK * TOK * sizeof(*x));
	for (size_t t = 0; t < N_TOK; t++)
		for (size_t h = 0; h < N_HEAD; h++) {
			float *row = want + t * TOK + h * HEAD;

			memcpy(row, x + t * TOK + h * HEAD, N_ROT * sizeof(*x));
			rotate(row, table + t * N_ROT, N_ROT, pairing);
		}
	a.x = put_floats(b, x, N_TOK * TOK);
	a.out = in_place ? (float *)(uintptr_t)a.x : bed_room(b, N_TOK * TOK * sizeof(*x));
	a.table = put_floats(b, table, N_TOK * N_ROT);
	check(b, tr_device_rope(b->stream, &a, &err_));
	bed_get(b, got, a.out, N_TOK * TOK * sizeof(*x));
	bed_same_floats(b, "rotated", got, want, N_TOK * TOK);
	bed_clear(b);
	free(x);
	free(got);
	free(want);
}

static void rotations_have_the_bits_of_the_cpu_in_both_pairings(void **state)
{
	uint64_t seed = fresh_seed(3);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (int i = 0; i < 4; i++)
			check_rope(&b, i & 1 ? TR_ROPE_HALVES : TR_ROPE_PAIRS, i & 2, &seed);
}

static void rows_are_rounded_into_the_cache(void **state)
{
	static const float odd[] = { 65519, 65520, 1e30f, -1e30f, INFINITY, 0x1p-24f, 0x1p-25f,
		0x1.8p-25f, 0x1.002p0f, 0x1.006p0f, -0.0f, 6e-5f };
	static const char *const names[] = { "F16 cache", "F32 cache", "Q8_0 cache" };
	uint64_t seed = fresh_seed(4);
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		enum { WIDTH = 200, STRIDE = 208, N_TOK = 3, ROW = 832 };
		float *x = random_row(N_TOK * STRIDE, &seed);
		uint8_t want[N_TOK * ROW], got[N_TOK * ROW];

		memcpy(x + 7, odd, sizeof(odd));
		for (size_t i = 2 * STRIDE; i < 2 * STRIDE + 32; i++)
			x[i] *= 0x1p-22f; /* a scale that binary16 has few bits for */
		for (int type = TR_KV_F16; type <= TR_KV_Q8_0; type++) {
			struct tr_dop_kv_store a = { .type = (enum tr_kv_type)type, .width = WIDTH,
				.n_tok = N_TOK, .x_stride = STRIDE, .row_bytes = ROW };

			/* Only what is not NaN must have the same bytes in a row of floats. */
			x[STRIDE + 50] = type == TR_KV_Q8_0 ? NAN : 1;
			memset(want, 0xff, sizeof(want));
			for (size_t t = 0; t < N_TOK; t++)
				tr_kv_row_store(scalar(), a.type, want + t * ROW, x + t * STRIDE,
					WIDTH);
			a.x = put_floats(&b, x, N_TOK * STRIDE);
			a.kv = bed_room(&b, sizeof(got));
			check(&b, tr_device_kv_store(b.stream, &a, &err_));
			bed_get(&b, got, a.kv, sizeof(got));
			bed_same_bytes(&b, names[type], got, want, sizeof(got));
		}
		free(x);
	}
}

/* --- attention --------------------------------------------------------------------------------- */

/* The values of a row; the next call overwrites them. */
static const float *values_of(enum tr_kv_type type, const uint8_t *row, size_t n)
{
	static float out[1024];
	const struct tr_block_q8_0 *b = (const struct tr_block_q8_0 *)row;

	for (size_t i = 0; i < n; i++)
		out[i] = type == TR_KV_F16  ? tr_f16_to_f32(((const uint16_t *)row)[i]) :
			type == TR_KV_F32 ? ((const float *)row)[i] :
					    tr_f16_to_f32(b[i / 32].d) * (float)b[i / 32].qs[i % 32];
	return out;
}

static const uint8_t *row_at(const struct tr_dop_kv_rows *rows, size_t head, size_t pos)
{
	return rows->at + head * rows->head_bytes + pos * rows->pos_bytes;
}

/* Pair i of token and head, in the order of engine/mla.c. All of g is host memory. */
static void attend(const struct tr_dop_gqa *g, size_t i, float *score, float *ctx)
{
	const struct tr_kernels *k = scalar();
	size_t n_pos = g->pos + i / g->n_head + 1, head = i % g->n_head * g->n_kv_head / g->n_head;
	size_t p, at, end;
	float max, sum = 0, part[512];

	for (p = 0; p < n_pos; p++)
		score[p] = g->scale * k->dot_f32(values_of(g->type, row_at(&g->keys, head, p), g->n_key),
			g->query + i * g->n_key, g->n_key);
	max = k->max(score, n_pos);
	memset(ctx, 0, g->n_value * sizeof(*ctx));
	for (p = 0; p < n_pos; p = end) {
		end = TR_MIN(p + 256, n_pos);
		sum += k->exp_sum(score + p, score + p, max, end - p);
		memset(part, 0, sizeof(part));
		for (at = p; at < end; at++)
			k->axpy_f32(part, score[at],
				values_of(g->type, row_at(&g->values, head, at), g->n_value), g->n_value);
		k->add(ctx, part, g->n_value);
	}
	k->scale(ctx, 1.0f / sum, g->n_value);
}

/* What all pairs give; free(). */
static float *attend_all(const struct tr_dop_gqa *g)
{
	size_t n = (size_t)g->n_tok * g->n_head;
	float *ctx = new_floats(n * g->n_value), *score = new_floats(g->pos + g->n_tok);

	for (size_t i = 0; i < n; i++)
		attend(g, i, score, ctx + i * g->n_value);
	free(score);
	return ctx;
}

static uint8_t *random_cache(enum tr_kv_type type, size_t n_pos, size_t width, size_t row_bytes,
	uint64_t *seed)
{
	uint8_t *kv = tr_calloc(n_pos, row_bytes);

	assert_non_null(kv);
	for (size_t p = 0; p < n_pos; p++) {
		float *x = random_row(width, seed);

		tr_kv_row_store(scalar(), type, kv + p * row_bytes, x, width);
		free(x);
	}
	return kv;
}

static void check_mla(struct bed *b, enum tr_kv_type type, uint32_t pos, uint32_t n_tok,
	uint32_t n_tok_once, uint64_t *seed)
{
	enum { N_HEAD = 3, N_LAT = 40, N_ROT = 12, WIDTH = N_LAT + N_ROT };
	struct tr_dop_mla a = { .type = type, .pos = pos, .n_tok = n_tok, .n_tok_once = n_tok_once,
		.n_head = N_HEAD, .n_lat = N_LAT, .n_rot = N_ROT, .scale = 0.02f, .row_bytes = 256 };
	size_t n_pos = pos + n_tok, n_out = (size_t)n_tok * N_HEAD * N_LAT;
	float *query = random_row((size_t)n_tok * N_HEAD * WIDTH, seed);
	uint8_t *kv = random_cache(type, n_pos, WIDTH, a.row_bytes, seed);
	float *want, *got = new_floats(n_out);
	struct tr_dop_gqa g;
	char what[64];

	a.query = query;
	a.kv = kv;
	g = tr_dop_mla_as_gqa(&a);
	want = attend_all(&g);
	a.query = put_floats(b, query, (size_t)n_tok * N_HEAD * WIDTH);
	a.kv = bed_put(b, kv, n_pos * a.row_bytes);
	a.ctx = bed_room(b, n_out * sizeof(*got));
	a.scratch = bed_room(b,
		tr_dop_mla_floats(n_tok_once, N_HEAD, N_LAT, (uint32_t)n_pos) * sizeof(float));
	check(b, tr_device_mla(b->stream, &a, &err_));
	bed_get(b, got, a.ctx, n_out * sizeof(*got));
	snprintf(what, sizeof(what), "attention at %u, %u tokens, %u at once", pos, n_tok, n_tok_once);
	bed_same_floats(b, what, got, want, n_out);
	bed_clear(b);
	free(query);
	free(kv);
	free(want);
	free(got);
}

static void attention_has_the_bits_of_the_cpu_at_every_length(void **state)
{
	static const uint32_t pos[] = { 0, 6, 254, 255, 256, 530 };
	uint64_t seed = fresh_seed(5);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (size_t i = 0; i < TR_ARRAY_LEN(pos); i++) {
			check_mla(&b, TR_KV_F16, pos[i], 1, 1, &seed);
			check_mla(&b, TR_KV_F32, pos[i], 1, 1, &seed);
			check_mla(&b, TR_KV_Q8_0, pos[i], 1, 1, &seed);
		}
}

static void tokens_of_a_prompt_see_what_is_before_them(void **state)
{
	uint64_t seed = fresh_seed(6);
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		check_mla(&b, TR_KV_F16, 0, 5, 2, &seed);
		check_mla(&b, TR_KV_F16, 253, 5, 5, &seed);
		check_mla(&b, TR_KV_F32, 255, 2, 3, &seed);
		check_mla(&b, TR_KV_Q8_0, 20, 3, 2, &seed);
	}
}

static void check_prefill(struct bed *b, const struct tr_dop_mla_prefill *shape, uint64_t *seed)
{
	struct tr_dop_mla_prefill a = *shape;
	size_t width = a.n_lat + a.n_rot, n_pos = a.pos + a.n_tok, n = (size_t)a.n_tok * a.n_head;
	float *query = random_row(n * width, seed), *want, *got = new_floats(n * a.n_lat);
	uint8_t *kv = random_cache(a.type, n_pos, width, a.row_bytes, seed);
	struct tr_dop_gqa g;
	char what[80];

	a.query = query;
	a.kv = kv;
	g = tr_dop_mla_prefill_as_gqa(&a);
	want = attend_all(&g);
	a.query = put_floats(b, query, n * width);
	a.kv = bed_put(b, kv, n_pos * a.row_bytes);
	a.ctx = bed_room(b, n * a.n_lat * sizeof(*got));
	check(b, tr_device_mla_prefill(b->stream, &a, &err_));
	bed_get(b, got, a.ctx, n * a.n_lat * sizeof(*got));
	snprintf(what, sizeof(what), "attention of %u tokens by %u heads at %u", a.n_tok, a.n_head,
		a.pos);
	bed_same_floats(b, what, got, want, n * a.n_lat);
	bed_clear(b);
	free(query);
	free(kv);
	free(want);
	free(got);
}

/* Tiles of one token and of several, whole and not; tokens that end before, at and behind the end of a
 * chunk; one, two and three chunks; more values than a block of threads takes at once. */
static void a_prompt_on_chip_has_the_bits_of_the_cpu(void **state)
{
	static const struct tr_dop_mla_prefill shapes[] = {
		{ TR_KV_F16, 0, 1, 1, 40, 12, 0.02f, NULL, NULL, 256, NULL },
		{ TR_KV_F16, 0, 7, 3, 40, 12, 0.02f, NULL, NULL, 256, NULL },
		{ TR_KV_F32, 253, 5, 3, 33, 7, 0.1f, NULL, NULL, 256, NULL },
		{ TR_KV_F16, 255, 2, 8, 16, 16, 0.1f, NULL, NULL, 64, NULL },
		{ TR_KV_F16, 508, 6, 2, 300, 20, 0.01f, NULL, NULL, 640, NULL },
		{ TR_KV_F32, 20, 3, 9, 512, 64, 0.01f, NULL, NULL, 2304, NULL },
		{ TR_KV_Q8_0, 254, 4, 5, 70, 20, 0.02f, NULL, NULL, 128, NULL },
		{ TR_KV_Q8_0, 9, 2, 4, 512, 64, 0.01f, NULL, NULL, 640, NULL },
	};
	uint64_t seed = fresh_seed(10);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (size_t i = 0; i < TR_ARRAY_LEN(shapes); i++)
			check_prefill(&b, &shapes[i], &seed);
}

/* How the rows of a position and of its heads lie: side by side, or each head's together. */
static struct tr_dop_kv_rows lay_out(const struct tr_dop_gqa *g, size_t width, bool by_head)
{
	size_t row = TR_ALIGN_UP(tr_kv_row_bytes(g->type, width), (size_t)4);
	size_t n_pos = g->pos + g->n_tok;

	return by_head ? (struct tr_dop_kv_rows){ NULL, row, row * n_pos } :
			 (struct tr_dop_kv_rows){ NULL, row * g->n_kv_head, row };
}

static uint8_t *random_rows(const struct tr_dop_gqa *g, struct tr_dop_kv_rows *rows, size_t width,
	bool by_head, uint64_t *seed)
{
	size_t n_pos = g->pos + g->n_tok, n = n_pos * g->n_kv_head;
	uint8_t *at;

	*rows = lay_out(g, width, by_head);
	at = random_cache(g->type, n, width, by_head ? rows->pos_bytes : rows->head_bytes, seed);
	rows->at = at;
	return at;
}

static void check_gqa(struct bed *b, const struct tr_dop_gqa *shape, bool by_head, uint64_t *seed)
{
	struct tr_dop_gqa a = *shape;
	size_t n = (size_t)a.n_tok * a.n_head, n_pos = a.pos + a.n_tok;
	size_t n_row = n_pos * a.n_kv_head, n_out = n * a.n_value;
	float *query = random_row(n * a.n_key, seed), *want, *got = new_floats(n_out);
	uint8_t *keys = random_rows(&a, &a.keys, a.n_key, by_head, seed);
	uint8_t *values = random_rows(&a, &a.values, a.n_value, !by_head, seed);
	char what[96];

	a.query = query;
	want = attend_all(&a);
	a.query = put_floats(b, query, n * a.n_key);
	a.keys.at = bed_put(b, keys, n_row * TR_MIN(a.keys.pos_bytes, a.keys.head_bytes));
	a.values.at = bed_put(b, values, n_row * TR_MIN(a.values.pos_bytes, a.values.head_bytes));
	a.ctx = bed_room(b, n_out * sizeof(*got));
	if (a.n_tok_once)
		a.scratch = bed_room(b, tr_dop_mla_floats(a.n_tok_once, a.n_head, a.n_value,
						(uint32_t)n_pos) * sizeof(float));
	check(b, tr_device_gqa(b->stream, &a, &err_));
	bed_get(b, got, a.ctx, n_out * sizeof(*got));
	snprintf(what, sizeof(what), "attention of %u tokens at %u by %u heads, %u of keys%s",
		a.n_tok, a.pos, a.n_head, a.n_kv_head, a.n_tok_once ? "" : ", on chip");
	bed_same_floats(b, what, got, want, n_out);
	bed_clear(b);
	free(query);
	free(keys);
	free(values);
	free(want);
	free(got);
}

/* One head of keys for all, for some and for each; heads of usual sizes and of odd ones, values shorter
 * than keys; the ends of chunks; split by position and on chip, where groups of 3 and 5 heads make
 * tiles of several tokens and a last one that is not full. */
static void heads_with_keys_of_their_own_have_the_bits_of_the_cpu(void **state)
{
	static const struct {
		enum tr_kv_type type;
		uint32_t pos, n_tok, n_head, n_kv_head, n_key, n_value;
	} shapes[] = {
		{ TR_KV_F16, 0, 1, 4, 4, 64, 64 }, { TR_KV_F16, 300, 1, 8, 2, 128, 128 },
		{ TR_KV_F32, 254, 3, 6, 2, 96, 64 }, { TR_KV_Q8_0, 255, 2, 8, 1, 128, 128 },
		{ TR_KV_Q8_0, 20, 5, 10, 2, 80, 80 }, { TR_KV_F16, 509, 4, 3, 3, 256, 256 },
		{ TR_KV_F32, 3, 9, 5, 1, 70, 33 },
	};
	uint64_t seed = fresh_seed(11);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (size_t i = 0; i < TR_ARRAY_LEN(shapes); i++)
			for (uint32_t once = 0; once < 3; once++) {
				struct tr_dop_gqa g = { .type = shapes[i].type, .pos = shapes[i].pos,
					.n_tok = shapes[i].n_tok, .n_tok_once = once,
					.n_head = shapes[i].n_head, .n_kv_head = shapes[i].n_kv_head,
					.n_key = shapes[i].n_key, .n_value = shapes[i].n_value,
					.scale = 0.02f };

				check_gqa(&b, &g, (i + once) % 2, &seed);
			}
}

static void rows_wider_than_kernels_take_are_refused(void **state)
{
	struct tr_dop_gqa g = { .n_tok = 1, .n_head = 2, .n_kv_head = 1, .n_key = 64,
		.n_value = TR_DEVICE_MLA_WIDTH + 1 };
	struct tr_err err;
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		assert_int_equal(tr_device_gqa(b.stream, &g, &err), TR_E_LIMIT);
		assert_err_has(&err, "1025 values a row, at most 1024");
	}
}

/* --- graphs ------------------------------------------------------------------------------------ */

enum { G_HEAD = 3, G_LAT = 40, G_ROT = 12, G_WIDTH = G_LAT + G_ROT, G_POS = 260, G_ROW = 128 };

/* A step of decoding in pinned memory: what the host writes before a launch and reads after it. */
struct step {
	uint32_t pos;
	float row[G_WIDTH], query[G_HEAD * G_WIDTH], ctx[G_HEAD * G_LAT];
};

/* Captures: the step comes in, its row goes to the cache, attention, its result goes out. */
static struct tr_graph *capture_step(struct bed *b, struct step *step, uint8_t *kv)
{
	struct step *in = bed_room(b, sizeof(*in));
	struct tr_dop_kv_store store = { .type = TR_KV_F16, .width = G_WIDTH, .n_tok = 1,
		.x = in->row, .x_stride = G_WIDTH, .kv = kv, .row_bytes = G_ROW, .pos_at = &in->pos };
	struct tr_dop_mla mla = { .type = TR_KV_F16, .pos = G_POS - 1, .n_tok = 1, .n_tok_once = 1,
		.n_head = G_HEAD, .n_lat = G_LAT, .n_rot = G_ROT, .scale = 0.05f,
		.query = in->query, .kv = kv, .row_bytes = G_ROW, .ctx = in->ctx,
		.pos_at = &in->pos };
	struct tr_graph *graph;

	mla.scratch = bed_room(b, 4 * tr_dop_mla_floats(1, G_HEAD, G_LAT, G_POS));
	check(b, tr_stream_capture(b->stream, &err_));
	check(b, tr_stream_copy(b->stream, TR_COPY_TO_DEVICE, in, step, offsetof(struct step, ctx),
		      &err_));
	check(b, tr_device_kv_store(b->stream, &store, &err_));
	check(b, tr_device_mla(b->stream, &mla, &err_));
	check(b, tr_stream_copy(b->stream, TR_COPY_TO_HOST, step->ctx, in->ctx, sizeof(in->ctx),
		      &err_));
	check(b, tr_stream_captured(&graph, b->stream, &err_));
	return graph;
}

static void a_graph_is_repeated_at_other_positions(void **state)
{
	static const uint32_t pos[] = { 3, 0, 254, 255, 256, 259, 4 };
	struct tr_dop_mla m = { .type = TR_KV_F16, .n_tok = 1, .n_head = G_HEAD, .n_lat = G_LAT,
		.n_rot = G_ROT, .scale = 0.05f, .row_bytes = G_ROW };
	uint64_t seed = fresh_seed(12);
	struct bed b;

	(void)state;
	for_each_device(b)
	{
		uint8_t *kv = random_cache(TR_KV_F16, G_POS, G_WIDTH, G_ROW, &seed);
		uint8_t *there = bed_put(&b, kv, (size_t)G_POS * G_ROW);
		struct tr_graph *graph;
		struct tr_dop_gqa g;
		struct step *step;
		void *host, *at;

		check(&b, tr_pinned_new(b.dev, sizeof(*step), &host, &at, &err_));
		step = host;
		memset(step, 0xff, sizeof(*step)); /* what is there at capture does not matter */
		graph = capture_step(&b, step, there);
		for (size_t i = 0; i < TR_ARRAY_LEN(pos); i++) {
			float *x = random_row(G_WIDTH * (1 + G_HEAD), &seed), *want;

			step->pos = pos[i];
			memcpy(step->row, x, sizeof(step->row));
			memcpy(step->query, x + G_WIDTH, sizeof(step->query));
			free(x);
			tr_kv_row_store(scalar(), m.type, kv + pos[i] * G_ROW, step->row, G_WIDTH);
			m.pos = pos[i];
			m.query = step->query;
			m.kv = kv;
			g = tr_dop_mla_as_gqa(&m);
			want = attend_all(&g);
			check(&b, tr_graph_launch(graph, b.stream, &err_));
			check(&b, tr_stream_sync(b.stream, &err_));
			bed_same_floats(&b, "a step", step->ctx, want, G_HEAD * G_LAT);
			free(want);
		}
		tr_graph_free(graph);
		tr_pinned_free(b.dev, host);
		bed_clear(&b);
		free(kv);
	}
}

/* --- router ------------------------------------------------------------------------------------ */

static void check_router(struct bed *b, const struct tr_router *r, bool biased, int odd,
	uint64_t *seed)
{
	enum { N_TOK = 4 };
	size_t n = r->n_expert, stride = n + 3, n_out = N_TOK * r->n_used;
	float *logits = random_row(N_TOK * stride, seed), *bias = random_row(n, seed);
	float *scratch = new_floats(2 * n), *want_w = new_floats(n_out), *got_w = new_floats(n_out);
	uint32_t *want = tr_calloc(n_out, 4), *got = tr_calloc(n_out, 4);
	struct tr_dop_router a = { .r = *r, .n_tok = N_TOK, .stride = stride };

	for (size_t i = 0; i < N_TOK * stride && odd; i++)
		logits[i] = odd == 1 ? (float)(i % 3) : i % 4 ? NAN : logits[i];
	for (size_t t = 0; t < N_TOK; t++)
		tr_router_pick(r, scalar(), logits + t * stride, biased ? bias : NULL, scratch,
			want + t * r->n_used, want_w + t * r->n_used);
	a.logits = put_floats(b, logits, N_TOK * stride);
	a.bias = biased ? put_floats(b, bias, n) : NULL;
	a.ids = bed_room(b, n_out * 4);
	a.weights = bed_room(b, n_out * 4);
	check(b, tr_device_router(b->stream, &a, &err_));
	bed_get(b, got, a.ids, n_out * 4);
	bed_get(b, got_w, a.weights, n_out * 4);
	bed_same_bytes(b, "experts", got, want, n_out * 4);
	bed_same_floats(b, "weights", got_w, want_w, n_out);
	bed_clear(b);
	free(logits);
	free(bias);
	free(scratch);
	free(want_w);
	free(got_w);
	free(want);
	free(got);
}

static void experts_and_weights_are_those_of_the_cpu(void **state)
{
	static const struct tr_router routers[] = {
		{ TR_GATING_SIGMOID, 384, 8, 1, 1, true, 2.827f },
		{ TR_GATING_SIGMOID, 256, 8, 8, 4, true, 2.5f },
		{ TR_GATING_SOFTMAX, 160, 6, 8, 3, false, 16 },
		{ TR_GATING_SOFTMAX, 7, 7, 1, 1, true, 1 },
		{ TR_GATING_SOFTMAX_TOPK, 33, 4, 1, 1, false, 1 },
		{ TR_GATING_SOFTMAX_TOPK, 20, 5, 20, 6, true, 0.5f },
	};
	uint64_t seed = fresh_seed(7);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (size_t i = 0; i < TR_ARRAY_LEN(routers); i++)
			for (int odd = 0; odd < 3; odd++)
				check_router(&b, &routers[i], i != 2, odd, &seed);
}

/* --- experts ----------------------------------------------------------------------------------- */

enum { N_EMBD = 256, N_FF = 256, N_EXPERT = 3, N_SLOT = 21, N_ROW = 4, FF = 260, Y = 264 };

struct ffn {
	const struct tr_quant *q[3];
	size_t row_bytes[3], act_bytes[3];
	uint8_t *w[3]; /* of all experts */
	char *acts[2];
};

static size_t part_rows(int p)
{
	return p == 2 ? N_EMBD : N_FF;
}

static void new_ffn(struct ffn *f, const char *const names[3], uint64_t *seed)
{
	float *x;

	for (int p = 0; p < 3; p++) {
		size_t n = p == 2 ? N_FF : N_EMBD;

		f->q[p] = tr_quant_by_name(names[p]);
		assert_non_null(f->q[p]);
		f->row_bytes[p] = n / f->q[p]->block_values * f->q[p]->block_bytes;
		f->act_bytes[p] = tr_act_bytes(f->q[p]->act, n);
		f->w[p] = new_rows(f->q[p], FILL_RANDOM, N_EXPERT * part_rows(p), n, seed);
	}
	f->acts[0] = new_acts(scalar(), f->q[0]->act, N_ROW, N_EMBD, &x, seed);
	f->acts[1] = aligned_alloc(64, N_ROW * f->act_bytes[1]);
	assert_non_null(f->acts[1]);
	for (size_t i = 0; i < N_ROW; i++)
		scalar()->quantise(f->q[1]->act, x + i * N_EMBD, N_EMBD,
			f->acts[1] + i * f->act_bytes[1]);
	free(x);
}

static void free_ffn(struct ffn *f)
{
	for (int p = 0; p < 3; p++)
		free_rows(f->w[p]);
	free(f->acts[0]);
	free(f->acts[1]);
}

/* y of one expert and activation, step by step. */
static void expert_on_cpu(const struct ffn *f, size_t expert, size_t row, float *y)
{
	const struct tr_kernels *k = scalar();
	_Alignas(64) float out[2][N_FF];
	_Alignas(64) uint8_t hidden[4 * N_FF];

	for (int p = 0; p < 2; p++)
		k->dot[f->q[p]->id](out[p], 0, f->w[p] + expert * N_FF * f->row_bytes[p],
			f->row_bytes[p], N_FF, f->acts[p] + row * f->act_bytes[p], 0, 1, N_EMBD,
			NULL);
	k->silu_mul(out[0], out[0], out[1], N_FF);
	k->quantise(f->q[2]->act, out[0], N_FF, hidden);
	k->dot[f->q[2]->id](y, 0, f->w[2] + expert * N_EMBD * f->row_bytes[2], f->row_bytes[2],
		N_EMBD, hidden, 0, 1, N_FF, NULL);
}

/* How many slots the experts of the list have: with one token, a few, enough for tensor cores. */
enum slots { SLOTS_ONE, SLOTS_FEW, SLOTS_MANY, N_SLOTS };

static void check_experts(struct bed *b, const char *const names[3], enum slots slots,
	uint64_t *seed)
{
	/* Experts in another order than they lie, the first slot left free. */
	static const uint32_t expert[] = { 2, 0, 1 };
	static const uint32_t n_slot[][N_EXPERT] = { { 1, 1, 1 }, { 1, 3, 2 }, { 2, 18, 1 } };
	static const uint32_t row_of[N_SLOT + 1] = { 9, 3, 0, 1, 2, 2, 0, 1, 3, 3, 2, 1, 0, 0, 1, 2 };
	bool one_token = slots == SLOTS_ONE;
	struct tr_dop_expert_ffn a = { .n_embd = N_EMBD, .n_ff = N_FF, .n_expert = N_EXPERT,
		.first_slot = 1, .ff_stride = FF, .y_stride = Y };
	struct tr_dop_expert list[N_EXPERT];
	float *got = new_floats((N_SLOT + 1) * Y), *want = new_floats((N_SLOT + 1) * Y);
	const uint8_t *w[3];
	struct ffn f;
	uint32_t slot = 1;
	char what[64];

	new_ffn(&f, names, seed);
	for (int p = 0; p < 3; p++) {
		a.quant[p] = (enum tr_quant_id)f.q[p]->id;
		a.row_bytes[p] = f.row_bytes[p];
		w[p] = bed_put(b, f.w[p], N_EXPERT * part_rows(p) * f.row_bytes[p]);
	}
	for (uint32_t e = 0; e < N_EXPERT; e++) {
		list[e].first = slot;
		list[e].n = n_slot[slots][e];
		a.n_slot_max = TR_MAX(a.n_slot_max, list[e].n);
		for (int p = 0; p < 3; p++)
			list[e].part[p] = w[p] + expert[e] * part_rows(p) * f.row_bytes[p];
		for (uint32_t i = 0; i < list[e].n; i++, slot++)
			expert_on_cpu(&f, expert[e], one_token ? 0 : row_of[slot], want + slot * Y);
	}
	a.n_slot = slot - 1;
	a.list = bed_put(b, list, sizeof(list));
	a.row_of = one_token ? NULL : bed_put(b, row_of, sizeof(row_of));
	a.act[0] = bed_put(b, f.acts[0], N_ROW * f.act_bytes[0]);
	a.act[1] = bed_put(b, f.acts[1], N_ROW * f.act_bytes[1]);
	a.gate = bed_room(b, (N_SLOT + 1) * FF * 4);
	a.up = bed_room(b, (N_SLOT + 1) * FF * 4);
	a.hidden = bed_room(b, (N_SLOT + 1) * f.act_bytes[2]);
	a.y = bed_room(b, (N_SLOT + 1) * Y * 4);
	check(b, tr_device_expert_ffn(b->stream, &a, &err_));
	bed_get(b, got, a.y, (N_SLOT + 1) * Y * 4);
	snprintf(what, sizeof(what), "experts of %s, %s, %s", names[0], names[1], names[2]);
	bed_same_floats(b, what, got, want, (N_SLOT + 1) * Y);
	bed_clear(b);
	free_ffn(&f);
	free(got);
	free(want);
}

static void experts_have_the_bits_of_the_cpu(void **state)
{
	static const char *const names[][3] = {
		{ "Q4_K", "Q4_K", "Q6_K" }, { "Q4_0", "Q4_0", "Q4_0" }, { "Q2_K", "Q2_K", "Q3_K" },
		{ "Q5_K", "IQ4_XS", "Q8_0" }, { "MXFP4", "IQ4_NL", "BF16" }, { "F16", "F16", "Q5_1" },
		{ "IQ2_XXS", "IQ2_XS", "IQ3_S" }, { "IQ1_S", "IQ1_S", "IQ1_M" },
		{ "IQ2_S", "IQ3_XXS", "IQ2_S" },
	};
	uint64_t seed = fresh_seed(8);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (size_t i = 0; i < TR_ARRAY_LEN(names); i++)
			for (int slots = 0; slots < N_SLOTS; slots++)
				check_experts(&b, names[i], (enum slots)slots, &seed);
}

static void outputs_are_combined_in_the_order_of_rank(void **state)
{
	enum { N = 300, USED = 3, TOK = 2, STRIDE = 304 };
	static const uint32_t slot_of[TOK * USED] = { 5, 0, 3, 1, 4, 2 };
	uint64_t seed = fresh_seed(9);
	struct bed b;

	(void)state;
	for_each_device(b)
		for (int with_shared = 0; with_shared < 2; with_shared++) {
			float *y = random_row(6 * STRIDE, &seed), *h = random_row(TOK * STRIDE, &seed);
			float *weights = random_row(TOK * USED, &seed), sum[N];
			float *shared = random_row(TOK * STRIDE, &seed), *got = new_floats(TOK * STRIDE);
			struct tr_dop_combine a = { .n = N, .n_tok = TOK, .n_used = USED,
				.y_stride = STRIDE, .shared_stride = STRIDE, .h_stride = STRIDE };

			a.weights = put_floats(&b, weights, TOK * USED);
			a.slot_of = bed_put(&b, slot_of, sizeof(slot_of));
			a.y = put_floats(&b, y, 6 * STRIDE);
			a.shared = with_shared ? put_floats(&b, shared, TOK * STRIDE) : NULL;
			a.h = put_floats(&b, h, TOK * STRIDE);
			check(&b, tr_device_combine(b.stream, &a, &err_));
			bed_get(&b, got, a.h, TOK * STRIDE * 4);
			for (size_t t = 0; t < TOK; t++) {
				memset(sum, 0, sizeof(sum));
				for (size_t r = t * USED; r < (t + 1) * USED; r++)
					scalar()->axpy_f32(sum, weights[r], y + slot_of[r] * STRIDE, N);
				if (with_shared)
					scalar()->add(sum, shared + t * STRIDE, N);
				scalar()->add(h + t * STRIDE, sum, N);
			}
			bed_same_floats(&b, "combined", got, h, TOK * STRIDE);
			bed_clear(&b);
			free(y);
			free(h);
			free(weights);
			free(shared);
			free(got);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(norms_have_the_bits_of_the_cpu),
		cmocka_unit_test(sums_are_added_in_place),
		cmocka_unit_test(rotations_have_the_bits_of_the_cpu_in_both_pairings),
		cmocka_unit_test(rows_are_rounded_into_the_cache),
		cmocka_unit_test(attention_has_the_bits_of_the_cpu_at_every_length),
		cmocka_unit_test(tokens_of_a_prompt_see_what_is_before_them),
		cmocka_unit_test(a_prompt_on_chip_has_the_bits_of_the_cpu),
		cmocka_unit_test(heads_with_keys_of_their_own_have_the_bits_of_the_cpu),
		cmocka_unit_test(rows_wider_than_kernels_take_are_refused),
		cmocka_unit_test(a_graph_is_repeated_at_other_positions),
		cmocka_unit_test(experts_and_weights_are_those_of_the_cpu),
		cmocka_unit_test(experts_have_the_bits_of_the_cpu),
		cmocka_unit_test(outputs_are_combined_in_the_order_of_rank),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
