/* gguf_text.h - GGUF headers made in memory, for tests that need only metadata. */
#ifndef TR_TESTS_GGUF_TEXT_H
#define TR_TESTS_GGUF_TEXT_H

#include "model/model.h"

#include <stdlib.h>
#include <string.h>

struct gguf_text {
	char *buf;
	size_t n;
	uint64_t n_kv;
};

static inline void gt_bytes(struct gguf_text *g, const void *p, size_t n)
{
	char *grown = realloc(g->buf, g->n + n + 1);

	if (!grown)
		abort();
	g->buf = grown;
	if (n)
		memcpy(g->buf + g->n, p, n);
	g->n += n;
}

static inline void gt_u32(struct gguf_text *g, uint32_t v)
{
	gt_bytes(g, &v, sizeof(v));
}

static inline void gt_u64(struct gguf_text *g, uint64_t v)
{
	gt_bytes(g, &v, sizeof(v));
}

static inline void gt_str(struct gguf_text *g, const char *s, size_t n)
{
	gt_u64(g, n);
	gt_bytes(g, s, n);
}

static inline void gt_key(struct gguf_text *g, const char *key, enum tr_gguf_type type)
{
	gt_str(g, key, strlen(key));
	gt_u32(g, type);
	g->n_kv++;
}

static inline void gt_key_str(struct gguf_text *g, const char *key, const char *value)
{
	gt_key(g, key, TR_GGUF_STR);
	gt_str(g, value, strlen(value));
}

static inline void gt_key_u32(struct gguf_text *g, const char *key, uint32_t value)
{
	gt_key(g, key, TR_GGUF_U32);
	gt_u32(g, value);
}

static inline void gt_key_bool(struct gguf_text *g, const char *key, bool value)
{
	gt_key(g, key, TR_GGUF_BOOL);
	gt_bytes(g, &(char){ value }, 1);
}

/* n elements must follow. */
static inline void gt_key_array(
	struct gguf_text *g, const char *key, enum tr_gguf_type elem, uint64_t n)
{
	gt_key(g, key, TR_GGUF_ARR);
	gt_u32(g, elem);
	gt_u64(g, n);
}

static inline void gt_begin(struct gguf_text *g)
{
	memset(g, 0, sizeof(*g));
	gt_bytes(g, "GGUF", 4);
	gt_u32(g, 3);
	gt_u64(g, 0);
	gt_u64(g, 0);
	gt_key_str(g, "general.architecture", "deepseek2");
}

/* The header stays in g->buf until the caller frees it after the model. */
static inline int gt_open(struct gguf_text *g, struct tr_model **model, struct tr_err *err)
{
	struct tr_gguf *gguf;
	size_t n = (g->n + 31) / 32 * 32;
	int rc;

	gt_bytes(g, (char[32]){ 0 }, n - g->n);
	memcpy(g->buf + 16, &g->n_kv, sizeof(g->n_kv));
	rc = tr_gguf_parse(&gguf, g->buf, g->n, g->n, err);
	return rc ? rc : tr_model_from_gguf(model, gguf, err);
}

/* Text of a byte in the alphabet of byte-level BPE; returns its length, 1 or 2. */
static inline size_t gt_byte_text(unsigned byte, char out[2])
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
		return 1;
	}
	out[0] = (char)(0xC0 | code >> 6);
	out[1] = (char)(0x80 | (code & 0x3F));
	return 2;
}

#endif
