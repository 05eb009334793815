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
	run->timeline = e->timeline;
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
		tr_moe_timeline(run->moe, run->timeline);
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
	s->e->setup.arch->scratch_free(s->run.scratch);
	tr_moe_free(s->run.moe);
	free(s->run.routing_ids);
	free(s->run.routing_weights);
	free(s->run.logits);
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
	struct tr_err why;
	int rc = 0;

	if (s->run.cache)
		tr_cache_tick(s->run.cache);
	tr_lap(s->run.timeline, TR_SPAN_COPY, s->e->setup.info.n_layer - 1);
	if (s->run.trace)
		tr_trace_write_step(s->run.trace);
	if (s->e->vram)
		rc = tr_vram_tier_tick(s->e->vram, &why);
	if (s->run.timeline)
		tr_timeline_end(s->run.timeline, s->e->counter->served);
	if (!rc || !tr_gpu_failed(s->e->setup.gpu, rc, &why))
		return 0;
	if (err)
		*err = why;
	return rc;
}

int tr_session_feed(struct tr_session *s, const int32_t *ids, size_t n, struct tr_err *err)
{
	const struct tr_engine_opts *o = &s->e->opts;
	uint64_t start;
	size_t at, len;
	int rc = check_ids(s, ids, n, err);

	tr_pool_begin(s->e->pool);
	for (at = 0; at < n && !rc; at += len) {
		len = TR_MIN(n - at, (size_t)o->n_batch);
		start = tr_now_ns(&tr_clock_real);
		if (s->run.timeline)
			tr_timeline_begin(s->run.timeline, len);
		rc = s->e->setup.arch->forward(s->e->setup.am, &s->run, ids + at, len, s->n_past,
			at + len == n, err);
		if (rc)
			break;
		s->n_past += (uint32_t)len;
		rc = end_step(s, err);
		if (rc)
			break;
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
