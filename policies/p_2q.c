/*
 * 2q - a queue for newcomers, a list for what is asked for again after it has left the queue.
 *
 * Newcomers enter the queue `in`, where uses change nothing. Those that leave it are remembered as
 * ghosts in `out`; a miss of a ghost enters `main`, which is kept by recency. The victim is the
 * oldest of `in` while that holds more than its share, else the least recent of `main`.
 */
#include "base/opt.h"
#include "policies/queues.h"

#include <string.h>

enum { COLD, IN, MAIN, OUT };

/* The shares that Johnson and Shasha recommend. */
#define IN_DEFAULT  0.25
#define OUT_DEFAULT 0.5

struct twoq {
	struct tr_queues q;
	uint32_t n_slot;
	uint32_t max_in;
	uint32_t max_out;
};

static int twoq_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct twoq *s = tr_calloc(1, sizeof(*s));

	if (!s || tr_queues_init(&s->q, cfg->n_id)) {
		free(s);
		return tr_err_set(err, TR_E_NOMEM, "policy 2q: no memory for %u ids", cfg->n_id);
	}
	s->n_slot = cfg->n_slot;
	s->max_in = (uint32_t)(IN_DEFAULT * cfg->n_slot);
	s->max_out = (uint32_t)(OUT_DEFAULT * cfg->n_slot);
	*state = s;
	return 0;
}

static void twoq_fini(void *state)
{
	struct twoq *s = state;

	tr_queues_fini(&s->q);
	free(s);
}

static int twoq_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct twoq *s = state;
	bool in = !strcmp(key, "in");
	double share;
	int rc;

	if (!in && strcmp(key, "out") != 0)
		return TR_E_NOENT;
	rc = tr_opt_f64(in ? "2q,in" : "2q,out", value, 0, in ? 1 : 16, &share, err);
	if (!rc)
		*(in ? &s->max_in : &s->max_out) = (uint32_t)(share * s->n_slot);
	return rc;
}

static void twoq_hit(void *state, uint32_t id, unsigned flags)
{
	struct twoq *s = state;

	if (flags & TR_POLICY_SCAN)
		return;
	if (s->q.on[id] == COLD)
		tr_queues_back(&s->q, IN, id);
	else if (s->q.on[id] == MAIN)
		tr_queues_back(&s->q, MAIN, id);
}

static void twoq_insert(void *state, uint32_t id, unsigned flags)
{
	struct twoq *s = state;

	if (flags & TR_POLICY_SCAN)
		tr_queues_front(&s->q, COLD, id);
	else
		tr_queues_back(&s->q, s->q.on[id] == OUT ? MAIN : IN, id);
	tr_queues_trim(&s->q, OUT, s->max_out);
}

static uint32_t twoq_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct twoq *s = state;
	unsigned list = tr_queues_n(&s->q, IN) > s->max_in ? IN : MAIN;
	uint32_t id = tr_queues_first_ok(&s->q, COLD, ok, ctx);

	(void)incoming;
	if (id == TR_NO_ID)
		id = tr_queues_first_ok(&s->q, list, ok, ctx);
	if (id == TR_NO_ID)
		id = tr_queues_first_ok(&s->q, list == IN ? MAIN : IN, ok, ctx);
	return id;
}

/* The one too many stays until the insert, for which it may be the ghost. */
static void twoq_evict(void *state, uint32_t id)
{
	struct twoq *s = state;

	if (s->q.on[id] != IN) {
		tr_queues_drop(&s->q, id);
		return;
	}
	tr_queues_trim(&s->q, OUT, s->max_out);
	tr_queues_back(&s->q, OUT, id);
}

static void twoq_remove(void *state, uint32_t id)
{
	struct twoq *s = state;

	tr_queues_drop(&s->q, id);
}

static bool twoq_check(const void *state)
{
	const struct twoq *s = state;

	return tr_queues_check(&s->q) && tr_queues_n(&s->q, OUT) <= s->max_out + 1;
}

const struct tr_policy_ops tr_policy_2q = {
	.abi = TR_POLICY_ABI,
	.name = "2q",
	.summary = "newcomers in a queue, recency for what returns after leaving it",
	.options = "in=0.25 share of the slots for the queue of newcomers, 0 to 1; "
		   "out=0.5 ghosts of the queue, as a share of the slots, 0 to 16",
	.init = twoq_init,
	.fini = twoq_fini,
	.option = twoq_option,
	.hit = twoq_hit,
	.insert = twoq_insert,
	.victim = twoq_victim,
	.evict = twoq_evict,
	.remove = twoq_remove,
	.check = twoq_check,
};
