#include "model/vocab.h"

#include "base/mem.h"
#include "model/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct tr_vocab_slot {
	uint32_t id_plus_1; /* 0: free */
	uint32_t tag;	    /* upper half of the hash, so that most misses touch no text */
};

/* A printable byte stands for itself. */
static bool is_plain(uint32_t code)
{
	return (code >= 33 && code <= 126) || (code >= 161 && code <= 172) ||
	       (code >= 174 && code <= 255);
}

/* The byte that a code point of the alphabet stands for, -1 for others. */
static int byte_of(uint32_t code)
{
	if (is_plain(code))
		return (int)code;
	if (code >= 0x100 && code < 0x121)
		return (int)(code - 0x100); /* 0 to 32 */
	if (code >= 0x121 && code < 0x143)
		return (int)(code - 0x121) + 127; /* 127 to 160 */
	return code == 0x143 ? 173 : -1;
}

bool tr_bytemap_decode(const char *text, size_t n, char *out, size_t cap, size_t *n_out)
{
	size_t len, k = 0;

	for (size_t i = 0; i < n; i += len) {
		int byte;

		if (k == cap || tr_utf8_next(text + i, n - i, &len) != TR_UTF8_CHAR)
			return false;
		byte = byte_of(tr_utf8_code(text + i, len));
		if (byte < 0)
			return false;
		out[k++] = (char)byte;
	}
	*n_out = k;
	return true;
}

int tr_vocab_init(struct tr_vocab *v, size_t n, size_t text_bytes, struct tr_err *err)
{
	size_t n_slot = 16;

	memset(v, 0, sizeof(*v));
	if (n > INT32_MAX || text_bytes > UINT32_MAX)
		return tr_err_set(err, TR_E_LIMIT,
			"vocabulary of %zu tokens with %zu bytes: the limits are %d and %u", n,
			text_bytes, INT32_MAX, UINT32_MAX);
	while (n_slot < 2 * n)
		n_slot *= 2;
	v->cap = n;
	v->cap_bytes = text_bytes;
	v->mask = n_slot - 1;
	v->off = tr_calloc(n + 1, sizeof(*v->off));
	v->bytes = malloc(text_bytes + 1);
	v->types = tr_calloc(n, sizeof(*v->types));
	v->slots = tr_calloc(n_slot, sizeof(*v->slots));
	if (!v->off || !v->bytes || !v->types || !v->slots) {
		tr_vocab_fini(v);
		return tr_err_set(err, TR_E_NOMEM, "no memory for a vocabulary of %zu tokens", n);
	}
	return 0;
}

void tr_vocab_fini(struct tr_vocab *v)
{
	free(v->off);
	free(v->bytes);
	free(v->types);
	free(v->slots);
	memset(v, 0, sizeof(*v));
}

/* A NORMAL text outside of the alphabet stands for its own bytes. */
void tr_vocab_add(struct tr_vocab *v, const char *text, size_t n, enum tr_token_type type)
{
	size_t begin = v->off[v->n], len = n;

	tr_assert(v->n < v->cap && n <= v->cap_bytes - begin);
	if (type != TR_TOKEN_NORMAL || !tr_bytemap_decode(text, n, v->bytes + begin, n, &len)) {
		len = n;
		memcpy(v->bytes + begin, text, n);
	}
	v->types[v->n++] = (uint8_t)type;
	v->off[v->n] = (uint32_t)(begin + len);
	v->max_bytes = TR_MAX(v->max_bytes, len);
}

const char *tr_vocab_bytes(const struct tr_vocab *v, size_t id, size_t *n)
{
	*n = v->off[id + 1] - v->off[id];
	return v->bytes + v->off[id];
}

enum tr_token_type tr_vocab_type(const struct tr_vocab *v, size_t id)
{
	return v->types[id];
}

/* The slot that holds these bytes, or the free one where they would go. */
static struct tr_vocab_slot *probe(
	const struct tr_vocab *v, const char *bytes, size_t n, uint32_t *tag)
{
	uint64_t hash = XXH3_64bits(bytes, n);
	size_t i = hash & v->mask;

	*tag = (uint32_t)(hash >> 32);
	for (;; i = (i + 1) & v->mask) {
		struct tr_vocab_slot *s = &v->slots[i];
		const char *have;
		size_t n_have;

		if (s->id_plus_1 == 0)
			return s;
		if (s->tag != *tag)
			continue;
		have = tr_vocab_bytes(v, s->id_plus_1 - 1, &n_have);
		if (n_have == n && memcmp(have, bytes, n) == 0)
			return s;
	}
}

static void index_type(struct tr_vocab *v, enum tr_token_type type)
{
	for (size_t id = 0; id < v->n; id++) {
		struct tr_vocab_slot *s;
		const char *bytes;
		uint32_t tag;
		size_t n;

		bytes = tr_vocab_bytes(v, id, &n);
		if (v->types[id] != type || n == 0)
			continue;
		s = probe(v, bytes, n, &tag);
		if (s->id_plus_1 == 0)
			*s = (struct tr_vocab_slot){ (uint32_t)id + 1, tag };
	}
}

void tr_vocab_seal(struct tr_vocab *v)
{
	index_type(v, TR_TOKEN_NORMAL);
	index_type(v, TR_TOKEN_USER_DEFINED);
}

int32_t tr_vocab_find(const struct tr_vocab *v, const char *bytes, size_t n)
{
	uint32_t tag;

	if (n == 0 || n > v->max_bytes)
		return -1;
	return (int32_t)probe(v, bytes, n, &tag)->id_plus_1 - 1;
}
