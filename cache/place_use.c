/*
 * place_use.c - deals the units of a layer to its lanes by how often they are used.
 *
 * A lane has a number of places and a time for one use, so its expected time is (sum of the rates of its
 * units) x (time of a use): all units of a layer have the same size. Where the lanes are filled fastest
 * first with the most used units, exchanges follow: from the lane that ends last, the unit for which
 * another lane gives back one that is used less, so that the later of both ends earliest. Each exchange
 * makes the slowest lane faster or they end; so do at most n_expert of them.
 *
 * Exact deals are a partition problem, which is NP-hard. Against trying everything, on layers of eight
 * experts in four lanes, four of five deals are the best and the others 5% slower on average, 29% at
 * worst (tests/t_place.c); with more experts to choose from exchanges are finer.
 */
#include "base/mem.h"
#include "cache/place.h"

#include <stdlib.h>
#include <string.h>

struct lane {
	uint32_t home;
	uint32_t n; /* places */
	double use_s;
	double sum; /* of the rates of its units */
};

struct ranked {
	float rate;
	uint32_t expert;
};

struct deal {
	const struct tr_catalog *catalog;
	const struct tr_place_use *use;
	const float *rate; /* [n_expert] of the layer */
	struct lane *lanes; /* DRAM, persistent memories, file */
	size_t n_lane;
	struct ranked *order; /* [n_expert] the most used first */
	uint32_t *lane_of; /* [n_expert] */
};

static int by_rate(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->rate != y->rate)
		return x->rate > y->rate ? -1 : 1;
	return (x->expert > y->expert) - (x->expert < y->expert);
}

static void begin_layer(struct deal *d, size_t layer)
{
	uint32_t n = d->catalog->n_expert;

	d->rate = d->use->rate + layer * n;
	for (uint32_t e = 0; e < n; e++)
		d->order[e] = (struct ranked){ d->rate[e], e };
	qsort(d->order, n, sizeof(*d->order), by_rate);
}

static double lane_s(const struct lane *l)
{
	return l->sum * l->use_s;
}

/* Places of the layer's lanes, as many as home[] gives each tier; DRAM takes its share of the file's. */
static void open_lanes(struct deal *d, const uint32_t *home, size_t layer)
{
	const struct tr_place_use *u = d->use;
	uint64_t bytes = d->catalog->units[layer * d->catalog->n_expert].bytes;
	struct lane *file = &d->lanes[u->n_tier + 1];
	size_t n_layer = d->catalog->n_moe_layer;

	for (size_t t = 0; t < u->n_tier; t++)
		d->lanes[1 + t] = (struct lane){ .home = (uint32_t)t,
			.use_s = tr_speed_time(&u->tiers[t].speed, bytes) };
	d->lanes[0] = (struct lane){ TR_HOME_FILE, 0, tr_speed_time(&u->dram, bytes), 0 };
	*file = (struct lane){ TR_HOME_FILE, 0, tr_speed_time(&u->file, bytes), 0 };
	for (uint32_t e = 0; e < d->catalog->n_expert; e++)
		d->lanes[home[e] == TR_HOME_FILE ? u->n_tier + 1 : 1 + home[e]].n++;
	d->lanes[0].n = (uint32_t)TR_MIN(u->n_dram / n_layer + (layer < u->n_dram % n_layer), file->n);
	file->n -= d->lanes[0].n;
}

/* As the homes are, the most used of those in the file in DRAM. */
static void deal_as_is(struct deal *d, const uint32_t *home)
{
	uint32_t n_dram = d->lanes[0].n;

	for (uint32_t i = 0; i < d->catalog->n_expert; i++) {
		uint32_t e = d->order[i].expert;

		d->lane_of[e] = home[e] != TR_HOME_FILE ? 1 + home[e] :
			n_dram				? 0 :
							  (uint32_t)d->n_lane - 1;
		n_dram -= home[e] == TR_HOME_FILE && n_dram;
		d->lanes[d->lane_of[e]].sum += d->rate[e];
	}
}

/* The lane for the next unit: with room, then fastest, then the one that would end first. */
static size_t pick_lane(const struct deal *d, const uint32_t *n_left)
{
	size_t best = d->n_lane;

	for (size_t l = 0; l < d->n_lane; l++) {
		const struct lane *a = &d->lanes[l], *b = &d->lanes[best];

		if (n_left[l] && (best == d->n_lane || a->use_s < b->use_s ||
					 (a->use_s == b->use_s && a->sum < b->sum)))
			best = l;
	}
	return best;
}

static void deal_fastest_first(struct deal *d, uint32_t *n_left)
{
	for (size_t l = 0; l < d->n_lane; l++) {
		n_left[l] = d->lanes[l].n;
		d->lanes[l].sum = 0;
	}
	for (uint32_t i = 0; i < d->catalog->n_expert; i++) {
		uint32_t e = d->order[i].expert;
		size_t l = pick_lane(d, n_left);

		n_left[l]--;
		d->lane_of[e] = (uint32_t)l;
		d->lanes[l].sum += d->rate[e];
	}
}

static double finish(const struct deal *d)
{
	double most = 0;

	for (size_t l = 0; l < d->n_lane; l++)
		most = TR_MAX(most, lane_s(&d->lanes[l]));
	return most;
}

static size_t slowest(const struct deal *d)
{
	size_t slow = 0;

	for (size_t l = 1; l < d->n_lane; l++)
		if (lane_s(&d->lanes[l]) > lane_s(&d->lanes[slow]))
			slow = l;
	return slow;
}

/* The best exchange of a unit of the slowest lane with one of another; false when none helps. */
static bool exchange(struct deal *d)
{
	size_t slow = slowest(d);
	double best = lane_s(&d->lanes[slow]) * (1 - 1e-9), from, to;
	uint32_t n = d->catalog->n_expert, give = n, get = n;

	for (uint32_t a = 0; a < n; a++) {
		for (uint32_t b = 0; d->lane_of[a] == slow && b < n; b++) {
			const struct lane *other = &d->lanes[d->lane_of[b]];
			double less = (double)d->rate[a] - d->rate[b];

			if (d->lane_of[b] == slow || less <= 0)
				continue;
			from = (d->lanes[slow].sum - less) * d->lanes[slow].use_s;
			to = (other->sum + less) * other->use_s;
			if (TR_MAX(from, to) >= best)
				continue;
			best = TR_MAX(from, to);
			give = a;
			get = b;
		}
	}
	if (give == n)
		return false;
	d->lanes[slow].sum -= (double)d->rate[give] - d->rate[get];
	d->lanes[d->lane_of[get]].sum += (double)d->rate[give] - d->rate[get];
	d->lane_of[give] = d->lane_of[get];
	d->lane_of[get] = (uint32_t)slow;
	return true;
}

/* Time of the slowest lane when the homes are these. Leaves the lanes so. */
static double finish_as_is(struct deal *d, const uint32_t *home, size_t layer)
{
	open_lanes(d, home, layer);
	deal_as_is(d, home);
	return finish(d);
}

/* The homes change only for the better as finish_as_is sees it: whatever the deal had in mind, it is the
 * most used of the file that will be in DRAM. */
static void deal_layer(struct deal *d, uint32_t *home, size_t layer, uint32_t *scratch)
{
	uint32_t n = d->catalog->n_expert;
	double before = finish_as_is(d, home, layer);

	deal_fastest_first(d, scratch);
	for (uint32_t i = 0; i < n && exchange(d); i++)
		;
	for (uint32_t e = 0; e < n; e++)
		scratch[e] = d->lanes[d->lane_of[e]].home;
	if (finish_as_is(d, scratch, layer) < before * (1 - 1e-6))
		memcpy(home, scratch, n * sizeof(*home));
}

/* --- calls ------------------------------------------------------------------------------------ */

static int deal_init(struct deal *d, const struct tr_catalog *c, const struct tr_place_use *use)
{
	*d = (struct deal){ .catalog = c, .use = use, .n_lane = use->n_tier + 2 };
	d->lanes = tr_calloc(d->n_lane, sizeof(*d->lanes));
	d->order = tr_calloc(c->n_expert, sizeof(*d->order));
	d->lane_of = tr_calloc(c->n_expert, sizeof(*d->lane_of));
	return d->lanes && d->order && d->lane_of ? 0 : TR_E_NOMEM;
}

static void deal_fini(struct deal *d)
{
	free(d->lanes);
	free(d->order);
	free(d->lane_of);
}

int tr_place_by_use(uint32_t *home, const struct tr_catalog *c, const struct tr_place_use *use,
	struct tr_err *err)
{
	uint32_t *scratch = tr_calloc(c->n_expert + use->n_tier + 2, sizeof(*scratch));
	struct deal d;
	int rc = deal_init(&d, c, use);

	if (rc || !scratch)
		rc = tr_err_set(err, TR_E_NOMEM, "no memory for a plan of %zu experts", c->n_unit);
	for (size_t l = 0; !rc && l < c->n_moe_layer; l++) {
		begin_layer(&d, l);
		deal_layer(&d, home + l * c->n_expert, l, scratch);
	}
	deal_fini(&d);
	free(scratch);
	return rc;
}

double tr_place_finish(const uint32_t *home, const struct tr_catalog *c,
	const struct tr_place_use *use, size_t layer)
{
	struct deal d;
	double s = -1;

	if (!deal_init(&d, c, use)) {
		begin_layer(&d, layer);
		s = finish_as_is(&d, home + layer * c->n_expert, layer);
	}
	deal_fini(&d);
	return s;
}
