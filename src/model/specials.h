/* specials.h - finds the texts of special tokens in text. */
#ifndef TR_MODEL_SPECIALS_H
#define TR_MODEL_SPECIALS_H

#include "model/vocab.h"

struct tr_specials;

/* CONTROL, UNKNOWN and USER_DEFINED tokens of vocab, which outlives the result. */
int tr_specials_new(
	struct tr_specials **specials, const struct tr_vocab *vocab, struct tr_err *err);
void tr_specials_free(struct tr_specials *specials);

/* The first special token in text[0, n), the longest where several begin at the same place. Without
 * control only USER_DEFINED ones are looked for. Returns where it begins and sets *id, *len; n when
 * there is none. */
size_t tr_specials_find(const struct tr_specials *specials, const char *text, size_t n,
	bool control, int32_t *id, size_t *len);

#endif
