/* pretok.h - cuts text into the pieces that byte-pair merging never joins. */
#ifndef TR_MODEL_PRETOK_H
#define TR_MODEL_PRETOK_H

#include "base/err.h"

struct tr_pretok;

/* name is the value of tokenizer.ggml.pre, of n bytes; an unknown one is refused with the list. */
int tr_pretok_new(struct tr_pretok **pretok, const char *name, size_t n, struct tr_err *err);
void tr_pretok_free(struct tr_pretok *pretok);

/* The vocabulary was made for tiktoken: a piece that is a token is that token, and ids are ranks.
 */
bool tr_pretok_is_tiktoken(const struct tr_pretok *pretok);

/* A nonzero return ends the walk. */
typedef int tr_pretok_fn(void *ctx, const char *piece, size_t n, struct tr_err *err);

/* Calls each for all pieces in order; together they are the text, byte for byte. A run of bytes
 * that are not UTF-8 is a piece of its own. */
int tr_pretok_split(const struct tr_pretok *pretok, const char *text, size_t n, tr_pretok_fn *each,
	void *ctx, struct tr_err *err);

#endif
