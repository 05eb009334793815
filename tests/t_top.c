/* t_top.c - the live view without a terminal: rates, frames of every size, wrapped text. */
#include "test.h"
#include "tools/top.h"

#include <locale.h>
#include <stdio.h>

#define SECOND 1000000000ull

/* A run of a model with 60 layers and three tiers, s seconds after it began to decode. */
static struct tr_live status(uint64_t s)
{
	struct tr_live n = { .pid = 4242, .phase = TR_LIVE_DECODE, .n_ctx = 4096 };

	snprintf(n.model, sizeof(n.model), "Kimi-K2.5-Q4_K_M-00001-of-00013.gguf");
	n.start_ns = 100 * SECOND;
	n.now_ns = (110 + s) * SECOND;
	n.second = 110 + s;
	n.n_past = 50 + 4 * s;
	n.n_decode = 4 * s;
	n.decode_ns = s * SECOND;
	n.token_ns = SECOND / 4;
	n.token_end_ns = n.now_ns;
	for (uint64_t i = 0; i < s && i < TR_LIVE_SECONDS; i++)
		n.rate[(n.second - 1 - i) % TR_LIVE_SECONDS] = 4;
	n.lane_ns[TR_LANE_ATTENTION] = s * SECOND / 4;
	n.lane_ns[TR_LANE_DRAM] = s * SECOND / 2;
	n.lane_ns[TR_LANE_WAIT] = s * SECOND / 4;
	n.rss_bytes = 160ull << 30;
	n.stats.n_tier = 3;
	n.stats.tier[0] = (struct tr_tier_stats){ .name = "dram",
		.capacity_bytes = 140ull << 30,
		.used_bytes = 139ull << 30,
		.hits = 1000 + 90 * s,
		.misses = 1000 + 10 * s,
		.bytes = s << 30 };
	n.stats.tier[1] = (struct tr_tier_stats){ .name = "pmem:/mnt/pmem0",
		.capacity_bytes = 700ull << 30,
		.used_bytes = 700ull << 30,
		.hits = 9 * s,
		.misses = 1000 + s,
		.bytes = s << 29 };
	n.stats.tier[2] = (struct tr_tier_stats){
		.name = "nvme", .used_bytes = 1000ull << 30, .hits = s, .bytes = s << 20
	};
	n.stats.io_busy_ns = s * SECOND / 5;
	snprintf(n.stats.io_method, sizeof(n.stats.io_method), "uring");
	snprintf(n.stats.prefetch.mode, sizeof(n.stats.prefetch.mode), "auto");
	snprintf(n.stats.predictor.name, sizeof(n.stats.predictor.name), "gate");
	n.stats.predictor.visits = 60 * s;
	n.n_layer = n.n_moe_layer = 60;
	for (uint32_t i = 0; i < n.n_layer; i++)
		n.layer[i] = (struct tr_live_layer){
			.layer = i + 1, .uses = 8 * s, .dram = (i % 8) * s, .pmem = s
		};
	return n;
}

static struct tr_top watched(uint64_t s)
{
	struct tr_live n;
	struct tr_top top;

	tr_top_init(&top);
	for (uint64_t i = 0; i <= s; i++) {
		n = status(i);
		tr_top_add(&top, &n, n.now_ns);
	}
	return top;
}

static bool near(double a, double b)
{
	return a - b < 1e-9 && b - a < 1e-9;
}

/* --- rates ------------------------------------------------------------------------------------ */

static void now_is_the_last_five_seconds(void **state)
{
	struct tr_top top = watched(20);
	struct tr_top_rates r;

	(void)state;
	tr_top_rates(&top, &r);
	assert_true(near(r.seconds, 5));
	assert_true(near(r.run_s, 30));
	assert_true(near(r.tokens_per_s, 4));
	assert_true(near(r.overall, 4));
	assert_true(near(r.tier[0].hit_now, 0.9));
	assert_true(near(r.tier[0].hit, 2800. / 4000));
	assert_true(near(r.tier[0].bytes_per_s, 1 << 30));
	assert_true(near(r.tier[1].hit_now, 0.9));
	assert_true(near(r.lane[TR_LANE_DRAM], 0.5));
	assert_true(near(r.lane[TR_LANE_REST], 0));
	assert_true(near(r.disk_bytes_per_s, 1 << 20));
	assert_true(near(r.disk_busy, 0.2));
	assert_true(near(r.dram[7], 7. / 8));
	assert_true(near(r.memory[7], 1));
	assert_int_equal(r.n_minute, 30);
	assert_true(near(r.minute[29], 4) && near(r.minute[9], 0));
	tr_top_fini(&top);
}

static void one_status_has_no_now(void **state)
{
	struct tr_top top = watched(0);
	struct tr_top_rates r;

	(void)state;
	tr_top_rates(&top, &r);
	assert_true(r.seconds == 0 && r.tokens_per_s < 0 && r.tier[0].hit_now < 0);
	assert_true(r.disk_bytes_per_s < 0 && r.disk_busy < 0 && r.lane[0] < 0);
	assert_true(near(r.tier[0].hit, 0.5));
	tr_top_fini(&top);
}

static void a_run_that_stands_still_slows_down(void **state)
{
	struct tr_top top = watched(20);
	struct tr_top_rates r;

	(void)state;
	top.seen_ns += 10 * SECOND;
	tr_top_rates(&top, &r);
	assert_true(near(r.tokens_per_s, 0.1));
	assert_true(near(r.idle_s, 10));
	tr_top_fini(&top);
}

static void first_tokens_are_not_judged_by_the_last(void **state)
{
	struct tr_live before = status(0), after = status(2);
	struct tr_top_rates r;
	struct tr_top top;

	(void)state;
	after.token_ns = SECOND; /* was slow for once */
	tr_top_init(&top);
	tr_top_add(&top, &before, before.now_ns);
	tr_top_add(&top, &after, after.now_ns);
	tr_top_rates(&top, &r);
	assert_true(near(r.tokens_per_s, 4));
	tr_top_fini(&top);
}

/* --- frames ----------------------------------------------------------------------------------- */

static char *draw(const struct tr_top *top, unsigned cols, unsigned rows, bool ascii,
	const struct tr_top_look *look)
{
	struct tr_frame f;
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	tr_frame_init(&f, cols, rows, ascii);
	tr_top_draw(&f, top, look);
	tr_frame_print(&f, out);
	fclose(out);
	if (rows)
		assert_int_equal(f.rows, rows);
	assert_int_equal(f.cols, cols);
	tr_frame_fini(&f);
	return text;
}

#define assert_shows(text, what)                                                                   \
	do {                                                                                       \
		if (!strstr(text, what))                                                           \
			fail_msg("no '%s' in\n%s", what, text);                                    \
	} while (0)

static unsigned lines_of(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* Columns of the longest line. */
static unsigned width_of(const char *text)
{
	unsigned most = 0, w;
	char line[4096];
	size_t n;

	for (; *text; text += n + 1) {
		n = strcspn(text, "\n");
		memcpy(line, text, n);
		line[n] = '\0';
		w = tr_frame_width(line);
		most = w > most ? w : most;
	}
	return most;
}

static void a_frame_of_80_by_24_has_everything(void **state)
{
	static const char *const there[] = { "tierra 4242", "Kimi-K2.5", "decode", "tokens/s",
		"4.00 now", "dram", "pmem:/mnt/pmem0", "nvme", "90.0%", "70.0%", "attention  ",
		"experts dram", "experts pmem", "experts disk", "disk wait", "25.0%", "50.0%",
		"1.0 MiB/s", "busy 20.0%", "prefetch", "predictor", "memory", "layers", "+pmem",
		"q quits" };
	struct tr_top_look look = { .keys = "q quits" };
	struct tr_top top = watched(20);
	char *text = draw(&top, 80, 24, false, &look);

	(void)state;
	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
		assert_shows(text, there[i]);
	assert_int_equal(lines_of(text), 24);
	free(text);
	tr_top_fini(&top);
}

static void no_size_is_too_small_or_too_large(void **state)
{
	struct tr_top_look look = {
		.keys = "q quits", .text = "some\ttext\nof two lines", .text_bytes = 22
	};
	struct tr_top top = watched(3);

	(void)state;
	for (unsigned cols = 1; cols < 300; cols += 1 + cols / 8)
		for (unsigned rows = 1; rows < 70; rows += 1 + rows / 8) {
			char *text = draw(&top, cols, rows, cols % 2, &look);

			assert_int_equal(lines_of(text), rows);
			assert_true(width_of(text) <= cols);
			free(text);
		}
	tr_top_fini(&top);
}

static void what_matters_least_is_left_out_first(void **state)
{
	struct tr_top_look look = { .keys = "q quits" };
	struct tr_top top = watched(20);
	char *text = draw(&top, 80, 8, false, &look);

	(void)state;
	assert_shows(text, "tierra 4242");
	assert_shows(text, "tokens/s");
	assert_shows(text, "nvme");
	assert_shows(text, "q quits");
	assert_null(strstr(text, "predictor"));
	assert_null(strstr(text, "attention"));
	free(text);
	tr_top_fini(&top);
}

static void ascii_is_ascii(void **state)
{
	struct tr_top_look look = { .keys = NULL };
	struct tr_top top = watched(20);
	char *text = draw(&top, 100, 0, true, &look);

	(void)state;
	for (const char *c = text; *c; c++)
		assert_true((unsigned char)*c < 0x80);
	assert_shows(text, "######");
	free(text);
	tr_top_fini(&top);
}

static void loading_and_prefill_show_how_far(void **state)
{
	struct tr_top_look look = { .keys = NULL };
	struct tr_live n = { .phase = TR_LIVE_LOAD,
		.step = "resident",
		.unit = "bytes",
		.done = 3ull << 30,
		.total = 12ull << 30,
		.now_ns = 1 };
	struct tr_top top;
	char *text;

	(void)state;
	tr_top_init(&top);
	tr_top_add(&top, &n, 1);
	text = draw(&top, 80, 24, false, &look);
	assert_shows(text, "resident 3.0 GiB of 12.0 GiB");
	assert_shows(text, "25.0%");
	free(text);
	n = status(0);
	n.phase = TR_LIVE_PREFILL;
	n.done = 512;
	n.total = 2048;
	snprintf(n.unit, sizeof(n.unit), "tokens");
	tr_top_add(&top, &n, n.now_ns);
	text = draw(&top, 80, 24, false, &look);
	assert_shows(text, "512 of 2048 tokens");
	free(text);
	tr_top_fini(&top);
}

static void names_cannot_move_the_cursor(void **state)
{
	struct tr_top_look look = { .keys = NULL };
	struct tr_top top = watched(1);
	char *text;

	(void)state;
	snprintf(top.now.model, sizeof(top.now.model), "a\x1b[2Jb\xff\nc");
	text = draw(&top, 80, 24, false, &look);
	assert_shows(text, "a?[2Jb??c");
	free(text);
	tr_top_fini(&top);
}

/* --- text ------------------------------------------------------------------------------------- */

static void pane(unsigned cols, unsigned rows, const char *text, const char *want)
{
	struct tr_frame f;
	char *got = NULL;
	size_t n;
	FILE *out = open_memstream(&got, &n);

	tr_frame_init(&f, cols, rows, false);
	tr_top_draw_text(&f, 0, rows, text, strlen(text));
	tr_frame_print(&f, out);
	fclose(out);
	tr_frame_fini(&f);
	assert_string_equal(got, want);
	free(got);
}

static void the_end_of_a_text_is_shown(void **state)
{
	(void)state;
	pane(12, 3, "one", " one\n\n\n");
	pane(12, 3, "one\ntwo\nthree\nfour", " two\n three\n four\n");
	pane(12, 2, "0123456789abcdefghij", " 0123456789\n abcdefghij\n");
	pane(12, 2, "0123456789abcdefghijk", " abcdefghij\n k\n");
	pane(12, 2,
		"a\tb\x07"
		"c",
		" a       b?\n c\n");
}

static void wide_characters_are_not_cut_in_half(void **state)
{
	(void)state;
	pane(6, 3, "a\u4e2d\u6587b", " a\u4e2d\n \u6587b\n\n");
	pane(6, 2, "\u00e9\u00e9\u00e9\u00e9\u00e9", " \u00e9\u00e9\u00e9\u00e9\n \u00e9\n");
	pane(6, 1, "ok\xe4\xb8", " ok\n"); /* the rest is on its way */
}

static void json_is_whole(void **state)
{
	struct tr_top top = watched(20);
	json_t *j = tr_top_json(&top);
	const json_t *tier = json_array_get(json_object_get(j, "tiers"), 0);

	(void)state;
	assert_non_null(j);
	assert_int_equal(json_integer_value(json_object_get(j, "pid")), 4242);
	assert_true(near(json_real_value(json_object_get(tier, "hit_rate_now")), 0.9));
	assert_int_equal(json_array_size(json_object_get(j, "layers")), 60);
	assert_int_equal(json_object_size(json_object_get(j, "lanes")), TR_N_LANE);
	assert_true(
		near(json_real_value(json_object_get(json_object_get(j, "disk"), "busy")), 0.2));
	json_decref(j);
	tr_top_fini(&top);
}

static int with_utf8(void **state)
{
	(void)state;
	return !setlocale(LC_CTYPE, "C.UTF-8"); /* glibc and musl have it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(now_is_the_last_five_seconds),
		cmocka_unit_test(one_status_has_no_now),
		cmocka_unit_test(a_run_that_stands_still_slows_down),
		cmocka_unit_test(first_tokens_are_not_judged_by_the_last),
		cmocka_unit_test(a_frame_of_80_by_24_has_everything),
		cmocka_unit_test(no_size_is_too_small_or_too_large),
		cmocka_unit_test(what_matters_least_is_left_out_first),
		cmocka_unit_test(ascii_is_ascii),
		cmocka_unit_test(loading_and_prefill_show_how_far),
		cmocka_unit_test(names_cannot_move_the_cursor),
		cmocka_unit_test(the_end_of_a_text_is_shown),
		cmocka_unit_test(wide_characters_are_not_cut_in_half),
		cmocka_unit_test(json_is_whole),
	};

	return cmocka_run_group_tests(tests, with_utf8, NULL);
}
