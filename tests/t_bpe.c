#include "test.h"
#include "vocab_write.h"
#include "base/clock.h"
#include "base/mem.h"
#include "model/bpe.h"

#include <stdio.h>

/* A vocabulary of all 256 bytes, ids 0 to 255, and then the given texts. */
static void make_vocab(struct tr_vocab *v, const char *const *texts, size_t n)
{
	size_t bytes = 512;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(texts[i]);
	assert_int_equal(tr_vocab_init(v, 256 + n, bytes, NULL), 0);
	for (unsigned byte = 0; byte < 256; byte++) {
		char text[3];

		tr_vocab_add(v, text, vw_byte(byte, text), TR_TOKEN_NORMAL);
	}
	for (size_t i = 0; i < n; i++)
		tr_vocab_add(v, texts[i], strlen(texts[i]), TR_TOKEN_NORMAL);
	tr_vocab_seal(v);
}

static struct tr_bpe *make_bpe(
	const struct tr_vocab *v, const char *const *merges, size_t n, bool whole_first)
{
	struct tr_bpe_cfg cfg = {
		.whole_first = whole_first, .rank_by_id = n == 0, .n_merge = n, .unknown = -1
	};
	struct tr_bpe *b;
	struct tr_err err;

	assert_int_equal(tr_bpe_new(&b, v, &cfg, NULL), 0);
	for (size_t i = 0; i < n; i++)
		if (tr_bpe_add_merge(b, merges[i], strlen(merges[i]), &err))
			fail_msg("%s", err.msg);
	return b;
}

static void assert_ids(const struct tr_bpe *b, const char *piece, const int32_t *ids, size_t n)
{
	struct tr_bpe_work w = { .n_ids = 0 };
	struct tr_err err;

	if (tr_bpe_encode(b, &w, piece, strlen(piece), &err))
		fail_msg("%s", err.msg);
	assert_int_equal(w.n_ids, n);
	assert_memory_equal(w.ids, ids, n * sizeof(*ids));
	tr_bpe_work_fini(&w);
}

#define IDS(...)                                                                                   \
	(const int32_t[]){ __VA_ARGS__ }, sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)

enum { AB = 256, BC, ABC, AA, AAA, SP_A };

static const char *const texts[] = { "ab", "bc", "abc", "aa", "aaa", "\u0120a" };

static void bytes_map_to_their_alphabet(void **state)
{
	struct tr_vocab v;
	char out[8];
	size_t n;

	(void)state;
	make_vocab(&v, texts, TR_ARRAY_LEN(texts));
	for (unsigned byte = 0; byte < 256; byte++)
		assert_int_equal(tr_vocab_find(&v, &(char){ (char)byte }, 1), byte);
	assert_int_equal(tr_vocab_find(&v, " a", 2), SP_A);
	assert_int_equal(tr_vocab_find(&v, "b", 1), 'b');
	assert_int_equal(tr_vocab_find(&v, "ba", 2), -1);
	assert_int_equal(tr_vocab_find(&v, "", 0), -1);
	assert_true(tr_bytemap_decode("\u0120\u010a\u0143!", 7, out, 8, &n));
	assert_int_equal(n, 4);
	assert_memory_equal(out, " \n\xad!", 4);
	assert_false(tr_bytemap_decode("a b", 3, out, 8, &n));
	assert_false(tr_bytemap_decode("\u0144", 2, out, 8, &n));
	assert_false(tr_bytemap_decode("\xc4", 1, out, 8, &n));
	assert_false(tr_bytemap_decode("abc", 3, out, 2, &n));
	tr_vocab_fini(&v);
}

static void control_tokens_are_never_found_by_text(void **state)
{
	struct tr_vocab v;
	size_t n;

	(void)state;
	assert_int_equal(tr_vocab_init(&v, 5, 64, NULL), 0);
	tr_vocab_add(&v, "<eos>", 5, TR_TOKEN_CONTROL);
	tr_vocab_add(&v, "tag", 3, TR_TOKEN_USER_DEFINED);
	tr_vocab_add(&v, "tag", 3, TR_TOKEN_NORMAL);
	tr_vocab_add(&v, "\u0120x", 3, TR_TOKEN_USER_DEFINED);
	tr_vocab_add(&v, "unused", 6, TR_TOKEN_UNUSED);
	tr_vocab_seal(&v);
	assert_int_equal(tr_vocab_find(&v, "<eos>", 5), -1);
	assert_int_equal(tr_vocab_find(&v, "tag", 3), 2);
	assert_int_equal(tr_vocab_find(&v, "unused", 6), -1);
	assert_int_equal(tr_vocab_find(&v, " x", 2), -1);
	assert_int_equal(tr_vocab_find(&v, "\u0120x", 3), 3);
	assert_string_equal("\u0120x", "\xc4\xa0x");
	assert_memory_equal(tr_vocab_bytes(&v, 0, &n), "<eos>", 5);
	assert_int_equal(n, 5);
	tr_vocab_fini(&v);
}

static void the_lowest_rank_goes_first_then_the_leftmost(void **state)
{
	static const char *const merges[] = { "b c", "a b", "a a", "a bc", "aa a" };
	struct tr_vocab v;
	struct tr_bpe *b;

	(void)state;
	make_vocab(&v, texts, TR_ARRAY_LEN(texts));
	b = make_bpe(&v, merges, TR_ARRAY_LEN(merges), false);
	assert_ids(b, "abc", IDS(ABC));
	assert_ids(b, "abab", IDS(AB, AB));
	assert_ids(b, "aaaa", IDS(AA, AA));
	assert_ids(b, "aaaaa", IDS(AA, AAA));
	assert_ids(b, "xaaay", IDS('x', AAA, 'y'));
	assert_ids(b, "aabc", IDS(AA, BC)); /* "b c", then "a a" before "a bc" */
	assert_ids(b, "z", IDS('z'));
	assert_ids(b, "\xff\xfe", IDS(0xff, 0xfe));
	tr_bpe_free(b);
	tr_vocab_fini(&v);
}

static void a_whole_piece_is_looked_up_where_asked(void **state)
{
	static const char *const merges[] = { "b c", "a b" };
	struct tr_vocab v;
	struct tr_bpe *b;

	(void)state;
	make_vocab(&v, texts, TR_ARRAY_LEN(texts));
	b = make_bpe(&v, merges, TR_ARRAY_LEN(merges), false);
	assert_ids(b, "abc", IDS('a', BC));
	tr_bpe_free(b);
	b = make_bpe(&v, merges, TR_ARRAY_LEN(merges), true);
	assert_ids(b, "abc", IDS(ABC));
	assert_ids(b, "abca", IDS('a', BC, 'a'));
	tr_bpe_free(b);
	tr_vocab_fini(&v);
}

static void without_merges_the_id_is_the_rank(void **state)
{
	struct tr_vocab v;
	struct tr_bpe *b;

	(void)state;
	make_vocab(&v, texts, TR_ARRAY_LEN(texts));
	b = make_bpe(&v, NULL, 0, true);
	assert_ids(b, "xabc", IDS('x', ABC));
	assert_ids(b, "aab", IDS('a', AB));
	assert_ids(b, "aaaaa", IDS(AA, AAA));
	assert_ids(b, "b a", IDS('b', SP_A));
	tr_bpe_free(b);
	tr_vocab_fini(&v);
}

static void the_first_of_equal_merges_wins(void **state)
{
	static const char *const merges[] = { "a b", "b c", "a b" };
	struct tr_vocab v;
	struct tr_bpe *b;

	(void)state;
	make_vocab(&v, texts, TR_ARRAY_LEN(texts));
	b = make_bpe(&v, merges, TR_ARRAY_LEN(merges), false);
	assert_ids(b, "abc", IDS(AB, 'c'));
	tr_bpe_free(b);
	tr_vocab_fini(&v);
}

static void bad_merges_are_refused_by_number(void **state)
{
	static const struct {
		const char *line;
		const char *has;
	} bad[] = {
		{ "", "merge 1: no space" },
		{ "ab", "no space" },
		{ " a", "no space" },
		{ "a ", "no space" },
		{ "a b c", "stands for no byte" },
		{ "a \u4f60", "stands for" },
		{ "\xff b", "stands for no byte" },
		{ "aaaaaaa a", "longer than any token" },
		{ "ac b", "first part is not" },
		{ "a ac", "second part is not" },
		{ "b a", "together are not" },
	};
	struct tr_bpe_cfg cfg = { .n_merge = 2, .unknown = -1 };
	struct tr_vocab v;

	(void)state;
	make_vocab(&v, texts, TR_ARRAY_LEN(texts));
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		struct tr_bpe *b;
		struct tr_err err;

		assert_int_equal(tr_bpe_new(&b, &v, &cfg, NULL), 0);
		assert_int_equal(tr_bpe_add_merge(b, "a b", 3, NULL), 0);
		assert_int_equal(
			tr_bpe_add_merge(b, bad[i].line, strlen(bad[i].line), &err), TR_E_FORMAT);
		assert_err_has(&err, "merge 1: ");
		assert_err_has(&err, bad[i].has);
		tr_bpe_free(b);
	}
	tr_vocab_fini(&v);
}

static void a_byte_without_token_is_unknown_or_an_error(void **state)
{
	struct tr_bpe_cfg cfg = { .rank_by_id = true, .unknown = 1 };
	struct tr_bpe_work w = { .n_ids = 0 };
	struct tr_vocab v;
	struct tr_bpe *b;
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_vocab_init(&v, 2, 8, NULL), 0);
	tr_vocab_add(&v, "a", 1, TR_TOKEN_NORMAL);
	tr_vocab_add(&v, "[UNK]", 5, TR_TOKEN_UNKNOWN);
	tr_vocab_seal(&v);
	assert_int_equal(tr_bpe_new(&b, &v, &cfg, NULL), 0);
	assert_ids(b, "aba", IDS(0, 1, 0));
	assert_ids(b, "b", IDS(1));
	tr_bpe_free(b);
	cfg.unknown = -1;
	assert_int_equal(tr_bpe_new(&b, &v, &cfg, NULL), 0);
	assert_int_equal(tr_bpe_encode(b, &w, "aba", 3, &err), TR_E_UNSUPPORTED);
	assert_err_has(&err, "0x62");
	tr_bpe_work_fini(&w);
	tr_bpe_free(b);
	tr_vocab_fini(&v);
}

/* The rule by the letter, with a scan for every merge. */
static size_t merge_by_scan(const struct tr_vocab *v, const char *piece, size_t n, int32_t *ids)
{
	size_t ends[64], k = n;

	for (size_t i = 0; i < n; i++)
		ends[i] = i + 1;
	for (;;) {
		int32_t best = INT32_MAX;
		size_t at = 0;

		for (size_t i = 0; i + 1 < k; i++) {
			size_t begin = i ? ends[i - 1] : 0;
			int32_t id = tr_vocab_find(v, piece + begin, ends[i + 1] - begin);

			if (id >= 0 && id < best) {
				best = id;
				at = i;
			}
		}
		if (best == INT32_MAX)
			break;
		memmove(ends + at, ends + at + 1, (k - at - 1) * sizeof(*ends));
		k--;
	}
	for (size_t i = 0; i < k; i++) {
		size_t begin = i ? ends[i - 1] : 0;

		ids[i] = tr_vocab_find(v, piece + begin, ends[i] - begin);
	}
	return k;
}

static void the_heap_merges_like_a_scan(void **state)
{
	static const char *const many[] = { "ab", "ba", "aa", "bb", "abb", "aab", "aba", "bba",
		"abab", "bbbb", "aaaa", "abba", "aabb", "babab", "c", "ca", "cab", "acab", "ccc",
		"cc" };
	struct tr_vocab v;
	struct tr_bpe *b;
	uint64_t rng = 1;

	(void)state;
	make_vocab(&v, many, TR_ARRAY_LEN(many));
	b = make_bpe(&v, NULL, 0, false);
	for (int round = 0; round < 20000; round++) {
		int32_t ids[64];
		char piece[65];
		size_t n, len;

		rng = rng * 6364136223846793005u + 1442695040888963407u;
		len = 1 + (rng >> 33) % 64;
		for (size_t i = 0; i < len; i++) {
			rng = rng * 6364136223846793005u + 1442695040888963407u;
			piece[i] = "aaabbbc"[(rng >> 33) % 7];
		}
		piece[len] = 0;
		n = merge_by_scan(&v, piece, len, ids);
		assert_ids(b, piece, ids, n);
	}
	tr_bpe_free(b);
	tr_vocab_fini(&v);
}

static void a_long_piece_does_not_hang(void **state)
{
	static const char *const merges[] = { "a a", "aa a", "a b", "b c", "a bc" };
	size_t n = 1 << 20;
	char *piece = malloc(n);
	struct tr_vocab v;

	(void)state;
	assert_non_null(piece);
	make_vocab(&v, texts, TR_ARRAY_LEN(texts));
	for (int round = 0; round < 4; round++) {
		struct tr_bpe *b = round & 1 ? make_bpe(&v, NULL, 0, true)
					     : make_bpe(&v, merges, TR_ARRAY_LEN(merges), false);
		struct tr_bpe_work w = { .n_ids = 0 };
		uint64_t begin = tr_now_ns(&tr_clock_real), ns;

		for (size_t i = 0; i < n; i++)
			piece[i] = round & 2 ? "abcab"[i % 5] : 'a';
		assert_int_equal(tr_bpe_encode(b, &w, piece, n, NULL), 0);
		ns = tr_now_ns(&tr_clock_real) - begin;
		print_message("# %zu bytes in one piece: %zu tokens, %.0f ms\n", n, w.n_ids,
			(double)ns / 1e6);
		assert_true(w.n_ids > n / 4 && w.n_ids <= n * 3 / 5 + 1);
		assert_true(ns < 20000000000u); /* a quadratic algorithm takes hours */
		tr_bpe_work_fini(&w);
		tr_bpe_free(b);
	}
	free(piece);
	tr_vocab_fini(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_map_to_their_alphabet),
		cmocka_unit_test(control_tokens_are_never_found_by_text),
		cmocka_unit_test(the_lowest_rank_goes_first_then_the_leftmost),
		cmocka_unit_test(a_whole_piece_is_looked_up_where_asked),
		cmocka_unit_test(without_merges_the_id_is_the_rank),
		cmocka_unit_test(the_first_of_equal_merges_wins),
		cmocka_unit_test(bad_merges_are_refused_by_number),
		cmocka_unit_test(a_byte_without_token_is_unknown_or_an_error),
		cmocka_unit_test(the_heap_merges_like_a_scan),
		cmocka_unit_test(a_long_piece_does_not_hang),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
