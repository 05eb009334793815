/*
 * s3fifo - three queues without recency: a small one that sifts newcomers, a main one, ghosts.
 *
 * Newcomers enter `small`; what was used twice more when its turn comes moves on to `main`, the
 * rest leaves and is remembered as a ghost, and a miss of a ghost enters `main`. `main` is a clock
 * with uses counted up to 3, of which a round takes one. `main` gives the victim while it holds
 * more than its share, else `small`. While the cache fills for the first time, what finds `small`
 * full enters `main`.
 *
 * The search only looks; evict() moves what the search passed. Entries that were refused keep their
 * places in `small`. Uses are counted anew after the move to `main`.
 */
#include "base/opt.h"
#include "policies/queues.h"

#include <string.h>

enum { COLD, SMALL, MAIN, GHOST };

#define SMALL_DEFAULT 0.1 /* both of Yang et al. */
#define GHOST_DEFAULT 0.9
enum { USES_TO_MOVE = 2, USES_MAX = 3 };

struct s3fifo {
	struct tr_queues q;
	uint8_t *uses; /* [n_id] since entry, at most USES_MAX */
	uint32_t n_slot;
	uint32_t max_small;
	uint32_t max_main;
	uint32_t max_ghost;
	bool filled; /* something was evicted */
};

static void s3fifo_fini(void *state)
{
	struct s3fifo *s = state;

	tr_queues_fini(&s->q);
	free(s->uses);
	free(s);
}

static void set_small(struct s3fifo *s, double share)
{
	s->max_small = TR_MAX((uint32_t)(share * s->n_slot), 1);
	s->max_main = s->n_slot - TR_MIN(s->max_small, s->n_slot);
}

static int s3fifo_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct s3fifo *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->uses = tr_calloc(cfg->n_id, sizeof(*s->uses));
	if (!s->uses || tr_queues_init(&s->q, cfg->n_id)) {
		s3fifo_fini(s);
		goto nomem;
	}
	s->n_slot = cfg->n_slot;
	set_small(s, SMALL_DEFAULT);
	s->max_ghost = (uint32_t)(GHOST_DEFAULT * s->n_slot);
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy s3fifo: no memory for %u ids", cfg->n_id);
}

static int s3fifo_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct s3fifo *s = state;
	bool small = !strcmp(key, "small");
	double share;
	int rc;

	if (!small && strcmp(key, "ghost") != 0)
		return TR_E_NOENT;
	rc = tr_opt_f64(
		small ? "s3fifo,small" : "s3fifo,ghost", value, 0, small ? 1 : 16, &share, err);
	if (rc)
		return rc;
	if (small)
		set_small(s, share);
	else
		s->max_ghost = (uint32_t)(share * s->n_slot);
	return 0;
}

static void enter(struct s3fifo *s, uint32_t id)
{
	bool direct =
		s->q.on[id] == GHOST || (!s->filled && tr_queues_n(&s->q, SMALL) >= s->max_small);

	s->uses[id] = 0;
	tr_queues_back(&s->q, direct ? MAIN : SMALL, id);
}

static void s3fifo_hit(void *state, uint32_t id, unsigned flags)
{
	struct s3fifo *s = state;

	if (flags & TR_POLICY_SCAN)
		return;
	if (s->q.on[id] == COLD)
		enter(s, id);
	else if (!tr_queues_first_use(&s->q, id) && s->uses[id] < USES_MAX)
		s->uses[id]++;
}

static void s3fifo_insert(void *state, uint32_t id, unsigned flags)
{
	struct s3fifo *s = state;

	if (flags & TR_POLICY_SCAN)
		tr_queues_front(&s->q, COLD, id);
	else
		enter(s, id);
	s->q.fresh[id] = flags & TR_POLICY_PREFETCH ? 1 : 0;
	tr_queues_trim(&s->q, GHOST, s->max_ghost);
}

/* The first on a list with a number of uses from lo to hi. */
static uint32_t first(struct s3fifo *s, unsigned list, uint8_t lo, uint8_t hi,
	tr_policy_evictable_fn *ok, void *ctx)
{
	for (uint32_t id = s->q.list[list].front; id != TR_NO_ID; id = s->q.links.next[id])
		if (s->uses[id] >= lo && s->uses[id] <= hi && ok(ctx, id))
			return id;
	return TR_NO_ID;
}

/* As many rounds of `main` as it takes; when `small` ran dry, what moved on stands behind. */
static uint32_t first_main(struct s3fifo *s, bool with_moved, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t id = first(s, MAIN, 0, 0, ok, ctx);

	if (id == TR_NO_ID && with_moved)
		id = first(s, SMALL, USES_TO_MOVE, USES_MAX, ok, ctx);
	for (uint8_t uses = 1; id == TR_NO_ID && uses <= USES_MAX; uses++)
		id = first(s, MAIN, uses, uses, ok, ctx);
	return id;
}

static bool main_first(const struct s3fifo *s)
{
	return tr_queues_n(&s->q, MAIN) > s->max_main || !tr_queues_n(&s->q, SMALL);
}

static uint32_t s3fifo_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct s3fifo *s = state;
	uint32_t id = tr_queues_first_ok(&s->q, COLD, ok, ctx);

	(void)incoming;
	if (id != TR_NO_ID)
		return id;
	if (main_first(s)) {
		id = first_main(s, false, ok, ctx);
		return id != TR_NO_ID ? id : first(s, SMALL, 0, USES_MAX, ok, ctx);
	}
	id = first(s, SMALL, 0, USES_TO_MOVE - 1, ok, ctx);
	return id != TR_NO_ID ? id : first_main(s, true, ok, ctx);
}

/* Moves what was used enough on `small`, up to id (TR_NO_ID: all), on to `main`. */
static void move_on(struct s3fifo *s, uint32_t id)
{
	uint32_t next;

	for (uint32_t at = s->q.list[SMALL].front; at != TR_NO_ID && at != id; at = next) {
		next = s->q.links.next[at];
		if (s->uses[at] < USES_TO_MOVE)
			continue;
		s->uses[at] = 0;
		tr_queues_back(&s->q, MAIN, at);
	}
}

/* Turns `main` to id: as many whole rounds as id has uses, then up to it. */
static void turn(struct s3fifo *s, uint32_t id)
{
	struct tr_links *links = &s->q.links;
	struct tr_list *ring = &s->q.list[MAIN];
	uint8_t rounds = s->uses[id];
	uint32_t at;

	for (at = ring->front; rounds && at != TR_NO_ID; at = links->next[at])
		s->uses[at] -= TR_MIN(s->uses[at], rounds);
	for (at = ring->front; at != id; at = ring->front) {
		s->uses[at] -= s->uses[at] > 0;
		tr_list_remove(links, ring, at);
		tr_list_push_back(links, ring, at);
	}
}

/* The ghost too many stays until the insert, which may be its own. */
static void s3fifo_evict(void *state, uint32_t id)
{
	struct s3fifo *s = state;

	s->filled = true;
	if (s->q.on[id] == SMALL && (main_first(s) || s->uses[id] < USES_TO_MOVE)) {
		move_on(s, id);
		tr_queues_trim(&s->q, GHOST, s->max_ghost);
		tr_queues_back(&s->q, GHOST, id);
		return;
	}
	if (s->q.on[id] == SMALL || (s->q.on[id] == MAIN && !main_first(s)))
		move_on(s, TR_NO_ID);
	if (s->q.on[id] == MAIN)
		turn(s, id);
	tr_queues_drop(&s->q, id);
}

static void s3fifo_remove(void *state, uint32_t id)
{
	struct s3fifo *s = state;

	tr_queues_drop(&s->q, id);
}

static bool s3fifo_check(const void *state)
{
	const struct s3fifo *s = state;

	return tr_queues_check(&s->q) && tr_queues_n(&s->q, GHOST) <= s->max_ghost + 1;
}

const struct tr_policy_ops tr_policy_s3fifo = {
	.abi = TR_POLICY_ABI,
	.name = "s3fifo",
	.summary = "a small queue sifts newcomers, a main queue keeps what was used, ghosts return",
	.options = "small=0.1 share of the slots for the small queue, 0 to 1; "
		   "ghost=0.9 ghosts, as a share of the slots, 0 to 16",
	.init = s3fifo_init,
	.fini = s3fifo_fini,
	.option = s3fifo_option,
	.hit = s3fifo_hit,
	.insert = s3fifo_insert,
	.victim = s3fifo_victim,
	.evict = s3fifo_evict,
	.remove = s3fifo_remove,
	.check = s3fifo_check,
};
