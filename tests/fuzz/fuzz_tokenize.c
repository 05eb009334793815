/*
 * fuzz_tokenize.c - any bytes as text for two tiny vocabularies, one for each way of merging. The
 * first byte of the input chooses: bit 0 the vocabulary, bit 1 whether control tokens are parsed.
 *
 * Promises, checked with abort(): the bytes of the tokens are the text; what the detokenizer gives
 * out is UTF-8 after every push, and is the text where that is UTF-8; control tokens come only when
 * asked for.
 */
#include "vocab_write.h"

#include "model/utf8.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct vw_token tokens[] = { { "ab", 1 }, { "bc", 1 }, { "abc", 1 }, { "aa", 1 },
	{ "\u0120a", 1 }, { "\u00e4\u00bd", 1 }, { "\u00e4\u00bd\u0142", 1 }, { "<eos>", 3 },
	{ "<e", 4 }, { "\u4f60", 4 }, { "unk", 2 } };
static const char *const merges[] = { "b c", "a b", "a bc", "a a", "\u0120 a", "\u00e4 \u00bd",
	"\u00e4\u00bd \u0142" };

static void expect(bool promise)
{
	if (!promise)
		abort();
}

static void make(struct vw_made *m, bool with_merges)
{
	size_t n = sizeof(merges) / sizeof(*merges);

	vw_vocab(
		&m->w, with_merges ? "gpt-2" : "kimi-k2", tokens, sizeof(tokens) / sizeof(*tokens));
	if (with_merges) {
		gw_kv_arr(&m->w, "tokenizer.ggml.merges", TR_GGUF_STR, n);
		for (size_t i = 0; i < n; i++)
			gw_str(&m->w, merges[i]);
	}
	expect(vw_open(m, NULL) == 0);
}

static void check_tokens(const struct tr_tokenizer *tok, const int32_t *ids, size_t n_ids,
	bool special, const char *text, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n_ids; i++) {
		const char *bytes;
		size_t len = tr_token_bytes(tok, ids[i], true, &bytes);

		expect(special || !tr_token_is_control(tok, ids[i]));
		expect(len <= n - at && memcmp(bytes, text + at, len) == 0);
		at += len;
	}
	expect(at == n);
}

/* Bytes of text that are UTF-8 from the start. */
static size_t utf8_prefix(const char *text, size_t n)
{
	size_t at = 0, len;

	while (at < n && tr_utf8_next(text + at, n - at, &len) == TR_UTF8_CHAR)
		at += len;
	return at;
}

static void check_text(const struct tr_tokenizer *tok, const int32_t *ids, size_t n_ids,
	const char *text, size_t n)
{
	size_t valid = utf8_prefix(text, n), at = 0;
	struct tr_detok *d;

	expect(tr_detok_new(&d, tok, true, NULL) == 0);
	for (size_t i = 0; i <= n_ids; i++) {
		const char *out;
		size_t len = i < n_ids ? tr_detok_push(d, ids[i], &out) : tr_detok_flush(d, &out);

		expect(utf8_prefix(out, len) == len);
		if (at < valid)
			expect(memcmp(out, text + at, len < valid - at ? len : valid - at) == 0);
		at += len;
	}
	expect(valid < n || at == n);
	tr_detok_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct vw_made made[2];
	const struct tr_tokenizer *tok;
	const char *text = (const char *)data + 1;
	int32_t *ids;
	size_t n_ids;
	bool special;

	if (len == 0)
		return 0;
	for (int i = 0; i < 2; i++)
		if (!made[i].tok)
			make(&made[i], i);
	tok = made[data[0] & 1].tok;
	special = data[0] & 2;
	expect(tr_tokenize(tok, text, len - 1, special ? TR_TOK_SPECIAL : 0, &ids, &n_ids, NULL) ==
		0);
	check_tokens(tok, ids, n_ids, special, text, len - 1);
	check_text(tok, ids, n_ids, text, len - 1);
	free(ids);
	return 0;
}
