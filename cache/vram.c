/* vram.c - classes of slots by the size of experts, an entry table for each; see vram.h. */
#include "cache/vram.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What a copy takes, in uses: the processor reads the bytes and writes them to pinned memory, and the
 * device reads them there. A use in DRAM reads them once. */
#define COPY_COST 3.0

/* Copies that wait may keep this share of the DRAM cache from being given up. */
#define HOLD_SHARE 4

struct tr_vram {
	struct tr_vram_cfg cfg;
	struct tr_vram_plan plan;
	struct tr_entries entries[TR_VRAM_MAX_CLASS]; /* opened where there are slots */
	bool open[TR_VRAM_MAX_CLASS];
	int *class_of; /* [n_moe_layer] -1: none, or one without slots */
	struct tr_want *want; /* [n_expert] */
	uint32_t max_copies;
	uint64_t hits, misses, bytes, copied_units, copied_bytes;
};

/* --- the plan --------------------------------------------------------------------------------- */

uint64_t tr_vram_layout(const struct tr_moe_layer *layer, uint64_t off[TR_N_PART])
{
	uint64_t end = 0;

	for (int p = 0; p < TR_N_PART; p++) {
		off[p] = end;
		end += TR_ALIGN_UP(layer->rows[p] * layer->row_bytes[p], (uint64_t)TR_VRAM_ALIGN);
	}
	return end;
}

static uint64_t slot_bytes(const struct tr_moe_layer *layer)
{
	uint64_t off[TR_N_PART];

	return tr_vram_layout(layer, off);
}

/* The class at i and the next larger one become one. */
static void merge(struct tr_vram_plan *p, size_t i)
{
	p->class[i + 1].n_layer += p->class[i].n_layer;
	memmove(&p->class[i], &p->class[i + 1], (--p->n_class - i) * sizeof(*p->class));
}

/* Makes room for one more: joins the neighbours that lose the fewest bytes by it. */
static void merge_cheapest(struct tr_vram_plan *p)
{
	uint64_t best = UINT64_MAX;
	size_t at = 0;

	for (size_t i = 0; i + 1 < p->n_class; i++) {
		uint64_t loss = (p->class[i + 1].slot_bytes - p->class[i].slot_bytes) *
			p->class[i].n_layer;

		if (loss < best) {
			best = loss;
			at = i;
		}
	}
	merge(p, at);
}

/* Ascending by size. */
static void add_layer(struct tr_vram_plan *p, uint64_t bytes)
{
	size_t i = 0;

	while (i < p->n_class && p->class[i].slot_bytes < bytes)
		i++;
	if (i < p->n_class && p->class[i].slot_bytes == bytes) {
		p->class[i].n_layer++;
		return;
	}
	if (p->n_class == TR_VRAM_MAX_CLASS) {
		merge_cheapest(p);
		add_layer(p, bytes);
		return;
	}
	memmove(&p->class[i + 1], &p->class[i], (p->n_class++ - i) * sizeof(*p->class));
	p->class[i] = (struct tr_vram_class){ bytes, 1, 0 };
}

static uint32_t n_unit_of(const struct tr_vram_class *c, const struct tr_catalog *catalog)
{
	return c->n_layer * catalog->n_expert;
}

static void give_slots(struct tr_vram_plan *p, struct tr_vram_class *c, uint32_t n)
{
	c->n_slot += n;
	p->n_slot += n;
	p->bytes += n * c->slot_bytes;
}

/* One slot after the other to the class that is filled least, as far as they go. */
static void deal_rest(struct tr_vram_plan *p, const struct tr_catalog *catalog, uint64_t bytes)
{
	struct tr_vram_class *c, *least;

	do {
		least = NULL;
		for (c = p->class; c < p->class + p->n_class; c++)
			if (c->n_slot < n_unit_of(c, catalog) && c->slot_bytes <= bytes - p->bytes &&
				(!least || (uint64_t)c->n_slot * least->n_layer <
						(uint64_t)least->n_slot * c->n_layer))
				least = c;
		if (least)
			give_slots(p, least, 1);
	} while (least);
}

void tr_vram_make_plan(struct tr_vram_plan *p, const struct tr_catalog *catalog, const bool *takes,
	uint64_t bytes)
{
	struct tr_vram_class *c;

	*p = (struct tr_vram_plan){ .room_bytes = bytes };
	for (size_t l = 0; l < catalog->n_moe_layer; l++)
		if (takes[l])
			add_layer(p, slot_bytes(&catalog->moe_layers[l]));
	for (c = p->class; c < p->class + p->n_class; c++)
		p->all_bytes += n_unit_of(c, catalog) * c->slot_bytes;
	for (c = p->class; c < p->class + p->n_class; c++) {
		double share = (double)bytes / (double)p->all_bytes * n_unit_of(c, catalog);

		give_slots(p, c, share < n_unit_of(c, catalog) ? (uint32_t)share :
								 n_unit_of(c, catalog));
	}
	deal_rest(p, catalog, bytes);
}

/* --- open and close --------------------------------------------------------------------------- */

/* The smallest class that the layer's units fit, if it has slots. */
static int find_class(const struct tr_vram *v, size_t layer)
{
	uint64_t bytes = slot_bytes(&v->cfg.catalog->moe_layers[layer]);
	size_t i = 0;

	if (!v->cfg.takes[layer])
		return -1;
	while (v->plan.class[i].slot_bytes < bytes)
		i++;
	return v->plan.class[i].n_slot ? (int)i : -1;
}

static int open_class(struct tr_vram *v, size_t i, struct tr_err *err)
{
	const struct tr_vram_class *c = &v->plan.class[i];
	double share = (double)c->n_slot * (double)c->slot_bytes / (double)v->plan.bytes;
	double n_copy = share * (double)v->cfg.token_bytes / (double)c->slot_bytes;
	struct tr_entries_cfg cfg = { .n_id = (uint32_t)v->cfg.catalog->n_unit,
		.n_slot = c->n_slot,
		.n_keep = c->n_slot,
		.n_layer_id = v->cfg.catalog->n_expert,
		.scan_ring = c->n_slot,
		.numa_node = -1,
		.policy = v->cfg.policy,
		.hot = v->cfg.hot,
		.n_hot = v->cfg.n_hot,
		.copy_cost = COPY_COST };
	int rc;

	if (v->cfg.token_bytes)
		cfg.n_promote = n_copy < c->n_slot ? TR_MAX((uint32_t)n_copy, 1u) : c->n_slot;
	v->max_copies += cfg.n_promote;
	rc = tr_entries_init(&v->entries[i], &cfg, err);
	v->open[i] = !rc;
	return rc && err ? tr_err_prefix(err, "VRAM tier") : rc;
}

/* As much as the DRAM cache can hold meanwhile. */
static void cut_token_bytes(struct tr_vram *v)
{
	uint64_t slot = v->plan.n_class ? v->plan.class[v->plan.n_class - 1].slot_bytes : 0;

	if (!v->cfg.all_in_place)
		v->cfg.token_bytes = TR_MIN(v->cfg.token_bytes,
			v->cfg.n_dram_slot / HOLD_SHARE * slot);
}

int tr_vram_new(struct tr_vram **out, const struct tr_vram_cfg *cfg, struct tr_err *err)
{
	struct tr_vram *v = tr_calloc(1, sizeof(*v));
	const struct tr_catalog *c = cfg->catalog;
	int rc = 0;

	if (!v)
		return tr_err_set(err, TR_E_NOMEM, "VRAM tier: out of memory");
	v->cfg = *cfg;
	v->plan = *cfg->plan;
	cut_token_bytes(v);
	v->class_of = tr_calloc(c->n_moe_layer, sizeof(*v->class_of));
	v->want = tr_calloc(c->n_expert, sizeof(*v->want));
	if (!v->class_of || !v->want)
		rc = tr_err_set(err, TR_E_NOMEM, "VRAM tier: out of memory");
	for (size_t l = 0; !rc && l < c->n_moe_layer; l++)
		v->class_of[l] = find_class(v, l);
	for (size_t i = 0; !rc && i < v->plan.n_class; i++)
		if (v->plan.class[i].n_slot)
			rc = open_class(v, i, err);
	if (rc) {
		tr_vram_free(v);
		return rc;
	}
	*out = v;
	return 0;
}

void tr_vram_free(struct tr_vram *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->plan.n_class; i++)
		if (v->open[i])
			tr_entries_fini(&v->entries[i]);
	free(v->class_of);
	free(v->want);
	free(v);
}

uint32_t tr_vram_max_copies(const struct tr_vram *v)
{
	return v->max_copies;
}

/* --- units ------------------------------------------------------------------------------------ */

static int class_of(const struct tr_vram *v, uint32_t id)
{
	return v->class_of[id / v->cfg.catalog->n_expert];
}

bool tr_vram_has(const struct tr_vram *v, uint32_t id)
{
	int c = class_of(v, id);

	return c >= 0 && v->entries[c].entry[id].state == TR_ENTRY_READY;
}

void tr_vram_where(const struct tr_vram *v, uint32_t id, size_t *class, uint32_t *slot)
{
	*class = (size_t)class_of(v, id);
	*slot = v->entries[*class].entry[id].slot;
	tr_assert(*slot != TR_NO_SLOT);
}

/* Nobody evicts while a set is in work, so its pins can go at once. */
void tr_vram_take(struct tr_vram *v, const uint32_t *ids, size_t n, bool scan)
{
	int c = n ? class_of(v, ids[0]) : -1;

	for (size_t i = 0; i < n; i++) {
		bool hit = tr_vram_has(v, ids[i]);

		v->hits += hit;
		v->misses += !hit;
		v->bytes += hit ? v->cfg.catalog->units[ids[i]].bytes : 0;
		v->want[i] = (struct tr_want){ ids[i], (uint32_t)i, true, TR_TAKEN_NONE };
	}
	if (c < 0)
		return;
	tr_order_take(&v->entries[c], v->want, n, scan ? TR_ORDER_SCAN : 0);
	for (size_t i = 0; i < n; i++)
		if (v->want[i].taken == TR_TAKEN_PIN)
			tr_entries_unpin(&v->entries[c], v->want[i].id);
}

uint32_t tr_vram_warm(struct tr_vram *v, uint32_t *ids)
{
	uint32_t n = 0, k;

	for (size_t c = 0; c < v->plan.n_class; c++) {
		uint32_t *mine = ids + n;

		if (!v->open[c])
			continue;
		k = 0;
		for (uint32_t i = 0; i < v->cfg.n_hot; i++)
			if (class_of(v, v->cfg.hot[i]) == (int)c)
				mine[k++] = v->cfg.hot[i];
		k = tr_order_warm(&v->entries[c], mine, k);
		for (uint32_t i = 0; i < k; i++)
			tr_entries_begin_load(&v->entries[c], mine[i]);
		n += k;
	}
	return n;
}

struct source {
	tr_vram_source_fn *of;
	void *ctx;
};

static bool has_source(void *ctx, uint32_t id)
{
	const struct source *s = ctx;

	return s->of(s->ctx, id) != TR_VRAM_NO_SOURCE;
}

/* Those from DRAM beyond what may be held go without. Returns how many are left. */
static uint32_t drop_unheld(struct tr_vram *v, struct source *source, uint32_t *ids, uint32_t n)
{
	uint32_t most = TR_MAX(v->cfg.n_dram_slot / HOLD_SHARE, 1u), n_dram = 0, k = 0;

	for (uint32_t i = 0; i < n; i++) {
		n_dram += source->of(source->ctx, ids[i]) == TR_VRAM_FROM_DRAM;
		if (n_dram > most && source->of(source->ctx, ids[i]) == TR_VRAM_FROM_DRAM)
			tr_vram_end_copy(v, ids[i], false);
		else
			ids[k++] = ids[i];
	}
	return k;
}

uint32_t tr_vram_tick(struct tr_vram *v, tr_vram_source_fn *source, void *ctx, uint32_t *ids)
{
	struct source from = { source, ctx };
	uint32_t n = 0, k;

	for (size_t c = 0; c < v->plan.n_class; c++) {
		struct tr_entries *t = &v->entries[c];

		if (!v->open[c])
			continue;
		tr_promote_filter(&t->promote, source ? has_source : NULL, &from);
		k = tr_order_tick(t, ids + n);
		for (uint32_t i = 0; i < k; i++)
			tr_entries_begin_load(t, ids[n + i]);
		n += k;
	}
	return drop_unheld(v, &from, ids, n);
}

void tr_vram_end_copy(struct tr_vram *v, uint32_t id, bool ok)
{
	v->copied_units += ok;
	v->copied_bytes += ok ? v->cfg.catalog->units[id].bytes : 0;
	tr_entries_end_load(&v->entries[class_of(v, id)], id, ok);
}

void tr_vram_counts(const struct tr_vram *v, struct tr_vram_counts *out)
{
	*out = (struct tr_vram_counts){ .hits = v->hits,
		.misses = v->misses,
		.bytes = v->bytes,
		.copied_units = v->copied_units,
		.copied_bytes = v->copied_bytes };
	for (size_t c = 0; c < v->plan.n_class; c++) {
		if (!v->open[c])
			continue;
		out->evictions += v->entries[c].n_entered[TR_ENTRY_EVICTING];
		out->used_bytes += tr_entries_n_resident(&v->entries[c]) *
			v->plan.class[c].slot_bytes;
	}
}

bool tr_vram_check(struct tr_vram *v, struct tr_err *err)
{
	for (size_t c = 0; c < v->plan.n_class; c++)
		if (v->open[c] && !tr_entries_check(&v->entries[c], err))
			return false;
	return true;
}
