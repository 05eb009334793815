/*
 * gpu_kv.h - the KV cache of the layers that attend on the device: room for one session.
 *
 * Sessions of an engine run one at a time, so the room belongs to the one that ran last. When
 * another one runs, the rows of the first go to its cache in host memory, and those of the other
 * come from there. A session alone never copies; several that take turns pay two copies of their
 * rows a turn.
 */
#ifndef TR_ENGINE_GPU_KV_H
#define TR_ENGINE_GPU_KV_H

#include "engine/gpu.h"
#include "engine/kv.h"

struct tr_gpu_kv;

/* on[n_layer]: layers that have rows here. The shape is that of the sessions' caches. */
int tr_gpu_kv_new(struct tr_gpu_kv **kv, struct tr_gpu *gpu, const bool *on,
	const struct tr_kv *shape, struct tr_err *err);
void tr_gpu_kv_free(struct tr_gpu_kv *kv);

/* Makes it the room of the session with this cache, which holds n_past positions as the call is
 * made and *n_past whenever another session takes the room. Waits for copies if there are any. */
int tr_gpu_kv_take(
	struct tr_gpu_kv *kv, const struct tr_kv *host, const uint32_t *n_past, struct tr_err *err);
/* The session ends; its rows are not kept. */
void tr_gpu_kv_forget(struct tr_gpu_kv *kv, const struct tr_kv *host);

/* Address of the device. The layer is one of those that have rows. */
uint8_t *tr_gpu_kv_row(const struct tr_gpu_kv *kv, uint32_t layer, uint32_t pos);

#endif
