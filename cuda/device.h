/*
 * device.h - the boundary to a device that computes, in plain C.
 *
 * A device is opened by a text:
 *   none      no device; *dev is NULL
 *   cuda:N    the N-th NVIDIA GPU (only in builds with device code)
 *   host      threads of this machine that behave like a device: memory of its own, streams that run
 *             beside the caller, events. For tests, and for measuring what a device would change.
 *             Options: host,mem=SIZE (default 256M), threads=N (1), bw=SIZE (copies take at least
 *             as long as at so many bytes a second), fail=N (the N-th operation of any stream, from
 *             1, fails and the device is lost)
 *
 * Work goes to streams. Each does its work in order, streams run side by side, events order them.
 * Calls that take a stream return when the work is queued; what they point to (host memory of
 * copies too) must stay as it is until the stream has passed it. Structs of arguments are copied.
 *
 * Errors: 0 or a code with a message that says device, operation and what to do. What fails while the
 * device works is reported by the next call that waits or queues, and from then on by every call:
 * such a device is lost and can only be closed. Handles are freed before their device; freeing a
 * stream waits for it. Calls for one stream, and those that make or free anything of one device,
 * must not run at the same time.
 */
#ifndef TR_CUDA_DEVICE_H
#define TR_CUDA_DEVICE_H

#include "base/err.h"
#include "cuda/ops.h"

struct tr_device;
struct tr_buffer;
struct tr_stream;
struct tr_event;
struct tr_graph;

/* GPUs that can be used; 0 without CUDA. why (may be NULL) says why there is none. */
unsigned tr_device_count(const char **why);

int tr_device_open(struct tr_device **dev, const char *spec, struct tr_err *err);
void tr_device_close(struct tr_device *dev);

struct tr_device_info {
	char name[96]; /* "cuda:0 NVIDIA GeForce RTX 3060 (sm_86)" */
	uint64_t mem_bytes;
	uint64_t free_bytes;	/* that an arena could take now */
	bool is_main_memory;	/* it has none of its own: what it takes is this machine's */
	uint64_t copied_bytes;	/* between host and device so far; queued ones not counted */
	uint64_t modelled_ns;	/* host,bw=: what these copies have to take */
	uint64_t n_wait;	/* times that the host waited for a stream or an event */
	uint64_t wait_ns;	/* how long, all threads together */
	uint64_t n_queued;	/* calls that queued something, a graph being one of them */
	uint64_t n_copy;	/* copies between host and device in these calls and their graphs */
	uint64_t n_made;	/* blocks of memory, streams, events and graphs */
};

int tr_device_info(struct tr_device *dev, struct tr_device_info *info, struct tr_err *err);

/* --- memory ----------------------------------------------------------------------------------- */

/* Takes the one block of memory that buffers are cut from. Once, before the first buffer. */
int tr_device_reserve(struct tr_device *dev, uint64_t bytes, struct tr_err *err);

/* Buffers start at multiples of 256; what they hold at first does not matter. what is named in errors
 * and must outlive the buffer. */
int tr_buffer_new(struct tr_buffer **buf, struct tr_device *dev, uint64_t bytes, const char *what,
	struct tr_err *err);
void tr_buffer_free(struct tr_buffer *buf);

/* The device's address of a byte of the buffer: for copies and operations, not to be followed here. */
void *tr_buffer_at(const struct tr_buffer *buf, uint64_t off);

/* Host memory that a device copies from and to at full speed, and that operations may read and write
 * where it lies: *at is the device's address of it. */
int tr_pinned_new(struct tr_device *dev, size_t bytes, void **host, void **at, struct tr_err *err);
void tr_pinned_free(struct tr_device *dev, void *host);

/* --- streams and events ----------------------------------------------------------------------- */

enum tr_stream_priority {
	TR_STREAM_HIGH, /* decoding */
	TR_STREAM_LOW,	/* copies that must not delay it */
};

int tr_stream_new(struct tr_stream **stream, struct tr_device *dev,
	enum tr_stream_priority priority, struct tr_err *err);
void tr_stream_free(struct tr_stream *stream);

enum tr_copy { TR_COPY_TO_DEVICE, TR_COPY_TO_HOST, TR_COPY_IN_DEVICE };

int tr_stream_copy(struct tr_stream *stream, enum tr_copy way, void *dst, const void *src,
	size_t bytes, struct tr_err *err);
int tr_stream_fill(struct tr_stream *stream, void *dst, uint8_t byte, size_t bytes,
	struct tr_err *err);

/* Waits until the stream has done all its work. */
int tr_stream_sync(struct tr_stream *stream, struct tr_err *err);

int tr_event_new(struct tr_event **event, struct tr_device *dev, struct tr_err *err);
void tr_event_free(struct tr_event *event);

/* The event happens when the stream gets here; until it is recorded it counts as happened. A second
 * record makes it a new one. */
int tr_stream_record(struct tr_stream *stream, struct tr_event *event, struct tr_err *err);
/* The stream goes on when the event, as recorded last, has happened. */
int tr_stream_wait(struct tr_stream *stream, struct tr_event *event, struct tr_err *err);
int tr_event_sync(struct tr_event *event, struct tr_err *err);
/* 1 when it has happened, 0 when not, or a negative code. */
int tr_event_done(struct tr_event *event, struct tr_err *err);

/* --- graphs ----------------------------------------------------------------------------------- */

/*
 * A graph is a sequence that is queued with one call, as often as wanted. Between capture and
 * captured the stream notes copies, fills and operations instead of doing them; it takes nothing
 * else meanwhile. Arguments and addresses are those of the capture; what lies there is read when
 * the graph runs (so a position goes through memory: pos_at in ops.h). Host memory of copies is
 * pinned. A graph is freed before its device, and when no stream has it queued any more.
 */
int tr_stream_capture(struct tr_stream *stream, struct tr_err *err);
/* Ends it, with *graph NULL when it fails. */
int tr_stream_captured(struct tr_graph **graph, struct tr_stream *stream, struct tr_err *err);
int tr_graph_launch(struct tr_graph *graph, struct tr_stream *stream, struct tr_err *err);
void tr_graph_free(struct tr_graph *graph);

/* --- operations ------------------------------------------------------------------------------- */

/* int tr_device_NAME(stream, const struct tr_dop_NAME *args, err) for each operation of ops.def. */
#define TR_DOP(name)                                                                               \
	int tr_device_##name(struct tr_stream *stream, const struct tr_dop_##name *args,           \
		struct tr_err *err);
#include "cuda/ops.def"
#undef TR_DOP

/* Most values a row that attention takes, most experts that router does. */
#define TR_DEVICE_MLA_WIDTH 1024
#define TR_DEVICE_N_EXPERT  2048

/* Whether matmul and expert_ffn take weights of this type. They take all that src/compute does, and
 * refuse others. */
bool tr_device_has_quant(enum tr_quant_id quant);

/* Floats of scratch that mla needs, or gqa with n_value as n_lat. */
static inline size_t tr_dop_mla_floats(uint32_t n_tok_once, uint32_t n_head, uint32_t n_lat,
	uint32_t n_pos)
{
	return tr_dop_mla_room(n_tok_once, n_head, n_lat, n_pos).n;
}

#endif
