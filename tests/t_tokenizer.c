#include "test.h"
#include "vocab_write.h"
#include "base/clock.h"
#include "base/mem.h"

#include <jansson.h>
#include <stdio.h>

/* The demo model's tokens, opened once. */
struct demo {
	struct tr_model *model;
	struct tr_tokenizer *tok;
};

enum { DEMO_EOS = 4088, DEMO_IM_END = 4089 };

static const char *data_path(const char *name)
{
	static char path[4096];
	const char *dir = getenv("TR_SRCDIR");

	snprintf(path, sizeof(path), "%s/models/%s", dir ? dir : ".", name);
	return path;
}

static int open_demo(void **state)
{
	static struct demo d;
	struct tr_err err;

	if (tr_model_open(&d.model, data_path("demo-q4_0.gguf"), &err) ||
		tr_tokenizer_new(&d.tok, d.model, &err)) {
		print_error("%s\n", err.msg);
		return -1;
	}
	*state = &d;
	return 0;
}

static int close_demo(void **state)
{
	struct demo *d = *state;

	if (d) {
		tr_tokenizer_free(d->tok);
		tr_model_close(d->model);
	}
	return 0;
}

static size_t tokenize(
	const struct tr_tokenizer *tok, const char *text, size_t n, unsigned flags, int32_t **ids)
{
	struct tr_err err;
	size_t n_ids;

	if (tr_tokenize(tok, text, n, flags, ids, &n_ids, &err))
		fail_msg("%s", err.msg);
	return n_ids;
}

static void assert_ids(const struct tr_tokenizer *tok, const char *text, unsigned flags,
	const int32_t *want, size_t n_want)
{
	int32_t *ids;
	size_t n = tokenize(tok, text, strlen(text), flags, &ids);

	assert_int_equal(n, n_want);
	assert_memory_equal(ids, want, n * sizeof(*ids));
	free(ids);
}

#define IDS(...)                                                                                   \
	(const int32_t[]){ __VA_ARGS__ }, sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)

static void assert_round_trip(
	const struct tr_tokenizer *tok, const char *text, size_t n, unsigned flags)
{
	int32_t *ids;
	size_t n_ids = tokenize(tok, text, n, flags, &ids), at = 0;

	for (size_t i = 0; i < n_ids; i++) {
		const char *bytes;
		size_t len = tr_token_bytes(tok, ids[i], true, &bytes);

		assert_true(len > 0 && len <= n - at);
		assert_memory_equal(bytes, text + at, len);
		at += len;
	}
	assert_int_equal(at, n);
	free(ids);
}

/* --- the demo model --- */

/* The reference describes its last prompt; this is the text that it stands for. */
static const char chat[] = "<|im_user|>user<|im_middle|>ls - list directory contents<|im_end|>"
			   "<|im_assistant|>assistant<|im_middle|>";

static void ids_are_those_of_the_reference(void **state)
{
	const struct demo *d = *state;
	json_t *root = json_load_file(data_path("reference-q4_0.json"), 0, NULL), *prompt;
	size_t i;

	assert_non_null(root);
	assert_int_equal(json_array_size(json_object_get(root, "prompts")), 15);
	json_array_foreach(json_object_get(root, "prompts"), i, prompt)
	{
		const char *text = json_string_value(json_object_get(prompt, "prompt"));
		json_t *list = json_object_get(prompt, "ids");
		int32_t want[512];
		size_t n = json_array_size(list);

		assert_in_range(n, 1, TR_ARRAY_LEN(want));
		for (size_t k = 0; k < n; k++)
			want[k] = (int32_t)json_integer_value(json_array_get(list, k));
		if (strncmp(text, "(special tokens)", 16) == 0)
			assert_ids(d->tok, chat, TR_TOK_SPECIAL | TR_TOK_BOS, want, n);
		else
			assert_ids(d->tok, text, TR_TOK_BOS, want, n);
	}
	json_decref(root);
}

static void control_tokens_are_parsed_only_when_asked(void **state)
{
	const struct demo *d = *state;
	int32_t *ids;
	size_t n;

	assert_ids(d->tok, "<|im_end|>", TR_TOK_SPECIAL, IDS(DEMO_IM_END));
	n = tokenize(d->tok, chat, strlen(chat), 0, &ids);
	assert_true(n > 15);
	for (size_t i = 0; i < n; i++)
		assert_false(tr_token_is_control(d->tok, ids[i]));
	free(ids);
	assert_round_trip(d->tok, chat, strlen(chat), 0);
	assert_round_trip(d->tok, chat, strlen(chat), TR_TOK_SPECIAL);
}

static void random_bytes_survive(void **state)
{
	static const char *const bits[] = { "\xff", "\xe4\xbd", "\xf0\x9f\x98\x80", "a", "Word",
		" ", "\n", "\t", "7", "\xc3\xa9", "\xe4\xbd\xa0", "<|im_", "end|>", "\0", "'s",
		"[EOS]", "\xed\xa0\x80", "\x80" };
	const struct demo *d = *state;
	uint64_t rng = 20;

	for (int round = 0; round < 500; round++) {
		char text[1024];
		size_t n = 0, len;

		while (n < 1000) {
			rng = rng * 6364136223846793005u + 1442695040888963407u;
			if (rng >> 63) {
				text[n++] = (char)(rng >> 40);
				continue;
			}
			len = strlen(bits[(rng >> 33) % TR_ARRAY_LEN(bits)]);
			memcpy(text + n, bits[(rng >> 33) % TR_ARRAY_LEN(bits)],
				TR_MAX(len, (size_t)1));
			n += TR_MAX(len, (size_t)1);
		}
		assert_round_trip(d->tok, text, (rng >> 20) % n, round & 1 ? TR_TOK_SPECIAL : 0);
	}
}

static void empty_text_gives_no_ids(void **state)
{
	const struct demo *d = *state;
	int32_t *ids;

	assert_int_equal(tokenize(d->tok, "", 0, TR_TOK_SPECIAL | TR_TOK_BOS, &ids), 0);
	assert_non_null(ids);
	free(ids);
}

static void the_stop_set_is_a_union(void **state)
{
	const struct demo *d = *state;
	unsigned n = 0;

	assert_true(tr_token_is_stop(d->tok, DEMO_EOS));
	assert_true(tr_token_is_stop(d->tok, DEMO_IM_END));
	for (int32_t id = -1; id <= (int32_t)tr_vocab_size(d->tok); id++)
		n += tr_token_is_stop(d->tok, id);
	assert_int_equal(n, 2);
}

static void a_megabyte_takes_seconds_at_most(void **state)
{
	const struct demo *d = *state;
	static const char unit[] = "The quick brown fox; for (int i = 0; i < n; i++) sum += v[i];\n"
				   "\xe6\x8f\x8f\xe8\xbf\xb0 \xd0\x9e\xd0\x9f \xc3\x9c"
				   "bersicht 12345 \xf0\x9f\x98\x80\n";
	const char *const units[] = { unit, "a", " ", "<", "<|im_end|>", "\xe6" };
	size_t n = 1 << 20;
	char *text = malloc(n);

	assert_non_null(text);
	for (size_t u = 0; u < TR_ARRAY_LEN(units); u++) {
		uint64_t begin, ns;
		int32_t *ids;
		size_t n_ids;

		for (size_t i = 0; i < n; i++)
			text[i] = units[u][i % strlen(units[u])];
		begin = tr_now_ns(&tr_clock_real);
		n_ids = tokenize(d->tok, text, n, TR_TOK_SPECIAL, &ids);
		ns = tr_now_ns(&tr_clock_real) - begin;
		free(ids);
		print_message("# 1 MiB of '%.10s...': %zu ids, %.0f ms\n",
			u < 5 ? units[u] : "0xe6", n_ids, (double)ns / 1e6);
		assert_true(ns < 20000000000u); /* sanitizers included */
	}
	free(text);
}

/* --- vocabularies made here --- */

static void finish_vocab(struct vw_made *m)
{
	struct tr_err err;

	if (vw_open(m, &err))
		fail_msg("%s", err.msg);
}

static void bos_comes_first_only_where_the_model_asks(void **state)
{
	static const struct vw_token extra[] = { { "[BOS]", 3 } };

	(void)state;
	for (int add = -1; add < 2; add++) {
		struct vw_made m;

		vw_vocab(&m.w, "kimi-k2", extra, 1);
		gw_kv_u32(&m.w, "tokenizer.ggml.bos_token_id", 256);
		if (add >= 0)
			gw_kv_int(&m.w, "tokenizer.ggml.add_bos_token", TR_GGUF_BOOL, add);
		finish_vocab(&m);
		assert_int_equal(tr_tokenizer_bos(m.tok), 256);
		assert_int_equal(tr_tokenizer_eos(m.tok), -1);
		if (add > 0)
			assert_ids(m.tok, "a", TR_TOK_BOS, IDS(256, 'a'));
		else
			assert_ids(m.tok, "a", TR_TOK_BOS, IDS('a'));
		assert_ids(m.tok, "a", 0, IDS('a'));
		vw_free(&m);
	}
}

static void the_longest_special_token_wins(void **state)
{
	static const struct vw_token extra[] = { { "<t", 4 }, { "<tag", 3 }, { "<tag>", 4 },
		{ "<ta", 2 }, { "hid", 5 }, { "", 3 } };
	struct vw_made m;

	(void)state;
	vw_vocab(&m.w, "gpt-2", extra, TR_ARRAY_LEN(extra));
	gw_kv_arr(&m.w, "tokenizer.ggml.merges", TR_GGUF_STR, 0);
	finish_vocab(&m);
	assert_ids(m.tok, "x<tag>", 0, IDS('x', 258));
	assert_ids(m.tok, "<tag", 0, IDS(256, 'a', 'g'));
	assert_ids(m.tok, "<tag", TR_TOK_SPECIAL, IDS(257));
	assert_ids(m.tok, "<<ta<tag<", TR_TOK_SPECIAL, IDS('<', 259, 257, '<'));
	assert_ids(m.tok, "hid", TR_TOK_SPECIAL, IDS('h', 'i', 'd'));
	assert_true(tr_token_is_control(m.tok, 257));
	assert_false(tr_token_is_control(m.tok, 258));
	assert_int_equal(tr_tokenizer_max_bytes(m.tok), 5);
	vw_free(&m);
}

static void a_message_end_of_harmony_is_no_stop(void **state)
{
	static const struct vw_token extra[] = { { "<|end|>", 3 }, { "<|return|>", 3 },
		{ "<|call|>", 3 }, { "</s>", 1 } };
	struct vw_made m;

	(void)state;
	vw_vocab(&m.w, "kimi-k2", extra, 4);
	finish_vocab(&m);
	assert_false(tr_token_is_stop(m.tok, 256));
	assert_true(tr_token_is_stop(m.tok, 257));
	assert_true(tr_token_is_stop(m.tok, 258));
	assert_false(tr_token_is_stop(m.tok, 259)); /* text, not a control token */
	vw_free(&m);
	vw_vocab(&m.w, "kimi-k2", extra, 2);
	gw_kv_u32(&m.w, "tokenizer.ggml.eot_token_id", 'e');
	finish_vocab(&m);
	assert_true(tr_token_is_stop(m.tok, 256));
	assert_true(tr_token_is_stop(m.tok, 'e'));
	vw_free(&m);
}

static void without_merges_kimi_ranks_by_id(void **state)
{
	static const struct vw_token extra[] = { { "ab", 1 }, { "bc", 1 }, { "abcd", 1 },
		{ "cd", 1 } };
	struct vw_made m;

	(void)state;
	vw_vocab(&m.w, "kimi-k2", extra, 4);
	finish_vocab(&m);
	assert_ids(m.tok, "abcd", 0, IDS(258));
	assert_ids(m.tok, "abcde", 0, IDS(258, 'e'));
	assert_ids(m.tok, "bcd", 0, IDS(257, 'd'));
	assert_int_equal(tr_token_is_stop(m.tok, 258), false);
	vw_free(&m);
}

static void set_broken(struct gw *w, int which)
{
	static const struct vw_token extra[] = { { "ab", 1 } };

	if (which < 10)
		vw_vocab(w, which == 0 ? "starcoder" : which == 1 ? "gpt-2" : "kimi-k2", extra, 1);
	else
		vw_begin(w);
	switch (which) {
	case 2:
		gw_kv_arr(w, "tokenizer.ggml.scores", TR_GGUF_F32, 1);
		gw_u32(w, 0);
		break;
	case 3:
		gw_kv_u32(w, "tokenizer.ggml.eos_token_id", 257);
		break;
	case 4:
		gw_kv_arr(w, "tokenizer.ggml.merges", TR_GGUF_STR, 2);
		gw_str(w, "a b");
		gw_str(w, "a c");
		break;
	case 5:
		gw_kv_arr(w, "tokenizer.ggml.merges", TR_GGUF_U32, 1);
		gw_u32(w, 0);
		break;
	case 6:
		gw_kv_u32(w, "tokenizer.ggml.add_bos_token", 1);
		break;
	case 11:
		gw_kv_str(w, "tokenizer.ggml.model", "llama");
		break;
	case 12:
		gw_kv_str(w, "tokenizer.ggml.model", "gpt2");
		break;
	case 13:
		gw_kv_str(w, "tokenizer.ggml.model", "gpt2");
		gw_kv_u32(w, "tokenizer.ggml.tokens", 1);
		break;
	case 14:
	case 15:
	case 16:
	case 17:
		gw_kv_str(w, "tokenizer.ggml.model", "gpt2");
		gw_kv_arr(w, "tokenizer.ggml.tokens", TR_GGUF_STR, which > 14);
		if (which > 14)
			gw_str(w, "a");
		if (which > 15) {
			gw_kv_arr(w, "tokenizer.ggml.token_type", TR_GGUF_I32, which - 15);
			gw_u32(w, 7);
			if (which > 16)
				gw_u32(w, 1);
		}
		break;
	}
}

static void broken_vocabularies_are_refused_by_key(void **state)
{
	static const struct {
		int which;
		const char *key;
		const char *has;
	} broken[] = {
		{ 0, "tokenizer.ggml.pre", "'starcoder' is not supported; supported: gpt-2" },
		{ 1, "tokenizer.ggml.merges", "not in the metadata" },
		{ 2, "tokenizer.ggml.scores", "has 1 elements for 257 tokens" },
		{ 3, "tokenizer.ggml.eos_token_id", "257" },
		{ 4, "tokenizer.ggml.merges", "merge 1: the parts together" },
		{ 5, "tokenizer.ggml.merges", "not of strings" },
		{ 6, "tokenizer.ggml.add_bos_token", "" },
		{ 10, "tokenizer.ggml.model", "not in the metadata" },
		{ 11, "tokenizer.ggml.model", "'llama' is not supported; supported: gpt2" },
		{ 12, "tokenizer.ggml.tokens", "not in the metadata" },
		{ 13, "tokenizer.ggml.tokens", "not an array" },
		{ 14, "tokenizer.ggml.tokens", "is empty" },
		{ 15, "tokenizer.ggml.token_type", "not in the metadata" },
		{ 16, "tokenizer.ggml.token_type", "element 0 is not a number from 1 to 6" },
		{ 17, "tokenizer.ggml.token_type", "has 2 elements for 1 tokens" },
	};

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(broken); i++) {
		struct vw_made m;
		struct tr_err err;

		set_broken(&m.w, broken[i].which);
		assert_true(vw_open(&m, &err) < 0);
		assert_non_null(m.model);
		assert_null(m.tok);
		assert_err_has(&err, broken[i].key);
		assert_err_has(&err, broken[i].has);
		assert_true(tr_tokenizer_new(&m.tok, m.model, NULL) < 0);
		vw_free(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_those_of_the_reference),
		cmocka_unit_test(control_tokens_are_parsed_only_when_asked),
		cmocka_unit_test(random_bytes_survive),
		cmocka_unit_test(empty_text_gives_no_ids),
		cmocka_unit_test(the_stop_set_is_a_union),
		cmocka_unit_test(a_megabyte_takes_seconds_at_most),
		cmocka_unit_test(bos_comes_first_only_where_the_model_asks),
		cmocka_unit_test(the_longest_special_token_wins),
		cmocka_unit_test(a_message_end_of_harmony_is_no_stop),
		cmocka_unit_test(without_merges_kimi_ranks_by_id),
		cmocka_unit_test(broken_vocabularies_are_refused_by_key),
	};

	return cmocka_run_group_tests(tests, open_demo, close_demo);
}
