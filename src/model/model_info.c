/*
 * model_info.c - what tierra.h shows of a model: metadata as text, shards, tensors.
 *
 * Text goes through a sink that counts every byte and keeps what fits, so that the length of the
 * whole is known however small the buffer is.
 */
#include "base/mem.h"
#include "model/le.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sink {
	char *buf;
	size_t cap;
	size_t n; /* bytes put so far, kept or not */
};

static void put(struct sink *s, const char *p, size_t n)
{
	if (s->n < s->cap)
		memcpy(s->buf + s->n, p, TR_MIN(n, s->cap - s->n));
	s->n += n;
}

/* Terminates; ends a cut text in "...", never inside a UTF-8 sequence. */
static void end(struct sink *s)
{
	size_t at;

	if (!s->cap)
		return;
	if (s->n < s->cap) {
		s->buf[s->n] = '\0';
		return;
	}
	at = s->cap > 4 ? s->cap - 4 : 0;
	while (at && ((unsigned char)s->buf[at] & 0xc0) == 0x80)
		at--;
	snprintf(s->buf + at, s->cap - at, "...");
}

/* As few digits as give the same number back. */
static int float_text(char *text, size_t cap, double v, bool single)
{
	int last = single ? 9 : 17, n = 0;

	for (int digits = 6; digits <= last; digits++) {
		n = snprintf(text, cap, "%.*g", digits, v);
		if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
			break;
	}
	return n;
}

static void put_number(struct sink *s, const struct tr_gguf_kv *kv, uint64_t i)
{
	char text[40];
	double f = 0;
	int64_t v;
	int n;

	if (kv->elem_type == TR_GGUF_F32 || kv->elem_type == TR_GGUF_F64) {
		tr_gguf_float(kv, i, &f);
		n = float_text(text, sizeof(text), f, kv->elem_type == TR_GGUF_F32);
	} else if (tr_gguf_int(kv, i, &v)) {
		n = snprintf(text, sizeof(text), "%" PRIu64, tr_le64(kv->data + 8 * i));
	} else if (kv->elem_type == TR_GGUF_BOOL) {
		n = snprintf(text, sizeof(text), "%s", v ? "true" : "false");
	} else {
		n = snprintf(text, sizeof(text), "%" PRId64, v);
	}
	put(s, text, (size_t)n);
}

static void put_values(struct sink *s, const struct tr_gguf_kv *kv)
{
	const uint8_t *cursor = kv->data;
	struct tr_str str;

	for (uint64_t i = 0; i < kv->n; i++) {
		if (i)
			put(s, ", ", 2);
		if (kv->elem_type == TR_GGUF_STR) {
			str = tr_gguf_next_str(&cursor);
			put(s, str.p, str.n);
		} else {
			put_number(s, kv, i);
		}
	}
}

size_t tr_model_n_kv(const struct tr_model *m)
{
	return m->shards[0].gguf->n_kv;
}

const char *tr_model_kv_key(const struct tr_model *m, size_t i)
{
	return m->shards[0].gguf->kv[i].key;
}

const char *tr_model_kv_type(const struct tr_model *m, size_t i)
{
	return tr_gguf_type_name(m->shards[0].gguf->kv[i].type);
}

size_t tr_model_kv_text(const struct tr_model *m, size_t i, char *buf, size_t cap)
{
	const struct tr_gguf_kv *kv = &m->shards[0].gguf->kv[i];
	struct sink s = { buf, cap, 0 };
	char head[48];
	int n;

	if (kv->type == TR_GGUF_ARR) {
		n = snprintf(head, sizeof(head), "[%s x %" PRIu64 "]%s",
			tr_gguf_type_name(kv->elem_type), kv->n, kv->n ? " " : "");
		put(&s, head, (size_t)n);
	}
	put_values(&s, kv);
	end(&s);
	return s.n;
}

size_t tr_model_n_shard(const struct tr_model *m)
{
	return m->n_shard;
}

void tr_model_shard_info(const struct tr_model *m, size_t i, struct tr_shard_info *out)
{
	const struct tr_shard *shard = &m->shards[i];

	*out = (struct tr_shard_info){
		.path = shard->path,
		.file_bytes = shard->file_bytes,
		.data_off = shard->gguf->data_off,
		.n_tensor = shard->gguf->n_tensor,
	};
}

size_t tr_model_n_tensor(const struct tr_model *m)
{
	return m->n_tensor;
}

void tr_model_tensor_info(const struct tr_model *m, size_t i, struct tr_tensor_info *out)
{
	const struct tr_tensor *t = &m->tensors[i];

	*out = (struct tr_tensor_info){
		.name = t->name,
		.type = t->quant->name,
		.n_dim = t->n_dim,
		.shard = t->shard,
		.file_off = t->file_off,
		.bytes = t->bytes,
	};
	memcpy(out->ne, t->ne, sizeof(out->ne));
}
