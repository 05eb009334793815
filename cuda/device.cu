/*
 * device.cu - NVIDIA GPUs: the calls of device.h as calls of the CUDA runtime.
 *
 * Plain allocations only: one cudaMalloc for the arena, cudaHostAlloc for pinned memory. Every call
 * selects its device first, so threads and devices may be mixed. An error of the runtime that is not
 * about memory makes the device lost: its context cannot be used any more.
 */
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
#include "cuda/backend.h"
#include "cuda/kernels.cuh"
}

struct gpu {
	struct tr_device base;
	int idx;
	struct cudaDeviceProp prop;
	uint64_t copied_bytes; /* queued */
};

struct gpu_stream {
	struct tr_stream base;
	cudaStream_t stream;
	uint64_t captured_bytes; /* of copies of the graph being captured */
};

struct gpu_graph {
	struct tr_graph base;
	cudaGraphExec_t exec;
	uint64_t copied_bytes; /* a launch */
};

struct gpu_event {
	struct tr_event base;
	cudaEvent_t event;
};

static struct gpu *gpu_of(struct tr_device *dev)
{
	return (struct gpu *)dev;
}

static cudaStream_t stream_of(struct tr_stream *s)
{
	return ((struct gpu_stream *)s)->stream;
}

static cudaEvent_t event_of(struct tr_event *e)
{
	return ((struct gpu_event *)e)->event;
}

/* --- errors ------------------------------------------------------------------------------------ */

static const char *hint(cudaError_t code)
{
	switch (code) {
	case cudaErrorMemoryAllocation:
		return "; free some of its memory, or ask for less";
	case cudaErrorInsufficientDriver:
	case cudaErrorNoDevice:
	case cudaErrorSystemDriverMismatch:
		return "; nvidia-smi shows whether driver and GPU are there";
	case cudaErrorNoKernelImageForDevice:
		return "; configure --with-cuda-arch with its compute capability";
	case cudaErrorDevicesUnavailable:
		return "; another program has it for itself";
	default:
		return "; the device is lost, dmesg may say why (lines with NVRM)";
	}
}

static int code_of(cudaError_t code)
{
	switch (code) {
	case cudaErrorMemoryAllocation:
		return TR_E_NOMEM;
	case cudaErrorNoDevice:
	case cudaErrorInvalidDevice:
	case cudaErrorInsufficientDriver:
	case cudaErrorNoKernelImageForDevice:
		return TR_E_UNSUPPORTED;
	default:
		return TR_E_IO;
	}
}

static int failed(const char *device, const char *op, int line, cudaError_t code,
	struct tr_err *err)
{
	return tr_err_set(err, code_of(code), "device %s: %s: %s (cuda/device.cu:%d)%s", device, op,
		cudaGetErrorString(code), line, hint(code));
}

/* Returns from the caller when an expression fails. */
#define CUDA(dev, op, call)                                                                        \
	do {                                                                                       \
		cudaError_t code_ = (call);                                                        \
                                                                                                   \
		if (code_ != cudaSuccess)                                                          \
			return failed((dev)->name, op, __LINE__, code_, err);                      \
	} while (0)

#define SELECT(dev, op) CUDA(dev, op, cudaSetDevice(gpu_of(dev)->idx))

/* --- memory ------------------------------------------------------------------------------------ */

static int info(struct tr_device *dev, struct tr_device_info *out, struct tr_err *err)
{
	size_t free_bytes, all;

	SELECT(dev, "memory info");
	CUDA(dev, "memory info", cudaMemGetInfo(&free_bytes, &all));
	out->mem_bytes = all;
	out->is_main_memory = gpu_of(dev)->prop.integrated != 0;
	out->free_bytes = free_bytes;
	out->copied_bytes = gpu_of(dev)->copied_bytes;
	return 0;
}

static int arena_new(struct tr_device *dev, uint64_t bytes, void **base, struct tr_err *err)
{
	char op[64];

	snprintf(op, sizeof(op), "%llu bytes of memory", (unsigned long long)bytes);
	SELECT(dev, op);
	CUDA(dev, op, cudaMalloc(base, bytes));
	return 0;
}

static void arena_free(struct tr_device *dev, void *base, uint64_t bytes)
{
	(void)bytes;
	cudaSetDevice(gpu_of(dev)->idx);
	cudaFree(base);
}

static int pinned_new(struct tr_device *dev, size_t bytes, void **host, void **at, struct tr_err *err)
{
	char op[64];

	snprintf(op, sizeof(op), "%zu bytes of pinned memory", bytes);
	SELECT(dev, op);
	CUDA(dev, op, cudaHostAlloc(host, bytes, cudaHostAllocMapped | cudaHostAllocPortable));
	CUDA(dev, op, cudaHostGetDevicePointer(at, *host, 0));
	return 0;
}

static void pinned_free(struct tr_device *dev, void *host)
{
	cudaSetDevice(gpu_of(dev)->idx);
	cudaFreeHost(host);
}

/* --- streams and events ------------------------------------------------------------------------ */

static int stream_new(struct tr_stream **out, struct tr_device *dev,
	enum tr_stream_priority priority, struct tr_err *err)
{
	struct gpu_stream *s = (struct gpu_stream *)tr_calloc(1, sizeof(*s));
	int lowest, highest;
	cudaError_t code;

	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "device %s: stream: out of memory", dev->name);
	s->base.dev = dev;
	code = cudaSetDevice(gpu_of(dev)->idx);
	if (code == cudaSuccess)
		code = cudaDeviceGetStreamPriorityRange(&lowest, &highest);
	if (code == cudaSuccess)
		code = cudaStreamCreateWithPriority(&s->stream, cudaStreamNonBlocking,
			priority == TR_STREAM_HIGH ? highest : lowest);
	if (code != cudaSuccess) {
		free(s);
		return failed(dev->name, "stream", __LINE__, code, err);
	}
	*out = &s->base;
	return 0;
}

static void stream_free(struct tr_stream *stream)
{
	cudaSetDevice(gpu_of(stream->dev)->idx);
	if (stream->capturing) {
		cudaGraph_t graph = NULL;

		if (cudaStreamEndCapture(stream_of(stream), &graph) == cudaSuccess)
			cudaGraphDestroy(graph);
	}
	cudaStreamSynchronize(stream_of(stream));
	cudaStreamDestroy(stream_of(stream));
	free(stream);
}

static int copy(struct tr_stream *stream, enum tr_copy way, void *dst, const void *src, size_t bytes,
	struct tr_err *err)
{
	static const enum cudaMemcpyKind kinds[] = { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost,
		cudaMemcpyDeviceToDevice };

	SELECT(stream->dev, "copy");
	CUDA(stream->dev, "copy", cudaMemcpyAsync(dst, src, bytes, kinds[way], stream_of(stream)));
	if (way == TR_COPY_IN_DEVICE)
		return 0;
	if (stream->capturing)
		((struct gpu_stream *)stream)->captured_bytes += bytes;
	else
		gpu_of(stream->dev)->copied_bytes += bytes;
	return 0;
}

static int fill(struct tr_stream *stream, void *dst, uint8_t byte, size_t bytes, struct tr_err *err)
{
	SELECT(stream->dev, "fill");
	CUDA(stream->dev, "fill", cudaMemsetAsync(dst, byte, bytes, stream_of(stream)));
	return 0;
}

static int sync_stream(struct tr_stream *stream, struct tr_err *err)
{
	SELECT(stream->dev, "wait");
	CUDA(stream->dev, "wait", cudaStreamSynchronize(stream_of(stream)));
	return 0;
}

static int event_new(struct tr_event **out, struct tr_device *dev, struct tr_err *err)
{
	struct gpu_event *e = (struct gpu_event *)tr_calloc(1, sizeof(*e));
	cudaError_t code;

	if (!e)
		return tr_err_set(err, TR_E_NOMEM, "device %s: event: out of memory", dev->name);
	e->base.dev = dev;
	code = cudaSetDevice(gpu_of(dev)->idx);
	if (code == cudaSuccess)
		code = cudaEventCreateWithFlags(&e->event, cudaEventDisableTiming);
	if (code != cudaSuccess) {
		free(e);
		return failed(dev->name, "event", __LINE__, code, err);
	}
	*out = &e->base;
	return 0;
}

static void event_free(struct tr_event *event)
{
	cudaSetDevice(gpu_of(event->dev)->idx);
	cudaEventDestroy(event_of(event));
	free(event);
}

static int record(struct tr_stream *stream, struct tr_event *event, struct tr_err *err)
{
	SELECT(stream->dev, "record");
	CUDA(stream->dev, "record", cudaEventRecord(event_of(event), stream_of(stream)));
	return 0;
}

static int wait(struct tr_stream *stream, struct tr_event *event, struct tr_err *err)
{
	SELECT(stream->dev, "wait for an event");
	CUDA(stream->dev, "wait for an event",
		cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
	return 0;
}

static int event_sync(struct tr_event *event, struct tr_err *err)
{
	SELECT(event->dev, "event");
	CUDA(event->dev, "event", cudaEventSynchronize(event_of(event)));
	return 0;
}

static int event_done(struct tr_event *event, struct tr_err *err)
{
	cudaError_t code;

	SELECT(event->dev, "event");
	code = cudaEventQuery(event_of(event));
	if (code == cudaErrorNotReady)
		return 0;
	CUDA(event->dev, "event", code);
	return 1;
}

/* --- graphs ------------------------------------------------------------------------------------ */

/* Other threads may allocate meanwhile: only this one is held to what a capture allows. */
static int capture(struct tr_stream *stream, struct tr_err *err)
{
	SELECT(stream->dev, "capture");
	CUDA(stream->dev, "capture",
		cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal));
	((struct gpu_stream *)stream)->captured_bytes = 0;
	return 0;
}

static int captured(struct tr_graph **out, struct tr_stream *stream, struct tr_err *err)
{
	struct gpu_graph *g = (struct gpu_graph *)tr_calloc(1, sizeof(*g));
	cudaGraph_t graph = NULL;
	cudaError_t code = cudaSetDevice(gpu_of(stream->dev)->idx);

	if (code == cudaSuccess)
		code = cudaStreamEndCapture(stream_of(stream), &graph);
	if (code == cudaSuccess && g)
		code = cudaGraphInstantiateWithFlags(&g->exec, graph, 0);
	if (graph)
		cudaGraphDestroy(graph);
	if (code != cudaSuccess || !g) {
		free(g);
		return code != cudaSuccess ?
			failed(stream->dev->name, "graph", __LINE__, code, err) :
			tr_err_set(err, TR_E_NOMEM, "device %s: graph: out of memory",
				stream->dev->name);
	}
	g->base.dev = stream->dev;
	g->copied_bytes = ((struct gpu_stream *)stream)->captured_bytes;
	*out = &g->base;
	return 0;
}

static int graph_launch(struct tr_graph *graph, struct tr_stream *stream, struct tr_err *err)
{
	struct gpu_graph *g = (struct gpu_graph *)graph;

	SELECT(stream->dev, "graph");
	CUDA(stream->dev, "graph", cudaGraphLaunch(g->exec, stream_of(stream)));
	gpu_of(stream->dev)->copied_bytes += g->copied_bytes;
	return 0;
}

static void graph_free(struct tr_graph *graph)
{
	cudaSetDevice(gpu_of(graph->dev)->idx);
	cudaGraphExecDestroy(((struct gpu_graph *)graph)->exec);
	free(graph);
}

/* --- operations -------------------------------------------------------------------------------- */

static int launch(struct tr_stream *stream, enum tr_dop op, const void *args, struct tr_err *err)
{
	const char *name = "";

	SELECT(stream->dev, "launch");
	switch (op) {
#define TR_DOP(op)                                                                                 \
	case TR_DOP_##op:                                                                          \
		name = #op;                                                                        \
		tr_launch_##op(stream_of(stream), (const struct tr_dop_##op *)args);               \
		break;
#include "cuda/ops.def"
#undef TR_DOP
	case TR_N_DOP:
		break;
	}
	CUDA(stream->dev, name, cudaGetLastError());
	return 0;
}

/* --- the device -------------------------------------------------------------------------------- */

static void close_gpu(struct tr_device *dev)
{
	free(dev);
}

static const struct tr_device_ops gpu_ops = {
	close_gpu, info, arena_new, arena_free, pinned_new, pinned_free, stream_new, stream_free,
	copy, fill, sync_stream, event_new, event_free, record, wait, event_sync, event_done, capture,
	captured, graph_launch, graph_free, launch,
};

extern "C" unsigned tr_device_count(const char **why)
{
	int n = 0;
	cudaError_t code = cudaGetDeviceCount(&n);

	if (code == cudaSuccess && n > 0)
		return (unsigned)n;
	if (why)
		*why = code == cudaSuccess ? "no NVIDIA GPU in this machine" : cudaGetErrorString(code);
	return 0;
}

extern "C" int tr_cuda_open(struct tr_device **dev, unsigned idx, struct tr_err *err)
{
	const char *why = "";
	unsigned n = tr_device_count(&why);
	struct gpu *g;
	cudaError_t code;

	*dev = NULL;
	if (!n)
		return tr_err_set(err, TR_E_UNSUPPORTED, "device cuda:%u: %s%s", idx, why,
			hint(cudaErrorNoDevice));
	if (idx >= n)
		return tr_err_set(err, TR_E_INVALID, "device cuda:%u: there are %u, from cuda:0 on",
			idx, n);
	g = (struct gpu *)tr_calloc(1, sizeof(*g));
	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "device cuda:%u: out of memory", idx);
	g->base.ops = &gpu_ops;
	g->idx = (int)idx;
	code = cudaGetDeviceProperties(&g->prop, g->idx);
	snprintf(g->base.name, sizeof(g->base.name), "cuda:%u %.60s (sm_%d%d)", idx, g->prop.name,
		g->prop.major, g->prop.minor);
	if (code != cudaSuccess) {
		free(g);
		return tr_err_set(err, code_of(code), "device cuda:%u: %s%s", idx,
			cudaGetErrorString(code), hint(code));
	}
	*dev = &g->base;
	return 0;
}
