/*
 * clock - give up the first entry that was not used since the hand last passed it.
 *
 * The ring is a list whose front is where the hand points; what the hand passes loses its mark and
 * goes to the back. The search looks ahead without moving anything: first for unmarked entries,
 * then, as if a whole round had taken all marks, for marked ones. evict() moves the hand there.
 */
#include "policies/marked.h"

static void clock_fini(void *state)
{
	struct tr_marked *s = state;

	tr_marked_fini(s);
	free(s);
}

static int clock_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct tr_marked *s = tr_calloc(1, sizeof(*s));

	if (!s || tr_marked_init(s, cfg->n_id)) {
		free(s);
		return tr_err_set(err, TR_E_NOMEM, "policy clock: no memory for %u ids", cfg->n_id);
	}
	*state = s;
	return 0;
}

static uint32_t first(struct tr_marked *s, uint8_t used, tr_policy_evictable_fn *ok, void *ctx)
{
	for (uint32_t id = s->q.list[TR_MARKED_ORDER].front; id != TR_NO_ID; id = s->q.links.next[id])
		if (s->used[id] == used && ok(ctx, id))
			return id;
	return TR_NO_ID;
}

static uint32_t clock_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct tr_marked *s = state;
	uint32_t id = tr_queues_first_ok(&s->q, TR_MARKED_COLD, ok, ctx);

	(void)incoming;
	if (id == TR_NO_ID)
		id = first(s, 0, ok, ctx);
	if (id == TR_NO_ID)
		id = first(s, 1, ok, ctx);
	return id;
}

/* The hand stops at id, after a whole round when id is marked. */
static void turn(struct tr_marked *s, uint32_t id)
{
	struct tr_links *links = &s->q.links;
	struct tr_list *ring = &s->q.list[TR_MARKED_ORDER];
	uint32_t at;

	if (s->used[id])
		tr_marked_clear(s);
	for (at = ring->front; at != id; at = ring->front) {
		s->used[at] = 0;
		tr_list_remove(links, ring, at);
		tr_list_push_back(links, ring, at);
	}
}

static void clock_evict(void *state, uint32_t id)
{
	struct tr_marked *s = state;

	if (s->q.on[id] == TR_MARKED_ORDER)
		turn(s, id);
	tr_queues_drop(&s->q, id);
}

static void clock_remove(void *state, uint32_t id)
{
	struct tr_marked *s = state;

	tr_queues_drop(&s->q, id);
}

static bool clock_check(const void *state)
{
	const struct tr_marked *s = state;

	return tr_queues_check(&s->q);
}

const struct tr_policy_ops tr_policy_clock = {
	.abi = TR_POLICY_ABI,
	.name = "clock",
	.summary = "first in, first out, with a second chance for what was used again",
	.options = "",
	.init = clock_init,
	.fini = clock_fini,
	.hit = tr_marked_hit,
	.insert = tr_marked_insert,
	.victim = clock_victim,
	.evict = clock_evict,
	.remove = clock_remove,
	.check = clock_check,
};
