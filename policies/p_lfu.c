/*
 * lfu - give up what was used least often since the start.
 *
 * Counts cover the full history: they are kept when an entry leaves, so one that comes back stands
 * where its past puts it. Equal counts go by recency, least recent first. Uses by a scan are not
 * counted, and what a scan brings in stands below every count, the newest first, until it is used.
 */
#include "base/mem.h"
#include "policies/heap.h"

#include <stdlib.h>

struct lfu {
	struct tr_heap order;
	uint64_t *count; /* [n_id] uses, resident or not */
	uint64_t clock;	 /* uses and insertions so far */
};

static void lfu_fini(void *state)
{
	struct lfu *s = state;

	tr_heap_fini(&s->order);
	free(s->count);
	free(s);
}

static int lfu_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct lfu *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->count = tr_calloc(cfg->n_id, sizeof(*s->count));
	if (!s->count || tr_heap_init(&s->order, cfg->n_id)) {
		lfu_fini(s);
		goto nomem;
	}
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy lfu: no memory for %u ids", cfg->n_id);
}

static void lfu_hit(void *state, uint32_t id, unsigned flags)
{
	struct lfu *s = state;

	if (!(flags & TR_POLICY_SCAN))
		tr_heap_put(&s->order, id, (double)++s->count[id], ++s->clock);
}

static void lfu_miss(void *state, uint32_t id, unsigned flags)
{
	struct lfu *s = state;

	if (!(flags & TR_POLICY_SCAN))
		s->count[id]++;
}

static void lfu_insert(void *state, uint32_t id, unsigned flags)
{
	struct lfu *s = state;

	s->clock++;
	if (flags & TR_POLICY_SCAN)
		tr_heap_put(&s->order, id, -1, UINT64_MAX - s->clock);
	else
		tr_heap_put(&s->order, id, (double)s->count[id], s->clock);
}

static uint32_t lfu_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct lfu *s = state;

	(void)incoming;
	return tr_heap_first_ok(&s->order, ok, ctx);
}

static void lfu_evict(void *state, uint32_t id)
{
	struct lfu *s = state;

	tr_heap_remove(&s->order, id);
}

static void lfu_remove(void *state, uint32_t id)
{
	struct lfu *s = state;

	tr_heap_remove(&s->order, id);
	s->count[id] = 0;
}

static bool lfu_check(const void *state)
{
	const struct lfu *s = state;

	return tr_heap_check(&s->order);
}

const struct tr_policy_ops tr_policy_lfu = {
	.abi = TR_POLICY_ABI,
	.name = "lfu",
	.summary = "least frequently used since the start, ties by recency",
	.options = "",
	.init = lfu_init,
	.fini = lfu_fini,
	.hit = lfu_hit,
	.miss = lfu_miss,
	.insert = lfu_insert,
	.victim = lfu_victim,
	.evict = lfu_evict,
	.remove = lfu_remove,
	.check = lfu_check,
};
