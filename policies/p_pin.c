/*
 * pin - a static set stays, the rest goes by recency.
 *
 * The set comes from the option `ids`, else from cfg.pins (hottest first, as a profile has them),
 * of which it takes as many as a share of the slots holds. Members stay once they are in, and go
 * only when everything else is refused. An empty set leaves lru.
 */
#include "base/opt.h"
#include "policies/queues.h"

#include <errno.h>
#include <string.h>

enum { COLD, ORDER, HELD };

#define SHARE_DEFAULT 0.5

struct pin {
	struct tr_queues q;
	const uint32_t *pins; /* of cfg */
	uint32_t n_pin;
	uint32_t n_slot;
	uint8_t *pinned; /* [n_id] */
	bool by_ids;
};

static void pin_fini(void *state)
{
	struct pin *s = state;

	tr_queues_fini(&s->q);
	free(s->pinned);
	free(s);
}

static void take_share(struct pin *s, double share)
{
	uint32_t n = (uint32_t)(share * s->n_slot);

	memset(s->pinned, 0, s->q.links.n_id);
	for (uint32_t i = 0; i < n && i < s->n_pin; i++)
		s->pinned[s->pins[i]] = 1;
}

static int pin_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct pin *s = tr_calloc(1, sizeof(*s));

	if (!s)
		goto nomem;
	s->pinned = tr_calloc(cfg->n_id, sizeof(*s->pinned));
	if (!s->pinned || tr_queues_init(&s->q, cfg->n_id)) {
		pin_fini(s);
		goto nomem;
	}
	s->pins = cfg->pins;
	s->n_pin = cfg->n_pin;
	s->n_slot = cfg->n_slot;
	for (uint32_t i = 0; i < s->n_pin; i++)
		tr_assert(s->pins[i] < cfg->n_id);
	take_share(s, SHARE_DEFAULT);
	*state = s;
	return 0;
nomem:
	return tr_err_set(err, TR_E_NOMEM, "policy pin: no memory for %u ids", cfg->n_id);
}

/* A decimal number at *text, which moves behind it. */
static bool parse_id(const char **text, uint64_t *id)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*id = strtoull(*text, &end, 10);
	*text = end;
	return !errno;
}

/* "0-31:40:64-95" */
static int take_ids(struct pin *s, const char *value, struct tr_err *err)
{
	const char *at = value;
	uint64_t lo, hi;

	if (!s->by_ids)
		memset(s->pinned, 0, s->q.links.n_id);
	s->by_ids = true;
	for (bool more = true; more;) {
		if (!parse_id(&at, &lo))
			goto bad;
		hi = lo;
		if (*at == '-') {
			at++;
			if (!parse_id(&at, &hi))
				goto bad;
		}
		if (hi < lo)
			goto bad;
		if (hi >= s->q.links.n_id)
			return tr_err_set(err, TR_E_LIMIT, "pin,ids: %s: ids are below %u", value,
				s->q.links.n_id);
		memset(s->pinned + lo, 1, hi - lo + 1);
		more = *at == ':';
		at += more;
	}
	if (!*at)
		return 0;
bad:
	return tr_err_set(err, TR_E_INVALID, "pin,ids: '%s' is not like 0-31:40:64-95", value);
}

static int pin_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	struct pin *s = state;
	double share;
	int rc;

	if (!strcmp(key, "ids"))
		return take_ids(s, value, err);
	if (strcmp(key, "share") != 0)
		return TR_E_NOENT;
	rc = tr_opt_f64("pin,share", value, 0, 1, &share, err);
	if (!rc && !s->by_ids)
		take_share(s, share);
	return rc;
}

static void enter(struct pin *s, uint32_t id)
{
	tr_queues_back(&s->q, s->pinned[id] ? HELD : ORDER, id);
}

static void pin_hit(void *state, uint32_t id, unsigned flags)
{
	if (!(flags & TR_POLICY_SCAN))
		enter(state, id);
}

static void pin_insert(void *state, uint32_t id, unsigned flags)
{
	struct pin *s = state;

	if (flags & TR_POLICY_SCAN && !s->pinned[id])
		tr_queues_front(&s->q, COLD, id);
	else
		enter(s, id);
}

static uint32_t pin_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct pin *s = state;
	uint32_t id = TR_NO_ID;

	(void)incoming;
	for (unsigned list = COLD; id == TR_NO_ID && list <= HELD; list++)
		id = tr_queues_first_ok(&s->q, list, ok, ctx);
	return id;
}

static void pin_leave(void *state, uint32_t id)
{
	struct pin *s = state;

	tr_queues_drop(&s->q, id);
}

static bool pin_check(const void *state)
{
	const struct pin *s = state;

	return tr_queues_check(&s->q);
}

const struct tr_policy_ops tr_policy_pin = {
	.abi = TR_POLICY_ABI,
	.name = "pin",
	.summary = "a static set stays (from a profile, or by ids), the rest least recently used",
	.options = "share=0.5 share of the slots for the hottest of the profile, 0 to 1; "
		   "ids= the set itself, as 0-31:40:64-95, instead of the profile's",
	.init = pin_init,
	.fini = pin_fini,
	.option = pin_option,
	.hit = pin_hit,
	.insert = pin_insert,
	.victim = pin_victim,
	.evict = pin_leave,
	.remove = pin_leave,
	.check = pin_check,
};
