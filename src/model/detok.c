/*
 * detok.c - tokens to text, a token at a time.
 *
 * A character may be spread over tokens: at most three bytes wait for the rest of their sequence.
 * What can never be UTF-8 becomes U+FFFD, one for each bad sequence of tr_utf8_next. Buffers are
 * sized at the start from the longest token, so that pushing cannot fail.
 */
#include "base/mem.h"
#include "model/tokenizer.h"
#include "model/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_HELD 3

struct tr_detok {
	const struct tr_tokenizer *tok;
	bool render_control;
	size_t n_held;
	char *in;  /* bytes held back, then those of the token */
	char *out; /* three times as long: a bad byte makes three */
};

static const char replacement[3] = { '\xEF', '\xBF', '\xBD' };

int tr_detok_new(struct tr_detok **out, const struct tr_tokenizer *tok, bool render_control,
	struct tr_err *err)
{
	size_t cap = tr_tokenizer_max_bytes(tok) + MAX_HELD;
	struct tr_detok *d = tr_calloc(1, sizeof(*d));

	*out = NULL;
	if (d) {
		d->tok = tok;
		d->render_control = render_control;
		d->in = malloc(cap);
		d->out = malloc(sizeof(replacement) * cap);
	}
	if (!d || !d->in || !d->out) {
		tr_detok_free(d);
		return tr_err_set(err, TR_E_NOMEM, "no memory to turn tokens into text");
	}
	*out = d;
	return 0;
}

void tr_detok_free(struct tr_detok *d)
{
	if (!d)
		return;
	free(d->in);
	free(d->out);
	free(d);
}

/* Moves the n bytes of d->in to d->out; an incomplete end is held back, unless this is the last. */
static size_t drain(struct tr_detok *d, size_t n, bool last)
{
	size_t len, k = 0;

	d->n_held = 0;
	for (size_t i = 0; i < n; i += len) {
		enum tr_utf8_kind kind = tr_utf8_next(d->in + i, n - i, &len);

		if (kind == TR_UTF8_CHAR) {
			memcpy(d->out + k, d->in + i, len);
			k += len;
		} else if (kind == TR_UTF8_INCOMPLETE && !last) {
			memmove(d->in, d->in + i, len);
			d->n_held = len;
		} else {
			memcpy(d->out + k, replacement, sizeof(replacement));
			k += sizeof(replacement);
		}
	}
	return k;
}

size_t tr_detok_push(struct tr_detok *d, int32_t id, const char **text)
{
	const char *bytes;
	size_t n = tr_token_bytes(d->tok, id, d->render_control, &bytes);

	memcpy(d->in + d->n_held, bytes, n);
	*text = d->out;
	return drain(d, d->n_held + n, false);
}

size_t tr_detok_flush(struct tr_detok *d, const char **text)
{
	*text = d->out;
	return drain(d, d->n_held, true);
}
