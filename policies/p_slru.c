/*
 * slru - recency in two segments: what was used again is protected from what was not.
 *
 * Newcomers enter the probation segment; a use there moves to the protected segment, which holds at
 * most a share of the slots and pushes its least recent back to the recent end of probation. The
 * victim is the least recent of probation, then of the protected.
 */
#include "base/opt.h"
#include "policies/queues.h"

#include <string.h>

enum { COLD, PROBATION, PROTECTED };

#define SHARE_DEFAULT 0.8 /* of Caffeine and of most descriptions since */

struct slru {
	struct tr_queues q;
	uint32_t n_slot;
	uint32_t max_protected;
};

static int slru_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct slru *s = tr_calloc(1, sizeof(*s));

	if (!s || tr_queues_init(&s->q, cfg->n_id)) {
		free(s);
		return tr_err_set(err, TR_E_NOMEM, "policy slru: no memory for %u ids", cfg->n_id);
	}
	s->n_slot = cfg->n_slot;
	s->max_protected = (uint32_t)(SHARE_DEFAULT * cfg->n_slot);
	*state = s;
	return 0;
}

static void slru_fini(void *state)
{
	struct slru *s = state;

	tr_queues_fini(&s->q);
	free(s);
}

static int slru_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct slru *s = state;
	double share;
	int rc;

	if (strcmp(key, "protected") != 0)
		return TR_E_NOENT;
	rc = tr_opt_f64("slru,protected", value, 0, 1, &share, err);
	if (!rc)
		s->max_protected = (uint32_t)(share * s->n_slot);
	return rc;
}

static void protect(struct slru *s, uint32_t id)
{
	tr_queues_back(&s->q, PROTECTED, id);
	while (tr_queues_n(&s->q, PROTECTED) > s->max_protected)
		tr_queues_back(&s->q, PROBATION, s->q.list[PROTECTED].front);
}

static void slru_hit(void *state, uint32_t id, unsigned flags)
{
	struct slru *s = state;

	if (flags & TR_POLICY_SCAN)
		return;
	if (tr_queues_first_use(&s->q, id) || s->q.on[id] == COLD)
		tr_queues_back(&s->q, PROBATION, id);
	else
		protect(s, id);
}

static void slru_insert(void *state, uint32_t id, unsigned flags)
{
	struct slru *s = state;

	if (flags & TR_POLICY_SCAN) {
		tr_queues_front(&s->q, COLD, id);
		return;
	}
	tr_queues_back(&s->q, PROBATION, id);
	s->q.fresh[id] = flags & TR_POLICY_PREFETCH ? 1 : 0;
}

static uint32_t slru_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct slru *s = state;
	uint32_t id = TR_NO_ID;

	(void)incoming;
	for (unsigned list = COLD; id == TR_NO_ID && list <= PROTECTED; list++)
		id = tr_queues_first_ok(&s->q, list, ok, ctx);
	return id;
}

static void slru_leave(void *state, uint32_t id)
{
	struct slru *s = state;

	tr_queues_drop(&s->q, id);
}

static bool slru_check(const void *state)
{
	const struct slru *s = state;

	return tr_queues_check(&s->q) && tr_queues_n(&s->q, PROTECTED) <= s->max_protected;
}

const struct tr_policy_ops tr_policy_slru = {
	.abi = TR_POLICY_ABI,
	.name = "slru",
	.summary = "least recently used, what was used again in a protected segment",
	.options = "protected=0.8 share of the slots for what was used again, 0 to 1",
	.init = slru_init,
	.fini = slru_fini,
	.option = slru_option,
	.hit = slru_hit,
	.insert = slru_insert,
	.victim = slru_victim,
	.evict = slru_leave,
	.remove = slru_leave,
	.check = slru_check,
};
