/*
 * sieve - give up what was not used again, oldest first, with a hand that stays among the old.
 *
 * One list in the order of entry; nothing on it ever moves. A hand goes from the oldest to the
 * newest and round again: what it finds marked as used loses the mark and stays, what it finds
 * unmarked goes. Newcomers enter behind the hand, so those that are never used again go soon. The
 * search only looks, for unmarked entries first and for marked ones after a round; evict() moves.
 */
#include "policies/queues.h"

enum { COLD, ORDER };

struct sieve {
	struct tr_queues q;
	uint8_t *used; /* [n_id] since the hand passed */
	uint32_t hand; /* looks here next; TR_NO_ID: at the oldest */
};

static void sieve_fini(void *state)
{
	struct sieve *s = state;

	tr_queues_fini(&s->q);
	free(s->used);
	free(s);
}

static int sieve_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct sieve *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->hand = TR_NO_ID;
	s->used = tr_calloc(cfg->n_id, sizeof(*s->used));
	if (!s->used || tr_queues_init(&s->q, cfg->n_id)) {
		sieve_fini(s);
		goto nomem;
	}
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy sieve: no memory for %u ids", cfg->n_id);
}

static void enter(struct sieve *s, uint32_t id)
{
	s->used[id] = 0;
	tr_queues_back(&s->q, ORDER, id);
}

static void sieve_hit(void *state, uint32_t id, unsigned flags)
{
	struct sieve *s = state;

	if (flags & TR_POLICY_SCAN)
		return;
	if (s->q.on[id] == COLD)
		enter(s, id);
	else if (!tr_queues_first_use(&s->q, id))
		s->used[id] = 1;
}

static void sieve_insert(void *state, uint32_t id, unsigned flags)
{
	struct sieve *s = state;

	if (flags & TR_POLICY_SCAN) {
		tr_queues_front(&s->q, COLD, id);
		return;
	}
	enter(s, id);
	s->q.fresh[id] = flags & TR_POLICY_PREFETCH ? 1 : 0;
}

/* The one after id in the order of the hand. The list is not empty. */
static uint32_t after(const struct sieve *s, uint32_t id)
{
	uint32_t next = id == TR_NO_ID ? TR_NO_ID : s->q.links.next[id];

	return next != TR_NO_ID ? next : s->q.list[ORDER].front;
}

static uint32_t hand(const struct sieve *s)
{
	return s->hand != TR_NO_ID ? s->hand : s->q.list[ORDER].front;
}

static uint32_t first(struct sieve *s, uint8_t used, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t id = hand(s);

	for (uint32_t n = s->q.list[ORDER].n; n; n--, id = after(s, id))
		if (s->used[id] == used && ok(ctx, id))
			return id;
	return TR_NO_ID;
}

static uint32_t sieve_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct sieve *s = state;
	uint32_t id = tr_queues_first_ok(&s->q, COLD, ok, ctx);

	(void)incoming;
	if (id == TR_NO_ID)
		id = first(s, 0, ok, ctx);
	if (id == TR_NO_ID)
		id = first(s, 1, ok, ctx);
	return id;
}

static void leave(struct sieve *s, uint32_t id)
{
	if (s->hand == id)
		s->hand = s->q.links.next[id];
	tr_queues_drop(&s->q, id);
}

static void sieve_evict(void *state, uint32_t id)
{
	struct sieve *s = state;
	uint32_t at;

	if (s->q.on[id] == ORDER) {
		if (s->used[id])
			for (at = s->q.list[ORDER].front; at != TR_NO_ID; at = s->q.links.next[at])
				s->used[at] = 0;
		for (at = hand(s); at != id; at = after(s, at))
			s->used[at] = 0;
		s->hand = id;
	}
	leave(s, id);
}

static void sieve_remove(void *state, uint32_t id)
{
	leave(state, id);
}

static bool sieve_check(const void *state)
{
	const struct sieve *s = state;

	return tr_queues_check(&s->q) && (s->hand == TR_NO_ID || s->q.on[s->hand] == ORDER);
}

const struct tr_policy_ops tr_policy_sieve = {
	.abi = TR_POLICY_ABI,
	.name = "sieve",
	.summary = "a hand sifts the old; what was not used again goes, nothing moves",
	.options = "",
	.init = sieve_init,
	.fini = sieve_fini,
	.hit = sieve_hit,
	.insert = sieve_insert,
	.victim = sieve_victim,
	.evict = sieve_evict,
	.remove = sieve_remove,
	.check = sieve_check,
};
