/*
 * gguf.h - one GGUF file, parsed from a bounded cursor.
 *
 * Parsing touches only the header; strings and arrays stay where they lie in the mapped header and
 * are given out as (pointer, length). Nothing here knows models: tensor types are numbers that
 * src/model/quant.h explains.
 */
#ifndef TR_MODEL_GGUF_H
#define TR_MODEL_GGUF_H

#include "base/err.h"

enum tr_gguf_type {
	TR_GGUF_U8 = 0,
	TR_GGUF_I8,
	TR_GGUF_U16,
	TR_GGUF_I16,
	TR_GGUF_U32,
	TR_GGUF_I32,
	TR_GGUF_F32,
	TR_GGUF_BOOL,
	TR_GGUF_STR,
	TR_GGUF_ARR,
	TR_GGUF_U64,
	TR_GGUF_I64,
	TR_GGUF_F64,
	TR_GGUF_N_TYPE,
};

/* Bytes in the header, not terminated, possibly not UTF-8. */
struct tr_str {
	const char *p;
	size_t n;
};

struct tr_gguf_kv {
	char *key; /* terminated copy */
	enum tr_gguf_type type;
	enum tr_gguf_type elem_type; /* of an array, else = type */
	uint64_t n;		     /* elements of an array, else 1 */
	const uint8_t *data;	     /* first element, packed, unaligned, little-endian */
};

#define TR_GGUF_NAME_BYTES 64
#define TR_GGUF_MAX_DIM 4

struct tr_gguf_tensor {
	char name[TR_GGUF_NAME_BYTES];
	uint32_t n_dim;
	uint64_t ne[TR_GGUF_MAX_DIM]; /* unused dimensions are 1 */
	uint32_t type;		      /* a type that tr_quant_by_id knows */
	uint64_t row_bytes;
	uint64_t bytes;
	uint64_t file_off; /* absolute */
};

struct tr_gguf {
	uint32_t version;
	uint64_t alignment;
	uint64_t data_off;
	uint64_t file_bytes;
	size_t n_kv;
	struct tr_gguf_kv *kv;
	size_t n_tensor;
	struct tr_gguf_tensor *tensors;
	/* private */
	void *map;
	size_t map_bytes;
	bool owns_map;
};

typedef int tr_gguf_open_fn(struct tr_gguf **gguf, const char *path, struct tr_err *err);

/* Maps the header of path. The mapping is kept for strings and arrays until close. */
int tr_gguf_open(struct tr_gguf **gguf, const char *path, struct tr_err *err);
/* The same of a file that may end anywhere after its header. */
int tr_gguf_open_header(struct tr_gguf **gguf, const char *path, struct tr_err *err);

/* Parses a header in memory that the caller keeps alive; file_bytes is the size that the file is
 * said to have (>= len). For tests and the fuzzer. */
int tr_gguf_parse(struct tr_gguf **gguf, const void *buf, size_t len, uint64_t file_bytes,
	struct tr_err *err);
void tr_gguf_close(struct tr_gguf *gguf);

const struct tr_gguf_kv *tr_gguf_find(const struct tr_gguf *gguf, const char *key);
const char *tr_gguf_type_name(enum tr_gguf_type type);

/* Element i of a scalar or array. The integer form takes any integer or bool type and fails when
 * the value does not fit int64; the float form takes F32, F64. Returns 0 or TR_E_INVALID. */
int tr_gguf_int(const struct tr_gguf_kv *kv, uint64_t i, int64_t *out);
int tr_gguf_float(const struct tr_gguf_kv *kv, uint64_t i, double *out);

/* Strings of an array are of varying length: walk them with a cursor that starts at kv->data. */
struct tr_str tr_gguf_next_str(const uint8_t **cursor);

#endif
