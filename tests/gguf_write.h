/*
 * gguf_write.h - GGUF files for tests: keys and tensor infos streamed into a growable buffer.
 *
 *	struct gw w;
 *	gw_begin(&w, 3);
 *	gw_kv_str(&w, "general.architecture", "deepseek2");
 *	gw_tensor(&w, "output.weight", TR_QUANT_F32, 64, 32);
 *	gw_end(&w);			// w.p, w.n: the header; w.n + w.data_bytes: the file
 *	gw_save(&w, path);		// sparse: the data is a hole
 *	gw_free(&w);
 *
 * Keys come before tensors. Nothing is checked, so that broken files can be written: raw fields
 * go in with gw_raw to gw_u64, and gw_counts sets the counts. Out of memory aborts.
 */
#ifndef TR_TESTS_GGUF_WRITE_H
#define TR_TESTS_GGUF_WRITE_H

#include "model/gguf.h"

struct gw {
	uint8_t *p;
	size_t n;
	size_t cap;
	uint64_t alignment; /* set it together with the key general.alignment */
	uint64_t n_kv;
	uint64_t n_tensor;
	uint64_t data_bytes; /* end of the last tensor, from the start of the data section */
};

void gw_begin(struct gw *w, uint32_t version);
void gw_free(struct gw *w);

void gw_raw(struct gw *w, const void *p, size_t n);
void gw_u8(struct gw *w, uint8_t v);
void gw_u32(struct gw *w, uint32_t v);
void gw_u64(struct gw *w, uint64_t v);
void gw_str(struct gw *w, const char *s);
void gw_fill(struct gw *w, int byte, size_t n);

/* Key and type; the value comes next as raw fields. */
void gw_key(struct gw *w, const char *key, uint32_t type);
/* An integer or bool of any type. */
void gw_kv_int(struct gw *w, const char *key, enum tr_gguf_type type, int64_t v);
void gw_kv_u32(struct gw *w, const char *key, uint32_t v);
void gw_kv_f32(struct gw *w, const char *key, float v);
void gw_kv_f64(struct gw *w, const char *key, double v);
void gw_kv_str(struct gw *w, const char *key, const char *v);
/* Key, array type, element type and count; the elements come next. */
void gw_kv_arr(struct gw *w, const char *key, uint32_t elem_type, uint64_t n);
/* One integer element, in as many bytes as its type has. */
void gw_int(struct gw *w, enum tr_gguf_type type, int64_t v);

/* Dimensions follow the type. Placed behind the tensor before it, aligned. */
#define gw_tensor(w, name, type, ...)                                                              \
	gw_tensor_dims(w, name, type, sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8,               \
		(const uint64_t[]){ __VA_ARGS__ })
void gw_tensor_dims(struct gw *w, const char *name, uint32_t type, size_t n_dim,
	const uint64_t *ne);
/* The same with every field as given. */
void gw_tensor_at(struct gw *w, const char *name, uint32_t type, uint32_t n_dim,
	const uint64_t *ne, uint64_t off);

void gw_counts(struct gw *w, uint64_t n_tensor, uint64_t n_kv);
/* Writes the counts and pads to the data section. */
void gw_end(struct gw *w);
/* gw_end, and the data as zeros in the buffer. */
void gw_end_with_data(struct gw *w);
/* False with errno set. The data section is a hole of data_bytes. */
bool gw_save(const struct gw *w, const char *path);

#endif
