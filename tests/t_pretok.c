#include "test.h"
#include "base/mem.h"
#include "model/pretok.h"

#include <stdio.h>

static struct tr_pretok *open_pretok(const char *name)
{
	struct tr_pretok *p;
	struct tr_err err;

	if (tr_pretok_new(&p, name, strlen(name), &err))
		fail_msg("%s", err.msg);
	return p;
}

/* Pieces joined by bars. */
struct joined {
	char text[512];
	size_t n;
};

static int join(void *ctx, const char *piece, size_t n, struct tr_err *err)
{
	struct joined *j = ctx;

	(void)err;
	assert_true(n > 0 && j->n + n + 2 < sizeof(j->text));
	if (j->n)
		j->text[j->n++] = '|';
	memcpy(j->text + j->n, piece, n);
	j->n += n;
	j->text[j->n] = 0;
	return 0;
}

static void assert_split(const struct tr_pretok *p, const char *text, const char *want)
{
	struct joined j = { .n = 0 };
	struct tr_err err;

	if (tr_pretok_split(p, text, strlen(text), join, &j, &err))
		fail_msg("%s", err.msg);
	assert_string_equal(j.text, want);
}

static void gpt2_splits_words_numbers_and_spaces(void **state)
{
	struct tr_pretok *p = open_pretok("gpt-2");

	(void)state;
	assert_split(p, "Hello world, it's 2024!", "Hello| world|,| it|'s| 2024|!");
	assert_split(p, "a   b  \n", "a|  | b|  \n");
	assert_split(p, "HelloWorld don'T", "HelloWorld| don|'|T");
	assert_split(p, "x\n\n  y", "x|\n\n | y");
	assert_split(p, "ОПИСАНИЕ\n    Системный", "ОПИСАНИЕ|\n   | Системный");
	assert_split(p, "这个函数 is", "这个函数| is");
	tr_pretok_free(p);
}

static void kimi_splits_camel_case_and_han(void **state)
{
	struct tr_pretok *p = open_pretok("kimi-k2");

	(void)state;
	assert_split(p, "HelloWorld", "Hello|World");
	assert_split(p, "parseHTTPResponse2XX", "parse|HTTPResponse|2|XX");
	assert_split(p, "We'LL don't THEY'RE", "We'LL| don't| THEY'RE");
	assert_split(p, "12345678 9", "123|456|78| |9");
	assert_split(p, "使用GPU加速test的", "使用|GPU|加速|test|的");
	assert_split(p, " 中文", " |中文");
	assert_split(p, "a.b\n\n c", "a|.b|\n\n| c");
	assert_split(p, "x = {};\n\n\ty", "x| =| {};\n\n|\ty");
	assert_split(p, "a   b", "a|  | b");
	tr_pretok_free(p);
}

/* PCRE2 takes a bare \p{Han} for script extensions, which have the ideographic comma as well. */
static void han_is_the_script_without_its_punctuation(void **state)
{
	struct tr_pretok *p = open_pretok("kimi-k2");

	(void)state;
	assert_split(p, "你好、世界", "你好|、|世界");
	assert_split(p, "人々〇", "人々〇");
	assert_split(p, "カタカナ漢字ひらがな", "カタカナ|漢字|ひらがな");
	tr_pretok_free(p);
}

/* White space by the Unicode property: with U+0085, without U+180E. */
static void space_is_the_unicode_property(void **state)
{
	struct tr_pretok *p = open_pretok("gpt-2");

	(void)state;
	assert_split(p, "a\u3000\u3000b", "a|\u3000|\u3000|b");
	assert_split(p, "a\xc2\x85 b", "a|\xc2\x85| b");
	assert_split(p, "a\u180e b", "a|\u180e| b");
	assert_split(p, "a\u180e\u180e!", "a|\u180e\u180e!");
	tr_pretok_free(p);
}

static void bytes_that_are_not_utf8_are_pieces(void **state)
{
	struct tr_pretok *p = open_pretok("kimi-k2");

	(void)state;
	assert_split(p,
		"ab\xff\xfe"
		"cd",
		"ab|\xff\xfe|cd");
	assert_split(p, "\xe4\xbd", "\xe4\xbd");
	assert_split(p, "a  \xc0z", "a|  |\xc0|z");
	assert_split(p, "\xed\xa0\x80", "\xed\xa0\x80"); /* a surrogate */
	tr_pretok_free(p);
}

static int add_length(void *ctx, const char *piece, size_t n, struct tr_err *err)
{
	(void)piece;
	(void)err;
	*(size_t *)ctx += n;
	return 0;
}

/* Neither the stack of the matcher nor its limits are a matter of length. */
static void long_runs_of_one_kind_are_split(void **state)
{
	static const char *const units[] = { "a", "A", "Aa", " ", "\n", " \n", "1", "!", "'s", "你",
		"ª", "\u0301", "A\u0301", "\xff", "😀", "é ", "你a" };
	static const char *const names[] = { "gpt-2", "kimi-k2" };
	size_t n = 1 << 18;
	char *text = malloc(n);

	(void)state;
	assert_non_null(text);
	for (size_t k = 0; k < TR_ARRAY_LEN(names); k++) {
		struct tr_pretok *p = open_pretok(names[k]);

		for (size_t u = 0; u < TR_ARRAY_LEN(units); u++) {
			size_t len = strlen(units[u]), sum = 0, used = n - n % len;
			struct tr_err err;

			for (size_t i = 0; i < used; i++)
				text[i] = units[u][i % len];
			if (tr_pretok_split(p, text, used, add_length, &sum, &err))
				fail_msg("%s of '%s': %s", names[k], units[u], err.msg);
			assert_int_equal(sum, used);
		}
		tr_pretok_free(p);
	}
	free(text);
}

/* Above PCRE2's default limit of ten million steps. */
static void very_long_runs_are_split(void **state)
{
	size_t n = 12 << 20;
	char *text = malloc(n);
	struct tr_pretok *p = open_pretok("kimi-k2");

	(void)state;
	assert_non_null(text);
	for (int round = 0; round < 2; round++) {
		size_t sum = 0;
		struct tr_err err;

		memset(text, round ? 'A' : ' ', n);
		if (tr_pretok_split(p, text, n, add_length, &sum, &err))
			fail_msg("%s", err.msg);
		assert_int_equal(sum, n);
	}
	tr_pretok_free(p);
	free(text);
}

static int stop_at_once(void *ctx, const char *piece, size_t n, struct tr_err *err)
{
	(void)ctx;
	(void)piece;
	(void)n;
	return tr_err_set(err, TR_E_BUSY, "enough");
}

static void a_refusal_of_the_callee_ends_the_walk(void **state)
{
	struct tr_pretok *p = open_pretok("gpt-2");
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_pretok_split(p, "a b c", 5, stop_at_once, NULL, &err), TR_E_BUSY);
	assert_err_has(&err, "enough");
	tr_pretok_free(p);
}

static void names_are_known_or_refused_with_the_list(void **state)
{
	static const char *const good[] = { "gpt-2", "olmo", "mpt", "kimi-k2", "kimi-k25" };
	static const char *const bad[] = { "", "gpt", "gpt-22", "kimi", "llama-bpe" };
	struct tr_pretok *p;
	struct tr_err err;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(good); i++) {
		p = open_pretok(good[i]);
		assert_int_equal(tr_pretok_is_tiktoken(p), good[i][0] == 'k');
		assert_split(p, "ab 1", good[i][0] == 'k' ? "ab| |1" : "ab| 1");
		tr_pretok_free(p);
	}
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		assert_int_equal(tr_pretok_new(&p, bad[i], strlen(bad[i]), &err), TR_E_UNSUPPORTED);
		assert_null(p);
		assert_err_has(&err, bad[i]);
		assert_err_has(&err, "gpt-2, olmo, mpt, kimi-*");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gpt2_splits_words_numbers_and_spaces),
		cmocka_unit_test(kimi_splits_camel_case_and_han),
		cmocka_unit_test(han_is_the_script_without_its_punctuation),
		cmocka_unit_test(space_is_the_unicode_property),
		cmocka_unit_test(bytes_that_are_not_utf8_are_pieces),
		cmocka_unit_test(long_runs_of_one_kind_are_split),
		cmocka_unit_test(very_long_runs_are_split),
		cmocka_unit_test(a_refusal_of_the_callee_ends_the_walk),
		cmocka_unit_test(names_are_known_or_refused_with_the_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
