/*
 * roofline.c - what each tier (of a device: roofline_gpu.c) gave while decoding, beside what it gives to somebody who only reads.
 *
 * Memory is read by all workers in windows, one after the other, through as many of the tier's
 * experts as make WALK_BYTES, and again from the start while there is time. So what does not fit a
 * processor cache comes from memory, and what does, from the cache, as it did for the engine. The
 * disk is asked for whole experts in random order, as many at a time as a token uses in a layer.
 */
#include "engine/roofline_gpu.h"
#include "base/mem.h"
#include "base/touch.h"
#include "io/probe.h"

#include <stdio.h>
#include <stdlib.h>

/* More than any last-level cache of today's processors but those with stacked ones. */
#define WALK_BYTES ((uint64_t)256 << 20)
/* Long enough for a loop over the pool to cost nothing: 1 ms at 30 GB/s. */
#define WINDOW_BYTES ((uint64_t)32 << 20)
#define GRAIN_BYTES ((uint64_t)512 << 10)
/* Buffers of the disk probe, but at least two experts: they are touched before the clock starts. */
#define PROBE_BYTES ((uint64_t)32 << 20)

/* --- memory ----------------------------------------------------------------------------------- */

struct grain {
	const uint8_t *at;
	uint64_t bytes;
};

struct walk {
	struct grain *grain;
	size_t n, cap;
	uint64_t bytes;
};

/* False when out of memory. */
static bool add_span(struct walk *w, const uint8_t *at, uint64_t bytes)
{
	struct grain *grown;

	for (uint64_t off = 0; off < bytes; off += GRAIN_BYTES) {
		if (w->n == w->cap) {
			w->cap = w->cap ? 2 * w->cap : 256;
			grown = reallocarray(w->grain, w->cap, sizeof(*grown));
			if (!grown)
				return false;
			w->grain = grown;
		}
		w->grain[w->n++] = (struct grain){ at + off, TR_MIN(bytes - off, GRAIN_BYTES) };
	}
	w->bytes += bytes;
	return true;
}

/* A first touch of persistent memory checks a checksum: only what was used is looked at. */
static bool was_used(const struct tr_engine *e, uint32_t tier, uint32_t id)
{
	const struct tr_expert_stats *s = e->counter->stats;

	return s->hits[tier][id] || s->prefill_hits[tier][id];
}

static int collect(struct walk *w, const struct tr_engine *e, uint32_t tier, struct tr_err *err)
{
	const struct tr_catalog *c = e->setup.catalog;
	const void *part[TR_N_PART];

	for (uint32_t id = 0; id < c->n_unit && w->bytes < WALK_BYTES; id++) {
		if ((tier && !was_used(e, tier, id)) || !tr_cache_peek(e->cache, tier, id, part))
			continue;
		for (int p = 0; p < TR_N_PART; p++)
			if (!add_span(w, part[p], c->units[id].part[p].bytes))
				return tr_err_set(err, TR_E_NOMEM, "roofline: out of memory");
	}
	return 0;
}

static void touch_grains(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	const struct grain *grain = ctx;

	(void)worker;
	(void)next;
	for (; begin < end; begin++)
		tr_touch(grain[begin].at, grain[begin].bytes);
}

static uint64_t walk_memory(const struct walk *w, struct tr_pool *pool, uint64_t ns)
{
	uint64_t start = tr_now_ns(&tr_clock_real), taken = 0, bytes = 0;
	size_t at = 0, n;

	while (taken < ns) {
		n = TR_MIN(w->n - at, (size_t)(WINDOW_BYTES / GRAIN_BYTES));
		tr_pool_run_rows(pool, touch_grains, w->grain + at, n, 1);
		for (size_t i = at; i < at + n; i++)
			bytes += w->grain[i].bytes;
		at = at + n == w->n ? 0 : at + n;
		taken = tr_now_ns(&tr_clock_real) - start;
	}
	return (uint64_t)((double)bytes * 1e9 / (double)taken);
}

static uint64_t throttled(const struct tr_engine *e, uint32_t tier, uint64_t bytes_per_s)
{
	uint64_t most = (uint64_t)e->throttle.tier[tier].bytes_per_s;

	return most ? TR_MIN(most, bytes_per_s) : bytes_per_s;
}

static int measure_memory(struct tr_engine *e, uint32_t tier, uint64_t ns,
	struct tr_roofline *out, struct tr_err *err)
{
	struct walk w = { 0 };
	int rc = collect(&w, e, tier, err);

	if (!rc && w.n)
		out->can_bytes_per_s = throttled(e, tier, walk_memory(&w, e->pool, ns));
	free(w.grain);
	return rc;
}

/* --- disk ------------------------------------------------------------------------------------- */

static size_t unit_reads(void *ctx, uint64_t i, struct tr_probe_read reads[TR_PROBE_MAX_READ])
{
	const struct tr_engine *e = ctx;
	const struct tr_unit *u = &e->setup.catalog->units[i];

	_Static_assert(TR_N_PART <= TR_PROBE_MAX_READ, "an expert has too many parts");
	for (int p = 0; p < TR_N_PART; p++)
		reads[p] = (struct tr_probe_read){ &e->files[u->part[p].shard], u->part[p].off,
			u->part[p].bytes };
	return TR_N_PART;
}

/* What io does for the probe is not the engine's. */
static void leave_out(struct tr_engine *e, const struct tr_io_stats *before)
{
	struct tr_io_stats after;

	tr_io_stats(e->io, &after);
	e->io_loaded.bytes += after.bytes - before->bytes;
	e->io_loaded.busy_ns += after.busy_ns - before->busy_ns;
}

static int measure_disk(struct tr_engine *e, uint64_t ns, struct tr_roofline *out,
	struct tr_err *err)
{
	const struct tr_catalog *c = e->setup.catalog;
	uint64_t fit = TR_MAX(PROBE_BYTES / c->unit_bytes_max, (uint64_t)2);
	struct tr_probe_cfg cfg = {
		.io = e->io,
		.clock = &tr_clock_real,
		.n_item = c->n_unit,
		.item = unit_reads,
		.ctx = e,
		.item_bytes_max = c->unit_bytes_max,
		.n_flight = (uint32_t)TR_MIN((uint64_t)c->n_used, fit),
		.seed = tr_now_ns(&tr_clock_real),
	};
	struct tr_io_stats before;
	double bytes_per_s;
	int rc;

	tr_io_stats(e->io, &before);
	out->bytes = before.bytes - e->io_loaded.bytes;
	out->busy_ns = before.busy_ns - e->io_loaded.busy_ns;
	rc = tr_probe_disk(&cfg, ns, &bytes_per_s, err);
	leave_out(e, &before);
	if (!rc)
		out->can_bytes_per_s = (uint64_t)bytes_per_s;
	return rc;
}

int tr_engine_roofline(struct tr_engine *e, uint64_t ns, struct tr_roofline *out, size_t *n_out,
	struct tr_err *err)
{
	struct tr_stats s = { 0 };
	size_t n_gpu = 0;
	int rc = 0;

	*n_out = 0;
	if (!e->cache)
		return 0;
	tr_cache_stats(e->cache, &s);
	for (size_t t = 0; !rc && t < s.n_tier; t++) {
		struct tr_roofline *r = &out[t];

		*r = (struct tr_roofline){ .bytes = e->counter->lane[t].bytes,
			.busy_ns = e->counter->lane[t].busy_ns };
		snprintf(r->name, sizeof(r->name), "%s", s.tier[t].name);
		if (t + 1 < s.n_tier)
			rc = measure_memory(e, (uint32_t)t, ns, r, err);
		else
			rc = measure_disk(e, ns, r, err);
	}
	if (!rc)
		rc = tr_roofline_gpu(e, ns, out + s.n_tier, &n_gpu, err);
	if (rc)
		return rc;
	*n_out = s.n_tier + n_gpu;
	for (size_t i = 0; i < *n_out; i++)
		if (out[i].busy_ns)
			out[i].got_bytes_per_s =
				(uint64_t)((double)out[i].bytes * 1e9 / (double)out[i].busy_ns);
	return 0;
}
