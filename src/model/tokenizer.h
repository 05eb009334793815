/* tokenizer.h - what the rest of the library needs beyond the calls in tierra.h. */
#ifndef TR_MODEL_TOKENIZER_H
#define TR_MODEL_TOKENIZER_H

#include "model/model.h"

/* -1 when the model has none. */
int32_t tr_tokenizer_bos(const struct tr_tokenizer *tok);
int32_t tr_tokenizer_eos(const struct tr_tokenizer *tok);

/* Length of the longest text of a token. */
size_t tr_tokenizer_max_bytes(const struct tr_tokenizer *tok);

#endif
