/*
 * belady - give up what will be used farthest in the future: the bound that no policy passes.
 *
 * It needs the future (cfg.future), which only a replay has; elsewhere init refuses. The uses of
 * each id stand in a row, in order, and a cursor moves on with every use that is told, so the order
 * of calls within a set does not matter. What is never used again goes first; such ties go by
 * recency. Uses by a scan are not part of the future; what a scan brings in goes before all others.
 */
#include "base/mem.h"
#include "policies/heap.h"

#include <math.h>
#include <stdlib.h>

struct belady {
	struct tr_heap order; /* rank: minus the position of the next use */
	uint64_t *use;	      /* [n_future] positions in the future, those of an id in a row */
	uint64_t *next;	      /* [n_id] index into use */
	uint64_t *end;	      /* [n_id] */
	uint64_t clock;	      /* uses and insertions so far */
	uint64_t never;	      /* n_future */
};

static void belady_fini(void *state)
{
	struct belady *s = state;

	tr_heap_fini(&s->order);
	free(s->use);
	free(s->next);
	free(s->end);
	free(s);
}

static void index_uses(struct belady *s, const struct tr_policy_cfg *cfg)
{
	uint64_t begin = 0;

	for (uint64_t i = 0; i < cfg->n_future; i++) {
		tr_assert(cfg->future[i] < cfg->n_id);
		s->end[cfg->future[i]]++;
	}
	for (uint32_t id = 0; id < cfg->n_id; id++) {
		s->next[id] = begin;
		begin += s->end[id];
		s->end[id] = s->next[id];
	}
	for (uint64_t i = 0; i < cfg->n_future; i++)
		s->use[s->end[cfg->future[i]]++] = i;
}

static int belady_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct belady *s;

	if (!cfg->future)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"policy belady knows the future and works in replays of traces only");
	s = tr_calloc(1, sizeof(*s));
	if (!s)
		goto nomem;
	s->never = cfg->n_future;
	s->use = tr_calloc(cfg->n_future, sizeof(*s->use));
	s->next = tr_calloc(cfg->n_id, sizeof(*s->next));
	s->end = tr_calloc(cfg->n_id, sizeof(*s->end));
	if (!s->use || !s->next || !s->end || tr_heap_init(&s->order, cfg->n_id)) {
		belady_fini(s);
		goto nomem;
	}
	index_uses(s, cfg);
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy belady: no memory for a future of %llu uses",
		(unsigned long long)cfg->n_future);
}

static void use(struct belady *s, uint32_t id)
{
	if (s->next[id] < s->end[id])
		s->next[id]++;
}

static void rank(struct belady *s, uint32_t id)
{
	uint64_t next = s->next[id] < s->end[id] ? s->use[s->next[id]] : s->never;

	tr_heap_put(&s->order, id, -(double)next, s->clock++);
}

static void belady_hit(void *state, uint32_t id, unsigned flags)
{
	if (flags & TR_POLICY_SCAN)
		return;
	use(state, id);
	rank(state, id);
}

static void belady_miss(void *state, uint32_t id, unsigned flags)
{
	if (!(flags & TR_POLICY_SCAN))
		use(state, id);
}

static void belady_insert(void *state, uint32_t id, unsigned flags)
{
	struct belady *s = state;

	if (flags & TR_POLICY_SCAN)
		tr_heap_put(&s->order, id, -INFINITY, UINT64_MAX - s->clock++);
	else
		rank(s, id);
}

static uint32_t belady_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct belady *s = state;

	(void)incoming;
	return tr_heap_first_ok(&s->order, ok, ctx);
}

static void belady_leave(void *state, uint32_t id)
{
	struct belady *s = state;

	tr_heap_remove(&s->order, id);
}

static bool belady_check(const void *state)
{
	const struct belady *s = state;

	return tr_heap_check(&s->order);
}

const struct tr_policy_ops tr_policy_belady = {
	.abi = TR_POLICY_ABI,
	.name = "belady",
	.summary = "what is used farthest in the future: the bound, in replays of traces only",
	.options = "",
	.init = belady_init,
	.fini = belady_fini,
	.hit = belady_hit,
	.miss = belady_miss,
	.insert = belady_insert,
	.victim = belady_victim,
	.evict = belady_leave,
	.remove = belady_leave,
	.check = belady_check,
};
