/* backend.h - what a kind of device provides to device.c. */
#ifndef TR_CUDA_BACKEND_H
#define TR_CUDA_BACKEND_H

#include "cuda/device.h"

/* All members are required. Those with err report as device.h says. */
struct tr_device_ops {
	void (*close)(struct tr_device *dev);
	int (*info)(struct tr_device *dev, struct tr_device_info *info, struct tr_err *err);
	int (*arena_new)(struct tr_device *dev, uint64_t bytes, void **base, struct tr_err *err);
	void (*arena_free)(struct tr_device *dev, void *base, uint64_t bytes);
	int (*pinned_new)(struct tr_device *dev, size_t bytes, void **host, void **at,
		struct tr_err *err);
	void (*pinned_free)(struct tr_device *dev, void *host);
	int (*stream_new)(struct tr_stream **stream, struct tr_device *dev,
		enum tr_stream_priority priority, struct tr_err *err);
	void (*stream_free)(struct tr_stream *stream);
	int (*copy)(struct tr_stream *stream, enum tr_copy way, void *dst, const void *src,
		size_t bytes, struct tr_err *err);
	int (*fill)(struct tr_stream *stream, void *dst, uint8_t byte, size_t bytes,
		struct tr_err *err);
	int (*sync)(struct tr_stream *stream, struct tr_err *err);
	int (*event_new)(struct tr_event **event, struct tr_device *dev, struct tr_err *err);
	void (*event_free)(struct tr_event *event);
	int (*record)(struct tr_stream *stream, struct tr_event *event, struct tr_err *err);
	int (*wait)(struct tr_stream *stream, struct tr_event *event, struct tr_err *err);
	int (*event_sync)(struct tr_event *event, struct tr_err *err);
	int (*event_done)(struct tr_event *event, struct tr_err *err);
	/* captured ends the capture even when it fails. */
	int (*capture)(struct tr_stream *stream, struct tr_err *err);
	int (*captured)(struct tr_graph **graph, struct tr_stream *stream, struct tr_err *err);
	int (*graph_launch)(struct tr_graph *graph, struct tr_stream *stream, struct tr_err *err);
	void (*graph_free)(struct tr_graph *graph);
	/* args are checked and of the operation's type. */
	int (*launch)(struct tr_stream *stream, enum tr_dop op, const void *args,
		struct tr_err *err);
};

/* First members of what a backend makes. device.c owns the rest of the fields. */
struct tr_device {
	const struct tr_device_ops *ops;
	char name[96];
	uint8_t *arena;
	uint64_t arena_bytes;
	struct tr_buffer *buffers; /* by offset, ascending */
	/* See tr_device_info; changed atomically. */
	uint64_t n_wait, wait_ns, n_queued, n_copy, n_made;
};

struct tr_stream {
	struct tr_device *dev;
	bool capturing;
	uint64_t n_captured_copy; /* between host and device, of the graph being captured */
};

struct tr_graph {
	struct tr_device *dev;
	uint64_t n_copy; /* between host and device */
};

struct tr_event {
	struct tr_device *dev;
};

/* The kinds. options is what follows the first word, "" or ",key=value,..". */
int tr_cuda_open(struct tr_device **dev, unsigned idx, struct tr_err *err);
int tr_host_open(struct tr_device **dev, const char *options, struct tr_err *err);

/* How the host device computes an operation, by enum tr_dop; args are the operation's. */
struct tr_host_compute;
typedef void tr_host_op(struct tr_host_compute *c, const void *args);
extern tr_host_op *const tr_host_ops[TR_N_DOP];

/* A host device that computes by other means: tests pass the emulated kernels. */
int tr_host_open_with(struct tr_device **dev, const char *options, tr_host_op *const *ops,
	struct tr_err *err);

/* What host operations compute with. */
struct tr_host_compute {
	const struct tr_kernels *k;
	struct tr_pool *pool; /* one stream at a time holds it */
};

#endif
