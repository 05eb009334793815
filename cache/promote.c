/* promote.c - worth is decayed uses times what a use saves; see promote.h. */
#include "cache/promote.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens after which a use counts half. Hits less copies, on recorded routing of two models at 25 and 40%
 * of the experts: 8 and 16 are worse, 64 no better but by half a point, and slower to follow a change. */
#define HALF_LIFE 32.0

/* What a copy takes, in uses saved: it reads the slow memory once and writes the fast one once, a saved
 * use is the difference of both. (34.7 + 10.9) / (34.7 - 10.9) with the bandwidths of place.h. */
#define COPY_COST 1.9

#define UNIT_MAX 0x1p512
#define SCALE	 0x1p-512

int tr_promote_init(struct tr_promote *p, const struct tr_promote_cfg *cfg)
{
	*p = (struct tr_promote){ .cfg = *cfg, .unit = 1 };
	if (!(p->cfg.copy_cost > 0))
		p->cfg.copy_cost = COPY_COST;
	if (!cfg->n_max)
		return 0;
	p->uses = tr_calloc(cfg->n_id, sizeof(*p->uses));
	p->offered = tr_calloc(cfg->n_id, sizeof(*p->offered));
	p->is_offered = tr_calloc(cfg->n_id, sizeof(*p->is_offered));
	if (p->uses && p->offered && p->is_offered)
		return 0;
	tr_promote_fini(p);
	return TR_E_NOMEM;
}

void tr_promote_fini(struct tr_promote *p)
{
	free(p->uses);
	free(p->offered);
	free(p->is_offered);
	*p = (struct tr_promote){ 0 };
}

void tr_promote_note_use(struct tr_promote *p, uint32_t id)
{
	if (p->cfg.n_max)
		p->uses[id] += p->unit;
}

void tr_promote_offer(struct tr_promote *p, uint32_t id)
{
	if (!p->cfg.n_max || p->is_offered[id])
		return;
	p->is_offered[id] = true;
	p->offered[p->n_offered++] = id;
}

static double gain(const struct tr_promote *p, uint32_t id)
{
	return p->cfg.gain ? (double)p->cfg.gain[id] : 1;
}

/* What having it in DRAM is expected to save. */
static double worth(const struct tr_promote *p, uint32_t id)
{
	return p->uses[id] / p->unit * gain(p, id);
}

static double net(const struct tr_promote *p, uint32_t id)
{
	return worth(p, id) - p->cfg.copy_cost * gain(p, id);
}

bool tr_promote_pays(const struct tr_promote *p, uint32_t id, uint32_t victim)
{
	return net(p, id) > worth(p, victim);
}

static void withdraw(struct tr_promote *p, uint32_t i)
{
	p->is_offered[p->offered[i]] = false;
	p->offered[i] = p->offered[--p->n_offered];
}

void tr_promote_filter(struct tr_promote *p, bool (*has)(void *ctx, uint32_t id), void *ctx)
{
	for (uint32_t i = p->n_offered; i-- > 0;)
		if (!has || !has(ctx, p->offered[i]))
			withdraw(p, i);
}

static bool is_before(const struct tr_promote *p, uint32_t a, uint32_t b)
{
	double x = net(p, a), y = net(p, b);

	return x != y ? x > y : a < b;
}

uint32_t tr_promote_rank(struct tr_promote *p)
{
	uint32_t n;

	for (uint32_t i = p->n_offered; i-- > 0;)
		if (!(net(p, p->offered[i]) > 0))
			withdraw(p, i);
	n = TR_MIN(p->n_offered, p->cfg.n_max);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t best = i, id;

		for (uint32_t k = i + 1; k < p->n_offered; k++)
			if (is_before(p, p->offered[k], p->offered[best]))
				best = k;
		id = p->offered[best];
		p->offered[best] = p->offered[i];
		p->offered[i] = id;
	}
	return n;
}

void tr_promote_tick(struct tr_promote *p)
{
	while (p->n_offered)
		withdraw(p, p->n_offered - 1);
	if (!p->cfg.n_max)
		return;
	p->unit *= exp2(1 / HALF_LIFE);
	if (p->unit <= UNIT_MAX)
		return;
	p->unit *= SCALE;
	for (uint32_t id = 0; id < p->cfg.n_id; id++)
		p->uses[id] *= SCALE;
}
