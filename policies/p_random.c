/*
 * random - give up any entry, each as likely as the others.
 *
 * Residents stand in an array without holes: a newcomer at the end, and the last moves to where one
 * left. A search starts at splitmix64(draw) mod their number and goes on upwards, round the end,
 * past what is refused; evict() makes the next draw. So a seed gives the same victims everywhere.
 * What a scan brings in lies on a list that goes first, the newest first, until it is used.
 */
#include "base/opt.h"
#include "policies/queues.h"

#include <string.h>

enum { COLD };

struct random_state {
	struct tr_queues q; /* COLD only */
	uint32_t *at;	    /* [n] */
	uint32_t *pos;	    /* [n_id] index into at, of those that are there */
	uint32_t n;
	uint64_t seed;
};

static void random_fini(void *state)
{
	struct random_state *s = state;

	tr_queues_fini(&s->q);
	free(s->at);
	free(s->pos);
	free(s);
}

static int random_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct random_state *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->seed = cfg->seed;
	s->at = tr_calloc(cfg->n_id, sizeof(*s->at));
	s->pos = tr_calloc(cfg->n_id, sizeof(*s->pos));
	if (!s->at || !s->pos || tr_queues_init(&s->q, cfg->n_id)) {
		random_fini(s);
		goto nomem;
	}
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy random: no memory for %u ids", cfg->n_id);
}

static int random_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct random_state *s = state;

	if (strcmp(key, "seed") != 0)
		return TR_E_NOENT;
	return tr_opt_u64("random,seed", value, 0, UINT64_MAX, &s->seed, err);
}

static void enter(struct random_state *s, uint32_t id)
{
	s->pos[id] = s->n;
	s->at[s->n++] = id;
}

static void leave(struct random_state *s, uint32_t id)
{
	uint32_t last;

	if (s->q.on[id] == COLD) {
		tr_queues_drop(&s->q, id);
		return;
	}
	last = s->at[--s->n];
	s->at[s->pos[id]] = last;
	s->pos[last] = s->pos[id];
}

static void random_hit(void *state, uint32_t id, unsigned flags)
{
	struct random_state *s = state;

	if (flags & TR_POLICY_SCAN || s->q.on[id] != COLD)
		return;
	leave(s, id);
	enter(s, id);
}

static void random_insert(void *state, uint32_t id, unsigned flags)
{
	struct random_state *s = state;

	if (flags & TR_POLICY_SCAN)
		tr_queues_front(&s->q, COLD, id);
	else
		enter(s, id);
}

static uint64_t splitmix64(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint32_t random_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct random_state *s = state;
	uint32_t cold = tr_queues_first_ok(&s->q, COLD, ok, ctx), start;

	(void)incoming;
	if (cold != TR_NO_ID || !s->n)
		return cold;
	start = (uint32_t)(splitmix64(s->seed) % s->n);
	for (uint32_t i = start; i < s->n; i++)
		if (ok(ctx, s->at[i]))
			return s->at[i];
	for (uint32_t i = 0; i < start; i++)
		if (ok(ctx, s->at[i]))
			return s->at[i];
	return TR_NO_ID;
}

static void random_evict(void *state, uint32_t id)
{
	struct random_state *s = state;

	s->seed += 0x9e3779b97f4a7c15u;
	leave(s, id);
}

static void random_remove(void *state, uint32_t id)
{
	leave(state, id);
}

static bool random_check(const void *state)
{
	const struct random_state *s = state;

	for (uint32_t i = 0; i < s->n; i++)
		if (s->pos[s->at[i]] != i || s->q.on[s->at[i]] == COLD)
			return false;
	return tr_queues_check(&s->q);
}

const struct tr_policy_ops tr_policy_random = {
	.abi = TR_POLICY_ABI,
	.name = "random",
	.summary = "any entry, each as likely as the others",
	.options = "seed=0 of the sequence of victims",
	.init = random_init,
	.fini = random_fini,
	.option = random_option,
	.hit = random_hit,
	.insert = random_insert,
	.victim = random_victim,
	.evict = random_evict,
	.remove = random_remove,
	.check = random_check,
};
