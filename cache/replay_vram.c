/* replay_vram.c - a plan from the trace, copies that end when they did. See replay_vram.h. */
#include "cache/replay_vram.h"
#include "base/mem.h"
#include "base/opt.h"

#include <stdlib.h>
#include <string.h>

/* As an engine that is told nothing (TR_DEFAULT_POLICY, --promote). */
#define DEFAULT_POLICY	   "foresight"
#define DEFAULT_TOKEN_PART 10

struct tr_replay_vram {
	const struct tr_trace *t;
	struct tr_replay_below below;
	struct tr_catalog catalog; /* of units as the device lays them out: one part, a slot long */
	bool *takes;		   /* [n_moe_layer] */
	bool has_bytes;		   /* the trace tells sizes */
	struct tr_vram_plan plan;
	struct tr_vram *vram;
	uint32_t *copies; /* [n_unit] under way: from n_ended to n_copy */
	uint32_t n_copy, n_ended, n_released;
	bool is_late; /* what is left of them */
	size_t next_late;
	uint64_t n_late;
	struct tr_replay_vram_stats stats; /* hits, misses, bytes; the rest from the counts */
	struct tr_vram_counts before;	   /* as counting began */
};

/* --- what the device would have -----------------------------------------------------------------
 */

static uint64_t slot_bytes(const struct tr_trace *t, uint32_t layer)
{
	uint64_t unit = t->head.layers[layer].unit_bytes;

	if (t->vram.slot_bytes)
		return t->vram.slot_bytes[layer];
	return TR_ALIGN_UP(
		TR_MAX(TR_MIN(unit, (uint64_t)1 << 31), (uint64_t)1), (uint64_t)TR_VRAM_ALIGN);
}

static int make_catalog(struct tr_replay_vram *v, struct tr_err *err)
{
	const struct tr_trace_head *h = &v->t->head;
	struct tr_catalog *c = &v->catalog;

	*c = (struct tr_catalog){ .n_expert = h->n_expert,
		.n_moe_layer = h->n_moe_layer,
		.n_unit = (size_t)h->n_moe_layer * h->n_expert };
	c->moe_layers = tr_calloc(h->n_moe_layer, sizeof(*c->moe_layers));
	c->units = tr_calloc(c->n_unit, sizeof(*c->units));
	v->takes = tr_calloc(h->n_moe_layer, sizeof(*v->takes));
	if (!c->moe_layers || !c->units || !v->takes)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a replay");
	v->has_bytes = true;
	for (uint32_t l = 0; l < h->n_moe_layer; l++) {
		c->moe_layers[l].first_unit = l * h->n_expert;
		c->moe_layers[l].rows[0] = 1;
		c->moe_layers[l].row_bytes[0] = slot_bytes(v->t, l);
		v->takes[l] = c->moe_layers[l].row_bytes[0] > 0;
		v->has_bytes = v->has_bytes && h->layers[l].unit_bytes;
	}
	for (size_t i = 0; i < c->n_unit; i++)
		c->units[i].bytes = h->layers[i / h->n_expert].unit_bytes;
	return 0;
}

static int parse_room(
	const struct tr_replay_vram *v, const char *text, uint64_t *room, struct tr_err *err)
{
	bool is_recorded = !strcmp(text, "recorded");

	if (is_recorded && !v->t->vram.slot_bytes)
		return tr_err_set(err, TR_E_INVALID,
			"--vram recorded: the recorded run had no experts on a device; give a "
			"percentage or bytes");
	if (!is_recorded && !strchr(text, '%') && !v->has_bytes)
		return tr_err_set(err, TR_E_INVALID,
			"--vram %s: the trace does not say how many bytes an expert has; give a "
			"percentage",
			text);
	*room = v->t->vram.room_bytes;
	return is_recorded ? 0 : tr_opt_size("--vram", text, v->plan.all_bytes, room, err);
}

static uint64_t token_bytes(const struct tr_replay_vram *v)
{
	const struct tr_trace_head *h = &v->t->head;
	uint64_t slot = h->slot_bytes ? h->slot_bytes : v->plan.class[0].slot_bytes;

	if (v->t->vram.slot_bytes)
		return v->t->vram.token_bytes;
	return (uint64_t)((double)slot * h->n_moe_layer * TR_MAX(h->n_used, 1u) /
			  DEFAULT_TOKEN_PART);
}

static int open_tier(
	struct tr_replay_vram *v, const struct tr_replay_opts *opts, struct tr_err *err)
{
	struct tr_vram_cfg cfg = { .catalog = &v->catalog,
		.plan = &v->plan,
		.takes = v->takes,
		.policy = opts->vram_policy ? opts->vram_policy : DEFAULT_POLICY,
		.hot = v->t->units.hot,
		.n_hot = v->t->units.n_hot,
		.n_dram_slot = v->below.n_keep,
		.all_in_place = v->below.all_in_place };
	uint64_t room;
	int rc;

	tr_vram_make_plan(&v->plan, &v->catalog, v->takes, 0);
	rc = parse_room(v, opts->vram, &room, err);
	if (rc)
		return rc;
	tr_vram_make_plan(&v->plan, &v->catalog, v->takes, room);
	cfg.token_bytes = token_bytes(v);
	return tr_vram_new(&v->vram, &cfg, err);
}

static void warm(struct tr_replay_vram *v)
{
	uint32_t n = tr_vram_warm(v->vram, v->copies);

	for (uint32_t i = 0; i < n; i++)
		tr_vram_end_copy(v->vram, v->copies[i], true);
	tr_vram_counts(v->vram, &v->before);
	v->stats.n_warm = v->before.copied_units;
}

int tr_replay_vram_new(struct tr_replay_vram **out, const struct tr_trace *t,
	const struct tr_replay_opts *opts, const struct tr_replay_below *below, struct tr_err *err)
{
	struct tr_replay_vram *v = tr_calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a replay");
	v->t = t;
	v->below = *below;
	rc = make_catalog(v, err);
	v->copies = tr_calloc(v->catalog.n_unit, sizeof(*v->copies));
	if (!rc && !v->copies)
		rc = tr_err_set(err, TR_E_NOMEM, "no memory for a replay");
	if (!rc)
		rc = open_tier(v, opts, err);
	if (rc) {
		tr_replay_vram_free(v);
		return rc;
	}
	warm(v);
	*out = v;
	return 0;
}

void tr_replay_vram_free(struct tr_replay_vram *v)
{
	if (!v)
		return;
	tr_vram_free(v->vram);
	free(v->catalog.moe_layers);
	free(v->catalog.units);
	free(v->takes);
	free(v->copies);
	free(v);
}

/* --- sets and steps -----------------------------------------------------------------------------
 */

bool tr_replay_vram_has(const struct tr_replay_vram *v, uint32_t id)
{
	return v && tr_vram_has(v->vram, id);
}

void tr_replay_vram_take(struct tr_replay_vram *v, const struct tr_trace_set *s, bool counting)
{
	const uint32_t *ids = v->t->unit + s->first_unit;

	for (uint32_t i = 0; counting && i < s->n_unit; i++) {
		bool hit = tr_vram_has(v->vram, ids[i]);

		v->stats.n_hit += hit;
		v->stats.n_miss += !hit;
		v->stats.bytes += hit ? v->catalog.units[ids[i]].bytes : 0;
	}
	tr_vram_take(v->vram, ids, s->n_unit, s->scan);
}

/* What the trace says of the step that ends before set n_set. */
static struct tr_vram_late late_at(struct tr_replay_vram *v, size_t n_set)
{
	struct tr_vram_late late = { 0, 0 };

	for (; v->next_late < v->t->n_late && v->t->late[v->next_late].before_set <= n_set;
		v->next_late++)
		if (v->t->late[v->next_late].before_set == n_set)
			late = (struct tr_vram_late){ v->t->late[v->next_late].n_held,
				v->t->late[v->next_late].n_left };
	return late;
}

/* As the engine's reap. */
static void end_copies(struct tr_replay_vram *v, struct tr_vram_late late)
{
	uint32_t left = TR_MIN(late.n_left, v->n_copy - v->n_ended);
	uint32_t held = TR_MIN(late.n_held, TR_MIN(left, v->n_copy - v->n_released));

	for (; v->n_released < v->n_copy - held; v->n_released++)
		v->below.release(v->below.ctx, v->copies[v->n_released]);
	for (; v->n_ended < v->n_copy - left; v->n_ended++)
		tr_vram_end_copy(v->vram, v->copies[v->n_ended], true);
	v->n_late += v->is_late ? 0 : left;
	v->is_late = true;
}

void tr_replay_vram_tick(struct tr_replay_vram *v, size_t n_set)
{
	end_copies(v, late_at(v, n_set));
	if (v->n_ended < v->n_copy) {
		tr_vram_tick(v->vram, NULL, NULL, NULL);
		return;
	}
	v->n_copy = tr_vram_tick(v->vram, v->below.source, v->below.ctx, v->copies);
	v->n_ended = v->n_released = 0;
	v->is_late = false;
	for (uint32_t i = 0; i < v->n_copy; i++)
		v->below.hold(v->below.ctx, v->copies[i]);
}

void tr_replay_vram_restart(struct tr_replay_vram *v)
{
	tr_vram_counts(v->vram, &v->before);
	v->n_late = 0;
}

void tr_replay_vram_stats(const struct tr_replay_vram *v, struct tr_replay_vram_stats *out)
{
	struct tr_vram_counts c;

	tr_vram_counts(v->vram, &c);
	*out = v->stats;
	out->capacity = v->plan.n_slot;
	out->capacity_bytes = v->has_bytes ? v->plan.bytes : 0;
	out->n_copied = c.copied_units - v->before.copied_units;
	out->copied_bytes = c.copied_bytes - v->before.copied_bytes;
	out->n_evict = c.evictions - v->before.evictions;
	out->n_late = v->n_late;
}
