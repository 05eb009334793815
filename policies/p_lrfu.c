/*
 * lrfu - recency and frequency on one scale: a use d tokens ago counts 2^(-lambda d).
 *
 * lambda = 0 is lfu, a large lambda is lru by tokens. decay.h keeps the order.
 */
#include "base/mem.h"
#include "base/opt.h"
#include "policies/decay.h"

#include <stdlib.h>
#include <string.h>

#define LAMBDA_DEFAULT 0.1 /* best mean of three routing traces at 2 to 40% of the experts */
#define LAMBDA_MAX     64.0

static int lrfu_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	struct tr_decay *d = tr_calloc(1, sizeof(*d));

	if (!d || tr_decay_init(d, cfg->n_id, NULL, LAMBDA_DEFAULT)) {
		free(d);
		return tr_err_set(err, TR_E_NOMEM, "policy lrfu: no memory for %u ids", cfg->n_id);
	}
	*state = d;
	return 0;
}

static void lrfu_fini(void *state)
{
	tr_decay_fini(state);
	free(state);
}

static int lrfu_option(void *state, const char *key, const char *value, struct tr_err *err)
{
	double lambda;
	int rc;

	if (strcmp(key, "lambda") != 0)
		return TR_E_NOENT;
	rc = tr_opt_f64("lrfu,lambda", value, 0, LAMBDA_MAX, &lambda, err);
	if (!rc)
		tr_decay_set(state, lambda);
	return rc;
}

static void lrfu_hit(void *state, uint32_t id, unsigned flags)
{
	tr_decay_hit(state, id, flags);
}

static void lrfu_miss(void *state, uint32_t id, unsigned flags)
{
	tr_decay_miss(state, id, flags);
}

static void lrfu_insert(void *state, uint32_t id, unsigned flags)
{
	tr_decay_insert(state, id, flags);
}

static uint32_t lrfu_victim(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx)
{
	struct tr_decay *d = state;

	(void)incoming;
	return tr_heap_first_ok(&d->order, ok, ctx);
}

static void lrfu_evict(void *state, uint32_t id)
{
	struct tr_decay *d = state;

	tr_heap_remove(&d->order, id);
}

static void lrfu_remove(void *state, uint32_t id)
{
	tr_decay_remove(state, id);
}

static void lrfu_tick(void *state)
{
	tr_decay_tick(state);
}

static bool lrfu_check(const void *state)
{
	const struct tr_decay *d = state;

	return tr_heap_check(&d->order);
}

const struct tr_policy_ops tr_policy_lrfu = {
	.abi = TR_POLICY_ABI,
	.name = "lrfu",
	.summary = "least recently and frequently used: uses decay with every token",
	.options = "lambda=0.1 a use d tokens ago counts 2^(-lambda d), 0 (lfu) to 64 (lru)",
	.init = lrfu_init,
	.fini = lrfu_fini,
	.option = lrfu_option,
	.hit = lrfu_hit,
	.miss = lrfu_miss,
	.insert = lrfu_insert,
	.victim = lrfu_victim,
	.evict = lrfu_evict,
	.remove = lrfu_remove,
	.tick = lrfu_tick,
	.check = lrfu_check,
};
