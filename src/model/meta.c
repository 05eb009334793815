/* meta.c - typed, range-checked access to a model's metadata. */
#include "model/meta.h"
#include "model/model.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES 256

static int wrong_type(const struct tr_gguf_kv *kv, const char *wanted, struct tr_err *err)
{
	if (kv->type == TR_GGUF_ARR)
		return tr_err_set(err, TR_E_FORMAT,
			"key '%s': is an array of %" PRIu64 " %s, must be %s", kv->key, kv->n,
			tr_gguf_type_name(kv->elem_type), wanted);
	return tr_err_set(err, TR_E_FORMAT, "key '%s': is of type %s, must be %s", kv->key,
		tr_gguf_type_name(kv->type), wanted);
}

static bool is_int(enum tr_gguf_type type)
{
	switch (type) {
	case TR_GGUF_F32:
	case TR_GGUF_F64:
	case TR_GGUF_BOOL:
	case TR_GGUF_STR:
	case TR_GGUF_ARR:
		return false;
	default:
		return true;
	}
}

int tr_meta_int(const struct tr_gguf *gguf, const char *key, uint64_t i, uint64_t n, int64_t lo,
	int64_t hi, int64_t *out, struct tr_err *err)
{
	const struct tr_gguf_kv *kv = tr_gguf_find(gguf, key);
	int64_t v;

	if (!kv)
		return TR_E_NOENT;
	if (!is_int(kv->elem_type) || (kv->type == TR_GGUF_ARR && !n))
		return wrong_type(kv, n ? "integers" : "an integer", err);
	if (kv->type != TR_GGUF_ARR)
		i = 0;
	else if (kv->n != n)
		return tr_err_set(err, TR_E_FORMAT,
			"key '%s': array has %" PRIu64 " elements, must have %" PRIu64, kv->key,
			kv->n, n);
	/* The only integer that does not fit is a u64 above INT64_MAX. */
	if (tr_gguf_int(kv, i, &v))
		return tr_err_set(err, TR_E_LIMIT,
			"key '%s': value is above %" PRId64 ", limit %" PRId64, kv->key, INT64_MAX,
			hi);
	if (v < lo || v > hi)
		return tr_err_set(err, TR_E_LIMIT,
			"key '%s': value %" PRId64 " is not in [%" PRId64 ", %" PRId64 "]", kv->key,
			v, lo, hi);
	*out = v;
	return 0;
}

/* ".key" under the architecture's name, into buf. */
static const char *full_key(const struct tr_model *m, const char *key, char *buf)
{
	if (*key != '.')
		return key;
	snprintf(buf, KEY_BYTES, "%s%s", m->arch, key);
	return buf;
}

static const struct tr_gguf_kv *find(const struct tr_model *m, const char *key)
{
	char buf[KEY_BYTES];

	return tr_gguf_find(m->shards[0].gguf, full_key(m, key, buf));
}

int tr_model_u32_at(const struct tr_model *m, const char *key, size_t i, size_t n, uint32_t lo,
	uint32_t hi, uint32_t *out, struct tr_err *err)
{
	char buf[KEY_BYTES];
	int64_t v;
	int rc = tr_meta_int(m->shards[0].gguf, full_key(m, key, buf), i, n, lo, hi, &v, err);

	if (!rc)
		*out = (uint32_t)v;
	return rc;
}

int tr_model_u32(const struct tr_model *m, const char *key, uint32_t lo, uint32_t hi,
	uint32_t *out, struct tr_err *err)
{
	return tr_model_u32_at(m, key, 0, 0, lo, hi, out, err);
}

int tr_model_f32(const struct tr_model *m, const char *key, float *out, struct tr_err *err)
{
	const struct tr_gguf_kv *kv = find(m, key);
	double v;

	if (!kv)
		return TR_E_NOENT;
	if (kv->type == TR_GGUF_ARR || tr_gguf_float(kv, 0, &v))
		return wrong_type(kv, "a float", err);
	if (!(fabs(v) <= FLT_MAX))
		return tr_err_set(err, TR_E_FORMAT, "key '%s': value %g is not a finite float",
			kv->key, v);
	*out = (float)v;
	return 0;
}

int tr_model_bool(const struct tr_model *m, const char *key, bool *out, struct tr_err *err)
{
	const struct tr_gguf_kv *kv = find(m, key);

	if (!kv)
		return TR_E_NOENT;
	if (kv->type != TR_GGUF_BOOL)
		return wrong_type(kv, "a bool", err);
	*out = kv->data[0] != 0;
	return 0;
}

int tr_model_str(const struct tr_model *m, const char *key, struct tr_str *out,
	struct tr_err *err)
{
	const struct tr_gguf_kv *kv = find(m, key);
	const uint8_t *p;

	if (!kv)
		return TR_E_NOENT;
	if (kv->type != TR_GGUF_STR)
		return wrong_type(kv, "a string", err);
	p = kv->data;
	*out = tr_gguf_next_str(&p);
	return 0;
}
