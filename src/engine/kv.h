/* kv.h - the cache of past positions of one session: one row per layer and position (kv_row.h). */
#ifndef TR_ENGINE_KV_H
#define TR_ENGINE_KV_H

#include "base/topo.h"
#include "compute/kernels.h"

struct tr_kv {
	enum tr_kv_type type;
	uint32_t n_layer;
	uint32_t n_ctx;
	uint32_t width;	  /* values a row */
	size_t row_bytes; /* a multiple of a cache line */
	uint8_t *data;	  /* [n_layer][n_ctx][row_bytes], touched as positions fill */
};

uint64_t tr_kv_bytes(enum tr_kv_type type, uint32_t n_layer, uint32_t n_ctx, uint32_t width);
/* Without data. */
struct tr_kv tr_kv_shape(enum tr_kv_type type, uint32_t n_layer, uint32_t n_ctx, uint32_t width);
int tr_kv_init(struct tr_kv *kv, enum tr_kv_type type, uint32_t n_layer, uint32_t n_ctx,
	uint32_t width, struct tr_err *err);
void tr_kv_fini(struct tr_kv *kv);

/* Spreads the pages over the nodes, before any is touched: every node reads all rows, because all
 * heads share them. */
void tr_kv_interleave(struct tr_kv *kv, const struct tr_topo *topo);

static inline uint8_t *tr_kv_row(const struct tr_kv *kv, uint32_t layer, uint32_t pos)
{
	return kv->data + ((size_t)layer * kv->n_ctx + pos) * kv->row_bytes;
}

/* Stores width floats, rounded to the cache's type. */
void tr_kv_store(const struct tr_kv *kv, const struct tr_kernels *k, uint32_t layer, uint32_t pos,
	const float *x);

#endif
