/* roofline_gpu.h - the lines of a device in tr_engine_roofline. */
#ifndef TR_ENGINE_ROOFLINE_GPU_H
#define TR_ENGINE_ROOFLINE_GPU_H

#include "engine/engine.h"

/* out[2] "vram" and "link"; *n is 0 without a tier there. got_bytes_per_s is left to the caller. */
int tr_roofline_gpu(
	struct tr_engine *e, uint64_t ns, struct tr_roofline *out, size_t *n, struct tr_err *err);

#endif
