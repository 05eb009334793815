/*
 * lru - give up what was used longest ago.
 *
 * One list from the least to the most recently used. What a scan brings in goes to the cold end, so
 * a scan reuses its own slots; its uses of what is resident leave the order as it is. So does what
 * comes by prediction, until it is used: the cache keeps it for as long as it is due.
 */
#include "policies/list.h"

struct lru {
	struct tr_links links;
	struct tr_list order; /* front: least recently used */
};

static int lru_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct lru *s = tr_calloc(1, sizeof(*s));

	if (!s || tr_links_init(&s->links, cfg->n_id)) {
		free(s);
		return tr_err_set(err, TR_E_NOMEM, "policy lru: no memory for %u ids", cfg->n_id);
	}
	s->order = TR_LIST_EMPTY;
	*state = s;
	return 0;
}

static void lru_fini(void *state)
{
	struct lru *s = state;

	tr_links_fini(&s->links);
	free(s);
}

static void lru_hit(void *state, uint32_t id, unsigned flags)
{
	struct lru *s = state;

	if (flags & TR_POLICY_SCAN)
		return;
	tr_list_remove(&s->links, &s->order, id);
	tr_list_push_back(&s->links, &s->order, id);
}

static void lru_insert(void *state, uint32_t id, unsigned flags)
{
	struct lru *s = state;

	if (flags & (TR_POLICY_SCAN | TR_POLICY_PREFETCH))
		tr_list_push_front(&s->links, &s->order, id);
	else
		tr_list_push_back(&s->links, &s->order, id);
}

static uint32_t lru_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct lru *s = state;

	(void)incoming;
	return tr_list_first_ok(&s->links, &s->order, ok, ctx);
}

static void lru_leave(void *state, uint32_t id)
{
	struct lru *s = state;

	tr_list_remove(&s->links, &s->order, id);
}

static bool lru_check(const void *state)
{
	const struct lru *s = state;

	return tr_list_check(&s->links, &s->order);
}

const struct tr_policy_ops tr_policy_lru = {
	.abi = TR_POLICY_ABI,
	.name = "lru",
	.summary = "least recently used",
	.options = "",
	.init = lru_init,
	.fini = lru_fini,
	.hit = lru_hit,
	.insert = lru_insert,
	.victim = lru_victim,
	.evict = lru_leave,
	.remove = lru_leave,
	.check = lru_check,
};
