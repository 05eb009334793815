/*
 * fifo - give up what came in first.
 *
 * One list in the order of entry; uses change nothing. What a scan brings in lies on a list of its
 * own, which goes first, the newest first; the first use by decoding counts as its entry.
 */
#include "policies/queues.h"

enum { COLD, ORDER };

struct fifo {
	struct tr_queues q;
};

static int fifo_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct fifo *s = tr_calloc(1, sizeof(*s));

	if (!s || tr_queues_init(&s->q, cfg->n_id)) {
		free(s);
		return tr_err_set(err, TR_E_NOMEM, "policy fifo: no memory for %u ids", cfg->n_id);
	}
	*state = s;
	return 0;
}

static void fifo_fini(void *state)
{
	struct fifo *s = state;

	tr_queues_fini(&s->q);
	free(s);
}

static void fifo_hit(void *state, uint32_t id, unsigned flags)
{
	struct fifo *s = state;

	if (!(flags & TR_POLICY_SCAN) && s->q.on[id] == COLD)
		tr_queues_back(&s->q, ORDER, id);
}

static void fifo_insert(void *state, uint32_t id, unsigned flags)
{
	struct fifo *s = state;

	if (flags & TR_POLICY_SCAN)
		tr_queues_front(&s->q, COLD, id);
	else
		tr_queues_back(&s->q, ORDER, id);
}

static uint32_t fifo_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct fifo *s = state;
	uint32_t id = tr_queues_first_ok(&s->q, COLD, ok, ctx);

	(void)incoming;
	return id != TR_NO_ID ? id : tr_queues_first_ok(&s->q, ORDER, ok, ctx);
}

static void fifo_leave(void *state, uint32_t id)
{
	struct fifo *s = state;

	tr_queues_drop(&s->q, id);
}

static bool fifo_check(const void *state)
{
	const struct fifo *s = state;

	return tr_queues_check(&s->q);
}

const struct tr_policy_ops tr_policy_fifo = {
	.abi = TR_POLICY_ABI,
	.name = "fifo",
	.summary = "first in, first out",
	.options = "",
	.init = fifo_init,
	.fini = fifo_fini,
	.hit = fifo_hit,
	.insert = fifo_insert,
	.victim = fifo_victim,
	.evict = fifo_leave,
	.remove = fifo_leave,
	.check = fifo_check,
};
