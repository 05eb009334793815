#include "gguf_write.h"

#include "base/mem.h"
#include "model/le.h"
#include "model/quant.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void gw_raw(struct gw *w, const void *p, size_t n)
{
	if (!n)
		return;
	if (w->n + n > w->cap) {
		w->cap = TR_MAX(2 * w->cap, w->n + n + 4096);
		w->p = realloc(w->p, w->cap);
		if (!w->p)
			abort();
	}
	memcpy(w->p + w->n, p, n);
	w->n += n;
}

void gw_fill(struct gw *w, int byte, size_t n)
{
	uint8_t chunk[256];

	memset(chunk, byte, sizeof(chunk));
	for (; n > sizeof(chunk); n -= sizeof(chunk))
		gw_raw(w, chunk, sizeof(chunk));
	gw_raw(w, chunk, n);
}

void gw_u8(struct gw *w, uint8_t v)
{
	gw_raw(w, &v, 1);
}

void gw_u64(struct gw *w, uint64_t v)
{
	uint8_t b[8];

	tr_put_le64(b, v);
	gw_raw(w, b, 8);
}

void gw_u32(struct gw *w, uint32_t v)
{
	uint8_t b[8];

	tr_put_le64(b, v);
	gw_raw(w, b, 4);
}

void gw_str(struct gw *w, const char *s)
{
	gw_u64(w, strlen(s));
	gw_raw(w, s, strlen(s));
}

void gw_begin(struct gw *w, uint32_t version)
{
	*w = (struct gw){ .alignment = 32 };
	gw_raw(w, "GGUF", 4);
	gw_u32(w, version);
	gw_u64(w, 0);
	gw_u64(w, 0);
}

void gw_free(struct gw *w)
{
	free(w->p);
	*w = (struct gw){ 0 };
}

void gw_key(struct gw *w, const char *key, uint32_t type)
{
	gw_str(w, key);
	gw_u32(w, type);
	w->n_kv++;
}

void gw_int(struct gw *w, enum tr_gguf_type type, int64_t v)
{
	static const uint8_t bytes[TR_GGUF_N_TYPE] = {
		[TR_GGUF_U8] = 1, [TR_GGUF_I8] = 1, [TR_GGUF_BOOL] = 1, [TR_GGUF_U16] = 2,
		[TR_GGUF_I16] = 2, [TR_GGUF_U32] = 4, [TR_GGUF_I32] = 4, [TR_GGUF_U64] = 8,
		[TR_GGUF_I64] = 8,
	};
	uint8_t b[8];

	tr_put_le64(b, (uint64_t)v);
	gw_raw(w, b, bytes[type]);
}

void gw_kv_int(struct gw *w, const char *key, enum tr_gguf_type type, int64_t v)
{
	gw_key(w, key, type);
	gw_int(w, type, v);
}

void gw_kv_u32(struct gw *w, const char *key, uint32_t v)
{
	gw_kv_int(w, key, TR_GGUF_U32, v);
}

void gw_kv_f32(struct gw *w, const char *key, float v)
{
	uint32_t bits;

	memcpy(&bits, &v, sizeof(bits));
	gw_key(w, key, TR_GGUF_F32);
	gw_u32(w, bits);
}

void gw_kv_f64(struct gw *w, const char *key, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	gw_key(w, key, TR_GGUF_F64);
	gw_u64(w, bits);
}

void gw_kv_str(struct gw *w, const char *key, const char *v)
{
	gw_key(w, key, TR_GGUF_STR);
	gw_str(w, v);
}

void gw_kv_arr(struct gw *w, const char *key, uint32_t elem_type, uint64_t n)
{
	gw_key(w, key, TR_GGUF_ARR);
	gw_u32(w, elem_type);
	gw_u64(w, n);
}

void gw_tensor_at(struct gw *w, const char *name, uint32_t type, uint32_t n_dim,
	const uint64_t *ne, uint64_t off)
{
	gw_str(w, name);
	gw_u32(w, n_dim);
	for (uint32_t i = 0; i < n_dim; i++)
		gw_u64(w, ne[i]);
	gw_u32(w, type);
	gw_u64(w, off);
	w->n_tensor++;
}

void gw_tensor_dims(struct gw *w, const char *name, uint32_t type, size_t n_dim,
	const uint64_t *ne)
{
	const struct tr_quant *q = tr_quant_by_id(type);
	uint64_t off = TR_ALIGN_UP(w->data_bytes, w->alignment), n = 1;

	for (size_t i = 0; i < n_dim; i++)
		n *= ne[i];
	gw_tensor_at(w, name, type, (uint32_t)n_dim, ne, off);
	w->data_bytes = off + n / q->block_values * q->block_bytes;
}

void gw_counts(struct gw *w, uint64_t n_tensor, uint64_t n_kv)
{
	tr_put_le64(w->p + 8, n_tensor);
	tr_put_le64(w->p + 16, n_kv);
}

void gw_end(struct gw *w)
{
	gw_counts(w, w->n_tensor, w->n_kv);
	gw_fill(w, 0, TR_ALIGN_UP(w->n, w->alignment) - w->n);
}

void gw_end_with_data(struct gw *w)
{
	gw_end(w);
	gw_fill(w, 0, w->data_bytes);
	w->data_bytes = 0;
}

bool gw_save(const struct gw *w, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool ok = fd >= 0;

	for (size_t at = 0; ok && at < w->n;) {
		ssize_t n = write(fd, w->p + at, w->n - at);

		ok = n > 0;
		at += ok ? (size_t)n : 0;
	}
	if (ok)
		ok = !ftruncate(fd, (off_t)(w->n + w->data_bytes));
	if (fd >= 0)
		ok = !close(fd) && ok;
	return ok;
}
