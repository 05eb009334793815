#include "engine/gpu_place.h"
#include "base/mem.h"

#include <stdlib.h>

static uint32_t n_of(const struct tr_gpu_wish *w, enum tr_gpu_part part)
{
	return part == TR_GPU_HEAD ? 1 : w->n_layer;
}

/* Places the parts of a kind. False when one did not fit. */
static bool place_kind(
	struct tr_gpu_place *p, const struct tr_gpu_wish *w, enum tr_gpu_part part, uint64_t *room)
{
	for (uint32_t l = 0; l < n_of(w, part); l++) {
		uint64_t weights = w->weights(w->ctx, part, l);
		uint64_t kv = part == TR_GPU_ATTENTION ? w->kv_bytes : 0;

		/* A network is of use only to a residual stream that is there. */
		if (!weights || (part == TR_GPU_FFN && !p->on[TR_GPU_ATTENTION][l]))
			continue;
		if (weights + kv > *room)
			return false;
		*room -= weights + kv;
		p->weight_bytes += weights;
		p->kv_bytes += kv;
		p->on[part][l] = true;
		p->n[part]++;
	}
	return true;
}

static void count_wanted(struct tr_gpu_place *p, const struct tr_gpu_wish *w)
{
	for (int part = 0; part < TR_N_GPU_PART; part++)
		for (uint32_t l = 0; l < n_of(w, part); l++) {
			uint64_t bytes = w->weights(w->ctx, part, l);

			p->n_wanted[part] += bytes > 0;
			p->wanted_bytes += bytes;
		}
	p->wanted_scratch_bytes = w->scratch_bytes;
	p->wanted_bytes += p->n_wanted[TR_GPU_ATTENTION] * w->kv_bytes + w->scratch_bytes;
}

int tr_gpu_place_new(
	struct tr_gpu_place *p, const struct tr_gpu_wish *w, uint64_t room, struct tr_err *err)
{
	bool ok = room >= w->scratch_bytes;

	*p = (struct tr_gpu_place){ .n_layer = w->n_layer, .room = room };
	for (int part = 0; part < TR_N_GPU_PART; part++) {
		p->on[part] = tr_calloc(n_of(w, part), sizeof(*p->on[part]));
		if (!p->on[part]) {
			tr_gpu_place_free(p);
			return tr_err_set(err, TR_E_NOMEM, "plan: out of memory");
		}
	}
	count_wanted(p, w);
	if (!ok)
		return 0;
	room -= w->scratch_bytes;
	for (int part = 0; part < TR_N_GPU_PART && ok; part++)
		ok = place_kind(p, w, part, &room) && p->n[TR_GPU_ATTENTION];
	if (p->n[TR_GPU_ATTENTION])
		p->scratch_bytes = w->scratch_bytes;
	return 0;
}

void tr_gpu_place_free(struct tr_gpu_place *p)
{
	for (int part = 0; part < TR_N_GPU_PART; part++) {
		free(p->on[part]);
		p->on[part] = NULL;
	}
}
