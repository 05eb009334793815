/*
 * cost - give up what would cost least: decayed uses times the cost of a miss.
 *
 * A use d tokens ago counts 2^(-lambda d), as in lrfu; the sum is multiplied by what reading the
 * entry again takes from its home (cfg.miss_cost); all occupy a slot each. Where all homes
 * are equal this is lrfu. decay.h keeps the order.
 */
#include "base/mem.h"
#include "base/opt.h"
#include "policies/decay.h"

#include <stdlib.h>
#include <string.h>

#define LAMBDA_DEFAULT 0.1 /* best mean of three routing traces at 2 to 40% of the experts */
#define LAMBDA_MAX     64.0

static int cost_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct tr_decay *d = tr_calloc(1, sizeof(*d));

	if (!d || tr_decay_init(d, cfg->n_id, cfg->miss_cost, LAMBDA_DEFAULT)) {
		free(d);
		return tr_err_set(err, TR_E_NOMEM, "policy cost: no memory for %u ids", cfg->n_id);
	}
	*state = d;
	return 0;
}

static void cost_fini(void *state)
{
	tr_decay_fini(state);
	free(state);
}

static int cost_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	double lambda;
	int rc;

	if (strcmp(key, "lambda") != 0)
		return TR_E_NOENT;
	rc = tr_opt_f64("cost,lambda", value, 0, LAMBDA_MAX, &lambda, err);
	if (!rc)
		tr_decay_set(state, lambda);
	return rc;
}

static void cost_hit(void *state, uint32_t id, unsigned flags)
{
	tr_decay_hit(state, id, flags);
}

static void cost_miss(void *state, uint32_t id, unsigned flags)
{
	tr_decay_miss(state, id, flags);
}

static void cost_insert(void *state, uint32_t id, unsigned flags)
{
	tr_decay_insert(state, id, flags);
}

static uint32_t cost_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct tr_decay *d = state;

	(void)incoming;
	return tr_heap_first_ok(&d->order, ok, ctx);
}

static void cost_evict(void *state, uint32_t id)
{
	struct tr_decay *d = state;

	tr_heap_remove(&d->order, id);
}

static void cost_remove(void *state, uint32_t id)
{
	tr_decay_remove(state, id);
}

static void cost_tick(void *state)
{
	tr_decay_tick(state);
}

static bool cost_check(const void *state)
{
	const struct tr_decay *d = state;

	return tr_heap_check(&d->order);
}

const struct tr_policy_ops tr_policy_cost = {
	.abi = TR_POLICY_ABI,
	.name = "cost",
	.summary = "least decayed uses times the cost of a miss from its home, a byte",
	.options = "lambda=0.1 a use d tokens ago counts 2^(-lambda d), 0 to 64",
	.init = cost_init,
	.fini = cost_fini,
	.option = cost_option,
	.hit = cost_hit,
	.miss = cost_miss,
	.insert = cost_insert,
	.victim = cost_victim,
	.evict = cost_evict,
	.remove = cost_remove,
	.tick = cost_tick,
	.check = cost_check,
};
