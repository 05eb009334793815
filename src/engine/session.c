/*
 * session.c - one timeline of tokens: KV cache, buffers of the forward pass, prefill in chunks.
 */
#include "engine/engine.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct tr_session {
	struct tr_engine *e;
	struct tr_kv kv;
	struct tr_run run;
	uint32_t n_past;
	int32_t *fed; /* [n_ctx] the tokens, where the run may go on without its device; else NULL */
};

static int alloc_run(struct tr_session *s, struct tr_err *err)
{
	const struct tr_engine *e = s->e;
	const struct tr_arch_info *info = &e->setup.info;
	struct tr_run *run = &s->run;
	size_t n_routing;
	int rc;

	run->ops = e->ops;
	run->kv = &s->kv;
	run->cache = e->cache;
	run->catalog = e->setup.catalog;
	run->trace = e->trace;
	run->foresee = e->foresee;
	run->counter = e->counter;
	run->laps = e->timeline || e->live ? &e->laps : NULL;
	run->gpu_model = e->gpu_model;
	run->gpu_kv = e->gpu_kv;
	if (e->gpu_model && e->setup.gpu->go_on)
		s->fed = tr_calloc(e->opts.n_ctx, sizeof(*s->fed));
	if (e->gpu_model && e->setup.gpu->go_on && !s->fed)
		return tr_err_set(err, TR_E_NOMEM, "session: out of memory");
	run->n_tok_max = e->opts.n_batch;
	run->n_routed = e->setup.catalog->n_used;
	n_routing = (size_t)info->n_layer * TR_MAX(run->n_routed, 1u);
	run->routing_ids = tr_calloc(n_routing, sizeof(*run->routing_ids));
	run->routing_weights = tr_calloc(n_routing, sizeof(*run->routing_weights));
	run->logits = tr_calloc(info->n_vocab, sizeof(*run->logits));
	if (!run->routing_ids || !run->routing_weights || !run->logits)
		return tr_err_set(err, TR_E_NOMEM, "session: out of memory");
	if (e->cache) {
		rc = tr_moe_new(&run->moe, &run->ops, e->cache, e->setup.catalog, info->n_embd,
			run->n_tok_max, &e->pmem, run->counter, err);
		if (rc)
			return rc;
		if (e->vram)
			rc = tr_moe_use_device(run->moe, &e->device, err);
		if (rc)
			return rc;
		if (e->throttle.memory)
			tr_moe_throttle(run->moe, &s->e->throttle);
		tr_moe_watch(run->moe, run->laps);
	}
	return e->setup.arch->scratch_new(&run->scratch, e->setup.am, run, err);
}

int tr_session_new(struct tr_session **out, struct tr_engine *e, struct tr_err *err)
{
	const struct tr_arch_info *info = &e->setup.info;
	struct tr_session *s = tr_calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "session: out of memory");
	s->e = e;
	rc = tr_kv_init(&s->kv, e->opts.kv_type, info->n_layer, e->opts.n_ctx, info->kv_width, err);
	if (!rc) {
		tr_kv_interleave(&s->kv, &e->setup.topo);
		rc = alloc_run(s, err);
	}
	if (rc) {
		tr_session_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void tr_session_free(struct tr_session *s)
{
	if (!s)
		return;
	if (s->e->gpu_kv)
		tr_gpu_kv_forget(s->e->gpu_kv, &s->kv);
	s->e->setup.arch->scratch_free(s->run.scratch);
	tr_moe_free(s->run.moe);
	free(s->run.routing_ids);
	free(s->run.routing_weights);
	free(s->run.logits);
	free(s->fed);
	tr_kv_fini(&s->kv);
	free(s);
}

static int check_ids(const struct tr_session *s, const int32_t *ids, size_t n, struct tr_err *err)
{
	size_t i;

	if (n > s->e->opts.n_ctx - s->n_past)
		return tr_err_set(err, TR_E_LIMIT,
			"%zu tokens after %u do not fit the context of %u tokens (-c makes it larger)",
			n, s->n_past, s->e->opts.n_ctx);
	for (i = 0; i < n; i++)
		if (ids[i] < 0 || (uint32_t)ids[i] >= s->e->setup.info.n_vocab)
			return tr_err_set(err, TR_E_INVALID,
				"token id %d is outside the vocabulary of %u", ids[i],
				s->e->setup.info.n_vocab);
	return 0;
}

/* A pass through the layers is complete. */
static int end_step(struct tr_session *s, struct tr_err *err)
{
	struct tr_vram_late late = { 0, 0 };
	struct tr_err why;
	int rc = 0;

	if (s->run.cache)
		tr_cache_tick(s->run.cache);
	if (s->e->vram)
		rc = tr_vram_tier_tick(s->e->vram, &late, &why);
	tr_lap(s->run.laps, TR_SPAN_COPY, s->e->setup.info.n_layer - 1);
	if (s->run.trace && late.n_left)
		tr_trace_write_late(s->run.trace, late.n_held, late.n_left);
	if (s->run.trace)
		tr_trace_write_step(s->run.trace);
	if (s->e->timeline)
		tr_timeline_end(s->e->timeline, s->e->counter->served);
	if (!rc || !tr_gpu_failed(s->e->setup.gpu, rc, &why))
		return 0;
	if (err)
		*err = why;
	return rc;
}

static int forward(struct tr_session *s, const int32_t *ids, size_t n, uint32_t pos,
	bool want_logits, struct tr_err *err)
{
	const struct tr_setup *setup = &s->e->setup;

	return setup->arch->forward(setup->am, &s->run, ids, n, pos, want_logits, err);
}

/* --- a device that fails ---------------------------------------------------------------------- */

/* 0, or what became of the device that has layers of the session. */
static int device_state(const struct tr_session *s, struct tr_err *err)
{
	struct tr_device_info info;

	if (!s->run.gpu_model)
		return 0;
	if (s->e->setup.gpu->is_lost)
		return TR_E_IO; /* the run goes on: that was said */
	return tr_device_info(s->e->setup.gpu->dev, &info, err);
}

/* Rows that only the device had are made again, by all tokens so far. */
static int feed_again(struct tr_session *s, struct tr_err *err)
{
	uint32_t at, n;
	int rc = 0;

	for (at = 0; at < s->n_past && !rc; at += n) {
		n = TR_MIN(s->n_past - at, s->e->opts.n_batch);
		rc = forward(s, s->fed + at, n, at, false, err);
		if (!rc)
			rc = end_step(s, err);
	}
	return rc;
}

/* The device failed with rc, now or before this session came to run: the CPU has all layers from now
 * on if that is wanted, else rc. */
static int leave_device(struct tr_session *s, int rc, struct tr_err *err)
{
	rc = tr_gpu_failed(s->e->setup.gpu, rc, err);
	if (rc)
		return rc;
	if (s->run.trace) /* of a pass that was cut short */
		tr_trace_write_step(s->run.trace);
	s->run.gpu_model = NULL;
	s->run.gpu_kv = NULL;
	return feed_again(s, err);
}

static int take_device(struct tr_session *s, struct tr_err *err)
{
	int rc = device_state(s, err), state;

	if (rc)
		return leave_device(s, rc, err);
	if (!s->run.gpu_kv)
		return 0;
	rc = tr_gpu_kv_take(s->run.gpu_kv, &s->kv, &s->n_past, err);
	state = rc ? device_state(s, err) : 0;
	return state ? leave_device(s, state, err) : rc;
}

/* --- feeding ---------------------------------------------------------------------------------- */

static int feed_chunk(struct tr_session *s, const int32_t *ids, size_t n, bool is_last,
	struct tr_err *err)
{
	int rc = forward(s, ids, n, s->n_past, is_last, err);
	int state = rc ? device_state(s, err) : 0;

	if (state) {
		rc = leave_device(s, state, err);
		if (!rc)
			rc = forward(s, ids, n, s->n_past, is_last, err);
	}
	if (rc)
		return rc;
	if (s->fed)
		memcpy(s->fed + s->n_past, ids, n * sizeof(*ids));
	s->n_past += (uint32_t)n;
	return end_step(s, err);
}

int tr_session_feed(struct tr_session *s, const int32_t *ids, size_t n, struct tr_err *err)
{
	const struct tr_engine_opts *o = &s->e->opts;
	uint64_t start;
	size_t at, len;
	int rc = check_ids(s, ids, n, err);

	tr_pool_begin(s->e->pool);
	if (!rc)
		rc = take_device(s, err);
	for (at = 0; at < n && !rc; at += len) {
		len = TR_MIN(n - at, (size_t)o->n_batch);
		start = tr_now_ns(&tr_clock_real);
		if (s->e->timeline)
			tr_timeline_begin(s->e->timeline, start, len);
		tr_live_begin(s->e->live, start, n);
		rc = feed_chunk(s, ids + at, len, at + len == n, err);
		if (rc)
			break;
		tr_live_end(s->e->live, len, s->n_past);
		if (s->run.foresee && n == 1)
			tr_foresee_token(s->run.foresee, tr_now_ns(&tr_clock_real) - start);
		if (n > 1 && o->progress &&
			o->progress(o->progress_ctx, "prefill", at + len, n, "tokens"))
			rc = tr_err_set(err, TR_E_INTERRUPTED,
				"prefill was interrupted after %zu of %zu tokens", at + len, n);
	}
	tr_pool_end(s->e->pool);
	return rc;
}

size_t tr_session_n_past(const struct tr_session *s)
{
	return s->n_past;
}

const float *tr_session_logits(const struct tr_session *s)
{
	return s->run.logits;
}

size_t tr_session_routing(const struct tr_session *s, uint32_t layer, uint32_t *ids,
	float *weights, size_t cap)
{
	size_t n = TR_MIN((size_t)s->run.n_routed, cap);

	if (layer >= s->e->setup.info.n_layer || s->e->setup.catalog->moe_of_layer[layer] < 0)
		return 0;
	memcpy(ids, s->run.routing_ids + (size_t)layer * s->run.n_routed, n * sizeof(*ids));
	memcpy(weights, s->run.routing_weights + (size_t)layer * s->run.n_routed,
		n * sizeof(*weights));
	return n;
}
