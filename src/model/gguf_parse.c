/*
 * gguf_parse.c - the header of a GGUF file, versions 2 and 3, from a bounded cursor.
 *
 * The cursor holds what is being read (a key, a tensor) so that every refusal names it, with the
 * offset in the file and the limit that was passed. Nothing is allocated from a count before the
 * bytes that the count promises could lie in the rest of the header, and no sum or product of
 * values from the file is formed unchecked.
 *
 * Strings and arrays are validated once, here, and stay where they lie; later accessors trust them.
 * Names are only put into messages once they are known to hold no control characters.
 *
 * Files may leave gaps between tensors and need no padding after the last one; overlap, and data
 * past the end of the file, are refused.
 */
#include "model/gguf.h"

#include "base/mem.h"
#include "model/le.h"
#include "model/name_set.h"
#include "model/quant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KV_MIN_BYTES	 14 /* length, one character, type, one byte */
#define TENSOR_MIN_BYTES 33 /* length, one character, n_dims, one dimension, type, offset */
#define KEY_MAX_BYTES	 65535
#define STR_MAX_BYTES	 ((uint64_t)1 << 30)
#define ARR_MAX_ELEMS	 ((uint64_t)1 << 30)
#define DEFAULT_ALIGNMENT 32

/* Far above any model (kimi-k2 has 44 keys and 1096 tensors; one tensor an expert would be 69,000);
 * bounds what a hostile header can make us allocate. */
#define MAX_KV	   65536
#define MAX_TENSOR ((uint64_t)1 << 20)

struct cursor {
	const uint8_t *base;
	uint64_t pos;
	uint64_t len;
	bool whole_file; /* len is where the file ends, else where the header must end */
	const char *kind;
	uint64_t index;
	const char *name; /* NULL until known to be printable */
	struct tr_err *err;
};

static const uint8_t type_bytes[TR_GGUF_N_TYPE] = {
	[TR_GGUF_U8] = 1, [TR_GGUF_I8] = 1, [TR_GGUF_U16] = 2, [TR_GGUF_I16] = 2,
	[TR_GGUF_U32] = 4, [TR_GGUF_I32] = 4, [TR_GGUF_F32] = 4, [TR_GGUF_BOOL] = 1,
	[TR_GGUF_U64] = 8, [TR_GGUF_I64] = 8, [TR_GGUF_F64] = 8,
};

static int refuse(const struct cursor *c, int code, const char *fmt, ...) TR_PRINTF(3, 4);

static int refuse(const struct cursor *c, int code, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (c->name)
		return tr_err_set(c->err, code, "%s '%.200s': %s", c->kind, c->name, text);
	if (c->kind)
		return tr_err_set(c->err, code, "%s %" PRIu64 ": %s", c->kind, c->index, text);
	return tr_err_set(c->err, code, "%s", text);
}

static int begin(struct cursor *c, const char *kind, uint64_t index)
{
	c->kind = kind;
	c->index = index;
	c->name = NULL;
	return 0;
}

static uint64_t left(const struct cursor *c)
{
	return c->len - c->pos;
}

static int need(const struct cursor *c, const char *field, uint64_t n)
{
	if (n <= left(c))
		return 0;
	return refuse(c, TR_E_FORMAT,
		"%s needs %" PRIu64 " bytes at offset %" PRIu64 ", %s at %" PRIu64, field, n,
		c->pos, c->whole_file ? "the file ends" : "a header must end", c->len);
}

static int take_u32(struct cursor *c, const char *field, uint32_t *out)
{
	int rc = need(c, field, 4);

	if (rc)
		return rc;
	*out = tr_le32(c->base + c->pos);
	c->pos += 4;
	return 0;
}

static int take_u64(struct cursor *c, const char *field, uint64_t *out)
{
	int rc = need(c, field, 8);

	if (rc)
		return rc;
	*out = tr_le64(c->base + c->pos);
	c->pos += 8;
	return 0;
}

static int take_str(struct cursor *c, const char *field, uint64_t max, struct tr_str *out)
{
	uint64_t at = c->pos, n = 0;
	int rc = take_u64(c, field, &n);

	if (rc)
		return rc;
	if (n > max)
		return refuse(c, TR_E_LIMIT,
			"%s at offset %" PRIu64 " has %" PRIu64 " bytes, limit %" PRIu64, field, at,
			n, max);
	rc = need(c, field, n);
	if (rc)
		return rc;
	out->p = (const char *)c->base + c->pos;
	out->n = (size_t)n;
	c->pos += n;
	return 0;
}

/* Keys and tensor names: not empty, and fit to stand in a message. */
static int take_name(struct cursor *c, const char *field, uint64_t max, struct tr_str *out)
{
	uint64_t at = c->pos;
	int rc = take_str(c, field, max, out);

	if (rc)
		return rc;
	if (!out->n)
		return refuse(c, TR_E_FORMAT, "%s at offset %" PRIu64 " is empty", field, at);
	for (size_t i = 0; i < out->n; i++) {
		unsigned char b = (unsigned char)out->p[i];

		if (b < 0x20 || b == 0x7f)
			return refuse(c, TR_E_FORMAT,
				"%s at offset %" PRIu64 " has %s 0x%02x at position %zu", field, at,
				b ? "control character" : "a zero byte", b, i);
	}
	return 0;
}

/* --- metadata --------------------------------------------------------------------------------- */

static int check_type(const struct cursor *c, const char *field, uint32_t type)
{
	if (type < TR_GGUF_N_TYPE)
		return 0;
	return refuse(c, TR_E_FORMAT, "%s at offset %" PRIu64 " is %" PRIu32 ", limit %d", field,
		c->pos - 4, type, TR_GGUF_N_TYPE - 1);
}

static int take_array_head(struct cursor *c, struct tr_gguf_kv *kv)
{
	uint32_t type = 0;
	int rc = take_u32(c, "array element type", &type);

	if (rc)
		return rc;
	rc = check_type(c, "array element type", type);
	if (rc)
		return rc;
	if (type == TR_GGUF_ARR)
		return refuse(c, TR_E_UNSUPPORTED,
			"array of arrays at offset %" PRIu64 ", nesting limit 1", c->pos - 4);
	rc = take_u64(c, "array count", &kv->n);
	if (rc)
		return rc;
	if (kv->n > ARR_MAX_ELEMS)
		return refuse(c, TR_E_LIMIT,
			"array count at offset %" PRIu64 " is %" PRIu64 ", limit %" PRIu64,
			c->pos - 8, kv->n, ARR_MAX_ELEMS);
	kv->elem_type = (enum tr_gguf_type)type;
	return 0;
}

static int skip_strings(struct cursor *c, uint64_t n)
{
	struct tr_str s;
	char field[64];
	int rc = need(c, "array of strings", n * 8);

	if (rc)
		return rc;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t bytes = left(c) < 8 ? UINT64_MAX : tr_le64(c->base + c->pos);

		if (bytes > STR_MAX_BYTES || bytes > left(c) - 8) {
			snprintf(field, sizeof(field), "string %" PRIu64 " of %" PRIu64, i, n);
			return take_str(c, field, STR_MAX_BYTES, &s);
		}
		c->pos += 8 + bytes;
	}
	return 0;
}

static int check_bools(const struct cursor *c, const struct tr_gguf_kv *kv)
{
	for (uint64_t i = 0; i < kv->n; i++)
		if (kv->data[i] > 1)
			return refuse(c, TR_E_FORMAT,
				"%s at offset %" PRIu64 " is %u, not 0 or 1",
				kv->type == TR_GGUF_ARR ? "bool in array" : "bool", c->pos + i,
				kv->data[i]);
	return 0;
}

/* n * size cannot wrap: n is at most 2^30. */
static int skip_values(struct cursor *c, const struct tr_gguf_kv *kv)
{
	uint64_t bytes = kv->n * type_bytes[kv->elem_type];
	struct tr_str s;
	int rc;

	if (kv->type == TR_GGUF_STR)
		return take_str(c, "string", STR_MAX_BYTES, &s);
	if (kv->elem_type == TR_GGUF_STR)
		return skip_strings(c, kv->n);
	rc = need(c, kv->type == TR_GGUF_ARR ? "array" : "value", bytes);
	if (!rc && kv->elem_type == TR_GGUF_BOOL)
		rc = check_bools(c, kv);
	if (!rc)
		c->pos += bytes;
	return rc;
}

static int parse_kv(struct cursor *c, struct tr_gguf_kv *kv, struct tr_name_set *seen)
{
	uint64_t at = c->pos;
	struct tr_str key;
	uint32_t type = 0;
	int rc = take_name(c, "key", KEY_MAX_BYTES, &key);

	if (rc)
		return rc;
	kv->key = strndup(key.p, key.n);
	if (!kv->key)
		return refuse(c, TR_E_NOMEM, "out of memory for %zu bytes", key.n);
	c->name = kv->key;
	if (!tr_name_set_add(seen, kv->key))
		return refuse(c, TR_E_FORMAT, "appears again at offset %" PRIu64, at);
	rc = take_u32(c, "value type", &type);
	if (!rc)
		rc = check_type(c, "value type", type);
	if (rc)
		return rc;
	kv->type = kv->elem_type = (enum tr_gguf_type)type;
	kv->n = 1;
	if (kv->type == TR_GGUF_ARR)
		rc = take_array_head(c, kv);
	if (rc)
		return rc;
	kv->data = c->base + c->pos;
	return skip_values(c, kv);
}

static int parse_kvs(struct cursor *c, struct tr_gguf *g, size_t n)
{
	struct tr_name_set seen;
	int rc = 0;

	g->kv = tr_calloc(n, sizeof(*g->kv));
	if (!g->kv || !tr_name_set_init(&seen, n))
		return refuse(c, TR_E_NOMEM, "out of memory for %zu keys", n);
	while (!rc && g->n_kv < n) {
		begin(c, "key", g->n_kv);
		/* Counted first: close frees the name of a half-read one. */
		rc = parse_kv(c, &g->kv[g->n_kv++], &seen);
	}
	tr_name_set_fini(&seen);
	return rc;
}

static int find_alignment(struct cursor *c, struct tr_gguf *g)
{
	const struct tr_gguf_kv *kv = tr_gguf_find(g, "general.alignment");

	g->alignment = DEFAULT_ALIGNMENT;
	if (!kv)
		return 0;
	begin(c, "key", (uint64_t)(kv - g->kv));
	c->name = kv->key;
	if (kv->type != TR_GGUF_U32)
		return refuse(c, TR_E_FORMAT, "is of type %s, must be u32",
			tr_gguf_type_name(kv->type));
	g->alignment = tr_le32(kv->data);
	if (!g->alignment)
		return refuse(c, TR_E_FORMAT, "is 0");
	if (g->alignment & (g->alignment - 1))
		return refuse(c, TR_E_FORMAT, "is %" PRIu64 ", not a power of two", g->alignment);
	if (g->alignment % 8)
		return refuse(c, TR_E_FORMAT, "is %" PRIu64 ", not a multiple of 8", g->alignment);
	return 0;
}

/* --- tensor infos ----------------------------------------------------------------------------- */

static int take_dims(struct cursor *c, struct tr_gguf_tensor *t, uint64_t *n_value)
{
	int rc = take_u32(c, "number of dimensions", &t->n_dim);

	if (rc)
		return rc;
	if (t->n_dim < 1 || t->n_dim > TR_GGUF_MAX_DIM)
		return refuse(c, TR_E_FORMAT,
			"has %" PRIu32 " dimensions at offset %" PRIu64 ", limits 1 and %d",
			t->n_dim, c->pos - 4, TR_GGUF_MAX_DIM);
	*n_value = 1;
	for (uint32_t i = 0; i < TR_GGUF_MAX_DIM; i++)
		t->ne[i] = 1;
	for (uint32_t i = 0; i < t->n_dim; i++) {
		rc = take_u64(c, "dimension", &t->ne[i]);
		if (rc)
			return rc;
		if (!t->ne[i])
			return refuse(c, TR_E_FORMAT, "dimension %" PRIu32 " at offset %" PRIu64
				" is 0", i, c->pos - 8);
		if (t->ne[i] > INT64_MAX)
			return refuse(c, TR_E_FORMAT,
				"dimension %" PRIu32 " at offset %" PRIu64 " is %" PRIu64
				", limit %" PRId64, i, c->pos - 8, t->ne[i], INT64_MAX);
		if (!tr_mul_u64(*n_value, t->ne[i], n_value) || *n_value > INT64_MAX)
			return refuse(c, TR_E_FORMAT,
				"dimensions up to %" PRIu32 " at offset %" PRIu64
				" multiply to more than %" PRId64, i, c->pos - 8, INT64_MAX);
	}
	return 0;
}

static int size_tensor(const struct cursor *c, struct tr_gguf_tensor *t, uint64_t n_value)
{
	const struct tr_quant *q = tr_quant_by_id(t->type);
	char what[TR_GGUF_NAME_BYTES + 48];

	if (!q) {
		snprintf(what, sizeof(what), "tensor '%s' (type at offset %" PRIu64 ")", t->name,
			c->pos - 4);
		return tr_quant_refuse(t->type, what, c->err);
	}
	if (t->ne[0] % q->block_values)
		return refuse(c, TR_E_FORMAT,
			"rows have %" PRIu64 " values, not a multiple of the %" PRIu32
			" in a block of %s", t->ne[0], q->block_values, q->name);
	if (!tr_mul_u64(n_value / q->block_values, q->block_bytes, &t->bytes) ||
		t->bytes > INT64_MAX)
		return refuse(c, TR_E_FORMAT,
			"%" PRIu64 " values of type %s are more than %" PRId64 " bytes", n_value,
			q->name, INT64_MAX);
	t->row_bytes = t->ne[0] / q->block_values * q->block_bytes;
	return 0;
}

/* Leaves the offset relative to the data section, whose start is not yet known. */
static int parse_tensor(struct cursor *c, const struct tr_gguf *g, struct tr_gguf_tensor *t,
	struct tr_name_set *seen)
{
	uint64_t at = c->pos, n_value = 0;
	struct tr_str name;
	int rc = take_name(c, "name", TR_GGUF_NAME_BYTES - 1, &name);

	if (rc)
		return rc;
	memcpy(t->name, name.p, name.n);
	c->name = t->name;
	if (!tr_name_set_add(seen, t->name))
		return refuse(c, TR_E_FORMAT, "appears again at offset %" PRIu64, at);
	rc = take_dims(c, t, &n_value);
	if (!rc)
		rc = take_u32(c, "type", &t->type);
	if (!rc)
		rc = size_tensor(c, t, n_value);
	if (!rc)
		rc = take_u64(c, "data offset", &t->file_off);
	if (rc)
		return rc;
	if (t->file_off % g->alignment)
		return refuse(c, TR_E_FORMAT,
			"data offset %" PRIu64 " is not a multiple of the alignment %" PRIu64,
			t->file_off, g->alignment);
	return 0;
}

static int parse_tensors(struct cursor *c, struct tr_gguf *g, size_t n)
{
	struct tr_name_set seen;
	int rc = 0;

	g->tensors = tr_calloc(n, sizeof(*g->tensors));
	if (!g->tensors || !tr_name_set_init(&seen, n))
		return refuse(c, TR_E_NOMEM, "out of memory for %zu tensors", n);
	while (!rc && g->n_tensor < n) {
		begin(c, "tensor", g->n_tensor);
		rc = parse_tensor(c, g, &g->tensors[g->n_tensor++], &seen);
	}
	tr_name_set_fini(&seen);
	return rc;
}

/* --- the data section ------------------------------------------------------------------------- */

/* Makes offsets absolute; every tensor then lies inside the file. */
static int place_tensors(struct cursor *c, struct tr_gguf *g)
{
	uint64_t data_bytes;

	begin(c, NULL, 0);
	g->data_off = TR_ALIGN_UP(c->pos, g->alignment);
	if (!g->n_tensor)
		return 0;
	if (g->data_off >= g->file_bytes)
		return refuse(c, TR_E_FORMAT,
			"tensor data starts at offset %" PRIu64 ", the file ends at %" PRIu64,
			g->data_off, g->file_bytes);
	data_bytes = g->file_bytes - g->data_off;
	for (size_t i = 0; i < g->n_tensor; i++) {
		struct tr_gguf_tensor *t = &g->tensors[i];

		begin(c, "tensor", i);
		c->name = t->name;
		if (t->file_off > data_bytes)
			return refuse(c, TR_E_FORMAT,
				"data offset %" PRIu64 " is past the data section's %" PRIu64
				" bytes", t->file_off, data_bytes);
		if (t->bytes > data_bytes - t->file_off)
			return refuse(c, TR_E_FORMAT,
				"%" PRIu64 " bytes of data at offset %" PRIu64 " end %" PRIu64
				" bytes past the end of the file at %" PRIu64, t->bytes,
				g->data_off + t->file_off,
				t->bytes - (data_bytes - t->file_off), g->file_bytes);
		t->file_off += g->data_off;
	}
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct tr_gguf_tensor *x = *(const struct tr_gguf_tensor *const *)a;
	const struct tr_gguf_tensor *y = *(const struct tr_gguf_tensor *const *)b;

	return (x->file_off > y->file_off) - (x->file_off < y->file_off);
}

static int check_overlap(struct cursor *c, const struct tr_gguf *g)
{
	const struct tr_gguf_tensor **order = tr_calloc(g->n_tensor, sizeof(*order));
	int rc = 0;

	if (!order)
		return tr_err_set(c->err, TR_E_NOMEM, "out of memory for %zu tensors", g->n_tensor);
	for (size_t i = 0; i < g->n_tensor; i++)
		order[i] = &g->tensors[i];
	qsort(order, g->n_tensor, sizeof(*order), by_offset);
	for (size_t i = 1; !rc && i < g->n_tensor; i++)
		if (order[i]->file_off - order[i - 1]->file_off < order[i - 1]->bytes)
			rc = tr_err_set(c->err, TR_E_FORMAT,
				"tensors '%s' and '%s' overlap at offset %" PRIu64,
				order[i - 1]->name, order[i]->name, order[i]->file_off);
	free(order);
	return rc;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int check_version(struct cursor *c, uint32_t version)
{
	if (version && !(version & 0xffff))
		return refuse(c, TR_E_UNSUPPORTED,
			"version 0x%08" PRIx32 " at offset 4 is byte-swapped: wrong endianness, "
			"only little-endian files can be read", version);
	if (version == 1)
		return refuse(c, TR_E_UNSUPPORTED,
			"version 1 at offset 4 has 32-bit lengths, versions 2 and 3 can be read; "
			"convert the model again");
	if (version < 2)
		return refuse(c, TR_E_FORMAT, "version %" PRIu32 " at offset 4 does not exist",
			version);
	if (version > 3)
		return refuse(c, TR_E_UNSUPPORTED,
			"version %" PRIu32 " at offset 4 is newer than the limit 3", version);
	return 0;
}

static int take_count(struct cursor *c, const char *field, uint64_t entry_bytes, uint64_t max,
	uint64_t *out)
{
	int rc = take_u64(c, field, out);

	if (rc)
		return rc;
	if (*out > INT64_MAX)
		return refuse(c, TR_E_FORMAT, "%s at offset %" PRIu64 " is negative", field,
			c->pos - 8);
	if (*out > max)
		return refuse(c, TR_E_LIMIT, "%s at offset %" PRIu64 " is %" PRIu64
			", limit %" PRIu64, field, c->pos - 8, *out, max);
	if (*out > left(c) / entry_bytes)
		return refuse(c, TR_E_FORMAT,
			"%s at offset %" PRIu64 " is %" PRIu64 ", the %" PRIu64
			" bytes left hold at most %" PRIu64, field, c->pos - 8, *out, left(c),
			left(c) / entry_bytes);
	return 0;
}

static int parse_header(struct cursor *c, struct tr_gguf *g)
{
	uint64_t n_tensor = 0, n_kv = 0;
	int rc = need(c, "magic", 4);

	if (rc)
		return rc;
	if (memcmp(c->base, "GGUF", 4))
		return refuse(c, TR_E_FORMAT,
			"not a GGUF file: bytes at offset 0 are %02x %02x %02x %02x", c->base[0],
			c->base[1], c->base[2], c->base[3]);
	c->pos = 4;
	rc = take_u32(c, "version", &g->version);
	if (!rc)
		rc = check_version(c, g->version);
	if (!rc)
		rc = take_count(c, "tensor count", TENSOR_MIN_BYTES, MAX_TENSOR, &n_tensor);
	if (!rc)
		rc = take_count(c, "key count", KV_MIN_BYTES, MAX_KV, &n_kv);
	if (!rc)
		rc = parse_kvs(c, g, (size_t)n_kv);
	if (!rc)
		rc = find_alignment(c, g);
	if (!rc)
		rc = parse_tensors(c, g, (size_t)n_tensor);
	if (!rc)
		rc = place_tensors(c, g);
	if (!rc)
		rc = check_overlap(c, g);
	return rc;
}

int tr_gguf_parse(struct tr_gguf **gguf, const void *buf, size_t len, uint64_t file_bytes,
	struct tr_err *err)
{
	struct cursor c = { .base = buf, .len = len, .whole_file = len == file_bytes, .err = err };
	struct tr_gguf *g = tr_calloc(1, sizeof(*g));
	int rc;

	*gguf = NULL;
	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for a GGUF header");
	g->file_bytes = file_bytes;
	rc = parse_header(&c, g);
	if (rc) {
		tr_gguf_close(g);
		return rc;
	}
	g->map = (void *)(uintptr_t)buf;
	g->map_bytes = (size_t)c.pos;
	*gguf = g;
	return 0;
}
