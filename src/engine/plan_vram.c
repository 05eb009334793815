/*
 * plan_vram.c - what the memory of the device is taken for.
 *
 * In this order, as far as it goes: layers (plan_gpu.c); scratch for computing experts; slots for experts
 * that are fetched for a layer, from an eighth of the rest at most; slots of the VRAM tier. Room for less
 * than the scratch and one slot of the tier is no tier: nothing is taken for it then, and that is said. A
 * percentage of experts is for them in any case, and layers get what is left.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "engine/guests.h"
#include "engine/plan.h"

#include <string.h>

#define GUEST_SHARE 8

static uint64_t scratch_bytes(const struct tr_setup *s, const struct tr_engine_opts *o)
{
	struct tr_gpu_experts_cfg cfg = { s->catalog, s->vram_takes, s->info.n_embd, o->n_batch };

	return tr_gpu_experts_bytes(&cfg);
}

static void say_too_small(const struct tr_setup *s, const struct tr_engine_opts *o, uint64_t budget,
	uint64_t scratch)
{
	char has[32], beside[32], slot[32];

	tr_log(tr_gpu_place_bytes(&s->place) ? TR_LOG_INFO : TR_LOG_WARN,
		"--vram %s: %s of device %s hold no expert: %s for computing and %s each; it is not used",
		o->vram ? o->vram : "auto", tr_opt_human(budget, has, sizeof(has)), s->gpu->info.name,
		tr_opt_human(scratch, beside, sizeof(beside)),
		tr_opt_human(s->vram.class[0].slot_bytes, slot, sizeof(slot)));
}

/* Which layers the device can compute. */
static int find_takes(struct tr_setup *s, struct tr_err *err)
{
	const struct tr_catalog *c = s->catalog;
	size_t n = 0, i;

	s->vram_takes = tr_calloc(TR_MAX(c->n_moe_layer, (size_t)1), sizeof(*s->vram_takes));
	if (!s->vram_takes)
		return tr_err_set(err, TR_E_NOMEM, "plan: out of memory");
	for (i = 0; i < c->n_moe_layer; i++) {
		s->vram_takes[i] = tr_gpu_takes(&c->moe_layers[i]);
		n += s->vram_takes[i];
	}
	if (n < c->n_moe_layer)
		tr_warn("device %s: no kernels for the experts of %zu of %zu layers, which the CPU computes",
			s->gpu->info.name, c->n_moe_layer - n, c->n_moe_layer);
	return 0;
}

static int check_fetch(const char *fetch, struct tr_err *err)
{
	if (!fetch || !strcmp(fetch, "auto") || !strcmp(fetch, "on") || !strcmp(fetch, "off"))
		return 0;
	return tr_err_set(err, TR_E_INVALID, "--device-fetch: '%s' is none of: auto, on, off", fetch);
}

/* How many of the largest experts may be fetched, beside so many bytes for the tier. */
static uint32_t n_guest(const struct tr_engine_opts *o, uint64_t slot_bytes, uint64_t room)
{
	if (o->device_fetch && !strcmp(o->device_fetch, "off"))
		return 0;
	return (uint32_t)TR_MIN(room / GUEST_SHARE / slot_bytes, (uint64_t)TR_MAX_GUEST);
}

/* Slots for what is fetched, beside so many bytes for the tier and them. Returns their bytes. */
static uint64_t plan_guests(struct tr_setup *s, const struct tr_engine_opts *o, uint64_t room)
{
	s->guest_bytes = s->vram.class[s->vram.n_class - 1].slot_bytes;
	s->n_guest = n_guest(o, s->guest_bytes, room);
	return s->n_guest * s->guest_bytes;
}

static void take(struct tr_setup *s, uint64_t scratch, uint64_t guests, uint64_t room)
{
	tr_vram_make_plan(&s->vram, s->catalog, s->vram_takes, room);
	if (!s->vram.n_slot) {
		s->n_guest = 0;
		return;
	}
	s->plan.vram_scratch_bytes = scratch + guests;
	s->vram_bytes += s->vram.bytes + scratch + guests;
}

/* All is for so many bytes: layers, then experts. */
static int plan_size(struct tr_setup *s, const struct tr_engine_opts *o, uint64_t budget,
	uint64_t scratch, struct tr_err *err)
{
	int rc = tr_setup_place(s, o, budget, err);
	uint64_t room, guests;

	if (rc)
		return rc;
	s->vram_bytes = tr_gpu_place_bytes(&s->place);
	budget -= s->vram_bytes;
	if (!budget || !s->vram.n_class)
		return 0;
	room = budget - TR_MIN(scratch, budget);
	guests = plan_guests(s, o, room);
	take(s, scratch, guests, room - guests);
	if (!s->vram.n_slot)
		say_too_small(s, o, budget, scratch);
	return 0;
}

/* So many bytes of experts, and what they need beside them; layers get what is left. */
static int plan_share(struct tr_setup *s, const struct tr_engine_opts *o, uint64_t experts,
	uint64_t scratch, struct tr_err *err)
{
	uint64_t has = s->gpu->info.free_bytes, keep = tr_gpu_reserve_bytes(s->gpu), guests = 0;
	int rc;

	if (!s->vram.n_class)
		experts = 0;
	if (!experts)
		scratch = 0;
	else
		guests = plan_guests(s, o, experts);
	if (experts + scratch + guests > has)
		return tr_err_set(err, TR_E_LIMIT,
			"--vram %s: %llu bytes of experts and %llu for computing them; device %s has "
			"%llu free",
			o->vram, (unsigned long long)experts,
			(unsigned long long)(scratch + guests), s->gpu->info.name,
			(unsigned long long)has);
	rc = tr_setup_place(s, o, has - TR_MIN(experts + scratch + guests + keep, has), err);
	s->vram_bytes = tr_gpu_place_bytes(&s->place);
	if (!rc && experts)
		take(s, scratch, guests, experts);
	return rc;
}

int tr_setup_vram(struct tr_setup *s, const struct tr_engine_opts *o, struct tr_err *err)
{
	uint64_t budget, scratch;
	bool is_share;
	int rc = check_fetch(o->device_fetch, err);

	if (rc)
		return rc;
	if (!s->gpu)
		return tr_gpu_budget(NULL, o->vram, s->catalog->bytes, &budget, &is_share, err);
	rc = find_takes(s, err);
	if (rc)
		return rc;
	tr_vram_make_plan(&s->vram, s->catalog, s->vram_takes, 0);
	rc = tr_gpu_budget(s->gpu, o->vram, s->vram.all_bytes, &budget, &is_share, err);
	if (rc)
		return rc;
	scratch = s->vram.n_class ? scratch_bytes(s, o) : 0;
	return is_share ? plan_share(s, o, budget, scratch, err) :
			  plan_size(s, o, budget, scratch, err);
}
