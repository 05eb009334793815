/*
 * tokenizer.c - text to token ids, for a vocabulary read from a model's metadata.
 *
 * Text is cut at special tokens, the rest into pieces by the pre-tokenizer, each piece is merged
 * into tokens. Everything is built once by tr_tokenizer_new and immutable afterwards; encoding
 * keeps its scratch in the caller's frame, so one tokenizer serves any number of threads.
 *
 * Only byte-level BPE (tokenizer.ggml.model "gpt2").
 */
#include "model/tokenizer.h"

#include "base/mem.h"
#include "model/bpe.h"
#include "model/pretok.h"
#include "model/specials.h"

#include <stdlib.h>
#include <string.h>

struct tr_tokenizer {
	struct tr_vocab vocab;
	struct tr_bpe *bpe;
	struct tr_pretok *pretok;
	struct tr_specials *specials;
	bool *stops; /* by id */
	int32_t bos;
	int32_t eos;
	int32_t eot;
	int32_t eom;
	int32_t unknown;
	bool add_bos;
};

#define KEY(name) "tokenizer.ggml." name

/* Texts that end a reply in some family of models. They count only as special tokens: as normal
 * ones they are text (</s> is HTML). */
static const char *const stop_texts[] = { "<|im_end|>", "<|endoftext|>", "<|end_of_text|>",
	"<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "[EOT]",
	"[EOS]", "<EOT>", "</s>", "<｜end▁of▁sentence｜>" };

/* --- reading metadata --- */

/* An array of the metadata with n elements (0: any number). NULL with err untouched when absent. */
static int find_array(const struct tr_model *m, const char *key, uint64_t n,
	const struct tr_gguf_kv **out, struct tr_err *err)
{
	const struct tr_gguf_kv *kv = tr_gguf_find(m->shards[0].gguf, key);

	*out = kv;
	if (!kv)
		return TR_E_NOENT;
	if (kv->type != TR_GGUF_ARR)
		return tr_err_set(err, TR_E_FORMAT, "key '%s': is %s, not an array", key,
			tr_gguf_type_name(kv->type));
	if (n > 0 && kv->n != n)
		return tr_err_set(err, TR_E_FORMAT, "key '%s': has %llu elements for %llu tokens",
			key, (unsigned long long)kv->n, (unsigned long long)n);
	return 0;
}

static int find_strings(const struct tr_model *m, const char *key, const struct tr_gguf_kv **out,
	struct tr_err *err)
{
	int rc = find_array(m, key, 0, out, err);

	if (!rc && (*out)->elem_type != TR_GGUF_STR)
		return tr_err_set(err, TR_E_FORMAT, "key '%s': is an array of %s, not of strings",
			key, tr_gguf_type_name((*out)->elem_type));
	return rc;
}

static int missing(const char *key, struct tr_err *err)
{
	return tr_err_set(err, TR_E_FORMAT, "key '%s': not in the metadata", key);
}

static int check_model(const struct tr_model *m, struct tr_err *err)
{
	struct tr_str name;
	int rc = tr_model_str(m, KEY("model"), &name, err);

	if (rc == TR_E_NOENT)
		return missing(KEY("model"), err);
	if (!rc && (name.n != 4 || memcmp(name.p, "gpt2", 4) != 0))
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"key '" KEY("model") "': '%.*s' is not supported; supported: gpt2",
			(int)TR_MIN(name.n, (size_t)64), name.p);
	return rc;
}

static int add_tokens(struct tr_vocab *v, const struct tr_gguf_kv *tokens,
	const struct tr_gguf_kv *types, struct tr_err *err)
{
	const uint8_t *cursor = tokens->data;

	for (uint64_t i = 0; i < tokens->n; i++) {
		struct tr_str text = tr_gguf_next_str(&cursor);
		int64_t type;

		if (tr_gguf_int(types, i, &type) || type < TR_TOKEN_NORMAL || type > TR_TOKEN_BYTE)
			return tr_err_set(err, TR_E_FORMAT,
				"key '" KEY("token_type") "': element %llu is not a number from %d "
							  "to %d",
				(unsigned long long)i, TR_TOKEN_NORMAL, TR_TOKEN_BYTE);
		tr_vocab_add(v, text.p, text.n, (enum tr_token_type)type);
	}
	tr_vocab_seal(v);
	return 0;
}

static int read_vocab(struct tr_tokenizer *t, const struct tr_model *m, struct tr_err *err)
{
	const struct tr_gguf_kv *tokens, *types, *scores;
	const uint8_t *cursor;
	size_t bytes = 0;
	int rc = find_strings(m, KEY("tokens"), &tokens, err);

	if (rc)
		return rc == TR_E_NOENT ? missing(KEY("tokens"), err) : rc;
	if (tokens->n == 0)
		return tr_err_set(err, TR_E_FORMAT, "key '" KEY("tokens") "': is empty");
	rc = find_array(m, KEY("token_type"), tokens->n, &types, err);
	if (rc)
		return rc == TR_E_NOENT ? missing(KEY("token_type"), err) : rc;
	rc = find_array(m, KEY("scores"), tokens->n, &scores, err);
	if (rc && rc != TR_E_NOENT)
		return rc;
	cursor = tokens->data;
	for (uint64_t i = 0; i < tokens->n; i++)
		bytes += tr_gguf_next_str(&cursor).n;
	rc = tr_vocab_init(&t->vocab, tokens->n, bytes, err);
	return rc ? rc : add_tokens(&t->vocab, tokens, types, err);
}

static int read_id(const struct tr_tokenizer *t, const struct tr_model *m, const char *key,
	int32_t *id, struct tr_err *err)
{
	uint32_t value;
	int rc = tr_model_u32(m, key, 0, (uint32_t)t->vocab.n - 1, &value, err);

	*id = rc ? -1 : (int32_t)value;
	return rc == TR_E_NOENT ? 0 : rc;
}

static int read_ids(struct tr_tokenizer *t, const struct tr_model *m, struct tr_err *err)
{
	int rc = read_id(t, m, KEY("bos_token_id"), &t->bos, err);

	if (!rc)
		rc = read_id(t, m, KEY("eos_token_id"), &t->eos, err);
	if (!rc)
		rc = read_id(t, m, KEY("eot_token_id"), &t->eot, err);
	if (!rc)
		rc = read_id(t, m, KEY("eom_token_id"), &t->eom, err);
	if (!rc)
		rc = read_id(t, m, KEY("unknown_token_id"), &t->unknown, err);
	if (!rc) {
		rc = tr_model_bool(m, KEY("add_bos_token"), &t->add_bos, err);
		rc = rc == TR_E_NOENT ? 0 : rc;
	}
	return rc;
}

static int read_pretok(struct tr_tokenizer *t, const struct tr_model *m, struct tr_err *err)
{
	struct tr_str name;
	int rc = tr_model_str(m, KEY("pre"), &name, err);

	if (rc)
		return rc == TR_E_NOENT ? missing(KEY("pre"), err) : rc;
	return tr_pretok_new(&t->pretok, name.p, name.n, err);
}

static int read_merges(struct tr_tokenizer *t, const struct tr_model *m, struct tr_err *err)
{
	bool tiktoken = tr_pretok_is_tiktoken(t->pretok);
	struct tr_bpe_cfg cfg = { .whole_first = tiktoken, .unknown = t->unknown };
	const struct tr_gguf_kv *kv;
	const uint8_t *cursor;
	int rc = find_strings(m, KEY("merges"), &kv, err);

	if (rc && rc != TR_E_NOENT)
		return rc;
	if (rc == TR_E_NOENT && !tiktoken)
		return missing(KEY("merges"), err);
	cfg.rank_by_id = !kv || (kv->n == 0 && tiktoken);
	cfg.n_merge = kv ? kv->n : 0;
	rc = tr_bpe_new(&t->bpe, &t->vocab, &cfg, err);
	if (rc || !kv)
		return rc;
	cursor = kv->data;
	for (uint64_t i = 0; i < kv->n && !rc; i++) {
		struct tr_str text = tr_gguf_next_str(&cursor);

		rc = tr_bpe_add_merge(t->bpe, text.p, text.n, err);
	}
	if (rc)
		tr_err_prefix(err, "key '%s'", KEY("merges"));
	return rc;
}

/* --- the set of tokens that end a reply --- */

static int32_t special_of_text(const struct tr_tokenizer *t, const char *text)
{
	size_t n = strlen(text), len;
	int32_t id;

	if (tr_specials_find(t->specials, text, n, true, &id, &len) != 0 || len != n)
		return -1;
	return id;
}

/* Where <|return|> and <|call|> exist, <|end|> ends a message but not the reply. */
static int make_stops(struct tr_tokenizer *t, struct tr_err *err)
{
	const int32_t named[] = { t->eos, t->eot, t->eom };
	int32_t end = special_of_text(t, "<|end|>");

	t->stops = tr_calloc(t->vocab.n, sizeof(*t->stops));
	if (!t->stops)
		return tr_err_set(err, TR_E_NOMEM, "no memory for %zu tokens", t->vocab.n);
	for (size_t i = 0; i < TR_ARRAY_LEN(stop_texts); i++) {
		int32_t id = special_of_text(t, stop_texts[i]);

		if (id >= 0)
			t->stops[id] = true;
	}
	for (size_t i = 0; i < TR_ARRAY_LEN(named); i++)
		if (named[i] >= 0)
			t->stops[named[i]] = true;
	if (end >= 0 && end != t->eos && special_of_text(t, "<|return|>") >= 0 &&
		special_of_text(t, "<|call|>") >= 0)
		t->stops[end] = false;
	return 0;
}

int tr_tokenizer_new(struct tr_tokenizer **tok, const struct tr_model *model, struct tr_err *err)
{
	struct tr_tokenizer *t = tr_calloc(1, sizeof(*t));
	int rc;

	*tok = NULL;
	if (!t)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a tokenizer");
	rc = check_model(model, err);
	if (!rc)
		rc = read_vocab(t, model, err);
	if (!rc)
		rc = read_ids(t, model, err);
	if (!rc)
		rc = read_pretok(t, model, err);
	if (!rc)
		rc = read_merges(t, model, err);
	if (!rc)
		rc = tr_specials_new(&t->specials, &t->vocab, err);
	if (!rc)
		rc = make_stops(t, err);
	if (rc)
		tr_tokenizer_free(t);
	else
		*tok = t;
	return rc;
}

void tr_tokenizer_free(struct tr_tokenizer *t)
{
	if (!t)
		return;
	tr_vocab_fini(&t->vocab);
	tr_bpe_free(t->bpe);
	tr_pretok_free(t->pretok);
	tr_specials_free(t->specials);
	free(t->stops);
	free(t);
}

/* --- text to ids --- */

struct encoding {
	const struct tr_tokenizer *tok;
	struct tr_bpe_work work;
};

static int encode_piece(void *ctx, const char *piece, size_t n, struct tr_err *err)
{
	struct encoding *e = ctx;

	return tr_bpe_encode(e->tok->bpe, &e->work, piece, n, err);
}

static int encode(struct encoding *e, const char *text, size_t n, bool control, struct tr_err *err)
{
	const struct tr_tokenizer *t = e->tok;
	int rc = 0;

	for (size_t at = 0; at < n && !rc;) {
		size_t len = 0, plain;
		int32_t id;

		plain = tr_specials_find(t->specials, text + at, n - at, control, &id, &len);
		rc = tr_pretok_split(t->pretok, text + at, plain, encode_piece, e, err);
		if (!rc && len > 0)
			rc = tr_bpe_push(&e->work, id, err);
		at += plain + len;
	}
	return rc;
}

int tr_tokenize(const struct tr_tokenizer *tok, const char *text, size_t text_bytes, unsigned flags,
	int32_t **ids, size_t *n_ids, struct tr_err *err)
{
	struct encoding e = { .tok = tok };
	int rc = 0;

	*ids = NULL;
	*n_ids = 0;
	if (text_bytes > INT32_MAX)
		return tr_err_set(err, TR_E_LIMIT, "text of %zu bytes: the limit is %d", text_bytes,
			INT32_MAX);
	if ((flags & TR_TOK_BOS) && tok->add_bos && tok->bos >= 0)
		rc = tr_bpe_push(&e.work, tok->bos, err);
	if (!rc)
		rc = encode(&e, text, text_bytes, flags & TR_TOK_SPECIAL, err);
	if (!rc && !e.work.ids) {
		e.work.ids = malloc(sizeof(**ids));
		if (!e.work.ids)
			rc = tr_err_set(err, TR_E_NOMEM, "no memory for token ids");
	}
	if (!rc) {
		*ids = e.work.ids;
		*n_ids = e.work.n_ids;
		e.work.ids = NULL;
	}
	tr_bpe_work_fini(&e.work);
	return rc;
}

/* --- looking at tokens --- */

size_t tr_vocab_size(const struct tr_tokenizer *tok)
{
	return tok->vocab.n;
}

static bool is_id(const struct tr_tokenizer *tok, int32_t id)
{
	return id >= 0 && (size_t)id < tok->vocab.n;
}

bool tr_token_is_stop(const struct tr_tokenizer *tok, int32_t id)
{
	return is_id(tok, id) && tok->stops[id];
}

bool tr_token_is_control(const struct tr_tokenizer *tok, int32_t id)
{
	enum tr_token_type type;

	if (!is_id(tok, id))
		return false;
	type = tr_vocab_type(&tok->vocab, (size_t)id);
	return type == TR_TOKEN_CONTROL || type == TR_TOKEN_UNKNOWN || type == TR_TOKEN_UNUSED;
}

size_t tr_token_bytes(
	const struct tr_tokenizer *tok, int32_t id, bool render_control, const char **bytes)
{
	size_t n;

	*bytes = "";
	if (!is_id(tok, id) || (!render_control && tr_token_is_control(tok, id)))
		return 0;
	*bytes = tr_vocab_bytes(&tok->vocab, (size_t)id, &n);
	return n;
}

int32_t tr_tokenizer_bos(const struct tr_tokenizer *tok)
{
	return tok->bos;
}

int32_t tr_tokenizer_eos(const struct tr_tokenizer *tok)
{
	return tok->eos;
}

size_t tr_tokenizer_max_bytes(const struct tr_tokenizer *tok)
{
	return tok->vocab.max_bytes;
}
