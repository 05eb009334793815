#include "cache/replay_ahead.h"
#include "base/err.h"
#include "base/mem.h"
#include "policies/top.h"

#include <stdlib.h>
#include <string.h>

/* As the engine's (ahead.c, foresee.c). */
#define WASTE	     0.2
#define WIDE(n_used) ((n_used) + (n_used) / 2)
#define MIN_P	     0.05f

int tr_replay_ahead_init(struct tr_replay_ahead *a, uint32_t n_unit, uint32_t n_expert,
	uint32_t n_used, uint32_t budget, struct tr_err *err)
{
	struct tr_prefetch_cfg cfg = { .mode = TR_PREFETCH_ON,
		.waste = WASTE,
		.budget_bytes = budget, /* a unit counts as one */
		.reach_max = budget };

	*a = (struct tr_replay_ahead){ .n_expert = n_expert };
	tr_prefetch_init(&a->control, &cfg);
	a->n_wide = TR_MIN(WIDE(n_used), n_expert);
	a->expect = tr_calloc(n_unit, sizeof(*a->expect));
	a->absent = tr_calloc(n_unit, sizeof(*a->absent));
	a->due = tr_calloc(n_unit, sizeof(*a->due));
	a->top = tr_calloc(TR_MAX(a->n_wide, 1u), sizeof(*a->top));
	if (a->expect && a->absent && a->due && a->top)
		return 0;
	tr_replay_ahead_fini(a);
	return tr_err_set(err, TR_E_NOMEM, "no memory for a replay that reads ahead");
}

void tr_replay_ahead_fini(struct tr_replay_ahead *a)
{
	free(a->expect);
	free(a->absent);
	free(a->due);
	free(a->top);
	*a = (struct tr_replay_ahead){ 0 };
}

static void ask(struct tr_replay_ahead *a, uint32_t unit)
{
	float p = tr_prefetch_translate(&a->control, a->expect[unit]);

	if (a->due[unit] || !tr_prefetch_allows(&a->control, p, 1))
		return;
	tr_prefetch_begin(&a->control, p, 1);
	a->due[unit] = true;
}

void tr_replay_ahead_expect(
	struct tr_replay_ahead *a, uint32_t first, const float *p, const bool *can_read)
{
	memset(a->expect + first, 0, a->n_expert * sizeof(*a->expect));
	tr_top(p, a->n_expert, a->top, a->n_wide);
	for (uint32_t i = 0; i < a->n_wide && p[a->top[i]] >= MIN_P; i++) {
		uint32_t e = a->top[i];

		a->expect[first + e] = p[e];
		a->absent[first + e] = can_read[e];
		if (can_read[e])
			ask(a, first + e);
	}
}

uint32_t tr_replay_ahead_pass(struct tr_replay_ahead *a, uint32_t first, const uint32_t *unit,
	uint32_t n_unit, uint32_t *n_vain)
{
	uint32_t n_had = 0, k = 0;

	*n_vain = 0;
	for (uint32_t u = first; u < first + a->n_expert; u++) {
		bool used = k < n_unit && unit[k] == u;

		k += used;
		if (a->expect[u] > 0 && a->absent[u])
			tr_prefetch_learn(&a->control, a->expect[u], used);
		a->expect[u] = 0;
		if (!a->due[u])
			continue;
		a->due[u] = false;
		n_had += used;
		*n_vain += !used;
		tr_prefetch_settle(&a->control, used ? TR_PREFETCH_USEFUL : TR_PREFETCH_MISSED, 1);
	}
	return n_had;
}

void tr_replay_ahead_token(struct tr_replay_ahead *a)
{
	tr_prefetch_token(&a->control, 0);
}
