/*
 * lfuda - frequency of use since entry, with an age that newcomers start from.
 *
 * The key of an entry is its uses since it came in plus the age of the cache at its last use; the
 * lowest key goes and becomes the age. So what was hot long ago is overtaken instead of staying for
 * ever. Ties go by recency. What a scan brings in stands below every key, the newest first, until
 * it is used.
 */
#include "base/mem.h"
#include "policies/heap.h"

#include <stdlib.h>

struct lfuda {
	struct tr_heap order;
	uint64_t *count; /* [n_id] uses since entry */
	uint64_t clock;	 /* uses and insertions so far */
	double age;
};

static void lfuda_fini(void *state)
{
	struct lfuda *s = state;

	tr_heap_fini(&s->order);
	free(s->count);
	free(s);
}

static int lfuda_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct lfuda *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->count = tr_calloc(cfg->n_id, sizeof(*s->count));
	if (!s->count || tr_heap_init(&s->order, cfg->n_id)) {
		lfuda_fini(s);
		goto nomem;
	}
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy lfuda: no memory for %u ids", cfg->n_id);
}

static void lfuda_hit(void *state, uint32_t id, unsigned flags)
{
	struct lfuda *s = state;

	if (!(flags & TR_POLICY_SCAN))
		tr_heap_put(&s->order, id, (double)++s->count[id] + s->age, ++s->clock);
}

static void lfuda_insert(void *state, uint32_t id, unsigned flags)
{
	struct lfuda *s = state;

	s->clock++;
	s->count[id] = flags & (TR_POLICY_SCAN | TR_POLICY_PREFETCH) ? 0 : 1;
	if (flags & TR_POLICY_SCAN)
		tr_heap_put(&s->order, id, -1, UINT64_MAX - s->clock);
	else
		tr_heap_put(&s->order, id, (double)s->count[id] + s->age, s->clock);
}

static uint32_t lfuda_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct lfuda *s = state;

	(void)incoming;
	return tr_heap_first_ok(&s->order, ok, ctx);
}

static void lfuda_evict(void *state, uint32_t id)
{
	struct lfuda *s = state;

	s->age = TR_MAX(s->age, s->order.rank[id]);
	tr_heap_remove(&s->order, id);
}

static void lfuda_remove(void *state, uint32_t id)
{
	struct lfuda *s = state;

	tr_heap_remove(&s->order, id);
}

static bool lfuda_check(const void *state)
{
	const struct lfuda *s = state;

	return tr_heap_check(&s->order);
}

const struct tr_policy_ops tr_policy_lfuda = {
	.abi = TR_POLICY_ABI,
	.name = "lfuda",
	.summary = "least frequently used since entry, with dynamic aging",
	.options = "",
	.init = lfuda_init,
	.fini = lfuda_fini,
	.hit = lfuda_hit,
	.insert = lfuda_insert,
	.victim = lfuda_victim,
	.evict = lfuda_evict,
	.remove = lfuda_remove,
	.check = lfuda_check,
};
