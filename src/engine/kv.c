#include "engine/kv.h"
#include "base/mem.h"
#include "base/node_mem.h"
#include "compute/kv_row.h"

static size_t row_bytes_of(enum tr_kv_type type, uint32_t width)
{
	return TR_ALIGN_UP(tr_kv_row_bytes(type, width), TR_CACHE_LINE);
}

uint64_t tr_kv_bytes(enum tr_kv_type type, uint32_t n_layer, uint32_t n_ctx, uint32_t width)
{
	return (uint64_t)row_bytes_of(type, width) * n_layer * n_ctx;
}

struct tr_kv tr_kv_shape(enum tr_kv_type type, uint32_t n_layer, uint32_t n_ctx, uint32_t width)
{
	return (struct tr_kv){ type, n_layer, n_ctx, width, row_bytes_of(type, width), NULL };
}

int tr_kv_init(struct tr_kv *kv, enum tr_kv_type type, uint32_t n_layer, uint32_t n_ctx,
	uint32_t width, struct tr_err *err)
{
	uint64_t bytes = tr_kv_bytes(type, n_layer, n_ctx, width);

	*kv = tr_kv_shape(type, n_layer, n_ctx, width);
	kv->data = tr_pages_alloc(bytes);
	if (!kv->data)
		return tr_err_set(err, TR_E_NOMEM,
			"KV cache: no memory for %llu bytes (%u tokens of context; a smaller -c needs less)",
			(unsigned long long)bytes, n_ctx);
	return 0;
}

void tr_kv_fini(struct tr_kv *kv)
{
	if (kv->data)
		tr_pages_free(kv->data, tr_kv_bytes(kv->type, kv->n_layer, kv->n_ctx, kv->width));
	kv->data = NULL;
}

void tr_kv_interleave(struct tr_kv *kv, const struct tr_topo *topo)
{
	tr_node_interleave(topo, kv->data,
		tr_kv_bytes(kv->type, kv->n_layer, kv->n_ctx, kv->width));
}

void tr_kv_store(const struct tr_kv *kv, const struct tr_kernels *k, uint32_t layer, uint32_t pos,
	const float *x)
{
	tr_kv_row_store(k, kv->type, tr_kv_row(kv, layer, pos), x, kv->width);
}
