/*
 * arc - balances recency against reuse by which of the two it regrets.
 *
 * t1 holds what was used once of late, t2 what was used again; b1 and b2 are the ghosts of those
 * that left them. A miss of a ghost says that its list was too short: the target for t1 moves that
 * way, by more the rarer such ghosts are. At most n_slot ids on t1 and b1, twice that on all four.
 */
#include "policies/queues.h"

enum { COLD, T1, T2, B1, B2 };

struct arc {
	struct tr_queues q;
	uint32_t n_slot;
	double target; /* length that t1 should have */
};

static int arc_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct arc *s = tr_calloc(1, sizeof(*s));

	if (!s || tr_queues_init(&s->q, cfg->n_id)) {
		free(s);
		return tr_err_set(err, TR_E_NOMEM, "policy arc: no memory for %u ids", cfg->n_id);
	}
	s->n_slot = cfg->n_slot;
	*state = s;
	return 0;
}

static void arc_fini(void *state)
{
	struct arc *s = state;

	tr_queues_fini(&s->q);
	free(s);
}

static void arc_hit(void *state, uint32_t id, unsigned flags)
{
	struct arc *s = state;

	if (flags & TR_POLICY_SCAN)
		return;
	if (tr_queues_first_use(&s->q, id))
		tr_queues_back(&s->q, s->q.on[id], id);
	else
		tr_queues_back(&s->q, s->q.on[id] == COLD ? T1 : T2, id);
}

static void arc_miss(void *state, uint32_t id, unsigned flags)
{
	struct arc *s = state;
	double b1 = tr_queues_n(&s->q, B1), b2 = tr_queues_n(&s->q, B2);

	if (flags & TR_POLICY_SCAN)
		return;
	if (s->q.on[id] == B1)
		s->target = TR_MIN(s->target + TR_MAX(1, b2 / b1), s->n_slot);
	else if (s->q.on[id] == B2)
		s->target = TR_MAX(s->target - TR_MAX(1, b1 / b2), 0);
}

static void trim_ghosts(struct arc *s)
{
	uint32_t t1 = tr_queues_n(&s->q, T1), t2 = tr_queues_n(&s->q, T2), b1;

	tr_queues_trim(&s->q, B1, s->n_slot - TR_MIN(t1, s->n_slot));
	b1 = tr_queues_n(&s->q, B1);
	tr_queues_trim(&s->q, B2, 2 * s->n_slot - TR_MIN(t1 + t2 + b1, 2 * s->n_slot));
}

static void arc_insert(void *state, uint32_t id, unsigned flags)
{
	struct arc *s = state;

	if (flags & TR_POLICY_SCAN) {
		tr_queues_front(&s->q, COLD, id);
		return;
	}
	tr_queues_back(&s->q, s->q.on[id] == B1 || s->q.on[id] == B2 ? T2 : T1, id);
	s->q.fresh[id] = flags & TR_POLICY_PREFETCH ? 1 : 0;
	trim_ghosts(s);
}

static uint32_t arc_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct arc *s = state;
	bool from_b2 = incoming != TR_NO_ID && s->q.on[incoming] == B2;
	double t1 = tr_queues_n(&s->q, T1);
	unsigned list = t1 > s->target || (from_b2 && t1 == s->target) ? T1 : T2;
	uint32_t id = tr_queues_first_ok(&s->q, COLD, ok, ctx);

	if (id == TR_NO_ID)
		id = tr_queues_first_ok(&s->q, list, ok, ctx);
	if (id == TR_NO_ID)
		id = tr_queues_first_ok(&s->q, list == T1 ? T2 : T1, ok, ctx);
	return id;
}

static void arc_evict(void *state, uint32_t id)
{
	struct arc *s = state;

	if (s->q.on[id] == COLD)
		tr_queues_drop(&s->q, id);
	else
		tr_queues_back(&s->q, s->q.on[id] == T1 ? B1 : B2, id);
}

static void arc_remove(void *state, uint32_t id)
{
	struct arc *s = state;

	tr_queues_drop(&s->q, id);
}

static bool arc_check(const void *state)
{
	const struct arc *s = state;

	return tr_queues_check(&s->q) && s->target >= 0 && s->target <= s->n_slot;
}

const struct tr_policy_ops tr_policy_arc = {
	.abi = TR_POLICY_ABI,
	.name = "arc",
	.summary = "recency and reuse, balanced by what their ghosts regret",
	.options = "",
	.init = arc_init,
	.fini = arc_fini,
	.hit = arc_hit,
	.miss = arc_miss,
	.insert = arc_insert,
	.victim = arc_victim,
	.evict = arc_evict,
	.remove = arc_remove,
	.check = arc_check,
};
