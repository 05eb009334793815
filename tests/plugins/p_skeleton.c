/*
 * p_skeleton.c - a policy in a shared object: copy it, rename it, change the order that it keeps.
 *
 * Built against the headers of the source tree, it needs nothing of tierra at run time:
 *
 *	cc -shared -fPIC -I tierra -I tierra/src p_skeleton.c -o mine.so
 *	tierra generate --policy ./mine.so,keep=2 ...
 *
 * policies/policy.h is the contract and policies/README.md explains it. This one gives up the entry
 * that came in first, but keeps those that were used at least `keep` times for one more round. It
 * shows each member; a real policy would not search all ids.
 */
#include "policies/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct skeleton {
	uint32_t n_id;
	uint32_t keep;
	uint64_t clock;	  /* entries so far, and rounds won */
	uint64_t *since;  /* [n_id] clock at entry; 0: not resident */
	uint32_t *n_uses; /* [n_id] since entry */
};

static void skeleton_fini(void *state)
{
	struct skeleton *s = state;

	free(s->since);
	free(s->n_uses);
	free(s);
}

/* All memory is taken here: the calls below are made under the lock of the cache. */
static int skeleton_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct skeleton *s = calloc(1, sizeof(*s));

	if (s) {
		*s = (struct skeleton){ .n_id = cfg->n_id, .keep = 1 };
		s->since = calloc(cfg->n_id, sizeof(*s->since));
		s->n_uses = calloc(cfg->n_id, sizeof(*s->n_uses));
	}
	if (s && s->since && s->n_uses) {
		*state = s;
		return 0;
	}
	if (s)
		skeleton_fini(s);
	if (err)
		snprintf(err->msg, sizeof(err->msg), "policy skeleton: no memory");
	return TR_E_NOMEM;
}

static int skeleton_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct skeleton *s = state;
	unsigned long keep;
	char *end;

	if (strcmp(key, "keep") != 0)
		return TR_E_NOENT; /* the message is made by the caller, from .options */
	keep = strtoul(value, &end, 10);
	if (end == value || *end || keep < 1 || keep > 1000) {
		if (err) {
			err->code = TR_E_INVALID;
			snprintf(err->msg, sizeof(err->msg),
				"skeleton,keep: '%.40s' is not a number from 1 to 1000", value);
		}
		return TR_E_INVALID;
	}
	s->keep = (uint32_t)keep;
	return 0;
}

static void skeleton_hit(void *state, uint32_t id, unsigned flags)
{
	struct skeleton *s = state;

	if (!(flags & TR_POLICY_SCAN)) /* a scan changes no order */
		s->n_uses[id]++;
}

static void skeleton_insert(void *state, uint32_t id, unsigned flags)
{
	struct skeleton *s = state;

	(void)flags;
	s->since[id] = ++s->clock;
	s->n_uses[id] = 0;
}

/* Changes nothing: asked again, it gives the same answer. Each resident is offered once. */
static uint32_t search(struct skeleton *s, int kept, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t best = TR_NO_ID;

	for (uint32_t id = 0; id < s->n_id; id++)
		if (s->since[id] && (s->n_uses[id] >= s->keep) == kept && ok(ctx, id) &&
			(best == TR_NO_ID || s->since[id] < s->since[best]))
			best = id;
	return best;
}

static uint32_t skeleton_victim(
	void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t id = search(state, 0, ok, ctx);

	(void)incoming;
	return id != TR_NO_ID ? id : search(state, 1, ok, ctx);
}

/* What the search passed moves here: those kept that are older have used up their round. */
static void skeleton_evict(void *state, uint32_t id)
{
	struct skeleton *s = state;

	for (uint32_t i = 0; i < s->n_id; i++)
		if (s->since[i] && s->since[i] < s->since[id])
			s->n_uses[i] = 0;
	s->since[id] = 0;
}

static void skeleton_remove(void *state, uint32_t id)
{
	struct skeleton *s = state;

	s->since[id] = 0;
}

static bool skeleton_check(const void *state)
{
	const struct skeleton *s = state;

	for (uint32_t id = 0; id < s->n_id; id++)
		if (s->since[id] > s->clock)
			return false;
	return true;
}

__attribute__((visibility("default"))) extern const struct tr_policy_ops tr_policy_plugin;

const struct tr_policy_ops tr_policy_plugin = {
	.abi = TR_POLICY_ABI,
	.name = "skeleton",
	.summary = "first in, first out, with another round for what was used",
	.options = "keep=1 uses that win another round, 1 to 1000",
	.init = skeleton_init,
	.fini = skeleton_fini,
	.option = skeleton_option,
	.hit = skeleton_hit,
	.insert = skeleton_insert,
	.victim = skeleton_victim,
	.evict = skeleton_evict,
	.remove = skeleton_remove,
	.check = skeleton_check,
};
