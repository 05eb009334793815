/* vocab_write.h - vocabularies made in memory, for tests of the tokenizer. */
#ifndef TR_TESTS_VOCAB_WRITE_H
#define TR_TESTS_VOCAB_WRITE_H

#include "gguf_write.h"
#include "model/tokenizer.h"

#include <stdlib.h>

/* Text of a byte in the alphabet of byte-level BPE, terminated; returns its length, 1 or 2. */
static inline size_t vw_byte(unsigned byte, char out[3])
{
	unsigned code = byte;

	if (byte <= 32)
		code = 0x100 + byte;
	else if (byte >= 127 && byte <= 160)
		code = 0x121 + byte - 127;
	else if (byte == 173)
		code = 0x143;
	if (code < 0x80) {
		out[0] = (char)code;
		out[1] = 0;
		return 1;
	}
	out[0] = (char)(0xC0 | code >> 6);
	out[1] = (char)(0x80 | (code & 0x3F));
	out[2] = 0;
	return 2;
}

struct vw_token {
	const char *text;
	uint32_t type;
};

static inline void vw_begin(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "deepseek2");
}

/* All bytes as ids 0 to 255, then n tokens. More keys may follow. */
static inline void vw_vocab(struct gw *w, const char *pre, const struct vw_token *tokens, size_t n)
{
	vw_begin(w);
	gw_kv_str(w, "tokenizer.ggml.model", "gpt2");
	gw_kv_str(w, "tokenizer.ggml.pre", pre);
	gw_kv_arr(w, "tokenizer.ggml.tokens", TR_GGUF_STR, 256 + n);
	for (unsigned i = 0; i < 256; i++) {
		char text[3];

		vw_byte(i, text);
		gw_str(w, text);
	}
	for (size_t i = 0; i < n; i++)
		gw_str(w, tokens[i].text);
	gw_kv_arr(w, "tokenizer.ggml.token_type", TR_GGUF_I32, 256 + n);
	for (size_t i = 0; i < 256 + n; i++)
		gw_u32(w, i < 256 ? 1 : tokens[i - 256].type);
}

struct vw_made {
	struct gw w;
	struct tr_model *model;
	struct tr_tokenizer *tok;
};

/* Opens what was written to m->w. */
static inline int vw_open(struct vw_made *m, struct tr_err *err)
{
	struct tr_gguf *gguf;
	int rc;

	m->model = NULL;
	m->tok = NULL;
	gw_end(&m->w);
	rc = tr_gguf_parse(&gguf, m->w.p, m->w.n, m->w.n, err);
	if (!rc)
		rc = tr_model_from_gguf(&m->model, gguf, err);
	return rc ? rc : tr_tokenizer_new(&m->tok, m->model, err);
}

static inline void vw_free(struct vw_made *m)
{
	tr_tokenizer_free(m->tok);
	tr_model_close(m->model);
	gw_free(&m->w);
}

#endif
