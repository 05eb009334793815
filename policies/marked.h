/*
 * marked.h - a list in the order of entry whose ids are marked when they are used again: what clock
 * and sieve have in common. They differ in how a hand takes the marks. Functions that take a state
 * are members of their tr_policy_ops; the state begins with a struct tr_marked.
 */
#ifndef TR_POLICIES_MARKED_H
#define TR_POLICIES_MARKED_H

#include "policies/queues.h"

enum { TR_MARKED_COLD, TR_MARKED_ORDER }; /* brought in by a scan; all others */

struct tr_marked {
	struct tr_queues q;
	uint8_t *used; /* [n_id] since the hand passed */
};

static inline void tr_marked_fini(struct tr_marked *m)
{
	tr_queues_fini(&m->q);
	free(m->used);
	m->used = NULL;
}

/* 0 or TR_E_NOMEM; it is then as after fini. */
static inline int tr_marked_init(struct tr_marked *m, uint32_t n_id)
{
	m->used = tr_calloc(n_id, sizeof(*m->used));
	if (tr_queues_init(&m->q, n_id) || !m->used) {
		tr_marked_fini(m);
		return TR_E_NOMEM;
	}
	return 0;
}

static inline void tr_marked_enter(struct tr_marked *m, uint32_t id)
{
	m->used[id] = 0;
	tr_queues_back(&m->q, TR_MARKED_ORDER, id);
}

static inline void tr_marked_hit(void *state, uint32_t id, unsigned flags)
{
	struct tr_marked *m = state;

	if (flags & TR_POLICY_SCAN)
		return;
	if (m->q.on[id] == TR_MARKED_COLD)
		tr_marked_enter(m, id);
	else if (!tr_queues_first_use(&m->q, id))
		m->used[id] = 1;
}

static inline void tr_marked_insert(void *state, uint32_t id, unsigned flags)
{
	struct tr_marked *m = state;

	if (flags & TR_POLICY_SCAN) {
		tr_queues_front(&m->q, TR_MARKED_COLD, id);
		return;
	}
	tr_marked_enter(m, id);
	m->q.fresh[id] = flags & TR_POLICY_PREFETCH ? 1 : 0;
}

/* The hand has been all round. */
static inline void tr_marked_clear(struct tr_marked *m)
{
	uint32_t at;

	for (at = m->q.list[TR_MARKED_ORDER].front; at != TR_NO_ID; at = m->q.links.next[at])
		m->used[at] = 0;
}

#endif
