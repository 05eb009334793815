/* stats_report.c - one file of statistics: tables for people, a line a layer as CSV, sums as JSON. */
#include "tools/stats.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The columns of every layer table before and behind those of the tiers. */
static const char *const head_front[] = { "layer", ">uses", ">prefill", ">touched", ">top 1%",
	">5%", ">25%", ">overlap" };
static const char *const head_back[] = { ">loads", ">evicted" };

#define N_FRONT (sizeof(head_front) / sizeof(head_front[0]))
#define N_BACK	(sizeof(head_back) / sizeof(head_back[0]))

double tr_stats_value(const struct tr_expert_stats *s, enum tr_stats_by by, size_t unit)
{
	switch (by) {
	case TR_STATS_USES:
		return (double)s->uses[unit];
	case TR_STATS_PREFILL:
		return (double)s->prefill_uses[unit];
	case TR_STATS_MASS:
		return s->mass[unit];
	case TR_STATS_LOADS:
		return (double)s->loads[unit];
	case TR_STATS_EVICTIONS:
		return (double)s->evictions[unit];
	case TR_N_STATS_BY:
		break;
	}
	return 0;
}

static void add_percent(struct tr_table *t, double v)
{
	if (v < 0)
		tr_table_add(t, "-");
	else
		tr_table_add(t, "%.1f%%", 100 * v);
}

/* --- tables ----------------------------------------------------------------------------------- */

static void print_head(const struct tr_stats_file *file, FILE *out)
{
	const struct tr_expert_stats *s = file->stats;

	fprintf(out, "%s: %s%s%" PRIu32 " layers of %" PRIu32 " experts", file->path, s->model,
		*s->model ? ", " : "", s->n_moe_layer, s->n_expert);
	if (s->n_used)
		fprintf(out, ", %" PRIu32 " used", s->n_used);
	fprintf(out, "; %" PRIu64 " tokens of prefill, %" PRIu64 " decoded\n", s->n_prefill,
		s->n_decode);
}

static void print_run(const struct tr_stats_file *file, FILE *out)
{
	struct tr_report r = { 0 };

	if (!file->stats->n_tier)
		return;
	if (file->run)
		tr_report_read_run(file->run, &r);
	r.stats.n_tier = file->stats->n_tier;
	memcpy(r.stats.tier, file->stats->tier, sizeof(r.stats.tier));
	fputc('\n', out);
	tr_report_print_quality(&r, out);
}

static void add_layer(struct tr_table *t, const struct tr_expert_stats *s, uint32_t l)
{
	struct tr_expert_summary sum;

	tr_expert_stats_sum(s, l, &sum);
	if (l < s->n_moe_layer)
		tr_table_add(t, "%" PRIu32, s->layer[l].layer);
	else
		tr_table_add(t, "all");
	tr_table_add(t, "%" PRIu64, sum.uses);
	tr_table_add(t, "%" PRIu64, sum.prefill_uses);
	tr_table_add(t, "%" PRIu32, sum.n_touched);
	for (int i = 0; i < 3; i++)
		add_percent(t, sum.skew[i]);
	add_percent(t, sum.overlap);
	if (!s->n_tier)
		return;
	for (size_t i = 0; i < s->n_tier; i++)
		add_percent(t, sum.hit_rate[i]);
	tr_table_add(t, "%" PRIu64, sum.loads);
	tr_table_add(t, "%" PRIu64, sum.evictions);
}

static void print_layers(const struct tr_expert_stats *s, FILE *out)
{
	char name[TR_MAX_TIER][sizeof(s->tier[0].name) + 1];
	const char *head[N_FRONT + TR_MAX_TIER + N_BACK];
	size_t n = N_FRONT;
	struct tr_table t;

	memcpy(head, head_front, sizeof(head_front));
	for (size_t i = 0; i < s->n_tier; i++) {
		snprintf(name[i], sizeof(name[i]), ">%s", s->tier[i].name);
		head[n++] = name[i];
	}
	if (s->n_tier) {
		memcpy(head + n, head_back, sizeof(head_back));
		n += N_BACK;
	}
	fputs("\nby layer; uses by decoding, the share of the hottest experts, of experts that the "
	      "token\nbefore used, and of uses that each tier served\n",
		out);
	tr_table_init(&t, head, n);
	for (uint32_t l = 0; l <= s->n_moe_layer; l++)
		add_layer(&t, s, l);
	tr_table_print(&t, out, "");
	tr_table_fini(&t);
}

static void bucket_name(size_t b, char *buf, size_t cap)
{
	uint64_t last = (uint64_t)1 << b, first = b ? last / 2 + 1 : 1;

	if (b + 1 == TR_N_REUSE)
		snprintf(buf, cap, "more");
	else if (first == last)
		snprintf(buf, cap, "%" PRIu64, last);
	else
		snprintf(buf, cap, "%" PRIu64 "-%" PRIu64, first, last);
}

static void print_reuse(const struct tr_expert_stats *s, FILE *out)
{
	static const char *const head[] = { "tokens ago", ">uses", ">share", ">so far" };
	struct tr_expert_summary sum;
	struct tr_table t;
	uint64_t so_far = 0;
	size_t n = TR_N_REUSE;
	char name[48];

	tr_expert_stats_sum(s, s->n_moe_layer, &sum);
	while (n && !sum.reuse[n - 1])
		n--;
	if (!n)
		return;
	fputs("\nwhen an expert was used before\n", out);
	tr_table_init(&t, head, sizeof(head) / sizeof(head[0]));
	for (size_t b = 0; b <= n; b++) {
		uint64_t uses = b < n ? sum.reuse[b] : sum.first;

		so_far += uses;
		bucket_name(b, name, sizeof(name));
		tr_table_add(&t, "%s", b < n ? name : "never");
		tr_table_add(&t, "%" PRIu64, uses);
		add_percent(&t, (double)uses / (double)sum.uses);
		add_percent(&t, (double)so_far / (double)sum.uses);
	}
	tr_table_print(&t, out, "");
	tr_table_fini(&t);
}

/* --- single experts --------------------------------------------------------------------------- */

struct rank {
	double value;
	size_t unit;
};

static int by_value(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->value < y->value || x->value > y->value)
		return x->value > y->value ? -1 : 1;
	return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* The caller frees. *n becomes at most the number of experts with a value. */
static struct rank *rank_experts(const struct tr_expert_stats *s, const struct tr_stats_args *a,
	size_t *n)
{
	size_t n_unit = (size_t)s->n_moe_layer * s->n_expert;
	struct rank *rank = tr_tool_calloc(n_unit, sizeof(*rank));

	for (size_t i = 0; i < n_unit; i++)
		rank[i] = (struct rank){ tr_stats_value(s, a->by, i), i };
	qsort(rank, n_unit, sizeof(*rank), by_value);
	for (*n = 0; *n < a->n_top && *n < n_unit && rank[*n].value > 0; ++*n)
		;
	return rank;
}

static void print_top(const struct tr_expert_stats *s, const struct tr_stats_args *a, FILE *out)
{
	static const char *const head[] = { "layer", ">expert", ">uses", ">prefill", ">mass",
		">loads", ">evicted", ">loaded" };
	struct tr_table t;
	size_t n;
	struct rank *rank = rank_experts(s, a, &n);

	if (n)
		fprintf(out, "\nexperts with the most %s\n", tr_stats_by_names[a->by]);
	tr_table_init(&t, head, sizeof(head) / sizeof(head[0]));
	for (size_t i = 0; i < n; i++) {
		size_t unit = rank[i].unit, l = unit / s->n_expert;

		tr_table_add(&t, "%" PRIu32, s->layer[l].layer);
		tr_table_add(&t, "%zu", unit % s->n_expert);
		tr_table_add(&t, "%" PRIu64, s->uses[unit]);
		tr_table_add(&t, "%" PRIu64, s->prefill_uses[unit]);
		if (s->has_mass)
			tr_table_add(&t, "%.2f", s->mass[unit]);
		else
			tr_table_add(&t, "-");
		tr_table_add(&t, "%" PRIu64, s->loads[unit]);
		tr_table_add(&t, "%" PRIu64, s->evictions[unit]);
		tr_table_add_bytes(&t, s->loads[unit] * s->layer[l].unit_bytes);
	}
	if (n)
		tr_table_print(&t, out, "");
	tr_table_fini(&t);
	free(rank);
}

void tr_stats_print(const struct tr_stats_file *file, const struct tr_stats_args *args, FILE *out)
{
	print_head(file, out);
	print_run(file, out);
	print_layers(file->stats, out);
	print_reuse(file->stats, out);
	print_top(file->stats, args, out);
}

/* --- CSV and JSON ----------------------------------------------------------------------------- */

static void print_share(double v, FILE *out)
{
	if (v < 0)
		fputc(',', out);
	else
		fprintf(out, ",%.6f", v);
}

void tr_stats_print_layers_csv(const struct tr_expert_stats *s, FILE *out)
{
	fputs("layer,uses,prefill_uses,mass,touched,top_1,top_5,top_25,overlap,first_uses", out);
	for (size_t b = 0; b < TR_N_REUSE; b++)
		fprintf(out, ",reuse_%zu", b);
	tr_stats_csv_tiers("hit_rate", s, out);
	fputs(",loads,evictions,load_bytes\n", out);
	for (uint32_t l = 0; l < s->n_moe_layer; l++) {
		struct tr_expert_summary sum;

		tr_expert_stats_sum(s, l, &sum);
		fprintf(out, "%" PRIu32 ",%" PRIu64 ",%" PRIu64 ",%.6f,%" PRIu32, s->layer[l].layer,
			sum.uses, sum.prefill_uses, sum.mass, sum.n_touched);
		for (int i = 0; i < 3; i++)
			print_share(sum.skew[i], out);
		print_share(sum.overlap, out);
		fprintf(out, ",%" PRIu64, sum.first);
		for (size_t b = 0; b < TR_N_REUSE; b++)
			fprintf(out, ",%" PRIu64, sum.reuse[b]);
		for (size_t t = 0; t < s->n_tier; t++)
			print_share(sum.hit_rate[t], out);
		fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", sum.loads, sum.evictions,
			sum.load_bytes);
	}
}

static json_t *share_json(double v)
{
	return v < 0 ? json_null() : json_real(v);
}

static json_t *sum_json(const struct tr_expert_stats *s, uint32_t l)
{
	struct tr_expert_summary sum;
	json_t *hits = json_object(), *reuse = json_array();

	tr_expert_stats_sum(s, l, &sum);
	for (size_t t = 0; t < s->n_tier; t++)
		json_object_set_new(hits, s->tier[t].name, share_json(sum.hit_rate[t]));
	for (size_t b = 0; b < TR_N_REUSE; b++)
		json_array_append_new(reuse, json_integer((json_int_t)sum.reuse[b]));
	return json_pack("{s:o, s:I, s:I, s:f, s:I, s:[o, o, o], s:o, s:I, s:o, s:o, s:I, s:I, s:I}",
		"layer", l < s->n_moe_layer ? json_integer(s->layer[l].layer) : json_null(), "uses",
		(json_int_t)sum.uses, "prefill_uses", (json_int_t)sum.prefill_uses, "mass",
		sum.mass, "touched", (json_int_t)sum.n_touched, "skew", share_json(sum.skew[0]),
		share_json(sum.skew[1]), share_json(sum.skew[2]), "overlap",
		share_json(sum.overlap), "first_uses", (json_int_t)sum.first, "reuse", reuse,
		"hit_rate", hits, "loads", (json_int_t)sum.loads, "evictions",
		(json_int_t)sum.evictions, "load_bytes", (json_int_t)sum.load_bytes);
}

static json_t *top_json(const struct tr_expert_stats *s, const struct tr_stats_args *a)
{
	json_t *top = json_array();
	size_t n;
	struct rank *rank = rank_experts(s, a, &n);

	for (size_t i = 0; i < n; i++) {
		size_t unit = rank[i].unit;

		json_array_append_new(top,
			json_pack("{s:I, s:I, s:I, s:I, s:f, s:I, s:I}", "layer",
				(json_int_t)s->layer[unit / s->n_expert].layer, "expert",
				(json_int_t)(unit % s->n_expert), "uses", (json_int_t)s->uses[unit],
				"prefill_uses", (json_int_t)s->prefill_uses[unit], "mass",
				s->mass[unit], "loads", (json_int_t)s->loads[unit], "evictions",
				(json_int_t)s->evictions[unit]));
	}
	free(rank);
	return top;
}

json_t *tr_stats_summary_json(const struct tr_stats_file *file, const struct tr_stats_args *args)
{
	const struct tr_expert_stats *s = file->stats;
	json_t *layers = json_array(), *tiers = json_array();

	for (uint32_t l = 0; l < s->n_moe_layer; l++)
		json_array_append_new(layers, sum_json(s, l));
	for (size_t t = 0; t < s->n_tier; t++)
		json_array_append_new(tiers, tr_report_json_tier(&s->tier[t]));
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:{s:I, s:I}, s:O*, s:o, s:o, s:o, s:o}", "file",
		tr_json_text(file->path, strlen(file->path)), "model",
		tr_json_text(s->model, strlen(s->model)), "n_moe_layer",
		(json_int_t)s->n_moe_layer, "n_expert", (json_int_t)s->n_expert, "n_expert_used",
		(json_int_t)s->n_used, "tokens", "prefill", (json_int_t)s->n_prefill, "decode",
		(json_int_t)s->n_decode, "run", file->run, "tiers", tiers, "all",
		sum_json(s, s->n_moe_layer), "layers", layers, "top", top_json(s, args));
}
