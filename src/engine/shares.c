/* shares.c - a run's own routing, replayed under lru and under Belady's choice when it is over. */
#include "engine/engine.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

uint64_t tr_engine_n_keep(const struct tr_engine *e)
{
	return TR_MIN(e->setup.dram_bytes / tr_cache_slot_bytes(e->cache),
		(uint64_t)e->setup.catalog->n_unit);
}

static int replay_log(const struct tr_trace *t, struct tr_shares *out, struct tr_err *err)
{
	char cache[24];
	struct tr_replay_opts opts = { .policy = "lru", .cache = cache, .decode_only = true };
	struct tr_replay_stats lru;
	int rc;

	snprintf(cache, sizeof(cache), "%" PRIu64, out->capacity);
	rc = tr_replay(t, &opts, &lru, err);
	if (!rc)
		rc = tr_replay_optimum(t, &opts, &out->n_hit_optimum, err);
	if (!rc)
		out->n_hit_lru = lru.n_hit;
	return rc;
}

/* What was in VRAM at the start was not in DRAM. */
static void leave_out_vram(const struct tr_engine *e, struct tr_trace_units *u)
{
	uint32_t n = 0;

	for (uint32_t i = 0; e->vram && i < u->n_hot; i++)
		if (!tr_vram_tier_was_warm(e->vram, u->hot[i]))
			u->hot[n++] = u->hot[i];
	if (e->vram)
		u->n_hot = n;
}

int tr_engine_routes(const struct tr_engine *e, uint64_t max_request, struct tr_trace *out,
	uint64_t *n_request, uint64_t *n_hit, struct tr_err *err)
{
	struct tr_trace_head head;
	int rc;

	if (!e->counter || !e->counter->log.n_request)
		return tr_err_set(err, TR_E_NOENT, "nothing was decoded with the DRAM cache");
	head = tr_engine_trace_head(e);
	if (!head.layers)
		return tr_err_set(err, TR_E_NOMEM, "engine: out of memory");
	rc = tr_route_log_trace(&e->counter->log, &head, max_request, out, n_request, n_hit, err);
	if (rc)
		return rc;
	rc = tr_engine_trace_units(e, &out->units, err);
	if (rc)
		tr_trace_fini(out);
	else
		leave_out_vram(e, &out->units);
	return rc;
}

int tr_engine_shares(const struct tr_engine *e, uint64_t max_request, struct tr_shares *out,
	struct tr_err *err)
{
	struct tr_trace t;
	int rc;

	*out = (struct tr_shares){ 0 };
	rc = tr_engine_routes(e, max_request, &t, &out->n_request, &out->n_hit, err);
	if (rc)
		return rc;
	out->capacity = tr_engine_n_keep(e);
	out->n_request_run = e->counter->log.n_request_run;
	rc = replay_log(&t, out, err);
	tr_trace_fini(&t);
	return rc;
}
