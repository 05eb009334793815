/*
 * replay.c - a trace through the cache in virtual time: the same decisions, no bytes.
 *
 * Each set is taken by tr_order_take, as in tr_cache_acquire. Loads end at once. Then members leave
 * as the engine releases them: in the order in which they were acquired (first the residents, then
 * those that got slots, both ascending), and after each one member that waits for a slot is tried.
 * With a cache for each layer, the parts know their own experts only.
 *
 * A predictor is guided as in the engine: it is told of a decoded set when that has been taken and
 * before any of it leaves, and sees dense layers go by. Scores are those that were recorded. Its
 * answers go to the policy; what would be read ahead by them is counted beside (replay_ahead.h).
 *
 * What a device has is not asked of the cache: replay_vram.h.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"
#include "cache/guide.h"
#include "cache/oracle.h"
#include "cache/order.h"
#include "cache/replay_ahead.h"
#include "cache/replay_vram.h"
#include "model/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct replay {
	const struct tr_trace *t;
	const struct tr_replay_opts *opts;
	uint32_t n_part;
	struct tr_entries *parts; /* [n_part] */
	struct tr_want *want;	  /* [n_expert] the set */
	uint32_t *queue;	  /* [n_expert] */
	uint32_t *hot;		  /* [n_hot of the trace] part after part */
	uint32_t *copied;	  /* [n_promote of the trace] at the end of a token */
	uint64_t n_tok;		  /* replayed */
	uint64_t n_promoted, n_load;
	bool counting;
	struct tr_replay_stats *out;
	struct tr_replay_vram *vram; /* NULL: none */

	struct tr_guide *guide; /* NULL without a predictor */
	bool hints;		/* the policy listens */
	uint32_t n_layer_done;	/* of the model, in this step */
	size_t set;		/* index of the set that arrives next */
	size_t next_scores;
	struct tr_sketch sketch;      /* the answer of say_scores */
	uint32_t *ids;		      /* [n_expert] the set in router rank */
	struct tr_replay_ahead ahead; /* all zero without opts.n_ahead */
	bool *can_read;		      /* [n_expert] */
	float *weights;
};

/* --- size ------------------------------------------------------------------------------------- */

static uint32_t n_id_of(const struct tr_trace *t)
{
	return t->head.n_moe_layer * t->head.n_expert;
}

static bool is_count(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

/* "10%" of the experts, "800" experts, or bytes with a suffix. */
static int parse_cache(const struct tr_trace *t, const char *text, uint32_t *n, struct tr_err *err)
{
	uint64_t v, n_id = n_id_of(t);
	int rc;

	if (is_count(text))
		rc = tr_opt_u64("--cache", text, 0, UINT64_MAX, &v, err);
	else
		rc = tr_opt_size("--cache", text, n_id, &v, err);
	if (rc)
		return rc;
	if (!is_count(text) && !strchr(text, '%')) {
		if (!t->head.slot_bytes)
			return tr_err_set(err, TR_E_INVALID,
				"--cache %s: the trace does not say how many bytes an expert has; "
				"give a percentage or a number of experts",
				text);
		v /= t->head.slot_bytes;
	}
	*n = (uint32_t)TR_MIN(v, n_id);
	return 0;
}

/* What part i has of n. */
static uint32_t share(uint32_t n, uint32_t n_part, uint32_t i)
{
	return n / n_part + (i < n % n_part);
}

/* --- open and close --------------------------------------------------------------------------- */

static void close_all(struct replay *r)
{
	for (uint32_t i = 0; r->parts && i < r->n_part; i++)
		if (r->parts[i].entry)
			tr_entries_fini(&r->parts[i]);
	free(r->parts);
	free(r->want);
	free(r->queue);
	free(r->ids);
	free(r->weights);
	tr_guide_free(r->guide);
	tr_replay_ahead_fini(&r->ahead);
	free(r->can_read);
	tr_replay_vram_free(r->vram);
	free(r->hot);
	free(r->copied);
}

/* The decoded units of part i, from 0, in the order of the trace. Returns how many. */
static uint64_t find_future(const struct replay *r, uint32_t i, uint32_t *future)
{
	uint32_t base = r->n_part > 1 ? i * r->t->head.n_expert : 0;
	uint64_t n = 0;

	for (size_t s = 0; s < r->t->n_set; s++) {
		const struct tr_trace_set *set = &r->t->set[s];

		if (set->scan || (r->n_part > 1 && set->layer != i))
			continue;
		for (uint32_t u = 0; u < set->n_unit; u++)
			future[n++] = r->t->unit[set->first_unit + u] - base;
	}
	return n;
}

/* In persistent memory every 1 / in_pmem-th unit, so that layers have the same share. */
static bool is_in_file(const struct replay *r, uint32_t unit)
{
	double share = r->opts->in_pmem;

	if (share > 0 && floor((unit + 1) * share) > floor(unit * share))
		return false;
	return !r->t->units.home || !r->t->units.home[unit];
}

static uint32_t n_promote_of(const struct replay *r)
{
	uint64_t n = r->t->units.n_promote + r->opts->n_promote;

	return (uint32_t)TR_MIN(n, (uint64_t)n_id_of(r->t));
}

static void load(struct tr_entries *e, uint32_t id)
{
	tr_entries_begin_load(e, id);
	tr_entries_end_load(e, id, true);
}

/* Hot units of part i, numbered in it; those in persistent memory too, or not. Returns how many. */
static uint32_t find_hot(const struct replay *r, uint32_t i, bool all, uint32_t *hot)
{
	const struct tr_trace_units *u = &r->t->units;
	uint32_t per_part = n_id_of(r->t) / r->n_part, n = 0;

	for (uint32_t k = 0; k < u->n_hot; k++)
		if (u->hot[k] / per_part == i && (all || is_in_file(r, u->hot[k])))
			hot[n++] = u->hot[k] % per_part;
	return n;
}

/* What a run has in DRAM before its first token. scratch[n_hot] */
static void warm(struct replay *r, uint32_t i, uint32_t *scratch)
{
	struct tr_entries *e = &r->parts[i];
	bool copies = e->promote.cfg.n_max;
	uint32_t n_hot = find_hot(r, i, copies, scratch), n = 0;

	for (uint32_t k = 0; k < n_hot; k++)
		if (!tr_replay_vram_has(r->vram, scratch[k])) /* with it there is one part */
			scratch[n++] = scratch[k];
	n = tr_order_warm(e, scratch, n);
	for (uint32_t k = 0; k < n; k++)
		load(e, scratch[k]);
}

static int open_all(struct replay *r, uint32_t n_keep, struct tr_err *err)
{
	uint32_t n_expert = r->t->head.n_expert;
	uint32_t *future = tr_calloc(r->t->n_unit, sizeof(*future));
	uint32_t n_id = n_id_of(r->t) / r->n_part, n_hot = r->t->units.n_hot;
	uint32_t *scratch = tr_calloc(TR_MAX(n_hot, 1u), sizeof(*scratch)), *hot;
	const float *cost = r->t->units.cost;
	int rc = 0;

	r->parts = tr_calloc(r->n_part, sizeof(*r->parts));
	r->want = tr_calloc(n_expert, sizeof(*r->want));
	r->queue = tr_calloc(n_expert, sizeof(*r->queue));
	r->hot = hot = tr_calloc(TR_MAX(n_hot, 1u), sizeof(*r->hot));
	r->copied = tr_calloc(TR_MAX(n_promote_of(r), 1u), sizeof(*r->copied));
	if (!r->parts || !r->want || !r->queue || !r->hot || !r->copied || !future || !scratch)
		rc = tr_err_set(err, TR_E_NOMEM, "no memory for a replay");
	for (uint32_t i = 0; !rc && i < r->n_part; i++) {
		struct tr_entries_cfg cfg = { .n_id = n_id,
			.n_layer_id = n_expert,
			.numa_node = -1,
			.policy = r->opts->policy ? r->opts->policy : "lru",
			.miss_cost = cost ? cost + (size_t)i * n_id : NULL,
			.n_promote = share(n_promote_of(r), r->n_part, i),
			.hot = hot,
			.n_hot = find_hot(r, i, true, hot),
			.future = future,
			.n_future = find_future(r, i, future) };

		tr_order_size(&cfg, share(n_keep, r->n_part, i), 0);
		rc = tr_entries_init(&r->parts[i], &cfg, err);
		if (rc)
			r->parts[i] = (struct tr_entries){ 0 };
		else
			warm(r, i, scratch);
		hot += cfg.n_hot;
	}
	free(scratch);
	free(future);
	return rc;
}

/* --- VRAM ------------------------------------------------------------------------------------- */

static enum tr_vram_source source_of(void *ctx, uint32_t id)
{
	const struct replay *r = ctx;

	if (!is_in_file(r, id))
		return TR_VRAM_IN_PLACE;
	return r->parts[0].entry[id].state == TR_ENTRY_READY ? TR_VRAM_FROM_DRAM : TR_VRAM_NO_SOURCE;
}

static void hold(void *ctx, uint32_t id)
{
	struct replay *r = ctx;

	if (is_in_file(r, id))
		tr_entries_pin(&r->parts[0], id);
}

static void unhold(void *ctx, uint32_t id)
{
	struct replay *r = ctx;

	if (!is_in_file(r, id))
		return;
	tr_entries_unpin(&r->parts[0], id);
	tr_entries_settle(&r->parts[0], id);
}

static int open_vram(struct replay *r, uint32_t n_keep, struct tr_err *err)
{
	struct tr_replay_below below = { .source = source_of,
		.hold = hold,
		.release = unhold,
		.ctx = r,
		.n_keep = n_keep,
		.all_in_place = true };

	if (!r->opts->vram)
		return 0;
	if (r->n_part > 1)
		return tr_err_set(err, TR_E_INVALID,
			"--vram %s: with a cache for each layer there is no VRAM above it",
			r->opts->vram);
	for (uint32_t i = 0; i < n_id_of(r->t); i++)
		below.all_in_place = below.all_in_place && !is_in_file(r, i);
	return tr_replay_vram_new(&r->vram, r->t, r->opts, &below, err);
}

/* --- prediction ------------------------------------------------------------------------------- */

/* The guide asks in the order in which scores were recorded; what it passes over was not asked. */
static const struct tr_sketch *say_scores(void *ctx, uint32_t layer, uint32_t ahead)
{
	struct replay *r = ctx;
	const struct tr_trace_scores *s;

	for (size_t i = r->next_scores; i < r->t->n_scores; i++) {
		s = &r->t->scores[i];
		if (s->before_set > r->set)
			break;
		if (s->before_set < r->set)
			r->next_scores = i + 1;
		if (s->before_set < r->set || s->layer != layer || s->ahead != ahead)
			continue;
		r->next_scores = i + 1;
		r->sketch = tr_trace_sketch(r->t, i);
		return &r->sketch;
	}
	return NULL;
}

/* A cache of one layer knows no others: its next visit is the next token's. */
static void hint(void *ctx, uint32_t layer, const float *p, uint32_t ahead)
{
	struct replay *r = ctx;
	bool alone = r->n_part > 1;
	const struct tr_policy *policy = &r->parts[alone ? layer : 0].policy;
	uint32_t n = r->t->head.n_expert, first = alone ? 0 : layer * n;

	for (uint32_t e = 0; e < n; e++)
		policy->ops->hint(policy->state, first + e, p[e], alone ? 1 : ahead);
}

/* What is expected of a layer that is on disk and not in the cache may be read ahead. */
static void expect(void *ctx, uint32_t layer, const float *p)
{
	struct replay *r = ctx;
	uint32_t n = r->t->head.n_expert, first = layer * n;

	if (!r->can_read)
		return;
	for (uint32_t e = 0; e < n; e++)
		r->can_read[e] = r->parts[0].entry[first + e].state == TR_ENTRY_EMPTY &&
				 is_in_file(r, first + e);
	tr_replay_ahead_expect(&r->ahead, first, p, r->can_read);
}

/* The most that a token uses in a layer. */
static uint32_t n_used_of(const struct tr_trace *t)
{
	uint32_t n = t->head.n_used;

	for (size_t i = 0; !t->head.n_used && i < t->n_set; i++)
		n = TR_MAX(n, t->set[i].n_pick / t->set[i].n_tok);
	return n;
}

static int open_ahead(struct replay *r, uint32_t n_used, struct tr_err *err)
{
	if (!r->opts->n_ahead || r->n_part > 1)
		return 0;
	r->can_read = tr_calloc(r->t->head.n_expert, sizeof(*r->can_read));
	if (!r->can_read)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a replay");
	return tr_replay_ahead_init(
		&r->ahead, n_id_of(r->t), r->t->head.n_expert, n_used, r->opts->n_ahead, err);
}

static int open_guide(struct replay *r, struct tr_err *err)
{
	const struct tr_trace_head *h = &r->t->head;
	struct tr_guide_cfg cfg = { .predictor = r->opts->predictor,
		.n_layer = h->n_moe_layer,
		.n_expert = h->n_expert,
		.n_used = n_used_of(r->t),
		.ops = { .scores = say_scores, .hint = hint, .expect = expect },
		.ctx = r };
	uint32_t *layer_of;
	int rc;

	if (!cfg.predictor)
		return 0;
	r->hints = r->parts[0].policy.ops->hint;
	r->ids = tr_calloc(h->n_expert, sizeof(*r->ids));
	r->weights = tr_calloc(h->n_expert, sizeof(*r->weights));
	layer_of = tr_calloc(h->n_moe_layer, sizeof(*layer_of));
	for (uint32_t i = 0; layer_of && i < h->n_moe_layer; i++)
		layer_of[i] = h->layers[i].layer;
	if (r->ids && r->weights && layer_of)
		rc = tr_guide_new(&r->guide, &cfg, layer_of, err);
	else
		rc = tr_err_set(err, TR_E_NOMEM, "no memory for a replay");
	free(layer_of);
	return rc ? rc : open_ahead(r, cfg.n_used, err);
}

/* As foresee.c does where nothing is read ahead. */
static void pass(struct replay *r, uint32_t layer, const struct tr_guide_used *used)
{
	tr_guide_pass(r->guide, layer, used, r->t->n_scores ? TR_GUIDE_AHEAD : 1, r->hints);
	r->n_layer_done = layer + 1;
}

static void pass_dense(struct replay *r, uint32_t end)
{
	while (r->n_layer_done < end)
		pass(r, r->n_layer_done, NULL);
}

static bool is_guided(const struct replay *r, const struct tr_trace_set *s)
{
	return r->guide && !s->scan && s->n_tok == 1;
}

/* The set has been taken. */
static void guide_set(struct replay *r, const struct tr_trace_set *s)
{
	struct tr_guide_used used = { s->n_pick, r->ids, r->t->has_weights ? r->weights : NULL };

	for (uint32_t i = 0; i < s->n_pick; i++) {
		r->ids[i] = r->t->pick[s->first_pick + i];
		r->weights[i] = tr_f16_to_f32(r->t->weight[s->first_pick + i]);
	}
	pass(r, r->t->head.layers[s->layer].layer, &used);
}

/* --- sets ------------------------------------------------------------------------------------- */

/* The queue of those that have a pin. Returns how many. */
static size_t enqueue(struct replay *r, struct tr_entries *e, size_t n)
{
	size_t n_queued = 0;

	for (size_t i = 0; i < n; i++)
		if (r->want[i].taken == TR_TAKEN_PIN)
			r->queue[n_queued++] = (uint32_t)i;
	for (size_t i = 0; i < n; i++)
		if (r->want[i].taken == TR_TAKEN_SLOT) {
			load(e, r->want[i].id);
			r->n_load++;
			r->queue[n_queued++] = (uint32_t)i;
		}
	return n_queued;
}

/* Releases members in turn; who waits gets a slot when one can be had. */
static void release(struct replay *r, struct tr_entries *e, size_t n, size_t n_queued, bool scan)
{
	unsigned flags = TR_ORDER_RETRY | (scan ? TR_ORDER_SCAN : 0);
	size_t waiting = 0;

	for (size_t i = 0; i < n_queued; i++) {
		tr_entries_unpin(e, r->want[r->queue[i]].id);
		tr_entries_settle(e, r->want[r->queue[i]].id);
		if (n_queued == n)
			continue;
		while (waiting < n &&
			(r->want[waiting].taken != TR_TAKEN_NONE || r->want[waiting].elsewhere))
			waiting++;
		if (waiting == n)
			continue;
		tr_order_take(e, &r->want[waiting], 1, flags);
		if (r->want[waiting].taken == TR_TAKEN_SLOT) {
			load(e, r->want[waiting].id);
			r->n_load++;
		}
		if (r->want[waiting].taken != TR_TAKEN_NONE)
			r->queue[n_queued++] = (uint32_t)waiting;
	}
}

/* n of the set's units were asked of the cache. */
static void count(struct replay *r, const struct tr_trace_set *s, size_t n, size_t n_hit, size_t n_pmem)
{
	uint64_t bytes = r->t->head.layers[s->layer].unit_bytes;

	r->out->n_request += n;
	r->out->n_hit += n_hit;
	r->out->hit_bytes += n_hit * bytes;
	r->out->n_pmem += n_pmem;
	r->out->pmem_bytes += n_pmem * bytes;
	r->out->bytes += (n - n_hit) * bytes;
}

/* Slots that hold something for the first time. */
static uint64_t n_filled(const struct tr_entries *e)
{
	return e->n_entered[TR_ENTRY_LOADING] - e->n_entered[TR_ENTRY_EVICTING];
}

/* Told what of the set was read ahead. */
static void settle_ahead(struct replay *r, const struct tr_trace_set *s, struct tr_replay_visit *v)
{
	if (!r->can_read || !is_guided(r, s))
		return;
	v->n_ahead = tr_replay_ahead_pass(&r->ahead, s->layer * r->t->head.n_expert,
		r->t->unit + s->first_unit, s->n_unit, &v->n_vain);
	if (r->counting) {
		r->out->n_ahead += v->n_ahead;
		r->out->n_vain += v->n_vain;
	}
	if (s->ends_step)
		tr_replay_ahead_token(&r->ahead);
}

/* Told counts what the cache was asked for; the rest is filled in here. */
static void tell(const struct replay *r, const struct tr_trace_set *s, struct tr_replay_visit told)
{
	told.token = r->n_tok - s->n_tok;
	told.n_token = s->n_tok;
	told.layer = s->layer;
	told.prefill = s->scan;
	told.ends_token = s->ends_step;
	told.n_unit = s->n_unit;
	if (r->opts->visit)
		r->opts->visit(r->opts->ctx, &told);
}

static void take_set(struct replay *r, const struct tr_trace_set *s)
{
	struct tr_entries *e = &r->parts[r->n_part > 1 ? s->layer : 0];
	uint32_t base = r->n_part > 1 ? s->layer * r->t->head.n_expert : 0;
	const uint32_t *unit = r->t->unit + s->first_unit;
	uint64_t filled = n_filled(e), n_load = r->n_load;
	size_t n = 0, n_hit = 0, n_pmem = 0;
	bool guided = is_guided(r, s), counting = r->counting && !(s->scan && r->opts->decode_only);
	struct tr_replay_visit told = { 0 };

	settle_ahead(r, s, &told);
	if (guided)
		pass_dense(r, r->t->head.layers[s->layer].layer);
	if (r->vram)
		tr_replay_vram_take(r->vram, s, counting);
	for (uint32_t i = 0; i < s->n_unit; i++)
		if (!tr_replay_vram_has(r->vram, unit[i]))
			r->want[n++] = (struct tr_want){
				.id = unit[i] - base, .idx = i, .elsewhere = !is_in_file(r, unit[i])
			};
	tr_order_take(e, r->want, n, s->scan ? TR_ORDER_SCAN : 0);
	for (uint32_t i = 0; i < n; i++)
		if (r->want[i].taken == TR_TAKEN_PIN)
			n_hit++;
		else
			n_pmem += r->want[i].elsewhere;
	if (counting)
		count(r, s, n, n_hit, n_pmem);
	r->set++;
	if (guided)
		guide_set(r, s);
	release(r, e, n, enqueue(r, e, n), s->scan);
	r->out->n_load += counting ? r->n_load - n_load : 0;
	r->out->load_bytes += counting ? (r->n_load - n_load) *
		r->t->head.layers[s->layer].unit_bytes : 0;
	told.n_vram = (uint32_t)(s->n_unit - n);
	told.n_hit = (uint32_t)n_hit;
	told.n_pmem = (uint32_t)n_pmem;
	told.n_fresh = (uint32_t)(TR_MAX(n_filled(e), filled) - filled);
	tell(r, s, told);
}

static void end_step(struct replay *r, bool guided)
{
	if (guided)
		pass_dense(r, r->t->head.n_layer);
	r->n_layer_done = 0;
	for (uint32_t i = 0; i < r->n_part; i++) {
		struct tr_entries *e = &r->parts[i];
		uint32_t n = tr_order_tick(e, r->copied);

		for (uint32_t k = 0; k < n; k++)
			load(e, r->copied[k]);
		r->n_promoted += n;
	}
	if (r->vram)
		tr_replay_vram_tick(r->vram, r->set);
}

static uint64_t n_evicted(const struct replay *r)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < r->n_part; i++)
		n += r->parts[i].n_entered[TR_ENTRY_EVICTING];
	return n;
}

static void replay_all(struct replay *r)
{
	uint64_t evicted = 0, promoted = 0;
	bool starts_step = true;

	for (size_t i = 0; i < r->t->n_set; i++) {
		const struct tr_trace_set *s = &r->t->set[i];

		if (starts_step && !r->counting && r->n_tok >= r->opts->n_warm) {
			r->counting = true;
			evicted = n_evicted(r);
			promoted = r->n_promoted;
			if (r->guide)
				tr_guide_restart_stats(r->guide);
			if (r->vram && i)
				tr_replay_vram_restart(r->vram);
		}
		if (starts_step)
			r->n_tok += s->n_tok;
		take_set(r, s);
		if (s->ends_step)
			end_step(r, is_guided(r, s));
		starts_step = s->ends_step;
	}
	r->out->n_evict = r->counting ? n_evicted(r) - evicted : 0;
	r->out->n_promoted = r->counting ? r->n_promoted - promoted : 0;
}

int tr_replay(const struct tr_trace *t, const struct tr_replay_opts *opts,
	struct tr_replay_stats *out, struct tr_err *err)
{
	struct replay r = { .t = t,
		.opts = opts,
		.n_part = opts->per_layer ? t->head.n_moe_layer : 1,
		.out = out };
	uint32_t n_keep;
	uint64_t start;
	int rc = parse_cache(t, opts->cache, &n_keep, err);

	*out = (struct tr_replay_stats){ 0 };
	if (rc)
		return rc;
	out->capacity = n_keep;
	rc = open_vram(&r, n_keep, err);
	if (!rc)
		rc = open_all(&r, n_keep, err);
	if (!rc)
		rc = open_guide(&r, err);
	if (!rc) {
		start = tr_now_ns(&tr_clock_real);
		replay_all(&r);
		out->ns = tr_now_ns(&tr_clock_real) - start;
		if (r.guide)
			tr_guide_stats(r.guide, &out->predictor);
		if (r.vram)
			tr_replay_vram_stats(r.vram, &out->vram);
	}
	close_all(&r);
	return rc;
}

/* --- optimum ---------------------------------------------------------------------------------- */

static uint64_t sum_counted(
	const struct tr_trace *t, const uint32_t *hits, uint64_t n_warm, bool decode_only)
{
	uint64_t n_tok = 0, sum = 0;
	bool starts_step = true, counting = false;

	for (size_t i = 0; i < t->n_set; i++) {
		counting = counting || (starts_step && n_tok >= n_warm);
		if (starts_step)
			n_tok += t->set[i].n_tok;
		if (counting && !(t->set[i].scan && decode_only))
			sum += hits[i];
		starts_step = t->set[i].ends_step;
	}
	return sum;
}

int tr_replay_optimum(const struct tr_trace *t, const struct tr_replay_opts *opts, uint64_t *n_hit,
	struct tr_err *err)
{
	uint32_t n_part = opts->per_layer ? t->head.n_moe_layer : 1, n_keep, *keep, *hits;
	int rc = parse_cache(t, opts->cache, &n_keep, err);

	if (rc)
		return rc;
	keep = tr_calloc(n_part, sizeof(*keep));
	hits = tr_calloc(t->n_set, sizeof(*hits));
	if (!keep || !hits)
		rc = tr_err_set(err, TR_E_NOMEM, "no memory for the optimum of a trace");
	for (uint32_t i = 0; keep && i < n_part; i++)
		keep[i] = share(n_keep, n_part, i);
	if (!rc)
		rc = tr_oracle_run(t, keep, n_part, hits, err);
	if (!rc)
		*n_hit = sum_counted(t, hits, opts->n_warm, opts->decode_only);
	free(keep);
	free(hits);
	return rc;
}
