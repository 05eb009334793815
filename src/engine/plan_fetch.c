/* plan_fetch.c - what is known before a run of fetching experts to the device: the figures of
 * --machine. */
#include "engine/lane_costs.h"
#include "engine/plan.h"

static const struct tr_moe_layer *first_taken(const struct tr_setup *s)
{
	for (size_t l = 0; l < s->catalog->n_moe_layer; l++)
		if (s->vram_takes[l])
			return &s->catalog->moe_layers[l];
	return NULL;
}

int tr_setup_fetch(struct tr_setup *s, const struct tr_engine_opts *o, struct tr_err *err)
{
	const struct tr_moe_layer *layer = s->gpu ? first_taken(s) : NULL;
	struct tr_machine m;
	int rc = o->machine ? tr_machine_open(&m, o->machine, err) : 0;

	if (rc || !o->machine || !layer)
		return rc;
	s->fetch_has = tr_lane_costs_of(&s->fetch_costs, &m, layer);
	s->plan.fetch = tr_lane_costs_tell(
		&s->fetch_costs, s->fetch_has, s->fetch_has, s->catalog->unit_bytes_max);
	return 0;
}
