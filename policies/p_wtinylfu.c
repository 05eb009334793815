/*
 * wtinylfu - a small window of newcomers before a main part that only the more frequent enter.
 *
 * Newcomers enter the window, kept by recency. When it is full its least recent is the candidate
 * for the main part, an slru: of the candidate and the main part's victim the one used more often
 * stays, at a tie the one in the main part. How often covers about the last 10 uses a slot: a first
 * use sets a doorkeeper bit, further ones count up to 15; when the sample is full all counts are
 * halved and the doorkeeper is cleared. Ids are dense, so each has its own counter where the paper
 * hashes into a sketch: no collisions, one byte an id.
 */
#include "base/opt.h"
#include "policies/queues.h"

#include <string.h>

enum { COLD, WINDOW, PROBATION, PROTECTED };

#define WINDOW_DEFAULT	  0.01 /* all three of Einziger, Friedman and Manes */
#define PROTECTED_DEFAULT 0.8
enum { SAMPLE_USES = 10 };

#define DOOR	  0x80u
#define COUNT_MAX 15u

struct wtinylfu {
	struct tr_queues q;
	uint8_t *freq; /* [n_id] DOOR and the count */
	uint32_t n_slot;
	uint32_t max_window;
	uint32_t max_protected;
	uint64_t n_sample; /* uses since the last halving */
	uint64_t max_sample;
};

static void wtinylfu_fini(void *state)
{
	struct wtinylfu *s = state;

	tr_queues_fini(&s->q);
	free(s->freq);
	free(s);
}

static void set_window(struct wtinylfu *s, double share)
{
	s->max_window = TR_MAX((uint32_t)(share * s->n_slot), 1);
	s->max_protected =
		(uint32_t)(PROTECTED_DEFAULT * (s->n_slot - TR_MIN(s->max_window, s->n_slot)));
}

static int wtinylfu_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct wtinylfu *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->freq = tr_calloc(cfg->n_id, sizeof(*s->freq));
	if (!s->freq || tr_queues_init(&s->q, cfg->n_id)) {
		wtinylfu_fini(s);
		goto nomem;
	}
	s->n_slot = cfg->n_slot;
	s->max_sample = (uint64_t)SAMPLE_USES * TR_MAX(cfg->n_slot, 1);
	set_window(s, WINDOW_DEFAULT);
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy wtinylfu: no memory for %u ids", cfg->n_id);
}

static int wtinylfu_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct wtinylfu *s = state;
	uint64_t sample;
	double window;
	int rc = TR_E_NOENT;

	if (!strcmp(key, "window")) {
		rc = tr_opt_f64("wtinylfu,window", value, 0, 1, &window, err);
		if (!rc)
			set_window(s, window);
	} else if (!strcmp(key, "sample")) {
		rc = tr_opt_u64("wtinylfu,sample", value, 1, 1000000, &sample, err);
		if (!rc)
			s->max_sample = sample * TR_MAX(s->n_slot, 1);
	}
	return rc;
}

/* --- frequency -------------------------------------------------------------------------------- */

static unsigned frequency(const struct wtinylfu *s, uint32_t id)
{
	return (s->freq[id] & COUNT_MAX) + (s->freq[id] & DOOR ? 1 : 0);
}

static void count(struct wtinylfu *s, uint32_t id)
{
	if (!(s->freq[id] & DOOR))
		s->freq[id] |= DOOR;
	else if ((s->freq[id] & COUNT_MAX) < COUNT_MAX)
		s->freq[id]++;
	if (++s->n_sample < s->max_sample)
		return;
	s->n_sample = 0;
	for (uint32_t i = 0; i < s->q.links.n_id; i++)
		s->freq[i] = (uint8_t)((s->freq[i] & COUNT_MAX) / 2);
}

/* --- order ------------------------------------------------------------------------------------ */

static void enter(struct wtinylfu *s, uint32_t id, uint8_t fresh)
{
	tr_queues_back(&s->q, WINDOW, id);
	s->q.fresh[id] = fresh;
	while (tr_queues_n(&s->q, WINDOW) > s->max_window) {
		id = s->q.list[WINDOW].front;
		fresh = s->q.fresh[id];
		tr_queues_back(&s->q, PROBATION, id);
		s->q.fresh[id] = fresh;
	}
}

static void protect(struct wtinylfu *s, uint32_t id)
{
	tr_queues_back(&s->q, PROTECTED, id);
	while (tr_queues_n(&s->q, PROTECTED) > s->max_protected)
		tr_queues_back(&s->q, PROBATION, s->q.list[PROTECTED].front);
}

static void wtinylfu_hit(void *state, uint32_t id, unsigned flags)
{
	struct wtinylfu *s = state;
	bool first_use;

	if (flags & TR_POLICY_SCAN)
		return;
	count(s, id);
	first_use = tr_queues_first_use(&s->q, id);
	if (s->q.on[id] == COLD)
		enter(s, id, 0);
	else if (s->q.on[id] == WINDOW || first_use)
		tr_queues_back(&s->q, s->q.on[id], id);
	else
		protect(s, id);
}

static void wtinylfu_miss(void *state, uint32_t id, unsigned flags)
{
	if (!(flags & TR_POLICY_SCAN))
		count(state, id);
}

static void wtinylfu_insert(void *state, uint32_t id, unsigned flags)
{
	struct wtinylfu *s = state;

	if (flags & TR_POLICY_SCAN)
		tr_queues_front(&s->q, COLD, id);
	else
		enter(s, id, flags & TR_POLICY_PREFETCH ? 1 : 0);
}

static uint32_t first_main(struct wtinylfu *s, tr_policy_evictable_fn *ok, void *ctx)
{
	uint32_t id = tr_queues_first_ok(&s->q, PROBATION, ok, ctx);

	return id != TR_NO_ID ? id : tr_queues_first_ok(&s->q, PROTECTED, ok, ctx);
}

static uint32_t wtinylfu_victim(
	void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct wtinylfu *s = state;
	uint32_t cold = tr_queues_first_ok(&s->q, COLD, ok, ctx), candidate, victim;

	(void)incoming;
	if (cold != TR_NO_ID)
		return cold;
	victim = first_main(s, ok, ctx);
	if (victim != TR_NO_ID && tr_queues_n(&s->q, WINDOW) < s->max_window)
		return victim;
	candidate = tr_queues_first_ok(&s->q, WINDOW, ok, ctx);
	if (candidate == TR_NO_ID || victim == TR_NO_ID)
		return candidate == TR_NO_ID ? victim : candidate;
	return frequency(s, candidate) > frequency(s, victim) ? victim : candidate;
}

static void wtinylfu_evict(void *state, uint32_t id)
{
	struct wtinylfu *s = state;

	tr_queues_drop(&s->q, id);
}

static void wtinylfu_remove(void *state, uint32_t id)
{
	struct wtinylfu *s = state;

	tr_queues_drop(&s->q, id);
	s->freq[id] = 0;
}

static bool wtinylfu_check(const void *state)
{
	const struct wtinylfu *s = state;

	return tr_queues_check(&s->q) && tr_queues_n(&s->q, WINDOW) <= s->max_window &&
	       tr_queues_n(&s->q, PROTECTED) <= s->max_protected;
}

const struct tr_policy_ops tr_policy_wtinylfu = {
	.abi = TR_POLICY_ABI,
	.name = "wtinylfu",
	.summary = "a window of newcomers; the more frequent of candidate and victim stays",
	.options = "window=0.01 share of the slots for the window, 0 to 1; "
		   "sample=10 uses a slot after which counts are halved, 1 to 1000000",
	.init = wtinylfu_init,
	.fini = wtinylfu_fini,
	.option = wtinylfu_option,
	.hit = wtinylfu_hit,
	.miss = wtinylfu_miss,
	.insert = wtinylfu_insert,
	.victim = wtinylfu_victim,
	.evict = wtinylfu_evict,
	.remove = wtinylfu_remove,
	.check = wtinylfu_check,
};
