/*
 * specials.c - special tokens in text.
 *
 * Their texts lie in an open-addressing table by (length, hash). For each first byte there is a
 * list of the lengths that begin with it, longest first; most bytes of a text begin none and are
 * passed over by one look. A text full of such bytes costs a hash for each length.
 */
#include "model/specials.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct entry {
	uint32_t len; /* 0: free */
	int32_t id;
};

struct tr_specials {
	const struct tr_vocab *vocab;
	struct entry *table;
	size_t mask;
	uint32_t *lens;		 /* all lists, one after another */
	uint32_t first_len[257]; /* lens[first_len[c]] to lens[first_len[c + 1]] begin with c */
};

static bool is_special(enum tr_token_type type)
{
	return type == TR_TOKEN_CONTROL || type == TR_TOKEN_UNKNOWN ||
	       type == TR_TOKEN_USER_DEFINED;
}

/* The entry of this text, or the free one where it would go. */
static struct entry *probe(const struct tr_specials *s, const char *text, size_t len)
{
	size_t i = (size_t)XXH3_64bits(text, len) & s->mask, n;

	for (;; i = (i + 1) & s->mask) {
		struct entry *e = &s->table[i];

		if (e->len == 0)
			return e;
		if (e->len == len &&
			memcmp(tr_vocab_bytes(s->vocab, (size_t)e->id, &n), text, len) == 0)
			return e;
	}
}

struct start {
	uint8_t first;
	uint32_t len;
};

static int compare_starts(const void *pa, const void *pb)
{
	const struct start *a = pa, *b = pb;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	return a->len == b->len ? 0 : a->len > b->len ? -1 : 1;
}

/* Turns the sorted starts into the lists of lengths. */
static void make_lists(struct tr_specials *s, const struct start *starts, size_t n)
{
	uint32_t k = 0;
	size_t i = 0;

	for (unsigned c = 0; c < 256; c++) {
		s->first_len[c] = k;
		for (; i < n && starts[i].first == c; i++)
			if (k == s->first_len[c] || s->lens[k - 1] != starts[i].len)
				s->lens[k++] = starts[i].len;
	}
	s->first_len[256] = k;
}

static void fill(struct tr_specials *s, struct start *starts)
{
	size_t n = 0;

	for (size_t id = 0; id < s->vocab->n; id++) {
		struct entry *e;
		const char *text;
		size_t len;

		text = tr_vocab_bytes(s->vocab, id, &len);
		if (!is_special(tr_vocab_type(s->vocab, id)) || len == 0)
			continue;
		e = probe(s, text, len);
		if (e->len > 0)
			continue;
		*e = (struct entry){ (uint32_t)len, (int32_t)id };
		starts[n++] = (struct start){ (uint8_t)text[0], (uint32_t)len };
	}
	qsort(starts, n, sizeof(*starts), compare_starts);
	make_lists(s, starts, n);
}

int tr_specials_new(struct tr_specials **specials, const struct tr_vocab *vocab, struct tr_err *err)
{
	struct tr_specials *s = tr_calloc(1, sizeof(*s));
	struct start *starts;
	size_t n = 0, n_slot = 16;

	*specials = NULL;
	for (size_t id = 0; id < vocab->n; id++)
		n += is_special(tr_vocab_type(vocab, id));
	while (n_slot < 2 * n)
		n_slot *= 2;
	starts = tr_calloc(n, sizeof(*starts));
	if (s) {
		s->vocab = vocab;
		s->mask = n_slot - 1;
		s->table = tr_calloc(n_slot, sizeof(*s->table));
		s->lens = tr_calloc(n, sizeof(*s->lens));
	}
	if (!s || !s->table || !s->lens || !starts) {
		tr_specials_free(s);
		free(starts);
		return tr_err_set(err, TR_E_NOMEM, "no memory for %zu special tokens", n);
	}
	fill(s, starts);
	free(starts);
	*specials = s;
	return 0;
}

void tr_specials_free(struct tr_specials *s)
{
	if (!s)
		return;
	free(s->table);
	free(s->lens);
	free(s);
}

size_t tr_specials_find(const struct tr_specials *s, const char *text, size_t n, bool control,
	int32_t *id, size_t *len)
{
	for (size_t at = 0; at < n; at++) {
		uint8_t c = (uint8_t)text[at];

		for (uint32_t k = s->first_len[c]; k < s->first_len[c + 1]; k++) {
			const struct entry *e;

			if (s->lens[k] > n - at)
				continue;
			e = probe(s, text + at, s->lens[k]);
			if (e->len == 0 || (!control && tr_vocab_type(s->vocab, (size_t)e->id) !=
								TR_TOKEN_USER_DEFINED))
				continue;
			*id = e->id;
			*len = e->len;
			return at;
		}
	}
	return n;
}
