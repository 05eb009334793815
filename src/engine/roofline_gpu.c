/*
 * roofline_gpu.c - the same of a device: what its memory and the link to it gave while decoding,
 * and can give.
 *
 * Its memory is measured by copies within it, from experts that lie there to scratch, each byte of
 * which is read and written; the link by copies from pinned memory.
 */
#include "engine/roofline_gpu.h"
#include "base/mem.h"

#include <stdio.h>

/* Queued between two looks at the clock. */
#define N_QUEUED 32

/* Of a copy over the link: what the feeder sends at a time. */
#define LINK_BYTES ((size_t)1 << 20)

struct probe {
	struct tr_engine *e;
	enum tr_copy way;
	void *to;
	const void *const *from; /* [n_from] in turn */
	size_t n_from, bytes;
};

/* Some part of as many experts as are there, up to n; all are at least `bytes` long. */
static size_t find_parts(const struct tr_engine *e, const void **part, size_t n, size_t *bytes)
{
	const struct tr_catalog *c = e->setup.catalog;
	const uint8_t *parts[TR_N_PART];
	size_t k = 0;

	for (uint32_t id = 0; id < c->n_unit && k < n; id++) {
		if (!tr_vram_tier_has(e->vram, id))
			continue;
		tr_vram_tier_parts(e->vram, id, parts);
		*bytes = TR_MIN(*bytes, (size_t)c->units[id].part[0].bytes);
		part[k++] = parts[0];
	}
	return k;
}

/* Bytes a second. */
static int run(const struct probe *p, uint64_t ns, uint64_t *rate, struct tr_err *err)
{
	struct tr_stream *s = p->e->setup.gpu->compute;
	uint64_t start = tr_now_ns(&tr_clock_real), taken = 0, done = 0;
	size_t at = 0;
	int rc = 0;

	while (!rc && taken < ns) {
		for (int i = 0; i < N_QUEUED && !rc; i++, at++)
			rc = tr_stream_copy(
				s, p->way, p->to, p->from[at % p->n_from], p->bytes, err);
		if (!rc)
			rc = tr_stream_sync(s, err);
		done += N_QUEUED * p->bytes;
		taken = tr_now_ns(&tr_clock_real) - start;
	}
	*rate = (uint64_t)((double)done * 1e9 / (double)TR_MAX(taken, (uint64_t)1));
	return rc;
}

static int measure_memory(struct probe p, uint64_t ns, struct tr_roofline *out, struct tr_err *err)
{
	const void *part[256];
	int rc;

	p.way = TR_COPY_IN_DEVICE;
	p.from = part;
	p.n_from = find_parts(p.e, part, TR_ARRAY_LEN(part), &p.bytes);
	if (!p.n_from)
		return 0;
	rc = run(&p, ns, &out->can_bytes_per_s, err);
	out->can_bytes_per_s *= 2;
	return rc;
}

static int measure_link(struct probe p, uint64_t ns, struct tr_roofline *out, struct tr_err *err)
{
	void *host, *at;
	const void *from[1];
	int rc;

	p.bytes = TR_MIN(p.bytes, LINK_BYTES);
	rc = tr_pinned_new(p.e->setup.gpu->dev, p.bytes, &host, &at, err);
	if (rc)
		return rc;
	from[0] = host;
	p.way = TR_COPY_TO_DEVICE;
	p.from = from;
	p.n_from = 1;
	rc = run(&p, ns, &out->can_bytes_per_s, err);
	tr_pinned_free(p.e->setup.gpu->dev, host);
	return rc;
}

int tr_roofline_gpu(
	struct tr_engine *e, uint64_t ns, struct tr_roofline *out, size_t *n, struct tr_err *err)
{
	struct probe p = { .e = e };
	int rc;

	*n = 0;
	if (!e->vram || e->setup.gpu->is_lost)
		return 0;
	p.bytes = tr_gpu_experts_scratch(e->device.experts, &p.to);
	out[0] = (struct tr_roofline){ .name = "vram",
		.bytes = e->counter->lane[e->counter->vram_tier].bytes,
		.busy_ns = e->counter->lane[e->counter->vram_tier].busy_ns };
	out[1] = (struct tr_roofline){ .name = "link" };
	tr_vram_tier_sent(e->vram, &out[1].bytes, &out[1].busy_ns);
	rc = measure_memory(p, ns, &out[0], err);
	if (!rc)
		rc = measure_link(p, ns, &out[1], err);
	*n = rc ? 0 : 2;
	return rc;
}
