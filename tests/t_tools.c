#include "test.h"
#include "tools/progress.h"
#include "tools/prompt.h"
#include "tools/report.h"
#include "tools/stops.h"
#include "tools/table.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* --- stop strings ---------------------------------------------------------------------------- */

/* Pushes text in pieces of step bytes; returns what came out, in buf. */
static bool cut(const char *const *stop, size_t n_stop, const char *text, size_t step, char *buf)
{
	struct tr_stops s;
	const char *out;
	size_t n = strlen(text), w = 0, got;
	bool matched;

	tr_stops_init(&s, stop, n_stop);
	for (size_t i = 0; i < n; i += step) {
		got = tr_stops_push(&s, text + i, n - i < step ? n - i : step, &out);
		memcpy(buf + w, out, got);
		w += got;
	}
	got = tr_stops_flush(&s, &out);
	memcpy(buf + w, out, got);
	buf[w + got] = '\0';
	matched = s.matched;
	tr_stops_fini(&s);
	return matched;
}

static void stop_is_found_however_text_is_cut(void **state)
{
	static const struct {
		const char *stop[3];
		const char *text;
		const char *shown;
		bool matched;
	} t[] = {
		{ { "END" }, "so it ENDs", "so it ", true },
		{ { "END" }, "so it EN", "so it EN", false },
		{ { "aab" }, "aaaaab!", "aaa", true },
		{ { "abc", "b" }, "xabc", "xa", true },
		{ { "bc", "abc" }, "xabc", "x", true },
		{ { "abab" }, "abaabab", "aba", true },
		{ { "\n\n" }, "one\ntwo\n\nthree", "one\ntwo", true },
		{ { "\xc3\xa9t\xc3\xa9" }, "l'\xc3\xa9t\xc3\xa9", "l'", true },
		{ { "x" }, "", "", false },
		{ { "x", "yy", "zzz" }, "yzyzz", "yzyzz", false },
	};
	char buf[64];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		size_t n_stop = 0;

		while (n_stop < 3 && t[i].stop[n_stop])
			n_stop++;
		for (size_t step = 1; step < 16; step++) {
			assert_int_equal(cut(t[i].stop, n_stop, t[i].text, step, buf),
				t[i].matched);
			assert_string_equal(buf, t[i].shown);
		}
	}
}

static void only_a_possible_stop_is_held_back(void **state)
{
	static const char *const stop[] = { "###" };
	struct tr_stops s;
	const char *out;

	(void)state;
	tr_stops_init(&s, stop, 1);
	assert_int_equal(tr_stops_push(&s, "a#", 2, &out), 1);
	assert_memory_equal(out, "a", 1);
	assert_int_equal(tr_stops_push(&s, "#", 1, &out), 0);
	assert_int_equal(tr_stops_push(&s, "b", 1, &out), 3);
	assert_memory_equal(out, "##b", 3);
	assert_int_equal(tr_stops_flush(&s, &out), 0);
	tr_stops_fini(&s);
}

/* --- tables and sizes ------------------------------------------------------------------------ */

static void table_aligns_and_escapes(void **state)
{
	static const char *const head[] = { "name", ">size", "note" };
	struct tr_table t;
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	(void)state;
	tr_table_init(&t, head, 3);
	tr_table_add(&t, "gr\xc3\xb6\xc3\x9f" "er");
	tr_table_add_bytes(&t, 5);
	tr_table_add(&t, "%s", "a\nb\x1b[2J");
	tr_table_add(&t, "x");
	tr_table_add_bytes(&t, 1536);
	tr_table_add(&t, "last");
	tr_table_print(&t, f, "  ");
	tr_table_fini(&t);
	fclose(f);
	assert_string_equal(text, "  name       size  note\n"
				  "  gr\xc3\xb6\xc3\x9f" "er      5 B  a\\nb\\x1b[2J\n"
				  "  x       1.5 KiB  last\n");
	free(text);
}

static void bytes_change_unit_in_time(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} t[] = { { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" },
		{ (1ull << 20) - 1, "1.0 MiB" }, { 96ull << 30, "96.0 GiB" },
		{ UINT64_MAX, "16.0 EiB" } };
	char buf[32];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_string_equal(tr_table_bytes(t[i].bytes, buf, sizeof(buf)), t[i].text);
}

/* --- progress -------------------------------------------------------------------------------- */

static void progress_tells_rate_and_time_left(void **state)
{
	char buf[256];

	(void)state;
	tr_progress_format(buf, sizeof(buf), "prefill", 25, 100, "tokens", 20, 2000000000u);
	assert_string_equal(buf, "prefill  25/100 tokens  25%  10.0 tokens/s  0:08 left");
	tr_progress_format(buf, sizeof(buf), "load", 1ull << 30, 4ull << 30, "bytes", 1ull << 20,
		1000000000u);
	assert_string_equal(buf, "load  1.0 GiB of 4.0 GiB  25%  1.0 MiB/s  51:12 left");
	tr_progress_format(buf, sizeof(buf), "load", 0, 4ull << 40, "bytes", 1ull << 30,
		1000000000u);
	assert_string_equal(buf, "load  0 B of 4.0 TiB  0%  1.0 GiB/s  1:08:16 left");
}

static void progress_does_not_guess_from_nothing(void **state)
{
	char buf[256];

	(void)state;
	tr_progress_format(buf, sizeof(buf), "load", 1, 4, "tokens", 1, 1000);
	assert_string_equal(buf, "load  1/4 tokens  25%");
	tr_progress_format(buf, sizeof(buf), "load", 0, 0, "tokens", 0, 9000000000u);
	assert_string_equal(buf, "load  0/0 tokens  100%");
	tr_progress_format(buf, sizeof(buf), "load", 5, 4, "tokens", 5, 9000000000u);
	assert_string_equal(buf, "load  5/4 tokens  125%");
}

/* --- prompt ---------------------------------------------------------------------------------- */

static void prompt_file_loses_one_newline(void **state)
{
	static const char bytes[] = "two\n\0lines\n\n";
	char path[] = "/tmp/tierra-prompt-XXXXXX";
	int fd = mkstemp(path);
	struct tr_err err;
	char *text;
	size_t n;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, sizeof(bytes) - 1), sizeof(bytes) - 1);
	close(fd);
	assert_int_equal(tr_prompt_read(path, &text, &n, &err), 0);
	unlink(path);
	assert_int_equal(n, sizeof(bytes) - 2);
	assert_memory_equal(text, bytes, n);
	free(text);
	assert_int_equal(tr_prompt_read(path, &text, &n, &err), TR_E_NOENT);
	assert_err_has(&err, path);
	assert_null(text);
}

/* --- report ---------------------------------------------------------------------------------- */

static const int32_t prompt_ids[] = { 7, 8, 9 };
static const int32_t ids[] = { 1, 4088 };
static const struct tr_logprob chosen[] = { { 1, -0.5f }, { 4088, -INFINITY } };
static const struct tr_logprob top[] = { { 1, -0.5f }, { 2, -1.5f }, { 3, -0.25f }, { 4, -2 } };

static struct tr_report example(void)
{
	struct tr_report r = { .prompt_ids = prompt_ids, .n_prompt = 3, .ids = ids, .n_id = 2,
		.text = "a\"\xe2\x82", .text_bytes = 4, .stop_reason = "eos",
		.load = { .ns = 1500000000 }, .prefill = { .ns = 500000000, .n_token = 3 },
		.decode = { .ns = 250000000, .n_token = 1 }, .chosen = chosen, .top = top,
		.n_top = 2 };
	struct tr_stats *s = &r.stats;

	s->n_tier = 2;
	strcpy(s->tier[0].name, "dram");
	s->tier[0].capacity_bytes = 4096;
	s->tier[0].used_bytes = 4096;
	s->tier[0].hits = 3;
	s->tier[0].misses = 1;
	s->tier[0].wait_ns = 2500000;
	strcpy(s->tier[1].name, "nvme");
	s->tier[1].hits = 1;
	s->tier[1].bytes = 1024;
	strcpy(s->policy, "lru");
	strcpy(s->cpu, "avx2");
	strcpy(s->io_method, "uring");
	s->n_thread = 2;
	return r;
}

static double number(const json_t *root, const char *a, const char *b)
{
	return json_number_value(json_object_get(json_object_get(root, a), b));
}

static void json_has_every_promised_field(void **state)
{
	struct tr_report r = example();
	json_t *root = tr_report_json(&r);
	json_t *tier, *timings;

	(void)state;
	assert_non_null(root);
	assert_int_equal(json_array_size(json_object_get(root, "prompt_ids")), 3);
	assert_int_equal(json_array_size(json_object_get(root, "ids")), 2);
	assert_string_equal(json_string_value(json_object_get(root, "text")),
		"a\"\xef\xbf\xbd\xef\xbf\xbd");
	assert_string_equal(json_string_value(json_object_get(root, "stop_reason")), "eos");
	timings = json_object_get(root, "timings");
	assert_true(number(timings, "load", "seconds") == 1.5);
	assert_true(number(timings, "prefill", "tokens") == 3);
	assert_true(number(timings, "prefill", "tokens_per_s") == 6);
	assert_true(number(timings, "decode", "tokens_per_s") == 4);
	tier = json_array_get(json_object_get(root, "tiers"), 0);
	assert_string_equal(json_string_value(json_object_get(tier, "name")), "dram");
	assert_int_equal(json_integer_value(json_object_get(tier, "capacity_bytes")), 4096);
	assert_int_equal(json_integer_value(json_object_get(tier, "hits")), 3);
	assert_int_equal(json_integer_value(json_object_get(tier, "misses")), 1);
	assert_true(json_real_value(json_object_get(tier, "wait_ms")) == 2.5);
	tier = json_array_get(json_object_get(root, "tiers"), 1);
	assert_int_equal(json_integer_value(json_object_get(tier, "bytes")), 1024);
	assert_null(json_object_get(root, "logprobs"));
	json_decref(root);
}

static void logprobs_come_one_a_token(void **state)
{
	struct tr_report r = example();
	json_t *root, *list, *second, *k;

	(void)state;
	r.with_logprobs = true;
	root = tr_report_json(&r);
	list = json_object_get(root, "logprobs");
	assert_int_equal(json_array_size(list), 2);
	second = json_array_get(list, 1);
	assert_int_equal(json_integer_value(json_object_get(second, "id")), 4088);
	assert_true(json_is_null(json_object_get(second, "logprob")));
	assert_int_equal(json_array_size(json_object_get(second, "top")), 2);
	k = json_array_get(json_object_get(second, "top"), 0);
	assert_int_equal(json_integer_value(json_object_get(k, "id")), 3);
	assert_true(json_real_value(json_object_get(k, "logprob")) == -0.25);
	json_decref(root);
}

static void summary_shows_the_tiers(void **state)
{
	struct tr_report r = example();
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	(void)state;
	tr_report_print(&r, f);
	fclose(f);
	assert_non_null(strstr(text, "prefill      0.500 s       3 tokens      6.00 tokens/s\n"));
	assert_non_null(strstr(text, "stopped  eos\n"));
	assert_non_null(strstr(text, "policy lru, cpu avx2, io uring, 2 threads"));
	assert_non_null(strstr(text,
		"tier  capacity     used  hits  misses     hit     read  waited\n"
		"dram   4.0 KiB  4.0 KiB     3       1   75.0%      0 B  2.5 ms\n"
		"nvme         -      0 B     1       0  100.0%  1.0 KiB  0.0 ms\n"));
	free(text);
}

static void what_was_foreseen_is_reported(void **state)
{
	struct tr_report r = example();
	char *text = NULL;
	size_t bytes;
	json_t *root;
	FILE *f;

	(void)state;
	strcpy(r.stats.predictor.name, "gate");
	r.stats.predictor.visits = 10;
	r.stats.predictor.recall = 0.5;
	r.stats.predictor.ahead_ns = 1000000;
	r.stats.predictor.token_ns = 100000000;
	strcpy(r.stats.prefetch.mode, "auto");
	r.stats.prefetch.issued = 7;
	r.stats.prefetch.late = 2;
	r.stats.prefetch.wasted = 1;
	r.stats.prefetch.wasted_bytes = 1024;
	r.stats.prefetch.comparisons = 1;
	r.stats.prefetch.on_ns = 2000000;
	r.stats.prefetch.off_ns = 1500000;
	root = tr_report_json(&r);
	assert_true(number(root, "predictor", "recall") == 0.5);
	assert_true(number(root, "predictor", "ahead_ms") == 1);
	assert_true(number(root, "prefetch", "issued") == 7);
	assert_true(number(root, "prefetch", "late") == 2);
	assert_true(number(root, "prefetch", "wasted_bytes") == 1024);
	assert_true(number(root, "prefetch", "token_ms_off") == 1.5);
	json_decref(root);
	f = open_memstream(&text, &bytes);
	tr_report_print(&r, f);
	fclose(f);
	assert_non_null(strstr(text, "predictor gate: recall 50.0%"));
	assert_non_null(strstr(text, "1.0% of decoding"));
	assert_non_null(strstr(text, "7 experts, 0 useful, 2 late, 1 wasted (1.0 KiB)"));
	assert_non_null(strstr(text, "switched off: 2.00 ms a token with, 1.50 ms without"));
	free(text);
}

static void bytes_that_are_not_utf8_are_replaced(void **state)
{
	static const struct {
		const char *in;
		const char *out;
	} t[] = { { "plain", "plain" }, { "\xe4\xbd\xa0", "\xe4\xbd\xa0" },
		{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" }, { "a\xff" "b", "a\xef\xbf\xbd" "b" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" } };

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		json_t *value = tr_json_text(t[i].in, strlen(t[i].in));

		assert_string_equal(json_string_value(value), t[i].out);
		json_decref(value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stop_is_found_however_text_is_cut),
		cmocka_unit_test(only_a_possible_stop_is_held_back),
		cmocka_unit_test(table_aligns_and_escapes),
		cmocka_unit_test(bytes_change_unit_in_time),
		cmocka_unit_test(progress_tells_rate_and_time_left),
		cmocka_unit_test(progress_does_not_guess_from_nothing),
		cmocka_unit_test(prompt_file_loses_one_newline),
		cmocka_unit_test(json_has_every_promised_field),
		cmocka_unit_test(logprobs_come_one_a_token),
		cmocka_unit_test(summary_shows_the_tiers),
		cmocka_unit_test(what_was_foreseen_is_reported),
		cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
	};

	return cmocka_run_group_tests_name("tools", tests, NULL, NULL);
}
