/*
 * fuzz_gguf.c - any bytes as a GGUF header: parsed, then everything that was accepted is walked as
 * the library would (metadata as numbers and text, tensor directory, fingerprint, expert units).
 * Promises of the headers are checked with abort(), which both libFuzzer and the replay notice.
 *
 * Each input is taken twice, as a whole file and as the start of a file with 1 TiB of data, since
 * few inputs are long enough to hold the tensors that they speak of.
 */
#include "model/catalog.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#define DATA_BYTES ((uint64_t)1 << 40)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void expect(bool promise)
{
	if (!promise)
		abort();
}

static void walk_values(const struct tr_gguf *g)
{
	int64_t v;
	double f;

	for (size_t i = 0; i < g->n_kv; i++) {
		const struct tr_gguf_kv *kv = &g->kv[i];
		const uint8_t *cursor = kv->data;
		uint64_t bytes = 0;

		expect(tr_gguf_find(g, kv->key) == kv);
		for (uint64_t j = 0; j < kv->n; j++) {
			bool is_int = !tr_gguf_int(kv, j, &v), is_float = !tr_gguf_float(kv, j, &f);

			expect(!(is_int && is_float));
			if (kv->elem_type == TR_GGUF_STR)
				bytes += tr_gguf_next_str(&cursor).n;
		}
		expect(bytes <= g->map_bytes);
	}
}

static void walk_tensors(const struct tr_gguf *g)
{
	for (size_t i = 0; i < g->n_tensor; i++) {
		const struct tr_gguf_tensor *t = &g->tensors[i];

		expect(memchr(t->name, 0, sizeof(t->name)) && t->name[0]);
		expect(t->file_off >= g->data_off && t->file_off <= g->file_bytes);
		expect(t->bytes && t->bytes <= g->file_bytes - t->file_off);
		expect(t->bytes == t->row_bytes * t->ne[1] * t->ne[2] * t->ne[3]);
	}
}

static void walk_text(const struct tr_model *m)
{
	char small[8], big[256];

	for (size_t i = 0; i < tr_model_n_kv(m); i++) {
		size_t n = tr_model_kv_text(m, i, big, sizeof(big));

		expect(tr_model_kv_text(m, i, small, sizeof(small)) == n);
		expect(memchr(small, 0, sizeof(small)) || n < sizeof(small));
		expect(tr_model_kv_text(m, i, NULL, 0) == n);
	}
}

static void walk_units(const struct tr_model *m)
{
	struct tr_catalog *cat;
	struct tr_err err = { .code = TR_OK };
	int rc = tr_catalog_build(&cat, m, &err);

	if (rc) {
		expect(rc == err.code && err.msg[0]);
		return;
	}
	for (size_t i = 0; i < cat->n_unit; i++)
		for (int p = 0; p < TR_N_PART; p++) {
			const struct tr_extent *x = &cat->units[i].part[p];

			expect(x->bytes && x->off <= m->shards[0].file_bytes &&
				x->bytes <= m->shards[0].file_bytes - x->off);
		}
	tr_catalog_free(cat);
}

static void try_file(const uint8_t *data, size_t len, uint64_t file_bytes)
{
	struct tr_err err = { .code = TR_OK };
	char print[TR_FINGERPRINT_BYTES];
	struct tr_gguf *g;
	struct tr_model *m;
	int rc = tr_gguf_parse(&g, data, len, file_bytes, &err);

	if (rc) {
		expect(!g && rc == err.code && err.msg[0]);
		return;
	}
	walk_values(g);
	walk_tensors(g);
	if (tr_model_from_gguf(&m, g, &err))
		return;
	walk_text(m);
	walk_units(m);
	tr_model_fingerprint(m, print);
	tr_model_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	try_file(data, len, len);
	try_file(data, len, len + DATA_BYTES);
	return 0;
}
