/*
 * gpu.h - the device of an engine: opened by name, its memory shared out, its streams.
 *
 * What lies and runs on the device belongs to the engine, not to a session. Before weights are read the
 * plan asks what there is (open, budget) and says what goes where; then start takes the one block of
 * memory, and those who were promised a part of it cut their buffers (tr_buffer_new on dev).
 *
 * Two streams: compute, of high priority, where the thread that runs the engine queues operations,
 * and copy, of low priority, for what must not delay them. Each is used by one thread at a time:
 * compute by the engine's, copy by the VRAM tier's feeder once that was started (vram.h).
 */
#ifndef TR_ENGINE_GPU_H
#define TR_ENGINE_GPU_H

#include "cuda/device.h"

struct tr_gpu {
	struct tr_device *dev;
	struct tr_device_info info; /* as it was opened: name, memory, what was free */
	struct tr_stream *compute;  /* NULL before start */
	struct tr_stream *copy;
	uint64_t arena_bytes;
	void *staging[2]; /* pinned, while uploading; see tr_gpu_upload */
	struct tr_event *staged[2];
	unsigned next; /* staging */
	bool go_on;    /* without it when it fails; else that ends the run */
	bool is_lost;  /* it failed, and the run goes on: nothing is queued any more */
};

/* text as for tr_device_open, NULL is none; *gpu is NULL then. */
int tr_gpu_open(struct tr_gpu **gpu, const char *text, struct tr_err *err);
/* A call to the device failed with rc: 0 when the run goes on without it, which is logged once; else rc. */
int tr_gpu_failed(struct tr_gpu *gpu, int rc, const struct tr_err *err);
/* All buffers, pinned memory and events of others are freed before. */
void tr_gpu_close(struct tr_gpu *gpu);

/* Left to others where the size is to be picked: graphics, other programs, libraries' own needs. */
uint64_t tr_gpu_reserve_bytes(const struct tr_gpu *gpu);

/*
 * What --vram asks for. text: a size, a percentage of experts, "auto" or NULL, which is auto with a
 * device and 0 without. A size is all that is taken from the device; of a percentage *is_share is
 * true and *bytes are those of experts, to which comes what they need beside them. Asking for more than
 * is free, or for anything without a device, is an error.
 */
int tr_gpu_budget(const struct tr_gpu *gpu, const char *text, uint64_t expert_bytes, uint64_t *bytes,
	bool *is_share, struct tr_err *err);

/* Takes the memory and makes the streams. */
int tr_gpu_start(struct tr_gpu *gpu, uint64_t arena_bytes, struct tr_err *err);

/* While loading: host memory of any kind to the device, through pinned memory and the copy stream. src
 * may be used again at once; the bytes are there when upload_end has returned. */
int tr_gpu_upload(struct tr_gpu *gpu, void *dst, const void *src, uint64_t bytes, struct tr_err *err);
/* Waits for all uploads and frees what they needed. */
int tr_gpu_upload_end(struct tr_gpu *gpu, struct tr_err *err);

#endif
