/*
 * vocab.h - the tokens of a byte-level vocabulary: id to bytes, and bytes to id.
 *
 * Filled once by tr_vocab_init, tr_vocab_add for every id in order, tr_vocab_seal; immutable and
 * shared freely after that. The texts of NORMAL tokens come in the printable alphabet of byte-level
 * BPE and are kept as the bytes that they stand for; all other texts are kept as they are.
 */
#ifndef TR_MODEL_VOCAB_H
#define TR_MODEL_VOCAB_H

#include "base/err.h"

/* Values of tokenizer.ggml.token_type. */
enum tr_token_type {
	TR_TOKEN_NORMAL = 1,
	TR_TOKEN_UNKNOWN,
	TR_TOKEN_CONTROL,
	TR_TOKEN_USER_DEFINED,
	TR_TOKEN_UNUSED,
	TR_TOKEN_BYTE,
};

struct tr_vocab {
	size_t n;
	size_t max_bytes; /* of a token */
	/* private */
	uint32_t *off; /* n + 1 ends in bytes */
	char *bytes;
	uint8_t *types;
	struct tr_vocab_slot *slots; /* open addressing, mask + 1 of them */
	size_t mask;
	size_t cap;
	size_t cap_bytes;
};

/* Room for n tokens with text_bytes in all. */
int tr_vocab_init(struct tr_vocab *v, size_t n, size_t text_bytes, struct tr_err *err);
void tr_vocab_fini(struct tr_vocab *v);
void tr_vocab_add(struct tr_vocab *v, const char *text, size_t n, enum tr_token_type type);
/* Makes tr_vocab_find work. The lowest id wins where texts repeat, NORMAL before USER_DEFINED. */
void tr_vocab_seal(struct tr_vocab *v);

/* id < v->n. */
const char *tr_vocab_bytes(const struct tr_vocab *v, size_t id, size_t *n);
enum tr_token_type tr_vocab_type(const struct tr_vocab *v, size_t id);

/* The NORMAL or USER_DEFINED token of exactly these bytes, -1 when there is none. Text of a user
 * must not turn into control tokens: those are never found. */
int32_t tr_vocab_find(const struct tr_vocab *v, const char *bytes, size_t n);

/* Bytes that text in the printable alphabet stands for: 33-126, 161-172 and 174-255 are the code
 * points of the same number, the other 68 bytes are U+0100 and up in ascending order. out has room
 * for cap bytes. False when text has another character or does not fit. */
bool tr_bytemap_decode(const char *text, size_t n, char *out, size_t cap, size_t *n_out);

#endif
