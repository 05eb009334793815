#include "test.h"
#include "device_bed.h"
#include "base/mem.h"
#include "cuda/backend.h"
#include "cuda/emulate.h"
#include "cuda/kernels.cuh"
#include "kernels_data.h"

#define ARENA (64u << 20)

#define TR_DOP(name)                                                                               \
	static void ascending_##name(struct tr_host_compute *c, const void *args)                  \
	{                                                                                          \
		(void)c;                                                                           \
		tr_emu_order = TR_EMU_ASCENDING;                                                   \
		tr_launch_##name(NULL, args);                                                      \
	}                                                                                          \
	static void descending_##name(struct tr_host_compute *c, const void *args)                 \
	{                                                                                          \
		(void)c;                                                                           \
		tr_emu_order = TR_EMU_DESCENDING;                                                  \
		tr_launch_##name(NULL, args);                                                      \
	}
#include "cuda/ops.def"
#undef TR_DOP

static tr_host_op *const ascending[TR_N_DOP] = {
#define TR_DOP(name) [TR_DOP_##name] = ascending_##name,
#include "cuda/ops.def"
#undef TR_DOP
};

static tr_host_op *const descending[TR_N_DOP] = {
#define TR_DOP(name) [TR_DOP_##name] = descending_##name,
#include "cuda/ops.def"
#undef TR_DOP
};

static int open_device(struct bed *b, size_t i, struct tr_err *err)
{
	const char *given = getenv("TR_DEVICE");

	if (given) {
		b->name = given;
		return i ? 1 : tr_device_open(&b->dev, given, err);
	}
	switch (i) {
	case 0:
		b->name = "host";
		return tr_device_open(&b->dev, "host,threads=2", err);
	case 1:
		b->name = "emulated";
		return tr_host_open_with(&b->dev, "", ascending, err);
	case 2:
		b->name = "emulated, descending";
		return tr_host_open_with(&b->dev, "", descending, err);
	default:
		return 1;
	}
}

bool bed_open(struct bed *b, size_t i)
{
	struct tr_err err = { 0 };
	int rc;

	memset(b, 0, sizeof(*b));
	rc = open_device(b, i, &err);
	if (rc > 0)
		return false;
	if (rc || tr_device_reserve(b->dev, ARENA, &err) ||
		tr_stream_new(&b->stream, b->dev, TR_STREAM_HIGH, &err))
		fail_msg("%s: %s", b->name, err.msg);
	return true;
}

void bed_clear(struct bed *b)
{
	while (b->n_buf)
		tr_buffer_free(b->bufs[--b->n_buf]);
}

void bed_close(struct bed *b)
{
	bed_clear(b);
	tr_stream_free(b->stream);
	tr_device_close(b->dev);
}

static void *bed_buffer(struct bed *b, size_t bytes)
{
	struct tr_buffer *buf;
	struct tr_err err;

	assert_true(b->n_buf < BED_MAX_BUFFER);
	if (tr_buffer_new(&buf, b->dev, bytes, "a test", &err))
		fail_msg("%s: %s", b->name, err.msg);
	b->bufs[b->n_buf++] = buf;
	return tr_buffer_at(buf, 0);
}

void *bed_put(struct bed *b, const void *p, size_t bytes)
{
	void *at = bed_buffer(b, bytes);
	struct tr_err err;

	if (tr_stream_copy(b->stream, TR_COPY_TO_DEVICE, at, p, bytes, &err) ||
		tr_stream_sync(b->stream, &err))
		fail_msg("%s: %s", b->name, err.msg);
	return at;
}

void *bed_room(struct bed *b, size_t bytes)
{
	void *at = bed_buffer(b, bytes);
	struct tr_err err;

	if (tr_stream_fill(b->stream, at, 0xff, bytes, &err))
		fail_msg("%s: %s", b->name, err.msg);
	return at;
}

void bed_get(struct bed *b, void *p, const void *at, size_t bytes)
{
	struct tr_err err;

	if (tr_stream_copy(b->stream, TR_COPY_TO_HOST, p, at, bytes, &err) ||
		tr_stream_sync(b->stream, &err))
		fail_msg("%s: %s", b->name, err.msg);
}

void bed_same_floats(const struct bed *b, const char *what, const float *got, const float *want,
	size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!same_float(got[i], want[i]))
			fail_msg("%s: %s: value %zu of %zu is %a, not %a", b->name, what, i, n,
				(double)got[i], (double)want[i]);
}

void bed_same_bytes(const struct bed *b, const char *what, const void *got, const void *want,
	size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((const uint8_t *)got)[i] != ((const uint8_t *)want)[i])
			fail_msg("%s: %s: byte %zu of %zu is %02x, not %02x", b->name, what, i, n,
				((const uint8_t *)got)[i], ((const uint8_t *)want)[i]);
}

float *random_row(size_t n, uint64_t *seed)
{
	float *x = tr_alloc(n, sizeof(*x));

	assert_non_null(x);
	for (size_t i = 0; i < n; i++)
		x[i] = rnd_float(seed) * (i % 7 == 3 ? 30 : 1);
	return x;
}
