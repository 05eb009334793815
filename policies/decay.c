#include "policies/decay.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define UNIT_MAX 0x1p512
#define SCALE	 0x1p-512

int tr_decay_init(struct tr_decay *d, uint32_t n_id, const float *factor, double lambda)
{
	*d = (struct tr_decay){ .factor = factor, .unit = 1 };
	d->weight = tr_calloc(n_id, sizeof(*d->weight));
	if (!d->weight || tr_heap_init(&d->order, n_id)) {
		tr_decay_fini(d);
		return TR_E_NOMEM;
	}
	tr_decay_set(d, lambda);
	return 0;
}

void tr_decay_fini(struct tr_decay *d)
{
	tr_heap_fini(&d->order);
	free(d->weight);
	*d = (struct tr_decay){ 0 };
}

void tr_decay_set(struct tr_decay *d, double lambda)
{
	d->growth = exp2(lambda);
}

static double rank(const struct tr_decay *d, uint32_t id)
{
	return d->factor ? d->weight[id] * (double)d->factor[id] : d->weight[id];
}

void tr_decay_hit(struct tr_decay *d, uint32_t id, unsigned flags)
{
	if (flags & TR_POLICY_SCAN)
		return;
	d->weight[id] += d->unit;
	tr_heap_put(&d->order, id, rank(d, id), ++d->clock);
}

void tr_decay_miss(struct tr_decay *d, uint32_t id, unsigned flags)
{
	if (!(flags & TR_POLICY_SCAN))
		d->weight[id] += d->unit;
}

void tr_decay_insert(struct tr_decay *d, uint32_t id, unsigned flags)
{
	d->clock++;
	if (flags & TR_POLICY_SCAN)
		tr_heap_put(&d->order, id, -1, UINT64_MAX - d->clock);
	else
		tr_heap_put(&d->order, id, rank(d, id), d->clock);
}

void tr_decay_remove(struct tr_decay *d, uint32_t id)
{
	tr_heap_remove(&d->order, id);
	d->weight[id] = 0;
}

void tr_decay_tick(struct tr_decay *d)
{
	struct tr_heap *h = &d->order;

	d->unit *= d->growth;
	if (d->unit <= UNIT_MAX)
		return;
	d->unit *= SCALE;
	for (uint32_t id = 0; id < h->n_id; id++) {
		d->weight[id] *= SCALE;
		if (tr_heap_has(h, id) && h->rank[id] >= 0)
			tr_heap_put(h, id, rank(d, id), h->stamp[id]);
	}
}
