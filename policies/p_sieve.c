/*
 * sieve - give up what was not used again, oldest first, with a hand that stays among the old.
 *
 * One list in the order of entry; nothing on it ever moves. A hand goes from the oldest to the
 * newest and round again: what it finds marked as used loses the mark and stays, what it finds
 * unmarked goes. Newcomers enter behind the hand, so those that are never used again go soon. The
 * search only looks, for unmarked entries first and for marked ones after a round; evict() moves.
 */
#include "policies/marked.h"

struct sieve {
	struct tr_marked m; /* first */
	uint32_t hand; /* looks here next; TR_NO_ID: at the oldest */
};

static void sieve_fini(void *state)
{
	struct sieve *s = state;

	tr_marked_fini(&s->m);
	free(s);
}

static int sieve_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct sieve *s = tr_calloc(1, sizeof(*s));

	if (!s || tr_marked_init(&s->m, cfg->n_id)) {
		free(s);
		return tr_err_set(err, TR_E_NOMEM, "policy sieve: no memory for %u ids", cfg->n_id);
	}
	s->hand = TR_NO_ID;
	*state = s;
	return 0;
}

/* The one after id in the order of the hand. The list is not empty. */
static uint32_t after(const struct sieve *s, uint32_t id)
{
	uint32_t next = id == TR_NO_ID ? TR_NO_ID : s->m.q.links.next[id];

	return next != TR_NO_ID ? next : s->m.q.list[TR_MARKED_ORDER].front;
}

static uint32_t hand(const struct sieve *s)
{
	return s->hand != TR_NO_ID ? s->hand : s->m.q.list[TR_MARKED_ORDER].front;
}

static uint32_t first(struct sieve *s, uint8_t used, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t id = hand(s);

	for (uint32_t n = s->m.q.list[TR_MARKED_ORDER].n; n; n--, id = after(s, id))
		if (s->m.used[id] == used && ok(ctx, id))
			return id;
	return TR_NO_ID;
}

static uint32_t sieve_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct sieve *s = state;
	uint32_t id = tr_queues_first_ok(&s->m.q, TR_MARKED_COLD, ok, ctx);

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
		s->hand = s->m.q.links.next[id];
	tr_queues_drop(&s->m.q, id);
}

static void sieve_evict(void *state, uint32_t id)
{
	struct sieve *s = state;
	uint32_t at;

	if (s->m.q.on[id] == TR_MARKED_ORDER) {
		if (s->m.used[id])
			tr_marked_clear(&s->m);
		for (at = hand(s); at != id; at = after(s, at))
			s->m.used[at] = 0;
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

	return tr_queues_check(&s->m.q) && (s->hand == TR_NO_ID || s->m.q.on[s->hand] == TR_MARKED_ORDER);
}

const struct tr_policy_ops tr_policy_sieve = {
	.abi = TR_POLICY_ABI,
	.name = "sieve",
	.summary = "a hand sifts the old; what was not used again goes, nothing moves",
	.options = "",
	.init = sieve_init,
	.fini = sieve_fini,
	.hit = tr_marked_hit,
	.insert = tr_marked_insert,
	.victim = sieve_victim,
	.evict = sieve_evict,
	.remove = sieve_remove,
	.check = sieve_check,
};
