/*
 * place.c - homes of units.
 *
 * A row is one expert number in all MoE layers. Whole rows go out first, each to the tier that it
 * leaves filled least (in proportion to its size), so that every layer gets the same number of
 * experts from every tier. Less than a row then fits anywhere; the ends of the tiers are filled one
 * tier after the other, layer by layer, until a unit does not fit: no layer is ever more than one
 * expert ahead of another.
 */
#include "cache/place.h"

#include "base/mem.h"

#include <stdlib.h>

__extension__ typedef unsigned __int128 wide;

/* A unit that no tier can ever hold. */
#define TOO_BIG UINT64_MAX

struct fill {
	uint64_t cap;
	uint64_t used;
	uint64_t align;
	uint64_t row_bytes;
};

struct plan {
	uint32_t *home;
	const struct tr_catalog *catalog;
	struct fill *fill;
	size_t n_tier;
};

static uint64_t extent_bytes(const struct fill *f, const struct tr_unit *u)
{
	return u->bytes > UINT64_MAX - f->align ? TOO_BIG : TR_ALIGN_UP(u->bytes, f->align);
}

static bool fits(const struct fill *f, uint64_t bytes)
{
	return bytes != TOO_BIG && bytes <= f->cap - f->used;
}

static size_t unit_at(const struct plan *p, size_t layer, size_t expert)
{
	return layer * p->catalog->n_expert + expert;
}

static uint64_t row_bytes(const struct plan *p, const struct fill *f, size_t expert)
{
	uint64_t sum = 0;

	for (size_t l = 0; l < p->catalog->n_moe_layer; l++)
		if (!tr_add_u64(sum, extent_bytes(f, &p->catalog->units[unit_at(p, l, expert)]),
			    &sum))
			return TOO_BIG;
	return sum;
}

/* a would be filled less than b, after the row. */
static bool emptier(const struct fill *a, const struct fill *b)
{
	return ((wide)a->used + a->row_bytes) * b->cap < ((wide)b->used + b->row_bytes) * a->cap;
}

/* The tier that takes the row, n_tier when none has room for all of it. */
static size_t tier_for_row(const struct plan *p, size_t expert)
{
	size_t best = p->n_tier;

	for (size_t t = 0; t < p->n_tier; t++) {
		struct fill *f = &p->fill[t];

		f->row_bytes = row_bytes(p, f, expert);
		if (fits(f, f->row_bytes) && (best == p->n_tier || emptier(f, &p->fill[best])))
			best = t;
	}
	return best;
}

/* Returns the first expert that was not placed. */
static size_t place_rows(struct plan *p)
{
	size_t expert, tier;

	for (expert = 0; expert < p->catalog->n_expert; expert++) {
		tier = tier_for_row(p, expert);
		if (tier == p->n_tier)
			break;
		p->fill[tier].used += p->fill[tier].row_bytes;
		for (size_t l = 0; l < p->catalog->n_moe_layer; l++)
			p->home[unit_at(p, l, expert)] = (uint32_t)tier;
	}
	return expert;
}

static void place_ends(struct plan *p, size_t expert)
{
	size_t tier = 0;

	for (; expert < p->catalog->n_expert; expert++) {
		for (size_t l = 0; l < p->catalog->n_moe_layer; l++) {
			size_t id = unit_at(p, l, expert);
			const struct tr_unit *u = &p->catalog->units[id];

			while (tier < p->n_tier &&
				!fits(&p->fill[tier], extent_bytes(&p->fill[tier], u)))
				tier++;
			if (tier == p->n_tier)
				return;
			p->fill[tier].used += extent_bytes(&p->fill[tier], u);
			p->home[id] = (uint32_t)tier;
		}
	}
}

int tr_place_plan(uint32_t *home, const struct tr_catalog *catalog,
	const struct tr_place_tier *tiers, size_t n_tier, struct tr_err *err)
{
	struct plan p = { .home = home, .catalog = catalog, .n_tier = n_tier };

	p.fill = tr_calloc(n_tier, sizeof(*p.fill));
	if (!p.fill)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a plan of %zu tiers", n_tier);
	for (size_t t = 0; t < n_tier; t++) {
		uint64_t align = TR_MAX(tiers[t].extent_align, (uint64_t)1);

		if (align & (align - 1)) {
			free(p.fill);
			return tr_err_set(err, TR_E_INVALID,
				"tier %zu: extent alignment %llu is not a power of two", t,
				(unsigned long long)align);
		}
		p.fill[t] = (struct fill){ .cap = tiers[t].cap_bytes, .align = align };
	}
	for (size_t id = 0; id < catalog->n_unit; id++)
		home[id] = TR_HOME_FILE;
	place_ends(&p, place_rows(&p));
	free(p.fill);
	return 0;
}

void tr_place_miss_cost(float *cost, const struct tr_catalog *catalog, const uint32_t *home,
	const struct tr_place_use *use)
{
	uint64_t max = catalog->unit_bytes_max;
	double most = tr_speed_time(&use->file, max) - tr_speed_time(&use->dram, max);

	for (size_t id = 0; id < catalog->n_unit; id++) {
		const struct tr_tier_speed *at =
			home[id] == TR_HOME_FILE ? &use->file : &use->tiers[home[id]].speed;
		uint64_t bytes = catalog->units[id].bytes;
		double more = tr_speed_time(at, bytes) - tr_speed_time(&use->dram, bytes);

		cost[id] = most > 0 ? (float)TR_MAX(more / most, 0.0) : 1;
	}
}
