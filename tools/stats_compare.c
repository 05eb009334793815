/* stats_compare.c - two files of statistics beside each other, layer by layer. */
#include "tools/stats.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int tr_stats_compare(struct tr_stats_comparison *c, const struct tr_stats_file *a,
	const struct tr_stats_file *b, struct tr_err *err)
{
	uint32_t n = a->stats->n_moe_layer;
	int rc = 0;

	*c = (struct tr_stats_comparison){ a, b, tr_tool_calloc(n + 1, sizeof(*c->likeness)) };
	for (uint32_t l = 0; !rc && l <= n; l++)
		rc = tr_expert_stats_compare(a->stats, b->stats, l, &c->likeness[l], err);
	return rc;
}

void tr_stats_comparison_fini(struct tr_stats_comparison *c)
{
	free(c->likeness);
	c->likeness = NULL;
}

/* Tiers that both have, as indices of a's. Returns how many. */
static size_t common_tiers(const struct tr_stats_comparison *c, size_t tier[TR_MAX_TIER])
{
	size_t n = 0;

	for (size_t t = 0; t < c->a->stats->n_tier; t++)
		if (!isnan(c->likeness[0].hit_rate[t]))
			tier[n++] = t;
	return n;
}

static void add_line(struct tr_table *table, const struct tr_stats_comparison *c, uint32_t l,
	const size_t *tier, size_t n_tier)
{
	const struct tr_expert_stats *a = c->a->stats;
	const struct tr_expert_likeness *k = &c->likeness[l];

	if (l < a->n_moe_layer)
		tr_table_add(table, "%" PRIu32, a->layer[l].layer);
	else
		tr_table_add(table, "all");
	for (int i = 0; i < 3; i++)
		tr_table_add(table, "%.1f%%", 100 * k->overlap[i]);
	tr_table_add(table, "%.3f", k->distance);
	for (size_t t = 0; t < n_tier; t++)
		tr_table_add(table, "%+.1f", 100 * k->hit_rate[tier[t]]);
}

void tr_stats_print_comparison(const struct tr_stats_comparison *c, FILE *out)
{
	const char *head[5 + TR_MAX_TIER] = { "layer", ">top 1%", ">5%", ">25%", ">distance" };
	char name[TR_MAX_TIER][sizeof(c->a->stats->tier[0].name) + 1];
	size_t tier[TR_MAX_TIER], n = common_tiers(c, tier);
	struct tr_table t;

	for (size_t i = 0; i < n; i++) {
		snprintf(name[i], sizeof(name[i]), ">%s", c->a->stats->tier[tier[i]].name);
		head[5 + i] = name[i];
	}
	fprintf(out, "%s, then %s: hot experts in common, distance of the shares of use (0 the same, "
		"1 disjoint)%s\n",
		c->a->path, c->b->path, n ? ", points of hit rate gained" : "");
	tr_table_init(&t, head, 5 + n);
	for (uint32_t l = 0; l <= c->a->stats->n_moe_layer; l++)
		add_line(&t, c, l, tier, n);
	tr_table_print(&t, out, "");
	tr_table_fini(&t);
}

void tr_stats_print_comparison_csv(const struct tr_stats_comparison *c, FILE *out)
{
	size_t tier[TR_MAX_TIER], n = common_tiers(c, tier);

	fputs("layer,top_1,top_5,top_25,distance", out);
	for (size_t i = 0; i < n; i++) {
		fputc(',', out);
		tr_csv_text(c->a->stats->tier[tier[i]].name, out);
	}
	fputc('\n', out);
	for (uint32_t l = 0; l < c->a->stats->n_moe_layer; l++) {
		const struct tr_expert_likeness *k = &c->likeness[l];

		fprintf(out, "%" PRIu32 ",%.6f,%.6f,%.6f,%.6f", c->a->stats->layer[l].layer,
			k->overlap[0], k->overlap[1], k->overlap[2], k->distance);
		for (size_t i = 0; i < n; i++)
			fprintf(out, ",%.6f", k->hit_rate[tier[i]]);
		fputc('\n', out);
	}
}

static json_t *likeness_json(const struct tr_stats_comparison *c, uint32_t l, const size_t *tier,
	size_t n_tier)
{
	const struct tr_expert_stats *a = c->a->stats;
	const struct tr_expert_likeness *k = &c->likeness[l];
	json_t *hits = json_object();

	for (size_t t = 0; t < n_tier; t++)
		json_object_set_new(hits, a->tier[tier[t]].name,
			json_real(k->hit_rate[tier[t]]));
	return json_pack("{s:o, s:[f, f, f], s:f, s:o}", "layer",
		l < a->n_moe_layer ? json_integer(a->layer[l].layer) : json_null(), "overlap",
		k->overlap[0], k->overlap[1], k->overlap[2], "distance", k->distance,
		"hit_rate_gain", hits);
}

json_t *tr_stats_comparison_json(const struct tr_stats_comparison *c)
{
	size_t tier[TR_MAX_TIER], n = common_tiers(c, tier);
	uint32_t n_layer = c->a->stats->n_moe_layer;
	json_t *layers = json_array();

	for (uint32_t l = 0; l < n_layer; l++)
		json_array_append_new(layers, likeness_json(c, l, tier, n));
	return json_pack("{s:[o, o], s:o, s:o}", "files",
		tr_json_text(c->a->path, strlen(c->a->path)),
		tr_json_text(c->b->path, strlen(c->b->path)), "all",
		likeness_json(c, n_layer, tier, n), "layers", layers);
}
