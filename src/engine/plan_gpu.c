/*
 * plan_gpu.c - what of the layers lies on the device, and what main memory is freed by that.
 *
 * The room is first for these, since every token uses them; experts get what is left. What they
 * take is said once, at the start of a run and by `tierra inspect`.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "engine/plan.h"

#include <string.h>

#define BUFFER_ALIGN 256 /* as the arena cuts them */

int tr_setup_place(
	struct tr_setup *s, const struct tr_engine_opts *o, uint64_t room, struct tr_err *err)
{
	const struct tr_arch_gpu_ops *ops = s->arch->gpu;
	struct tr_gpu_wish wish = { .n_layer = s->info.n_layer, .ctx = s->am };

	if (!ops || !room)
		return 0;
	wish.weights = ops->weights;
	wish.scratch_bytes = ops->scratch_bytes(s->am, o->n_batch, o->n_ctx);
	wish.kv_bytes = TR_ALIGN_UP(tr_kv_bytes(o->kv_type, 1, o->n_ctx, s->info.kv_width),
		(uint64_t)BUFFER_ALIGN);
	return tr_gpu_place_new(&s->place, &wish, room, err);
}

void tr_setup_freed(struct tr_setup *s, const struct tr_engine_opts *o)
{
	const struct tr_arch_gpu_ops *ops = s->arch->gpu;
	const struct tr_gpu_place *p = &s->place;
	bool keep_routers = tr_setup_foresees(s, o);

	if (!p->n[TR_GPU_ATTENTION] || (o->device_lost && !strcmp(o->device_lost, "continue")))
		return;
	for (int part = 0; part < TR_N_GPU_PART; part++)
		for (uint32_t l = 0; l < (part == TR_GPU_HEAD ? 1 : p->n_layer); l++)
			if (p->on[part][l])
				s->freed_weight_bytes += ops->freed(s->am, part, l, keep_routers);
	/* Rows of the cache in main memory are touched when sessions take turns, not by one. */
	s->freed_kv_bytes =
		tr_kv_bytes(o->kv_type, p->n[TR_GPU_ATTENTION], o->n_ctx, s->info.kv_width);
}

void tr_setup_say_place(const struct tr_setup *s)
{
	const struct tr_gpu_place *p = &s->place;
	char has[32], want[32], scratch[32];

	if (!s->gpu || !p->n_wanted[TR_GPU_ATTENTION])
		return;
	if (!p->n[TR_GPU_ATTENTION]) {
		tr_warn("device %s: %s hold no layer: %s for all, %s of it scratch; the CPU has all",
			s->gpu->info.name, tr_opt_human(p->room, has, sizeof(has)),
			tr_opt_human(p->wanted_bytes, want, sizeof(want)),
			tr_opt_human(p->wanted_scratch_bytes, scratch, sizeof(scratch)));
		return;
	}
	tr_info("device %s: attention of %u of %u layers, networks of %u of %u, head %s: %s of %s",
		s->gpu->info.name, p->n[TR_GPU_ATTENTION], s->info.n_layer, p->n[TR_GPU_FFN],
		p->n_wanted[TR_GPU_FFN], p->n[TR_GPU_HEAD] ? "too" : "not",
		tr_opt_human(tr_gpu_place_bytes(p), has, sizeof(has)),
		tr_opt_human(p->wanted_bytes, want, sizeof(want)));
}
