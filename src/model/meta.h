/* meta.h - the one integer accessor under all typed metadata. */
#ifndef TR_MODEL_META_H
#define TR_MODEL_META_H

#include "model/gguf.h"

/* Any integer type whatever its width, in [lo, hi]. n = 0: key must be a scalar; else a scalar that
 * stands for all n elements, or an array of n elements of which the i-th is taken. Return values
 * as for tr_model_u32. */
int tr_meta_int(const struct tr_gguf *gguf, const char *key, uint64_t i, uint64_t n, int64_t lo,
	int64_t hi, int64_t *out, struct tr_err *err);

#endif
