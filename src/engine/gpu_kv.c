#include "engine/gpu_kv.h"
#include "base/mem.h"

#include <stdlib.h>

#define NOT_HERE UINT32_MAX

struct tr_gpu_kv {
	struct tr_gpu *gpu;
	struct tr_kv shape; /* without data */
	struct tr_buffer *rows;
	uint32_t *place; /* [n_layer] of its rows, or NOT_HERE */
	const struct tr_kv *owner;
	const uint32_t *n_past; /* of the owner */
};

static uint64_t layer_bytes(const struct tr_gpu_kv *kv)
{
	return (uint64_t)kv->shape.n_ctx * kv->shape.row_bytes;
}

int tr_gpu_kv_new(struct tr_gpu_kv **out, struct tr_gpu *gpu, const bool *on,
	const struct tr_kv *shape, struct tr_err *err)
{
	struct tr_gpu_kv *kv = tr_calloc(1, sizeof(*kv));
	uint32_t n = 0, l;
	int rc;

	if (!kv)
		return tr_err_set(err, TR_E_NOMEM, "KV cache of the device: out of memory");
	kv->gpu = gpu;
	kv->shape = *shape;
	kv->shape.data = NULL;
	kv->place = tr_calloc(shape->n_layer, sizeof(*kv->place));
	if (!kv->place) {
		tr_gpu_kv_free(kv);
		return tr_err_set(err, TR_E_NOMEM, "KV cache of the device: out of memory");
	}
	for (l = 0; l < shape->n_layer; l++)
		kv->place[l] = on[l] ? n++ : NOT_HERE;
	rc = tr_buffer_new(&kv->rows, gpu->dev, n * layer_bytes(kv), "KV cache", err);
	if (rc) {
		tr_gpu_kv_free(kv);
		return rc;
	}
	*out = kv;
	return 0;
}

void tr_gpu_kv_free(struct tr_gpu_kv *kv)
{
	if (!kv)
		return;
	tr_buffer_free(kv->rows);
	free(kv->place);
	free(kv);
}

uint8_t *tr_gpu_kv_row(const struct tr_gpu_kv *kv, uint32_t layer, uint32_t pos)
{
	tr_assert(kv->place[layer] != NOT_HERE && pos < kv->shape.n_ctx);
	return tr_buffer_at(
		kv->rows, kv->place[layer] * layer_bytes(kv) + (uint64_t)pos * kv->shape.row_bytes);
}

/* The first n rows of every layer that is here, to the cache in host memory or from it. */
static int move(struct tr_gpu_kv *kv, enum tr_copy way, const struct tr_kv *host, uint32_t n,
	struct tr_err *err)
{
	int rc = 0;

	for (uint32_t l = 0; l < kv->shape.n_layer && n && !rc; l++) {
		uint8_t *there, *here = tr_kv_row(host, l, 0);

		if (kv->place[l] == NOT_HERE)
			continue;
		there = tr_gpu_kv_row(kv, l, 0);
		rc = way == TR_COPY_TO_HOST ? tr_stream_copy(kv->gpu->compute, way, here, there,
						      n * kv->shape.row_bytes, err)
					    : tr_stream_copy(kv->gpu->compute, way, there, here,
						      n * kv->shape.row_bytes, err);
	}
	return rc;
}

int tr_gpu_kv_take(
	struct tr_gpu_kv *kv, const struct tr_kv *host, const uint32_t *n_past, struct tr_err *err)
{
	uint32_t n_out = kv->owner ? *kv->n_past : 0;
	int rc = 0;

	if (kv->owner == host)
		return 0;
	if (n_out)
		rc = move(kv, TR_COPY_TO_HOST, kv->owner, n_out, err);
	if (!rc)
		rc = move(kv, TR_COPY_TO_DEVICE, host, *n_past, err);
	if (!rc && (n_out || *n_past))
		rc = tr_stream_sync(kv->gpu->compute, err);
	if (rc)
		return rc;
	kv->owner = host;
	kv->n_past = n_past;
	return 0;
}

void tr_gpu_kv_forget(struct tr_gpu_kv *kv, const struct tr_kv *host)
{
	if (kv->owner == host)
		kv->owner = NULL;
}
