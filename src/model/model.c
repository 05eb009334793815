/*
 * model.c - the shards of a model and one directory of all their tensors.
 *
 * A split model is opened by its first shard, which alone holds the metadata; the others are found
 * by name (PREFIX-00002-of-00013.gguf) and must say the same split.count and their own split.no.
 * Which shard holds a tensor is arbitrary: a layer may straddle them and the first may have none.
 */
#include "model/model.h"

#include "base/mem.h"
#include "model/le.h"
#include "model/meta.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define ARCH_MAX_BYTES	   64
#define SUFFIX_BYTES	   32
#define SPLIT_SUFFIX	   "-%05" PRId64 "-of-%05" PRId64 ".gguf"
#define SPLIT_COUNT_MAX	   UINT16_MAX /* the type that writers use */
#define SPLIT_TENSORS_MAX  INT32_MAX

struct split {
	int64_t no;
	int64_t count; /* 1: not split */
	int64_t n_tensor;
};

/* --- the files -------------------------------------------------------------------------------- */

static int split_key(const struct tr_gguf *g, const char *key, int64_t hi, int64_t *out,
	struct tr_err *err)
{
	int rc = tr_meta_int(g, key, 0, 0, 0, hi, out, err);

	return rc == TR_E_NOENT ? 0 : rc;
}

/* Absent keys leave no 0, count 1 and n_tensor -1. */
static int read_split(const struct tr_gguf *g, struct split *s, struct tr_err *err)
{
	int rc;

	*s = (struct split){ .count = 1, .n_tensor = -1 };
	rc = split_key(g, "split.count", SPLIT_COUNT_MAX, &s->count, err);
	if (!rc)
		rc = split_key(g, "split.no", SPLIT_COUNT_MAX, &s->no, err);
	if (!rc)
		rc = split_key(g, "split.tensors.count", SPLIT_TENSORS_MAX, &s->n_tensor, err);
	s->count = TR_MAX(s->count, 1);
	return rc;
}

/* Length of path before the split suffix of shard no; 0 when it does not end so. */
static size_t prefix_of(const char *path, int64_t no, int64_t count)
{
	char suffix[SUFFIX_BYTES];
	size_t n = strlen(path);
	size_t n_suffix = (size_t)snprintf(suffix, sizeof(suffix), SPLIT_SUFFIX, no + 1, count);

	if (n <= n_suffix || strcmp(path + n - n_suffix, suffix))
		return 0;
	return n - n_suffix;
}

static int refuse_later_shard(const char *path, const struct split *s, struct tr_err *err)
{
	size_t prefix = prefix_of(path, s->no, s->count);

	if (s->no >= s->count)
		return tr_err_set(err, TR_E_FORMAT,
			"%s: key 'split.no': value %" PRId64 " is not below split.count %" PRId64,
			path, s->no, s->count);
	if (!prefix)
		return tr_err_set(err, TR_E_INVALID,
			"%s: is shard %" PRId64 " of %" PRId64
			"; open the first shard instead, its name ends in " SPLIT_SUFFIX, path,
			s->no + 1, s->count, (int64_t)1, s->count);
	return tr_err_set(err, TR_E_INVALID,
		"%s: is shard %" PRId64 " of %" PRId64 "; open the first shard instead: %.*s"
		SPLIT_SUFFIX, path, s->no + 1, s->count, (int)prefix, path, (int64_t)1, s->count);
}

/* Shard i lies at first's path with the number exchanged. */
static char *sibling_path(const char *first, size_t prefix, size_t i, int64_t count)
{
	char *path = malloc(prefix + SUFFIX_BYTES);

	if (path)
		snprintf(path, prefix + SUFFIX_BYTES, "%.*s" SPLIT_SUFFIX, (int)prefix, first,
			(int64_t)i + 1, count);
	return path;
}

static int check_sibling(const struct tr_shard *shard, size_t i, const struct split *first,
	struct tr_err *err)
{
	struct split s;
	int rc = read_split(shard->gguf, &s, err);

	if (rc) {
		tr_err_prefix(err, "%s", shard->path);
		return rc;
	}
	if (s.count != first->count)
		return tr_err_set(err, TR_E_FORMAT,
			"%s: key 'split.count': value %" PRId64 ", the first shard says %" PRId64,
			shard->path, s.count, first->count);
	if (s.no != (int64_t)i)
		return tr_err_set(err, TR_E_FORMAT,
			"%s: key 'split.no': value %" PRId64 ", by its name it must be %zu",
			shard->path, s.no, i);
	if (s.n_tensor >= 0 && s.n_tensor != first->n_tensor)
		return tr_err_set(err, TR_E_FORMAT,
			"%s: key 'split.tensors.count': value %" PRId64
			", the first shard says %" PRId64, shard->path, s.n_tensor,
			first->n_tensor);
	return 0;
}

static int open_sibling(struct tr_model *m, size_t i, size_t prefix, const struct split *first,
	struct tr_err *err)
{
	struct tr_shard *shard = &m->shards[i];
	int rc;

	shard->path = sibling_path(m->shards[0].path, prefix, i, first->count);
	if (!shard->path)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for a path");
	rc = m->open(&shard->gguf, shard->path, err);
	if (rc) {
		tr_err_prefix(err, "shard %zu of %" PRId64, i + 1, first->count);
		return rc;
	}
	shard->file_bytes = shard->gguf->file_bytes;
	return check_sibling(shard, i, first, err);
}

static int check_total(const struct tr_model *m, const struct split *s, struct tr_err *err)
{
	int64_t n = 0;

	for (size_t i = 0; i < m->n_shard; i++)
		n += (int64_t)m->shards[i].gguf->n_tensor;
	if (n != s->n_tensor)
		return tr_err_set(err, TR_E_FORMAT,
			"%s: key 'split.tensors.count': value %" PRId64
			", but the shards hold %" PRId64 " tensors", m->shards[0].path,
			s->n_tensor, n);
	return 0;
}

/* shards[0] is open; opens the others. */
static int open_siblings(struct tr_model *m, struct tr_err *err)
{
	const char *path = m->shards[0].path;
	struct tr_shard *shards;
	struct split s;
	size_t prefix;
	int rc = read_split(m->shards[0].gguf, &s, err);

	if (rc) {
		tr_err_prefix(err, "%s", path);
		return rc;
	}
	if (s.no)
		return refuse_later_shard(path, &s, err);
	if (s.count == 1)
		return 0;
	if (s.n_tensor < 0)
		return tr_err_set(err, TR_E_FORMAT,
			"%s: key 'split.tensors.count' is missing from a file split in %" PRId64,
			path, s.count);
	prefix = prefix_of(path, 0, s.count);
	if (!prefix)
		return tr_err_set(err, TR_E_INVALID,
			"%s: is the first of %" PRId64 " shards, but its name does not end in "
			SPLIT_SUFFIX ", so the others cannot be found", path, s.count, (int64_t)1,
			s.count);
	shards = tr_calloc((size_t)s.count, sizeof(*shards));
	if (!shards)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for %" PRId64 " shards", s.count);
	shards[0] = m->shards[0];
	free(m->shards);
	m->shards = shards;
	while (!rc && m->n_shard < (size_t)s.count) {
		m->n_shard++;
		rc = open_sibling(m, m->n_shard - 1, prefix, &s, err);
	}
	return rc ? rc : check_total(m, &s, err);
}

/* --- the directory ---------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tr_tensor *)a)->name, ((const struct tr_tensor *)b)->name);
}

static void add_tensors(struct tr_model *m, size_t shard)
{
	const struct tr_gguf *g = m->shards[shard].gguf;

	for (size_t i = 0; i < g->n_tensor; i++) {
		const struct tr_gguf_tensor *src = &g->tensors[i];
		struct tr_tensor *t = &m->tensors[m->n_tensor++];

		*t = (struct tr_tensor){
			.name = src->name,
			.quant = tr_quant_by_id(src->type),
			.n_dim = src->n_dim,
			.shard = (uint32_t)shard,
			.file_off = src->file_off,
			.row_bytes = src->row_bytes,
			.bytes = src->bytes,
		};
		memcpy(t->ne, src->ne, sizeof(t->ne));
	}
}

static int build_directory(struct tr_model *m, struct tr_err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n_shard; i++)
		n += m->shards[i].gguf->n_tensor;
	m->tensors = tr_calloc(n, sizeof(*m->tensors));
	if (!m->tensors)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for %zu tensors", n);
	for (size_t i = 0; i < m->n_shard; i++)
		add_tensors(m, i);
	qsort(m->tensors, n, sizeof(*m->tensors), by_name);
	for (size_t i = 1; i < n; i++)
		if (!by_name(&m->tensors[i - 1], &m->tensors[i]))
			return tr_err_set(err, TR_E_FORMAT, "tensor '%s' is in %s and again in %s",
				m->tensors[i].name, m->shards[m->tensors[i - 1].shard].path,
				m->shards[m->tensors[i].shard].path);
	return 0;
}

static int read_arch(struct tr_model *m, struct tr_err *err)
{
	struct tr_str arch;
	int rc = tr_model_str(m, "general.architecture", &arch, err);

	if (rc == TR_E_NOENT)
		rc = tr_err_set(err, TR_E_FORMAT, "key 'general.architecture' is missing");
	if (!rc && (!arch.n || arch.n > ARCH_MAX_BYTES))
		rc = tr_err_set(err, TR_E_FORMAT,
			"key 'general.architecture': name of %zu bytes, limits 1 and %d", arch.n,
			ARCH_MAX_BYTES);
	for (size_t i = 0; !rc && i < arch.n; i++)
		if (arch.p[i] <= 0x20 || arch.p[i] >= 0x7f)
			rc = tr_err_set(err, TR_E_FORMAT,
				"key 'general.architecture': byte 0x%02x at position %zu is not "
				"printable ASCII", (unsigned char)arch.p[i], i);
	if (rc) {
		tr_err_prefix(err, "%s", m->shards[0].path);
		return rc;
	}
	m->arch = strndup(arch.p, arch.n);
	return m->arch ? 0 : tr_err_set(err, TR_E_NOMEM, "out of memory for a name");
}

/* --- open and close --------------------------------------------------------------------------- */

/* A model of one shard without a file yet. */
static struct tr_model *new_model(const char *path)
{
	struct tr_model *m = tr_calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->shards = tr_calloc(1, sizeof(*m->shards));
	if (m->shards) {
		m->n_shard = 1;
		m->shards[0].path = strdup(path);
	}
	if (!m->shards || !m->shards[0].path) {
		tr_model_close(m);
		return NULL;
	}
	return m;
}

static int finish(struct tr_model **model, struct tr_model *m, int rc, struct tr_err *err)
{
	if (!rc)
		rc = read_arch(m, err);
	if (!rc)
		rc = build_directory(m, err);
	if (rc) {
		tr_model_close(m);
		return rc;
	}
	*model = m;
	return 0;
}

static int open_with(tr_gguf_open_fn *open, struct tr_model **model, const char *path,
	struct tr_err *err)
{
	struct tr_model *m = new_model(path);
	int rc;

	*model = NULL;
	if (!m)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for a model");
	m->open = open;
	rc = open(&m->shards[0].gguf, path, err);
	if (!rc) {
		m->shards[0].file_bytes = m->shards[0].gguf->file_bytes;
		rc = open_siblings(m, err);
	}
	return finish(model, m, rc, err);
}

int tr_model_open(struct tr_model **model, const char *path, struct tr_err *err)
{
	return open_with(tr_gguf_open, model, path, err);
}

int tr_model_open_header(struct tr_model **model, const char *path, struct tr_err *err)
{
	return open_with(tr_gguf_open_header, model, path, err);
}

int tr_model_from_gguf(struct tr_model **model, struct tr_gguf *gguf, struct tr_err *err)
{
	struct tr_model *m = new_model("(memory)");

	*model = NULL;
	if (!m) {
		tr_gguf_close(gguf);
		return tr_err_set(err, TR_E_NOMEM, "out of memory for a model");
	}
	m->shards[0].gguf = gguf;
	m->shards[0].file_bytes = gguf->file_bytes;
	return finish(model, m, 0, err);
}

void tr_model_close(struct tr_model *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_shard; i++) {
		free(m->shards[i].path);
		tr_gguf_close(m->shards[i].gguf);
	}
	free(m->shards);
	free(m->tensors);
	free(m->arch);
	free(m);
}

/* --- lookup ----------------------------------------------------------------------------------- */

const struct tr_tensor *tr_model_find(const struct tr_model *m, const char *fmt, ...)
{
	char name[TR_GGUF_NAME_BYTES];
	struct tr_tensor key = { .name = name };
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(name))
		return NULL;
	return bsearch(&key, m->tensors, m->n_tensor, sizeof(key), by_name);
}

/* The headers' bytes as they are, chained shard by shard with the files' sizes. */
void tr_model_fingerprint(const struct tr_model *m, char out[TR_FINGERPRINT_BYTES])
{
	uint8_t chain[2 * sizeof(XXH128_canonical_t) + 8] = { 0 };
	XXH128_canonical_t digest;

	memset(&digest, 0, sizeof(digest));
	for (size_t i = 0; i < m->n_shard; i++) {
		const struct tr_gguf *g = m->shards[i].gguf;

		memcpy(chain, &digest, sizeof(digest));
		XXH128_canonicalFromHash(&digest, XXH3_128bits(g->map, g->map_bytes));
		memcpy(chain + sizeof(digest), &digest, sizeof(digest));
		tr_put_le64(chain + 2 * sizeof(digest), g->file_bytes);
		XXH128_canonicalFromHash(&digest, XXH3_128bits(chain, sizeof(chain)));
	}
	for (size_t i = 0; i < sizeof(digest.digest); i++)
		snprintf(out + 2 * i, 3, "%02x", digest.digest[i]);
}
