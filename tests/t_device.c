/* t_device.c - memory, streams, events and faults of the host device, and how devices are named. */
#include "test.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cuda/device.h"

#include <stdio.h>

static struct tr_err err;

static struct tr_device *open_device(const char *spec)
{
	struct tr_device *dev;

	if (tr_device_open(&dev, spec, &err))
		fail_msg("%s: %s", spec, err.msg);
	assert_non_null(dev);
	return dev;
}

static struct tr_stream *open_stream(struct tr_device *dev, enum tr_stream_priority priority)
{
	struct tr_stream *s;

	assert_int_equal(tr_stream_new(&s, dev, priority, &err), 0);
	return s;
}

static struct tr_event *open_event(struct tr_device *dev)
{
	struct tr_event *e;

	assert_int_equal(tr_event_new(&e, dev, &err), 0);
	return e;
}

static struct tr_buffer *cut(struct tr_device *dev, uint64_t bytes)
{
	struct tr_buffer *b;

	assert_int_equal(tr_buffer_new(&b, dev, bytes, "a test", &err), 0);
	return b;
}

static void none_is_no_device(void **state)
{
	struct tr_device *dev = (struct tr_device *)state;

	assert_int_equal(tr_device_open(&dev, "none", &err), 0);
	assert_null(dev);
}

static void unknown_devices_and_options_are_named(void **state)
{
	static const struct {
		const char *spec, *message;
	} cases[] = {
		{ "gpu", "device 'gpu' is not known; there are none, cuda:N and host" },
		{ "hostile", "'hostile'" },
		{ "host,men=1G", "option 'men' is not known; there are mem, threads, bw, fail" },
		{ "host,mem=x", "device host: mem" },
		{ "host,threads=0", "0 is outside 1 to 1024" },
		{ "host,fail", "'fail' is not option=value" },
		{ "cuda:x", "'x' is not a whole number" },
		{ "cuda:64", "64 is outside 0 to 63" },
	};
	struct tr_device *dev;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(cases); i++) {
		assert_true(tr_device_open(&dev, cases[i].spec, &err) < 0);
		assert_null(dev);
		assert_err_has(&err, cases[i].message);
	}
}

static void a_gpu_that_is_not_there_says_why(void **state)
{
	struct tr_device *dev;
	const char *why = NULL;
	unsigned n = tr_device_count(&why);
	char spec[16];

	(void)state;
	assert_true(n || (why && *why));
	snprintf(spec, sizeof(spec), "cuda:%u", n);
	assert_true(tr_device_open(&dev, spec, &err) < 0);
	assert_null(dev);
	assert_err_has(&err, spec);
	if (!n)
		assert_err_has(&err, why);
}

static void the_arena_is_limited_and_says_so(void **state)
{
	struct tr_device *dev = open_device("host,mem=1M");
	struct tr_device_info info;
	struct tr_buffer *a, *b;

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 2 << 20, &err), TR_E_NOMEM);
	assert_err_has(&err, "2097152");
	assert_err_has(&err, "1048576");
	assert_int_equal(tr_device_reserve(dev, 1 << 19, &err), 0);
	assert_int_equal(tr_device_info(dev, &info, &err), 0);
	assert_int_equal(info.mem_bytes, 1 << 20);
	assert_int_equal(info.free_bytes, 1 << 19);
	a = cut(dev, 500000);
	assert_int_equal(tr_buffer_new(&b, dev, 30000, "KV cache", &err), TR_E_NOMEM);
	assert_null(b);
	assert_err_has(&err, "30000 bytes of KV cache: 500000 of 524288 are taken");
	tr_buffer_free(a);
	tr_device_close(dev);
}

static void freed_gaps_are_used_again(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_buffer *b[4], *again;
	void *second;

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 4096, &err), 0);
	for (int i = 0; i < 4; i++) {
		b[i] = cut(dev, 1000);
		assert_int_equal((uintptr_t)tr_buffer_at(b[i], 0) % 256, 0);
	}
	assert_int_equal(tr_buffer_new(&again, dev, 1, "nothing", &err), TR_E_NOMEM);
	second = tr_buffer_at(b[1], 0);
	tr_buffer_free(b[1]);
	tr_buffer_free(b[2]);
	assert_int_equal(tr_buffer_new(&again, dev, 2049, "too much", &err), TR_E_NOMEM);
	again = cut(dev, 2048);
	assert_ptr_equal(tr_buffer_at(again, 0), second);
	tr_buffer_free(b[0]);
	b[0] = cut(dev, 1024);
	tr_buffer_free(again);
	tr_buffer_free(b[0]);
	tr_buffer_free(b[3]);
	tr_device_close(dev);
}

static void a_stream_works_in_order(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_buffer *b;
	uint8_t in[64], out[64];

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 1 << 16, &err), 0);
	b = cut(dev, 256);
	memset(in, 3, sizeof(in));
	/* More than the queue holds. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(tr_stream_fill(s, tr_buffer_at(b, 0), (uint8_t)i, 128, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_DEVICE, tr_buffer_at(b, 64), in, 32, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_IN_DEVICE, tr_buffer_at(b, 128),
				 tr_buffer_at(b, 48), 64, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_HOST, out, tr_buffer_at(b, 128), 64, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(out[i], i >= 16 && i < 48 ? 3 : 999 % 256);
	tr_stream_free(s);
	tr_buffer_free(b);
	tr_device_close(dev);
}

/* The second stream is told to copy before the first has written, and waits. */
static void events_order_streams(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_stream *first = open_stream(dev, TR_STREAM_HIGH);
	struct tr_stream *second = open_stream(dev, TR_STREAM_LOW);
	struct tr_event *written = open_event(dev), *gate = open_event(dev);
	struct tr_buffer *b;
	uint8_t out[16];

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 1 << 16, &err), 0);
	b = cut(dev, 16);
	assert_int_equal(tr_event_done(written, &err), 1);
	for (int round = 1; round < 50; round++) {
		memset(out, 0, sizeof(out));
		assert_int_equal(tr_stream_fill(first, tr_buffer_at(b, 0), (uint8_t)round, 16, &err),
			0);
		assert_int_equal(tr_stream_record(first, written, &err), 0);
		assert_int_equal(tr_stream_wait(second, written, &err), 0);
		assert_int_equal(tr_stream_copy(second, TR_COPY_TO_HOST, out, tr_buffer_at(b, 0), 16,
					 &err), 0);
		assert_int_equal(tr_stream_record(second, gate, &err), 0);
		assert_int_equal(tr_stream_wait(first, gate, &err), 0);
		assert_int_equal(tr_event_sync(gate, &err), 0);
		assert_int_equal(tr_event_done(gate, &err), 1);
		assert_int_equal(out[7], round);
	}
	tr_stream_free(first);
	tr_stream_free(second);
	tr_event_free(written);
	tr_event_free(gate);
	tr_buffer_free(b);
	tr_device_close(dev);
}

static void an_event_has_not_happened_while_its_stream_waits(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_stream *slow = open_stream(dev, TR_STREAM_LOW);
	struct tr_stream *fast = open_stream(dev, TR_STREAM_HIGH);
	struct tr_event *a = open_event(dev), *b = open_event(dev);
	struct tr_buffer *big;

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 64 << 20, &err), 0);
	big = cut(dev, 64 << 20);
	for (int i = 0; i < 4; i++)
		assert_int_equal(tr_stream_fill(slow, tr_buffer_at(big, 0), 1, 64 << 20, &err), 0);
	assert_int_equal(tr_stream_record(slow, a, &err), 0);
	assert_int_equal(tr_stream_wait(fast, a, &err), 0);
	assert_int_equal(tr_stream_record(fast, b, &err), 0);
	/* Whenever b has happened, a has. */
	while (!tr_event_done(b, &err))
		;
	assert_int_equal(tr_event_done(a, &err), 1);
	tr_stream_free(slow);
	tr_stream_free(fast);
	tr_event_free(a);
	tr_event_free(b);
	tr_buffer_free(big);
	tr_device_close(dev);
}

static void pinned_memory_is_seen_from_both_sides(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_dop_add a = { .n = 2, .n_tok = 1, .stride = 2 };
	void *host, *at;
	float *x;

	(void)state;
	assert_int_equal(tr_pinned_new(dev, 64, &host, &at, &err), 0);
	x = host;
	x[0] = 1;
	x[1] = 2;
	x[2] = 10;
	x[3] = 20;
	a.y = at;
	a.x = (float *)at + 2;
	assert_int_equal(tr_device_add(s, &a, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	assert_true(x[0] == 11 && x[1] == 22);
	tr_stream_free(s);
	tr_pinned_free(dev, host);
	tr_device_close(dev);
}

static void copies_over_a_limited_link_are_accounted(void **state)
{
	struct tr_device *dev = open_device("host,bw=1G");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_device_info info;
	struct tr_buffer *b;
	uint8_t x[1 << 14] = { 0 };

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 1 << 20, &err), 0);
	b = cut(dev, 1 << 20);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_DEVICE, tr_buffer_at(b, 0), x, sizeof(x), &err),
		0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_HOST, x, tr_buffer_at(b, 0), sizeof(x), &err),
		0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_IN_DEVICE, tr_buffer_at(b, 1 << 19),
				 tr_buffer_at(b, 0), 1 << 19, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	assert_int_equal(tr_device_info(dev, &info, &err), 0);
	assert_int_equal(info.copied_bytes, 2 << 14);
	/* 16 KiB at 1 GiB/s are 15258.8 ns, twice */
	assert_int_equal(info.modelled_ns, 2 * 15258);
	tr_stream_free(s);
	tr_buffer_free(b);
	tr_device_close(dev);
}

static void the_time_that_the_host_waits_is_told(void **state)
{
	const uint64_t copy_ns = 160000000; /* 16 KiB at 100 KiB/s */
	struct tr_device *dev = open_device("host,bw=100K");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_device_info info;
	struct tr_buffer *b;
	uint8_t x[1 << 14] = { 0 };
	uint64_t queued, waits, over;

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 1 << 20, &err), 0);
	b = cut(dev, 1 << 20);
	queued = tr_now_ns(&tr_clock_real);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_DEVICE, tr_buffer_at(b, 0), x, sizeof(x), &err),
		0);
	assert_int_equal(tr_device_info(dev, &info, &err), 0);
	assert_int_equal(info.wait_ns, 0);
	waits = tr_now_ns(&tr_clock_real);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	over = tr_now_ns(&tr_clock_real);
	assert_int_equal(tr_device_info(dev, &info, &err), 0);
	assert_int_equal(info.n_wait, 1);
	assert_true(info.wait_ns <= over - waits);
	assert_true(info.wait_ns + (waits - queued) >= copy_ns);
	tr_stream_free(s);
	tr_buffer_free(b);
	tr_device_close(dev);
}

static void a_lost_device_says_so_from_then_on_and_nobody_waits(void **state)
{
	struct tr_device *dev = open_device("host,fail=3");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_event *e = open_event(dev);
	struct tr_device_info info;
	struct tr_buffer *b;
	uint8_t out[8] = { 0 };
	int rc = 0;

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 4096, &err), 0);
	b = cut(dev, 8);
	assert_int_equal(tr_stream_fill(s, tr_buffer_at(b, 0), 1, 8, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_HOST, out, tr_buffer_at(b, 0), 8, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	assert_int_equal(out[0], 1);
	assert_int_equal(tr_stream_record(s, e, &err), 0);
	rc = tr_stream_fill(s, tr_buffer_at(b, 0), 2, 8, &err);
	assert_int_equal(rc, 0);
	assert_int_equal(tr_stream_sync(s, &err), TR_E_IO);
	assert_err_has(&err, "operation 3 (fill) failed");
	assert_err_has(&err, "device is lost");
	assert_int_equal(tr_event_sync(e, &err), TR_E_IO);
	assert_int_equal(tr_event_done(e, &err), TR_E_IO);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_HOST, out, tr_buffer_at(b, 0), 8, &err),
		TR_E_IO);
	assert_int_equal(tr_device_info(dev, &info, &err), TR_E_IO);
	assert_err_has(&err, "operation 3 (fill) failed");
	tr_event_free(e);
	tr_stream_free(s);
	tr_buffer_free(b);
	tr_device_close(dev);
}

static void waits_end_when_another_stream_loses_the_device(void **state)
{
	struct tr_device *dev = open_device("host,fail=1");
	struct tr_stream *a = open_stream(dev, TR_STREAM_HIGH);
	struct tr_stream *b = open_stream(dev, TR_STREAM_LOW);
	struct tr_event *e = open_event(dev);
	struct tr_dop_add add = { 0 };

	(void)state;
	add.n_tok = 1;
	/* The stream may be lost before the call behind is made. */
	if (!tr_device_add(a, &add, &err) && !tr_stream_record(a, e, &err))
		(void)tr_stream_wait(b, e, &err);
	assert_int_equal(tr_stream_sync(b, NULL) == 0 || tr_stream_sync(b, NULL) == TR_E_IO, 1);
	assert_int_equal(tr_stream_sync(a, &err), TR_E_IO);
	assert_err_has(&err, "operation 1 (add)");
	tr_stream_free(a);
	tr_stream_free(b);
	tr_event_free(e);
	tr_device_close(dev);
}

static void a_graph_is_noted_first_and_done_when_launched(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH), *other = open_stream(dev, TR_STREAM_LOW);
	struct tr_event *e = open_event(dev);
	struct tr_graph *graph;
	struct tr_buffer *b;
	uint8_t out[300] = { 0 };

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 1 << 16, &err), 0);
	b = cut(dev, 300);
	assert_int_equal(tr_stream_fill(s, tr_buffer_at(b, 0), 7, 300, &err), 0);
	assert_int_equal(tr_stream_capture(s, &err), 0);
	/* More than one growth of the list, and more than the queue holds. */
	for (int i = 0; i < 300; i++)
		assert_int_equal(tr_stream_fill(s, tr_buffer_at(b, (uint64_t)i), (uint8_t)i, 1, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_HOST, out, tr_buffer_at(b, 0), 300, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), TR_E_INVALID);
	assert_err_has(&err, "wait: a stream that captures a graph takes copies, fills and operations only");
	assert_int_equal(tr_stream_record(s, e, &err), TR_E_INVALID);
	assert_int_equal(tr_stream_wait(s, e, &err), TR_E_INVALID);
	assert_int_equal(tr_stream_capture(s, &err), TR_E_INVALID);
	assert_int_equal(tr_stream_captured(&graph, s, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	assert_int_equal(out[100], 0);
	for (int round = 0; round < 3; round++) {
		memset(out, 0, sizeof(out));
		/* Any stream will do. */
		assert_int_equal(tr_graph_launch(graph, round ? other : s, &err), 0);
		assert_int_equal(tr_stream_sync(round ? other : s, &err), 0);
		for (int i = 0; i < 300; i++)
			assert_int_equal(out[i], i % 256);
	}
	tr_graph_free(graph);
	assert_int_equal(tr_stream_capture(s, &err), 0); /* freed with its stream */
	assert_int_equal(tr_stream_fill(s, tr_buffer_at(b, 0), 1, 1, &err), 0);
	tr_stream_free(s);
	tr_stream_free(other);
	tr_event_free(e);
	tr_buffer_free(b);
	tr_device_close(dev);
}

static void a_graph_ends_where_the_device_is_lost(void **state)
{
	struct tr_device *dev = open_device("host,fail=2");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_graph *graph;
	struct tr_buffer *b;

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 4096, &err), 0);
	b = cut(dev, 8);
	assert_int_equal(tr_stream_capture(s, &err), 0);
	assert_int_equal(tr_stream_fill(s, tr_buffer_at(b, 0), 1, 8, &err), 0);
	assert_int_equal(tr_stream_captured(&graph, s, &err), 0);
	assert_int_equal(tr_graph_launch(graph, s, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	(void)tr_graph_launch(graph, s, &err);
	assert_int_equal(tr_stream_sync(s, &err), TR_E_IO);
	assert_int_equal(tr_graph_launch(graph, s, &err), TR_E_IO);
	assert_err_has(&err, "operation 2 (fill) failed");
	tr_graph_free(graph);
	tr_stream_free(s);
	tr_buffer_free(b);
	tr_device_close(dev);
}

static struct tr_device_info info_of(struct tr_device *dev)
{
	struct tr_device_info info;

	assert_int_equal(tr_device_info(dev, &info, &err), 0);
	return info;
}

/* What is noted for a graph counts when the graph is queued: one call, and its copies. */
static void what_is_queued_copied_made_and_waited_for_is_counted(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_event *e = open_event(dev);
	struct tr_device_info before, now;
	struct tr_graph *graph;
	struct tr_buffer *b;
	char here[8] = { 0 };

	(void)state;
	assert_int_equal(tr_device_reserve(dev, 4096, &err), 0);
	b = cut(dev, 64);
	before = info_of(dev);
	assert_int_equal(before.n_made, 4); /* stream, event, arena, buffer */
	assert_int_equal(before.n_queued + before.n_copy + before.n_wait, 0);
	assert_int_equal(tr_stream_capture(s, &err), 0);
	assert_int_equal(tr_stream_fill(s, tr_buffer_at(b, 0), 1, 8, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_IN_DEVICE, tr_buffer_at(b, 8), tr_buffer_at(b, 0),
				 8, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_HOST, here, tr_buffer_at(b, 8), 8, &err), 0);
	assert_int_equal(tr_stream_captured(&graph, s, &err), 0);
	now = info_of(dev);
	assert_int_equal(now.n_made, 5);
	assert_int_equal(now.n_queued + now.n_copy + now.n_wait, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tr_graph_launch(graph, s, &err), 0);
	assert_int_equal(tr_stream_record(s, e, &err), 0);
	assert_int_equal(tr_stream_wait(s, e, &err), 0);
	assert_int_equal(tr_stream_copy(s, TR_COPY_TO_DEVICE, tr_buffer_at(b, 0), here, 8, &err), 0);
	assert_int_equal(tr_event_sync(e, &err), 0);
	assert_int_equal(tr_stream_sync(s, &err), 0);
	now = info_of(dev);
	assert_int_equal(now.n_queued, 6);
	assert_int_equal(now.n_copy, 4);
	assert_int_equal(now.n_wait, 2);
	assert_int_equal(now.n_made, 5);
	tr_graph_free(graph);
	tr_buffer_free(b);
	tr_event_free(e);
	tr_stream_free(s);
	tr_device_close(dev);
}

static void limits_of_operations_are_named(void **state)
{
	struct tr_device *dev = open_device("host");
	struct tr_stream *s = open_stream(dev, TR_STREAM_HIGH);
	struct tr_dop_router router = { .r = { TR_GATING_SIGMOID, 2049, 8, 1, 1, false, 1 } };
	struct tr_dop_mla mla = { .n_tok = 1, .n_tok_once = 1, .n_lat = 1000, .n_rot = 25 };
	struct tr_dop_add add = { .n_tok = 65536 };

	(void)state;
	assert_int_equal(tr_device_router(s, &router, &err), TR_E_LIMIT);
	assert_err_has(&err, "router: 2049 experts, at most 2048");
	assert_int_equal(tr_device_mla(s, &mla, &err), TR_E_LIMIT);
	assert_err_has(&err, "mla: 1025 values a position, at most 1024");
	assert_int_equal(tr_device_add(s, &add, &err), TR_E_LIMIT);
	assert_err_has(&err, "add: 65536 tokens, at most 65535");
	tr_stream_free(s);
	tr_device_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_no_device),
		cmocka_unit_test(unknown_devices_and_options_are_named),
		cmocka_unit_test(a_gpu_that_is_not_there_says_why),
		cmocka_unit_test(the_arena_is_limited_and_says_so),
		cmocka_unit_test(freed_gaps_are_used_again),
		cmocka_unit_test(a_stream_works_in_order),
		cmocka_unit_test(events_order_streams),
		cmocka_unit_test(an_event_has_not_happened_while_its_stream_waits),
		cmocka_unit_test(pinned_memory_is_seen_from_both_sides),
		cmocka_unit_test(copies_over_a_limited_link_are_accounted),
		cmocka_unit_test(the_time_that_the_host_waits_is_told),
		cmocka_unit_test(a_lost_device_says_so_from_then_on_and_nobody_waits),
		cmocka_unit_test(waits_end_when_another_stream_loses_the_device),
		cmocka_unit_test(a_graph_is_noted_first_and_done_when_launched),
		cmocka_unit_test(a_graph_ends_where_the_device_is_lost),
		cmocka_unit_test(what_is_queued_copied_made_and_waited_for_is_counted),
		cmocka_unit_test(limits_of_operations_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
