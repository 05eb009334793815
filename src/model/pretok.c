/*
 * pretok.c - the pre-tokenisers, one regular expression each, run by PCRE2 with JIT.
 *
 * The text is first cut into runs of well-formed UTF-8 and runs of other bytes, so that PCRE2 need
 * not check it at every match and cannot fail on it; the end of a run counts as the end of text.
 * What no alternative matches becomes a piece as well.
 *
 * Limits: letters and digits are those of the Unicode version that PCRE2 was built with. To add a
 * pre-tokeniser, add a row; the patterns keep to single character classes under repetition, which
 * need no stack however long the run is.
 */
#include "model/pretok.h"

#include "base/mem.h"
#include "model/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PCRE2's \s also has U+180E, which is no white space since Unicode 6.3. */
#define SPACE	       "\\t-\\r\\x{85}\\p{Z}"
#define CONTRACTION    "'s|'t|'re|'ve|'m|'ll|'d"
#define TRAILING_SPACE "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"

/* Letters and marks without the lower ones, without the upper ones; neither has Han. A negated
 * class is how PCRE2 subtracts: it names all other categories, and Han by script (not by script
 * extensions, which also have punctuation). */
#define NO_LETTER   "\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{sc:Han}"
#define UPPER	    "[^\\p{Ll}" NO_LETTER "]"
#define LOWER	    "[^\\p{Lu}\\p{Lt}" NO_LETTER "]"
#define BEFORE_WORD "[^\\r\\n\\p{L}\\p{N}]?"

static const struct def {
	const char *name;    /* one that ends in '*' stands for all names that begin so */
	const char *pattern; /* NULL: that of the row above */
	bool tiktoken;
} defs[] = {
	{ "gpt-2", CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|" TRAILING_SPACE,
		false },
	{ "olmo", NULL, false },
	{ "mpt", NULL, false },
	{ "kimi-*",
		"\\p{sc:Han}+"
		"|" BEFORE_WORD UPPER "*" LOWER "+(?i:" CONTRACTION ")?"
		"|" BEFORE_WORD UPPER "+" LOWER "*(?i:" CONTRACTION ")?"
		"|\\p{N}{1,3}"
		"| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*"
		"|[" SPACE "]*[\\r\\n]+"
		"|" TRAILING_SPACE,
		true },
};

struct tr_pretok {
	const struct def *def;
	pcre2_code *code;
	pcre2_match_context *context;
};

static bool name_fits(const char *want, const char *name, size_t n)
{
	size_t len = strlen(want);

	if (want[len - 1] == '*')
		return n >= len - 1 && memcmp(name, want, len - 1) == 0;
	return n == len && memcmp(name, want, n) == 0;
}

static int refuse_name(const char *name, size_t n, struct tr_err *err)
{
	char list[128] = "";

	for (size_t i = 0; i < TR_ARRAY_LEN(defs); i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", defs[i].name);
	}
	return tr_err_set(err, TR_E_UNSUPPORTED,
		"key 'tokenizer.ggml.pre': '%.*s' is not supported; supported: %s",
		(int)TR_MIN(n, (size_t)64), name, list);
}

static int compile(struct tr_pretok *p, const char *pattern, struct tr_err *err)
{
	PCRE2_SIZE off;
	int code;

	p->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
		&code, &off, NULL);
	if (!p->code)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"PCRE2 refuses the pattern of pre-tokenizer %s: error %d at %zu",
			p->def->name, code, (size_t)off);
	p->context = pcre2_match_context_create(NULL);
	if (!p->context)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a pre-tokenizer");
	/* No alternative steps back more than once over a run, and a run of ten million spaces
	 * takes more steps than the default allows. */
	pcre2_set_match_limit(p->context, UINT32_MAX);
	/* Without JIT the interpreter does the same, slower. */
	pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
	return 0;
}

int tr_pretok_new(struct tr_pretok **pretok, const char *name, size_t n, struct tr_err *err)
{
	const char *pattern = NULL;
	struct tr_pretok *p;
	size_t i;
	int rc;

	*pretok = NULL;
	for (i = 0; i < TR_ARRAY_LEN(defs); i++) {
		pattern = defs[i].pattern ? defs[i].pattern : pattern;
		if (name_fits(defs[i].name, name, n))
			break;
	}
	if (i == TR_ARRAY_LEN(defs))
		return refuse_name(name, n, err);
	p = tr_calloc(1, sizeof(*p));
	if (!p)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a pre-tokenizer");
	p->def = &defs[i];
	rc = compile(p, pattern, err);
	if (rc)
		tr_pretok_free(p);
	else
		*pretok = p;
	return rc;
}

void tr_pretok_free(struct tr_pretok *p)
{
	if (!p)
		return;
	pcre2_match_context_free(p->context);
	pcre2_code_free(p->code);
	free(p);
}

bool tr_pretok_is_tiktoken(const struct tr_pretok *p)
{
	return p->def->tiktoken;
}

/* Pieces of n bytes of well-formed UTF-8. */
static int split_run(const struct tr_pretok *p, pcre2_match_data *match, const char *text, size_t n,
	tr_pretok_fn *each, void *ctx, struct tr_err *err)
{
	const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
	size_t at = 0;
	int rc = 0;

	while (at < n && !rc) {
		int hit = pcre2_match(
			p->code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, match, p->context);

		if (hit == PCRE2_ERROR_NOMATCH)
			return each(ctx, text + at, n - at, err);
		if (hit < 0)
			return tr_err_set(err, TR_E_LIMIT,
				"pre-tokenizer %s: PCRE2 error %d at byte %zu of %zu", p->def->name,
				hit, at, n);
		if (found[0] > at)
			rc = each(ctx, text + at, found[0] - at, err);
		if (!rc)
			rc = each(ctx, text + found[0], found[1] - found[0], err);
		at = found[1];
	}
	return rc;
}

/* Bytes at text that are all UTF-8, or all not. */
static size_t run_length(const char *text, size_t n, bool *good)
{
	size_t len, at;

	*good = tr_utf8_next(text, n, &len) == TR_UTF8_CHAR;
	for (at = len; at < n; at += len)
		if ((tr_utf8_next(text + at, n - at, &len) == TR_UTF8_CHAR) != *good)
			break;
	return at;
}

int tr_pretok_split(const struct tr_pretok *p, const char *text, size_t n, tr_pretok_fn *each,
	void *ctx, struct tr_err *err)
{
	pcre2_match_data *match = pcre2_match_data_create(1, NULL);
	size_t len;
	int rc = 0;

	if (!match)
		return tr_err_set(err, TR_E_NOMEM, "no memory for matching");
	for (size_t at = 0; at < n && !rc; at += len) {
		bool good;

		len = run_length(text + at, n - at, &good);
		rc = good ? split_run(p, match, text + at, len, each, ctx, err)
			  : each(ctx, text + at, len, err);
	}
	pcre2_match_data_free(match);
	return rc;
}
