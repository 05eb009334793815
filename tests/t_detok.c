#include "test.h"
#include "vocab_write.h"

/* Ids 0 to 255 are the bytes, then these. */
enum { ID_EOS = 256, ID_TAG, ID_NI_AND_HALF, ID_HALF_HAO, ID_LONG_BAD, N_ID };

/* n bytes in the alphabet of tokens, terminated. */
static char *mapped(const char *bytes, size_t n, char *out)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		k += vw_byte((uint8_t)bytes[i], out + k);
	return out;
}

static int setup(void **state)
{
	static struct vw_made m;
	static char texts[3][32];
	const struct vw_token tokens[] = { { "<eos>", 3 }, { "<tag \u00e9>", 4 },
		{ mapped("\u4f60\xe5\xa5", 5, texts[0]), 1 }, { mapped("\xbd!", 2, texts[1]), 1 },
		{ mapped("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xe4", 10, texts[2]), 1 } };
	struct tr_err err;

	vw_vocab(&m.w, "kimi-k2", tokens, sizeof(tokens) / sizeof(*tokens));
	if (vw_open(&m, &err)) {
		print_error("%s\n", err.msg);
		return -1;
	}
	*state = &m;
	return 0;
}

static int teardown(void **state)
{
	if (*state)
		vw_free(*state);
	return 0;
}

static struct tr_detok *detok(const struct vw_made *m, bool render_control)
{
	struct tr_detok *d;

	assert_int_equal(tr_detok_new(&d, m->tok, render_control, NULL), 0);
	return d;
}

static void assert_push(struct tr_detok *d, int32_t id, const char *want)
{
	const char *text;
	size_t n = tr_detok_push(d, id, &text);

	assert_non_null(text);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(text, want, n);
}

static void assert_flush(struct tr_detok *d, const char *want)
{
	const char *text;
	size_t n = tr_detok_flush(d, &text);

	assert_non_null(text);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(text, want, n);
}

static void a_character_comes_when_it_is_complete(void **state)
{
	struct tr_detok *d = detok(*state, false);

	assert_push(d, 'a', "a");
	assert_push(d, 0xF0, "");
	assert_push(d, 0x9F, "");
	assert_push(d, 0x98, "");
	assert_push(d, 0x80, "\U0001F600");
	assert_push(d, ID_NI_AND_HALF, "\u4f60");
	assert_push(d, ID_HALF_HAO, "\u597d!");
	assert_flush(d, "");
	tr_detok_free(d);
}

static void what_cannot_become_utf8_is_replaced(void **state)
{
	struct tr_detok *d = detok(*state, false);

	assert_push(d, 0xE4, "");
	assert_push(d, 'x', "\uFFFDx");
	assert_push(d, 0xFF, "\uFFFD");
	assert_push(d, 0x80, "\uFFFD");
	assert_push(d, 0xC0, "\uFFFD"); /* overlong */
	assert_push(d, 0xED, "");
	assert_push(d, 0xA0, "\uFFFD\uFFFD"); /* a surrogate */
	assert_push(d, 0xF0, "");
	assert_push(d, 0x9F, "");
	assert_push(d, 0xF0, "\uFFFD");
	assert_push(d, 0x9F, "");
	assert_push(d, ID_LONG_BAD, "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
	assert_flush(d, "\uFFFD");
	assert_flush(d, "");
	assert_push(d, 'y', "y");
	tr_detok_free(d);
}

static void control_tokens_show_only_when_asked(void **state)
{
	struct tr_detok *d = detok(*state, false);

	assert_push(d, ID_EOS, "");
	assert_push(d, ID_TAG, "<tag \u00e9>");
	assert_push(d, -1, "");
	assert_push(d, N_ID, "");
	tr_detok_free(d);
	d = detok(*state, true);
	assert_push(d, ID_EOS, "<eos>");
	tr_detok_free(d);
}

/* All code points, cut into bytes: what comes out is what went in, each time all or nothing. */
static void every_code_point_survives(void **state)
{
	struct tr_detok *d = detok(*state, false);

	for (uint32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 61) {
		char utf8[5] = { 0 };
		size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

		if (c >= 0xD800 && c < 0xE000)
			continue;
		for (size_t i = 0; i < n; i++)
			utf8[n - 1 - i] = (char)(0x80 | ((c >> 6 * i) & 0x3F));
		utf8[0] = (char)(n == 1 ? c : (0xF00u >> n & 0xFF) | c >> 6 * (n - 1));
		for (size_t i = 0; i < n; i++)
			assert_push(d, (uint8_t)utf8[i], i + 1 == n ? utf8 : "");
	}
	tr_detok_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_character_comes_when_it_is_complete),
		cmocka_unit_test(what_cannot_become_utf8_is_replaced),
		cmocka_unit_test(control_tokens_show_only_when_asked),
		cmocka_unit_test(every_code_point_survives),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
