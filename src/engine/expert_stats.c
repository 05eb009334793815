#include "engine/expert_stats.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static size_t find_tier(const struct tr_expert_stats *s, const char *name)
{
	size_t t = 0;

	while (t < s->n_tier && strcmp(s->tier[t].name, name) != 0)
		t++;
	return t;
}

int tr_expert_counter_new(struct tr_expert_counter **out, const struct tr_expert_stats *shape,
	const struct tr_catalog *catalog, bool in_place, struct tr_err *err)
{
	struct tr_expert_counter *c = tr_calloc(1, sizeof(*c));
	bool fits = catalog->n_expert < TR_TRACE_MAX_EXPERT &&
		catalog->n_moe_layer < TR_TRACE_MAX_LAYER;
	int rc;

	if (!c)
		return tr_err_set(err, TR_E_NOMEM, "expert statistics: out of memory");
	c->catalog = catalog;
	c->last_use = tr_calloc(catalog->n_unit, sizeof(*c->last_use));
	c->n_token = tr_calloc(catalog->n_moe_layer, sizeof(*c->n_token));
	rc = tr_expert_stats_new(&c->stats, shape, err);
	if (!rc && (!c->last_use || !c->n_token))
		rc = tr_err_set(err, TR_E_NOMEM, "expert statistics: out of memory");
	if (rc) {
		tr_expert_counter_free(c);
		return rc;
	}
	for (size_t i = 0; i < catalog->n_moe_layer; i++) {
		const struct tr_moe_layer *l = &catalog->moe_layers[i];

		c->stats->layer[i].layer = l->layer;
		c->stats->layer[i].unit_bytes = catalog->units[l->first_unit].bytes;
	}
	c->stats->has_mass = true;
	c->file_tier = find_tier(c->stats, "nvme");
	c->vram_tier = find_tier(c->stats, "vram");
	tr_route_log_init(&c->log, fits ? TR_ROUTE_LOG_BYTES : 0, in_place);
	*out = c;
	return 0;
}

void tr_expert_counter_free(struct tr_expert_counter *c)
{
	if (!c)
		return;
	tr_route_log_fini(&c->log);
	tr_expert_stats_free(c->stats);
	free(c->last_use);
	free(c->n_token);
	free(c);
}

void tr_expert_counter_routed(struct tr_expert_counter *c, uint32_t moe_layer,
	const uint32_t *ids, const float *weights, size_t n_tok, bool scan)
{
	struct tr_expert_stats *s = c->stats;
	uint32_t first = c->catalog->moe_layers[moe_layer].first_unit;
	uint64_t *uses = (scan ? s->prefill_uses : s->uses) + first;
	uint64_t token = scan ? 0 : ++c->n_token[moe_layer];
	size_t n = n_tok * c->catalog->n_used;

	for (size_t i = 0; i < n; i++) {
		uses[ids[i]]++;
		s->mass[first + ids[i]] += (double)weights[i];
	}
	for (size_t i = 0; token && i < n; i++) {
		tr_usage_note(&s->layer[moe_layer], token, c->last_use[first + ids[i]]);
		c->last_use[first + ids[i]] = token;
	}
	if (moe_layer)
		return;
	s->n_decode += !scan;
	s->n_prefill += scan ? n_tok : 0;
}

/* The tier that serves it: the file when it has to be read. */
static size_t serving_tier(const struct tr_expert_counter *c, const struct tr_handle *h)
{
	return h->state == TR_HANDLE_READY ? h->tier : c->file_tier;
}

void tr_expert_counter_in_vram(struct tr_expert_counter *c, uint32_t unit, bool scan)
{
	(scan ? c->stats->prefill_hits : c->stats->hits)[c->vram_tier][unit]++;
	c->served[c->vram_tier] += !scan;
}

void tr_expert_counter_acquired(struct tr_expert_counter *c, uint32_t moe_layer,
	const struct tr_handle *handles, size_t n, bool scan)
{
	struct tr_expert_stats *s = c->stats;
	uint64_t **hits = scan ? s->prefill_hits : s->hits;

	for (size_t i = 0; i < n; i++) {
		size_t t = serving_tier(c, &handles[i]);

		hits[t][handles[i].id]++;
		c->served[t] += !scan;
	}
	tr_route_log_add(&c->log, moe_layer, c->catalog->moe_layers[moe_layer].first_unit, handles,
		n, scan);
}

void tr_expert_counter_computed(struct tr_expert_counter *c, const struct tr_handle *handles,
	const uint32_t *ready, size_t n, uint64_t ns)
{
	bool in_work[TR_MAX_TIER] = { false };

	for (size_t i = 0; i < n; i++) {
		const struct tr_handle *h = &handles[ready[i]];

		c->lane[h->tier].bytes += c->catalog->units[h->id].bytes;
		in_work[h->tier] = true;
	}
	for (size_t t = 0; t < TR_MAX_TIER; t++)
		c->lane[t].busy_ns += in_work[t] ? ns : 0;
}

void tr_expert_counter_vram_computed(struct tr_expert_counter *c, uint64_t bytes, uint64_t ns)
{
	c->lane[c->vram_tier].bytes += bytes;
	c->lane[c->vram_tier].busy_ns += ns;
}
