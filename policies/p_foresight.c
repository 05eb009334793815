/*
 * foresight - give up the expert whose next use is worth least.
 *
 * For every expert outlook.h estimates the probability of use at each of its layer's next four
 * visits, and a rate for later. The benefit of keeping it is the expected discount of its next use,
 * the sum over visits v of g^time(v) P(first use at v), times the cost of a miss; the victim has
 * the smallest. Time runs in layers: an expert of the layer just passed is a whole token away, one
 * of the coming layer is at hand, and g (a half-life in tokens) says how much that matters. A hint
 * raises the probability of the next visit.
 *
 * A visit of a layer ends when another layer is used, one of its uses comes again, or the token
 * ends. Then its estimates are made anew and stand until its next visit. While that lasts, the
 * layer is judged by what was expected after it: what it still uses arrives by itself.
 *
 *       visit begins      it ends: estimates      next visit begins
 *   ---------|-- later[id] --|----- value[id] -----------|-- later[id] --
 *
 * Each layer knows its worst resident, found again by a walk over the layer when that one left or
 * the estimates changed; victim() compares one candidate per layer. A token of 60 layers of 384
 * experts costs 1.4 ms, 3 us a request, on one core of a virtual machine with an AMD EPYC. Without
 * layers (n_layer_id 0) all ids are one layer and a visit is a token. What a scan brings in goes
 * before everything else, the newest first; uses by a scan are not learned from: it names what a
 * whole chunk of tokens used, which is nearly every expert.
 */
#include "base/mem.h"
#include "base/opt.h"
#include "policies/list.h"
#include "policies/outlook.h"

#include <stdlib.h>
#include <string.h>

enum { N_HORIZON = TR_OUTLOOK_HORIZON };
/* Tokens that the echo remembers. On 21,000 tokens of 14 kinds of text this hits 0.2 to 0.7 points
 * more often than 256, by size, and 2048 no more than this. */
enum { MEMORY_TOKENS = 1024 };

struct foresight {
	uint32_t n_id;
	uint32_t n_layer;
	uint32_t n_expert;
	const float *miss_cost;
	struct tr_outlook outlook;
	float discount; /* g, per token */

	bool in_visit;
	uint32_t layer; /* visited now or last; time is just behind it */
	uint32_t n_set;
	uint32_t *set; /* [n_expert] experts used in this visit */
	bool *in_set;  /* [n_id] */

	float *phase; /* [n_layer + 1] discount of so many layers' time */
	float *value; /* [n_id] benefit as seen from the layer's next visit, over cost */
	float *later; /* [n_id] the same without that visit, seen from the one after */

	uint32_t n_word;     /* 64-bit words of a layer's set of experts */
	uint64_t *ordered;   /* [n_layer][n_word] resident, and not in the cold list */
	uint32_t *worst;     /* [n_layer] ordered id with the least benefit, TR_NO_ID: none */
	bool *stale;	     /* [n_layer] worst must be found again */
	uint32_t *candidate; /* [n_layer] scratch of victim: worst that it has not refused */
	uint32_t *refused;   /* [n_id] the search that refused it last */
	uint32_t search;
	struct tr_links links;
	struct tr_list cold; /* brought in by a scan, not used since; front: newest */
};

static void foresight_fini(void *state)
{
	struct foresight *s = state;
	void *const arrays[] = { s->set, s->in_set, s->phase, s->value, s->later, s->ordered,
		s->worst, s->stale, s->candidate, s->refused };

	for (size_t i = 0; i < TR_ARRAY_LEN(arrays); i++)
		free(arrays[i]);
	tr_outlook_fini(&s->outlook);
	tr_links_fini(&s->links);
	free(s);
}

static bool allocate(struct foresight *s)
{
	s->set = tr_calloc(s->n_expert, sizeof(*s->set));
	s->in_set = tr_calloc(s->n_id, sizeof(*s->in_set));
	s->phase = tr_calloc(s->n_layer + 1, sizeof(*s->phase));
	s->value = tr_calloc(s->n_id, sizeof(*s->value));
	s->later = tr_calloc(s->n_id, sizeof(*s->later));
	s->ordered = tr_calloc((size_t)s->n_layer * s->n_word, sizeof(*s->ordered));
	s->worst = tr_calloc(s->n_layer, sizeof(*s->worst));
	s->stale = tr_calloc(s->n_layer, sizeof(*s->stale));
	s->candidate = tr_calloc(s->n_layer, sizeof(*s->candidate));
	s->refused = tr_calloc(s->n_id, sizeof(*s->refused));
	return s->set && s->in_set && s->phase && s->value && s->later && s->ordered && s->worst &&
	       s->stale && s->candidate && s->refused && !tr_links_init(&s->links, s->n_id);
}

static void set_half_life(struct foresight *s, float tokens)
{
	float log_half = -0.693147181f / tokens;

	s->discount = tr_exp(log_half);
	for (uint32_t i = 0; i <= s->n_layer; i++)
		s->phase[i] = tr_exp(log_half * (float)i / (float)s->n_layer);
}

static int foresight_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	uint32_t n_expert = cfg->n_layer_id ? cfg->n_layer_id : cfg->n_id;
	struct foresight *s;

	if (cfg->n_id % n_expert)
		return tr_err_set(err, TR_E_INVALID,
			"policy foresight: %u ids are not a multiple of the %u of a layer",
			cfg->n_id, n_expert);
	s = tr_calloc(1, sizeof(*s));
	if (!s)
		goto nomem;
	s->n_id = cfg->n_id;
	s->n_expert = n_expert;
	s->n_layer = cfg->n_id / n_expert;
	s->n_word = (n_expert + 63) / 64;
	s->miss_cost = cfg->miss_cost;
	s->cold = TR_LIST_EMPTY;
	if (!allocate(s) || tr_outlook_init(&s->outlook, s->n_layer, n_expert, MEMORY_TOKENS)) {
		foresight_fini(s);
		goto nomem;
	}
	for (uint32_t i = 0; i < s->n_layer; i++)
		s->worst[i] = TR_NO_ID;
	s->outlook.fast = 0.2f;
	s->outlook.slow = 0.01f;
	set_half_life(s, 1.5f);
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy foresight: no memory for %u ids", cfg->n_id);
}

static int set_memory(struct foresight *s, uint32_t tokens, struct tr_err *err)
{
	tr_echo_fini(&s->outlook.echo);
	if (!tr_echo_init(&s->outlook.echo, s->n_layer, s->n_expert, tokens))
		return 0;
	return tr_err_set(err, TR_E_NOMEM, "policy foresight: no memory for %u tokens", tokens);
}

static int foresight_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct foresight *s = state;
	uint64_t tokens;
	double number;
	int rc;

	if (!strcmp(key, "memory")) {
		rc = tr_opt_u64("memory", value, 2, 1 << 16, &tokens, err);
		return rc ? rc : set_memory(s, (uint32_t)tokens, err);
	}
	if (strcmp(key, "halflife") && strcmp(key, "fast") && strcmp(key, "slow"))
		return TR_E_NOENT;
	if (!strcmp(key, "halflife")) {
		rc = tr_opt_f64(key, value, 0.05, 1000, &number, err);
		if (!rc)
			set_half_life(s, (float)number);
		return rc;
	}
	rc = tr_opt_f64(key, value, 1e-5, 1, &number, err);
	if (!rc)
		*(*key == 'f' ? &s->outlook.fast : &s->outlook.slow) = (float)number;
	return rc;
}

/* --- visits and what they teach --------------------------------------------------------------- */

static void evaluate(struct foresight *s, uint32_t layer)
{
	struct tr_outlook *o = &s->outlook;
	float g = s->discount;

	tr_outlook_estimate(o, layer);
	for (uint32_t e = 0; e < s->n_expert; e += TR_F4) {
		size_t bytes = TR_MIN(s->n_expert - e, TR_F4) * sizeof(float);
		uint32_t id = layer * s->n_expert + e;
		tr_f4 rate = tr_f4_load(o->rate + e), now = rate / (1 - g * (1 - rate)), later;

		for (uint32_t h = N_HORIZON; h--;) {
			tr_f4 p = tr_f4_load(o->p + h * o->stride + e);

			later = now;
			now = p + (1 - p) * g * later;
		}
		memcpy(s->later + id, &later, bytes);
		memcpy(s->value + id, &now, bytes);
	}
	s->stale[layer] = true;
}

static void end_visit(struct foresight *s)
{
	if (!s->in_visit)
		return;
	s->in_visit = false;
	for (uint32_t i = 0; i < s->n_set; i++)
		s->in_set[s->layer * s->n_expert + s->set[i]] = false;
	tr_outlook_visit(&s->outlook, s->layer, s->set, s->n_set);
	evaluate(s, s->layer);
	s->n_set = 0;
}

static void see_use(struct foresight *s, uint32_t id)
{
	uint32_t layer = id / s->n_expert;

	if (s->in_visit && (s->layer != layer || s->in_set[id]))
		end_visit(s);
	if (!s->in_visit) {
		s->in_visit = true;
		s->layer = layer;
		s->stale[layer] = true;
	}
	s->in_set[id] = true;
	s->set[s->n_set++] = id % s->n_expert;
}

static void foresight_tick(void *state)
{
	struct foresight *s = state;

	end_visit(s);
	tr_outlook_end_token(&s->outlook);
}

static void foresight_hint(void *state, uint32_t id, float p, uint32_t ahead)
{
	struct foresight *s = state;
	float value = p + (1 - p) * s->discount * s->later[id];

	if (ahead > s->n_layer || value <= s->value[id])
		return;
	s->value[id] = value;
	s->stale[id / s->n_expert] = true;
}

/* --- the order -------------------------------------------------------------------------------- */

/* [n_id] what counts for a layer's experts now. */
static const float *worths(const struct foresight *s, uint32_t layer)
{
	return s->in_visit && layer == s->layer ? s->later : s->value;
}

static float benefit(const struct foresight *s, uint32_t layer, uint32_t id)
{
	float worth = worths(s, layer)[id];

	return s->miss_cost ? worth * s->miss_cost[id] : worth;
}

/* The word of a layer's set that has the id's bit, and that bit. */
static uint64_t *ordered_word(const struct foresight *s, uint32_t id, uint64_t *bit)
{
	uint32_t e = id % s->n_expert;

	*bit = 1ull << e % 64;
	return &s->ordered[(size_t)(id / s->n_expert) * s->n_word + e / 64];
}

static bool is_ordered(const struct foresight *s, uint32_t id)
{
	uint64_t bit, *word = ordered_word(s, id, &bit);

	return *word & bit;
}

static void set_ordered(struct foresight *s, uint32_t id, bool on)
{
	uint64_t bit, *word = ordered_word(s, id, &bit);

	*word = on ? *word | bit : *word & ~bit;
}

/* What a benefit at the layer's next visit is worth now. */
static float until_visit(const struct foresight *s, uint32_t layer)
{
	uint32_t n = layer > s->layer ? layer - s->layer : s->n_layer + layer - s->layer;

	return s->phase[n];
}

static uint32_t worst_of(const struct foresight *s, uint32_t layer)
{
	const uint64_t *ordered = s->ordered + (size_t)layer * s->n_word;
	uint32_t worst = TR_NO_ID, id;
	float least = 0, b;

	for (uint32_t i = 0; i < s->n_word; i++)
		for (uint64_t word = ordered[i]; word; word &= word - 1) {
			id = layer * s->n_expert + i * 64 + (uint32_t)__builtin_ctzll(word);
			if (s->refused[id] == s->search)
				continue;
			b = benefit(s, layer, id);
			if (worst == TR_NO_ID || b < least) {
				worst = id;
				least = b;
			}
		}
	return worst;
}

static void begin_search(struct foresight *s)
{
	if (++s->search == 0) {
		memset(s->refused, 0, s->n_id * sizeof(*s->refused));
		s->search = 1;
	}
	for (uint32_t i = 0; i < s->n_layer; i++) {
		if (s->stale[i])
			s->worst[i] = worst_of(s, i);
		s->stale[i] = false;
		s->candidate[i] = s->worst[i];
	}
}

static uint32_t best_candidate(const struct foresight *s)
{
	uint32_t best = TR_NO_ID;
	float least = 0, b;

	for (uint32_t i = 0; i < s->n_layer; i++) {
		if (s->candidate[i] == TR_NO_ID)
			continue;
		b = benefit(s, i, s->candidate[i]) * until_visit(s, i);
		if (best == TR_NO_ID || b < least) {
			best = s->candidate[i];
			least = b;
		}
	}
	return best;
}

static uint32_t foresight_victim(
	void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct foresight *s = state;
	uint32_t id = tr_list_first_ok(&s->links, &s->cold, ok, ctx);

	(void)incoming;
	if (id != TR_NO_ID)
		return id;
	begin_search(s);
	while ((id = best_candidate(s)) != TR_NO_ID && !ok(ctx, id)) {
		s->refused[id] = s->search;
		s->candidate[id / s->n_expert] = worst_of(s, id / s->n_expert);
	}
	return id;
}

static void put(struct foresight *s, uint32_t id)
{
	uint32_t layer = id / s->n_expert;

	set_ordered(s, id, true);
	if (!s->stale[layer] && (s->worst[layer] == TR_NO_ID ||
					benefit(s, layer, id) < benefit(s, layer, s->worst[layer])))
		s->stale[layer] = true;
}

static void foresight_hit(void *state, uint32_t id, unsigned flags)
{
	struct foresight *s = state;

	if (flags & TR_POLICY_SCAN)
		return;
	see_use(s, id);
	if (!tr_links_linked(&s->links, id))
		return;
	tr_list_remove(&s->links, &s->cold, id);
	put(s, id);
}

static void foresight_miss(void *state, uint32_t id, unsigned flags)
{
	if (!(flags & TR_POLICY_SCAN))
		see_use(state, id);
}

static void foresight_insert(void *state, uint32_t id, unsigned flags)
{
	struct foresight *s = state;

	if (flags & TR_POLICY_SCAN)
		tr_list_push_front(&s->links, &s->cold, id);
	else
		put(s, id);
}

static void foresight_leave(void *state, uint32_t id)
{
	struct foresight *s = state;
	uint32_t layer = id / s->n_expert;

	if (tr_links_linked(&s->links, id))
		tr_list_remove(&s->links, &s->cold, id);
	set_ordered(s, id, false);
	if (s->worst[layer] == id)
		s->stale[layer] = true;
}

static bool foresight_check(const void *state)
{
	const struct foresight *s = state;
	float bound = 1 / (1 - s->discount);

	if (!tr_list_check(&s->links, &s->cold) || s->n_set > s->n_expert)
		return false;
	for (uint32_t id = 0; id < s->n_id; id++) {
		uint32_t layer = id / s->n_expert, worst = s->worst[layer];

		if (!(s->value[id] >= 0 && s->value[id] <= bound && s->later[id] >= 0 &&
			    s->later[id] <= bound))
			return false;
		if (is_ordered(s, id) && tr_links_linked(&s->links, id))
			return false;
		if (is_ordered(s, id) && !s->stale[layer] &&
			(worst == TR_NO_ID || benefit(s, layer, worst) > benefit(s, layer, id)))
			return false;
	}
	return true;
}

const struct tr_policy_ops tr_policy_foresight = {
	.abi = TR_POLICY_ABI,
	.name = "foresight",
	.summary = "least expected benefit: probability of use at the next visits x miss cost",
	.options = "halflife=1.5 tokens after which a use is worth half; "
		   "memory=1024 tokens whose routing is remembered; "
		   "fast=0.2 step of the fast average; slow=0.01 step of the slow average",
	.init = foresight_init,
	.fini = foresight_fini,
	.option = foresight_option,
	.hit = foresight_hit,
	.miss = foresight_miss,
	.insert = foresight_insert,
	.victim = foresight_victim,
	.evict = foresight_leave,
	.remove = foresight_leave,
	.hint = foresight_hint,
	.tick = foresight_tick,
	.check = foresight_check,
};
