/* t_trace.c - traces: written, cut short, damaged, read from CSV. */
#include "test.h"
#include "base/mem.h"
#include "cache/trace.h"
#include "cache/trace_file.h"
#include "cache/trace_write.h"
#include "model/quant.h"

#include <stdio.h>
#include <unistd.h>

enum { N_LAYER = 3, N_USED = 4, N_STEP = 1500, MAX_TOK = 9 };

struct bed {
	char path[64];
	struct tr_trace_layer layers[N_LAYER];
	struct tr_trace_head head;
	uint64_t seed;
	struct tr_trace expected; /* filled beside the file */
};

static int setup(void **state)
{
	struct bed *b = tr_calloc(1, sizeof(*b));
	int fd;

	if (!b)
		return -1;
	strcpy(b->path, "t_trace-XXXXXX");
	fd = mkstemp(b->path);
	if (fd < 0)
		return -1;
	close(fd);
	b->seed = 1;
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	unlink(b->path);
	tr_trace_fini(&b->expected);
	free(b);
	return 0;
}

static uint32_t draw(struct bed *b, uint32_t n)
{
	b->seed = b->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(b->seed >> 33) % n;
}

static void describe(struct bed *b, uint32_t n_expert)
{
	struct tr_trace_head *h = &b->head;
	struct tr_trace_head own;

	for (uint32_t i = 0; i < N_LAYER; i++)
		b->layers[i] = (struct tr_trace_layer){ 1 + 2 * i, 1000000007u * (i + 1ull) };
	*h = (struct tr_trace_head){ .model = "a model",
		.fingerprint = "0123456789abcdef0123456789abcdef",
		.n_layer = 7,
		.n_moe_layer = N_LAYER,
		.n_expert = n_expert,
		.n_used = N_USED,
		.slot_bytes = 12345678901ull,
		.layers = b->layers };
	own = *h;
	own.layers = tr_calloc(N_LAYER, sizeof(*own.layers));
	memcpy(own.layers, b->layers, sizeof(b->layers));
	assert_int_equal(tr_trace_init(&b->expected, &own, NULL), 0);
}

static void write_set(struct bed *b, struct tr_trace_writer *w, uint32_t layer, uint32_t n_tok)
{
	uint32_t experts[MAX_TOK * N_USED];
	uint16_t picks[MAX_TOK * N_USED], halves[MAX_TOK * N_USED];
	float weights[MAX_TOK * N_USED];
	uint32_t stride = b->head.n_expert / N_USED;

	for (uint32_t i = 0; i < n_tok * N_USED; i++) {
		experts[i] = (i % N_USED) * stride + draw(b, stride);
		weights[i] = (float)draw(b, 1000) / 1000;
		picks[i] = (uint16_t)experts[i];
		halves[i] = tr_f32_to_f16(weights[i]);
	}
	tr_trace_write_set(w, layer, n_tok, n_tok > 1, experts, weights);
	assert_int_equal(tr_trace_add(&b->expected, layer, n_tok, n_tok > 1, picks, halves,
				 n_tok * N_USED, NULL),
		0);
}

static void write_scores(struct bed *b, struct tr_trace_writer *w)
{
	uint16_t experts[TR_SKETCH_PER_USED * N_USED], halves[TR_SKETCH_PER_USED * N_USED];
	uint32_t scratch[TR_SKETCH_PER_USED * N_USED];
	struct tr_sketch s = { tr_sketch_size(b->head.n_expert, N_USED), 0, experts, halves };
	float p[512];

	for (uint32_t e = 0; e < b->head.n_expert; e++)
		p[e] = (float)draw(b, 1000) / 1000;
	tr_sketch_draw(&s, p, b->head.n_expert, scratch);
	tr_trace_write_scores(w, 2, 1, &s);
	assert_int_equal(tr_trace_add_scores(&b->expected, 2, 1, &s, NULL), 0);
}

/* A prefill of two chunks, then decoding; scores now and then. */
static void record(struct bed *b, uint32_t n_expert)
{
	struct tr_trace_writer *w;
	struct tr_err err;

	describe(b, n_expert);
	if (tr_trace_writer_open(&w, b->path, &b->head, &err))
		fail_msg("%s", err.msg);
	for (uint32_t step = 0; step < N_STEP; step++) {
		for (uint32_t layer = 0; layer < N_LAYER; layer++)
			write_set(b, w, layer, step < 2 ? MAX_TOK - step : 1);
		if (step % 100 == 50)
			write_scores(b, w);
		tr_trace_write_step(w);
		tr_trace_end_step(&b->expected);
	}
	assert_null(tr_trace_writer_error(w));
	if (tr_trace_writer_close(w, &err))
		fail_msg("%s", err.msg);
}

static int read_path(struct tr_trace *t, const char *path, struct tr_err *err)
{
	FILE *in = fopen(path, "rb");
	int rc;

	assert_non_null(in);
	rc = tr_trace_read(t, in, path, err);
	fclose(in);
	return rc;
}

/* The first n sets of both are the same. */
static void assert_same(const struct tr_trace *t, const struct tr_trace *want, size_t n)
{
	size_t n_pick = n ? want->set[n - 1].first_pick + want->set[n - 1].n_pick : 0;
	size_t n_unit = n ? want->set[n - 1].first_unit + want->set[n - 1].n_unit : 0;

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(t->set[i].layer, want->set[i].layer);
		assert_int_equal(t->set[i].n_tok, want->set[i].n_tok);
		assert_int_equal(t->set[i].n_pick, want->set[i].n_pick);
		assert_int_equal(t->set[i].n_unit, want->set[i].n_unit);
		assert_int_equal(t->set[i].scan, want->set[i].scan);
		if (i + 1 < n)
			assert_int_equal(t->set[i].ends_step, want->set[i].ends_step);
	}
	assert_memory_equal(t->pick, want->pick, n_pick * sizeof(*t->pick));
	assert_memory_equal(t->weight, want->weight, n_pick * sizeof(*t->weight));
	assert_memory_equal(t->unit, want->unit, n_unit * sizeof(*t->unit));
}

static void assert_same_scores(const struct tr_trace *t, const struct tr_trace *want, size_t i)
{
	struct tr_sketch a = tr_trace_sketch(t, i), b = tr_trace_sketch(want, i);

	assert_int_equal(t->scores[i].before_set, want->scores[i].before_set);
	assert_int_equal(t->scores[i].layer, 2);
	assert_int_equal(t->scores[i].ahead, 1);
	assert_int_equal(a.n, TR_MIN(4 * N_USED, want->head.n_expert));
	assert_int_equal(a.rest, b.rest);
	assert_memory_equal(a.expert, b.expert, a.n * sizeof(*a.expert));
	assert_memory_equal(a.score, b.score, a.n * sizeof(*a.score));
}

static void assert_round_trip(struct bed *b, uint32_t n_expert)
{
	const struct tr_trace *want = &b->expected;
	struct tr_trace_info info;
	struct tr_trace t;
	struct tr_err err;

	record(b, n_expert);
	if (read_path(&t, b->path, &err))
		fail_msg("%s", err.msg);
	assert_true(t.complete && t.has_weights);
	assert_string_equal(t.head.model, "a model");
	assert_string_equal(t.head.fingerprint, b->head.fingerprint);
	assert_int_equal(t.head.n_layer, 7);
	assert_int_equal(t.head.n_used, N_USED);
	assert_int_equal(t.head.slot_bytes, b->head.slot_bytes);
	for (int i = 0; i < N_LAYER; i++) {
		assert_int_equal(t.head.layers[i].layer, b->layers[i].layer);
		assert_int_equal(t.head.layers[i].unit_bytes, b->layers[i].unit_bytes);
	}
	assert_int_equal(t.n_set, want->n_set);
	assert_same(&t, want, t.n_set);
	assert_int_equal(t.n_scores, want->n_scores);
	for (size_t i = 0; i < t.n_scores; i++)
		assert_same_scores(&t, want, i);
	tr_trace_info(&t, &info);
	assert_int_equal(info.n_token, N_STEP - 2 + 2 * MAX_TOK - 1);
	assert_int_equal(info.n_prefill_token, 2 * MAX_TOK - 1);
	assert_int_equal(info.n_set, N_STEP * N_LAYER);
	tr_trace_fini(&t);
}

static void a_sketch_keeps_the_best_and_the_sum(void **state)
{
	static const float scores[9] = { 0.5f, 0.25f, 1, 0.25f, 0, 0.125f, 0.75f, 0.25f, 0.125f };
	uint16_t experts[4], halves[4];
	uint32_t scratch[4];
	struct tr_sketch s = { tr_sketch_size(9, 1), 0, experts, halves };
	float p[9];

	(void)state;
	tr_sketch_draw(&s, scores, 9, scratch);
	assert_memory_equal(experts, ((uint16_t[]){ 2, 6, 0, 1 }), sizeof(experts));
	tr_sketch_fill(&s, p, 9);
	assert_true(p[2] == 1 && p[6] == 0.75f && p[0] == 0.5f && p[1] == 0.25f);
	for (uint32_t e = 3; e < 9; e++)
		assert_true(e == 6 || p[e] == tr_f16_to_f32(tr_f32_to_f16(0.15f)));
	assert_int_equal(tr_sketch_size(6, 2), 6);
}

static void what_is_written_is_read(void **state)
{
	assert_round_trip(*state, 384);
}

static void what_is_written_of_few_experts_is_read(void **state)
{
	assert_round_trip(*state, 64);
}

/* A trace of one set with units, or with a second block of them. */
static void write_units(struct bed *b, const struct tr_trace_units *u, int n_block)
{
	static const uint32_t experts[N_USED] = { 0, 1, 2, 3 };
	static const float weights[N_USED];
	struct tr_trace_writer *w;

	describe(b, 8);
	assert_int_equal(tr_trace_writer_open(&w, b->path, &b->head, NULL), 0);
	for (int i = 0; i < n_block; i++)
		tr_trace_write_units(w, u);
	tr_trace_write_set(w, 0, 1, false, experts, weights);
	assert_int_equal(tr_trace_writer_close(w, NULL), 0);
}

static void what_the_run_knew_of_its_units_is_read(void **state)
{
	enum { N_ID = N_LAYER * 8 };
	static uint8_t home[N_ID] = { [3] = 2, [4] = 1 };
	static float cost[N_ID] = { [0] = 1, [5] = 0.25f };
	static uint32_t hot[] = { 23, 0, 7 };
	struct bed *b = *state;
	struct tr_trace t;

	for (int with = 0; with < 16; with++) {
		struct tr_trace_units u = { with & 1 ? home : NULL, with & 2 ? cost : NULL, hot,
			with & 4 ? 3 : 0, with & 8 ? 24 : 0 };

		tr_trace_fini(&b->expected);
		write_units(b, &u, 1);
		assert_int_equal(read_path(&t, b->path, NULL), 0);
		assert_true(t.complete && t.n_set == 1);
		assert_int_equal(t.units.home != NULL, with & 1);
		assert_int_equal(t.units.cost != NULL, (with & 2) / 2);
		assert_int_equal(t.units.n_hot, u.n_hot);
		assert_int_equal(t.units.n_promote, u.n_promote);
		if (with & 1)
			assert_memory_equal(t.units.home, home, sizeof(home));
		if (with & 2)
			assert_memory_equal(t.units.cost, cost, sizeof(cost));
		assert_memory_equal(t.units.hot, hot, u.n_hot * sizeof(*hot));
		tr_trace_fini(&t);
	}
}

static void units_that_make_no_sense_are_refused(void **state)
{
	static uint32_t twice[] = { 1, 2, 1 }, beyond[] = { 24 }, fine[] = { 1 };
	static float below[N_LAYER * 8] = { -1 };
	const struct {
		struct tr_trace_units u;
		int n_block;
	} bad[] = { { { .hot = twice, .n_hot = 3 }, 1 }, { { .hot = beyond, .n_hot = 1 }, 1 },
		{ { .cost = below, .hot = fine, .n_hot = 1 }, 1 },
		{ { .hot = fine, .n_hot = 1, .n_promote = 25 }, 1 },
		{ { .hot = fine, .n_hot = 1 }, 2 } };
	struct bed *b = *state;
	struct tr_trace t;
	struct tr_err err;

	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		tr_trace_fini(&b->expected);
		write_units(b, &bad[i].u, bad[i].n_block);
		assert_int_equal(read_path(&t, b->path, &err), TR_E_FORMAT);
		assert_err_has(&err, "units");
	}
}

/* A trace of one set with what a device has, and copies that are late as its step ends. */
static void write_vram(struct bed *b, const struct tr_trace_vram *v, int n_block, uint32_t n_held,
	uint32_t n_left)
{
	struct tr_trace_writer *w;

	describe(b, 8);
	assert_int_equal(tr_trace_writer_open(&w, b->path, &b->head, NULL), 0);
	for (int i = 0; i < n_block; i++)
		tr_trace_write_vram(w, v);
	write_set(b, w, 1, 1);
	tr_trace_write_step(w);
	write_set(b, w, 2, 1);
	tr_trace_write_late(w, n_held, n_left);
	tr_trace_write_step(w);
	assert_int_equal(tr_trace_writer_close(w, NULL), 0);
}

static int read_it(const struct bed *b, struct tr_trace *t, struct tr_err *err)
{
	FILE *in = fopen(b->path, "rb");
	int rc;

	assert_non_null(in);
	rc = tr_trace_read(t, in, b->path, err);
	fclose(in);
	return rc;
}

static void what_a_device_had_and_what_was_late_is_read(void **state)
{
	uint64_t slots[N_LAYER] = { 0, 512, (uint64_t)1 << 31 };
	struct tr_trace_vram v = { slots, (uint64_t)1 << 40, 77 };
	struct bed *b = *state;
	struct tr_trace t;

	write_vram(b, &v, 1, 3, 300);
	assert_int_equal(read_it(b, &t, NULL), 0);
	assert_true(t.complete);
	assert_memory_equal(t.vram.slot_bytes, slots, sizeof(slots));
	assert_int_equal(t.vram.room_bytes, v.room_bytes);
	assert_int_equal(t.vram.token_bytes, 77);
	assert_int_equal(t.n_late, 1);
	assert_int_equal(t.late[0].before_set, 2);
	assert_int_equal(t.late[0].n_held, 3);
	assert_int_equal(t.late[0].n_left, 300);
	tr_trace_fini(&t);
}

static void a_device_that_makes_no_sense_is_refused(void **state)
{
	uint64_t slots[N_LAYER] = { 512, 512, 512 }, large[N_LAYER] = { 512, 1ull << 32, 512 };
	struct {
		struct tr_trace_vram v;
		int n_block;
		uint32_t n_held, n_left;
		const char *says;
	} bad[] = {
		{ { slots, 1000, 0 }, 2, 0, 1, "a device where there may be none" },
		{ { large, 1000, 0 }, 1, 0, 1, "sizes of a device" },
		{ { slots, 1ull << 60, 0 }, 1, 0, 1, "sizes of a device" },
		{ { slots, 1000, 0 }, 1, 2, 1, "2 are held, 1 are left" },
	};
	struct bed *b = *state;
	struct tr_trace t;
	struct tr_err err;

	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		write_vram(b, &bad[i].v, bad[i].n_block, bad[i].n_held, bad[i].n_left);
		assert_int_equal(read_it(b, &t, &err), TR_E_FORMAT);
		assert_err_has(&err, bad[i].says);
		tr_trace_fini(&b->expected);
	}
}

static void an_id_takes_a_few_bytes(void **state)
{
	struct bed *b = *state;
	FILE *f;

	record(b, 384);
	f = fopen(b->path, "rb");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	/* Drawn at random, with their weights: nothing to compress but high bytes. */
	assert_true((double)ftell(f) / (double)b->expected.n_pick < 4);
	fclose(f);
}

static long file_bytes(const char *path)
{
	FILE *f = fopen(path, "rb");
	long n;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	fclose(f);
	return n;
}

static void a_file_cut_anywhere_is_read_to_its_last_block(void **state)
{
	struct bed *b = *state;
	size_t n_before = SIZE_MAX, n_lengths = 0;
	struct tr_trace t;
	struct tr_err err;

	record(b, 384);
	for (long n = file_bytes(b->path) - 1; n > 0; n -= n > 300 ? 97 : 1) {
		assert_int_equal(truncate(b->path, n), 0);
		if (read_path(&t, b->path, &err)) {
			assert_err_has(&err, b->path);
			assert_true(n_before == 0 || n_before == SIZE_MAX);
			continue;
		}
		assert_false(t.complete);
		assert_true(t.n_set <= n_before);
		n_lengths += t.n_set < n_before;
		n_before = t.n_set;
		assert_same(&t, &b->expected, t.n_set);
		tr_trace_fini(&t);
	}
	assert_int_equal(n_before, 0);
	assert_true(n_lengths >= 3);
}

static void a_damaged_block_ends_the_trace(void **state)
{
	struct bed *b = *state;
	long at;
	struct tr_trace t;
	struct tr_err err;
	FILE *f;
	int c;

	record(b, 384);
	at = file_bytes(b->path) - 2000;
	f = fopen(b->path, "r+b");
	assert_non_null(f);
	fseek(f, at, SEEK_SET);
	c = fgetc(f);
	fseek(f, at, SEEK_SET);
	fputc(c ^ 4, f);
	fclose(f);
	if (read_path(&t, b->path, &err))
		fail_msg("%s", err.msg);
	assert_false(t.complete);
	assert_in_range(t.n_set, 1, b->expected.n_set - 1);
	assert_same(&t, &b->expected, t.n_set);
	tr_trace_fini(&t);
}

static void a_full_disk_ends_the_recording(void **state)
{
	struct bed *b = *state;
	struct tr_trace_writer *w;
	struct tr_err err = { 0 };

	if (access("/dev/full", W_OK))
		skip();
	describe(b, 64);
	assert_int_equal(tr_trace_writer_open(&w, "/dev/full", &b->head, &err), TR_E_IO);
	assert_err_has(&err, "/dev/full");
}

static void a_file_that_is_none_is_refused(void **state)
{
	struct bed *b = *state;
	struct tr_trace *t;
	struct tr_err err;

	assert_true(tr_trace_open(&t, "no-such-file", 0, &err) < 0);
	assert_err_has(&err, "no-such-file");
	assert_int_equal(tr_trace_open(&t, b->path, 0, &err), TR_E_FORMAT);
	assert_err_has(&err, b->path);
}

/* --- CSV -------------------------------------------------------------------------------------- */

static int read_text(struct tr_trace *t, const char *text, uint32_t n_expert, struct tr_err *err)
{
	FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	int rc;

	assert_non_null(in);
	rc = tr_trace_read_csv(t, in, "x.csv", n_expert, err);
	fclose(in);
	return rc;
}

static void csv_lines_of_a_token_and_layer_are_a_set(void **state)
{
	static const uint32_t unit[] = { 3, 9, 12, 17, 0, 1, 11 };
	struct tr_trace t;

	(void)state;
	assert_int_equal(read_text(&t,
				 "token,layer,expert\n0,1,9\n0,1,3\r\n0,4,7\n\n0, 4 ,2\n"
				 "1,1,0\n1,1,1\n1,4,1\n",
				 0, NULL),
		0);
	assert_int_equal(t.head.n_expert, 10);
	assert_int_equal(t.head.n_moe_layer, 2);
	assert_int_equal(t.head.layers[1].layer, 4);
	assert_int_equal(t.head.n_used, 0);
	assert_int_equal(t.n_set, 4);
	assert_int_equal(t.n_tok, 2);
	assert_int_equal(t.n_unit, 7);
	assert_memory_equal(t.unit, unit, sizeof(unit));
	assert_int_equal(t.pick[0], 9);
	assert_true(t.set[1].ends_step && t.set[3].ends_step && !t.set[0].ends_step);
	assert_true(t.complete && !t.has_weights);
	tr_trace_fini(&t);
}

static void csv_lines_may_come_in_any_order(void **state)
{
	struct tr_trace t;

	(void)state;
	assert_int_equal(read_text(&t, "1,1,5,0.5\n0,2,6,0.25\n1,1,4,0.5\n0,1,7,1\n", 16, NULL), 0);
	assert_int_equal(t.head.n_expert, 16);
	assert_int_equal(t.n_set, 3);
	assert_int_equal(t.unit[0], 7);
	assert_int_equal(t.unit[1], 16 + 6);
	assert_int_equal(t.pick[2], 5);
	assert_true(t.has_weights);
	assert_true(tr_f16_to_f32(t.weight[1]) == 0.25f);
	tr_trace_fini(&t);
}

static void csv_mistakes_are_named(void **state)
{
	static const struct {
		const char *text, *says;
		uint32_t n_expert;
	} bad[] = {
		{ "0,0,1\n0,0,x\n", "x.csv:2", 0 },
		{ "0,0,1\n0,0\n", "x.csv:2", 0 },
		{ "0,0,1\n-1,0,1\n", "x.csv:2", 0 },
		{ "0,0,1,0.5 y\n", "x.csv:1", 0 },
		{ "0,0,70000\n", "x.csv:1", 0 },
		{ "0,0,1\n3,2,5\n3,2,5\n", "token 3, layer 2: expert 5 is there twice", 0 },
		{ "0,0,8\n", "expert 8: there are 8", 8 },
		{ "token,layer,expert\n", "neither", 0 },
	};
	struct tr_trace t;
	struct tr_err err;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		assert_int_equal(read_text(&t, bad[i].text, bad[i].n_expert, &err), TR_E_FORMAT);
		assert_err_has(&err, bad[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sketch_keeps_the_best_and_the_sum),
		cmocka_unit_test_setup_teardown(what_is_written_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_written_of_few_experts_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_the_run_knew_of_its_units_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_a_device_had_and_what_was_late_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_device_that_makes_no_sense_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			units_that_make_no_sense_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(an_id_takes_a_few_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_file_cut_anywhere_is_read_to_its_last_block, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_block_ends_the_trace, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_ends_the_recording, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_none_is_refused, setup, teardown),
		cmocka_unit_test(csv_lines_of_a_token_and_layer_are_a_set),
		cmocka_unit_test(csv_lines_may_come_in_any_order),
		cmocka_unit_test(csv_mistakes_are_named),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
