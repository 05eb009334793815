/*
 * model.h - a model: all shards, one tensor directory, typed access to metadata.
 *
 * Immutable after tr_model_open (declared in tierra.h) and shared freely between threads.
 */
#ifndef TR_MODEL_MODEL_H
#define TR_MODEL_MODEL_H

#include "model/gguf.h"
#include "model/quant.h"

struct tr_tensor {
	const char *name;
	const struct tr_quant *quant;
	uint32_t n_dim;
	uint64_t ne[TR_GGUF_MAX_DIM]; /* ne[0] contiguous; unused dimensions are 1 */
	uint32_t shard;
	uint64_t file_off; /* absolute, in that shard */
	uint64_t row_bytes;
	uint64_t bytes;
};

struct tr_shard {
	char *path;
	uint64_t file_bytes;
	struct tr_gguf *gguf;
};

struct tr_model {
	char *arch; /* general.architecture */
	size_t n_shard;
	struct tr_shard *shards; /* metadata lives in shards[0] */
	size_t n_tensor;
	struct tr_tensor *tensors; /* sorted by name */
	tr_gguf_open_fn *open;	   /* how shards are opened */
};

/* A model of one file that is already parsed; gguf is taken over, also on failure. For headers in
 * memory: tests and the fuzzer. */
int tr_model_from_gguf(struct tr_model **model, struct tr_gguf *gguf, struct tr_err *err);

/* NULL when there is none of this name. fmt makes the name: tr_model_find(m, "blk.%u.attn_q", 3). */
const struct tr_tensor *tr_model_find(const struct tr_model *m, const char *fmt, ...)
	TR_PRINTF(2, 3);

/*
 * Metadata. A key that starts with '.' is looked up under the architecture's name. Found: 0 and
 * *out. Absent: TR_E_NOENT with *out and err untouched, so that the caller's default stays. Wrong
 * type or out of range: another code, err names key, value and limit.
 */
int tr_model_u32(const struct tr_model *m, const char *key, uint32_t lo, uint32_t hi,
	uint32_t *out, struct tr_err *err);
int tr_model_f32(const struct tr_model *m, const char *key, float *out, struct tr_err *err);
int tr_model_bool(const struct tr_model *m, const char *key, bool *out, struct tr_err *err);
int tr_model_str(const struct tr_model *m, const char *key, struct tr_str *out,
	struct tr_err *err);
/* Scalar, or element i of an array that must have n elements. */
int tr_model_u32_at(const struct tr_model *m, const char *key, size_t i, size_t n, uint32_t lo,
	uint32_t hi, uint32_t *out, struct tr_err *err);

/* 128-bit XXH3 over metadata and tensor directory of all shards, as 32 hex digits: which model a
 * store belongs to. */
#define TR_FINGERPRINT_BYTES 33
void tr_model_fingerprint(const struct tr_model *m, char out[TR_FINGERPRINT_BYTES]);

#endif
