/* simulate_report.c - rows in; table, curves, CSV or JSON out. */
#include "tools/report.h"
#include "tools/simulate.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

double tr_simulate_hit_rate(const struct tr_simulate_row *r)
{
	return r->stats.n_request ? (double)r->stats.n_hit / (double)r->stats.n_request : -1;
}

double tr_simulate_share(const struct tr_simulate_row *r)
{
	return r->optimum ? (double)r->stats.n_hit / (double)r->optimum : -1;
}

static void add_share(struct tr_table *t, double v)
{
	if (v < 0)
		tr_table_add(t, "-");
	else
		tr_table_add(t, "%.2f%%", 100 * v);
}

static void add_predictor(struct tr_table *t, const struct tr_predictor_stats *p)
{
	add_share(t, p->visits ? p->recall : -1);
	add_share(t, p->visits ? p->recall_wide : -1);
	add_share(t, p->visits ? p->precision : -1);
	tr_table_add(t, "%.4f", p->brier);
}

static void add_vram(struct tr_table *t, const struct tr_replay_vram_stats *v)
{
	uint64_t n = v->n_hit + v->n_miss;

	tr_table_add(t, "%" PRIu64, v->capacity);
	tr_table_add(t, "%" PRIu64, v->n_hit);
	add_share(t, n ? (double)v->n_hit / (double)n : -1);
	tr_table_add(t, "%" PRIu64, v->n_copied);
}

void tr_simulate_print_table(const struct tr_simulate_rows *rows, FILE *out)
{
	static const char *const predicted[] = { ">recall@k", ">@1.5k", ">precision", ">Brier" };
	static const char *const vram[] = { ">in vram", ">vram hits", ">vram hit", ">copied" };
	enum { N_ALWAYS = 9, N_MORE = 4 };
	const char *head[N_ALWAYS + 2 * N_MORE + 1] = { "policy", ">cache", ">experts", ">requests",
		">hits", ">hit", ">of Belady", ">read", ">evicted" };
	size_t n_column = N_ALWAYS;
	struct tr_table t;

	for (size_t i = 0; rows->vram && i < N_MORE; i++)
		head[n_column++] = vram[i];
	for (size_t i = 0; rows->predicted && i < N_MORE; i++)
		head[n_column++] = predicted[i];
	if (rows->n_trace > 1)
		head[n_column++] = "trace";
	tr_table_init(&t, head, n_column);
	for (size_t i = 0; i < rows->n; i++) {
		const struct tr_simulate_row *r = &rows->row[i];

		tr_table_add(&t, "%s", r->policy);
		tr_table_add(&t, "%s", r->cache);
		tr_table_add(&t, "%" PRIu64, r->stats.capacity);
		tr_table_add(&t, "%" PRIu64, r->stats.n_request);
		tr_table_add(&t, "%" PRIu64, r->stats.n_hit);
		add_share(&t, tr_simulate_hit_rate(r));
		add_share(&t, tr_simulate_share(r));
		if (r->stats.bytes || r->stats.n_hit == r->stats.n_request)
			tr_table_add_bytes(&t, r->stats.bytes);
		else
			tr_table_add(&t, "-");
		tr_table_add(&t, "%" PRIu64, r->stats.n_evict);
		if (rows->vram)
			add_vram(&t, &r->stats.vram);
		if (rows->predicted)
			add_predictor(&t, &r->stats.predictor);
		if (rows->n_trace > 1)
			tr_table_add(&t, "%s", r->trace);
	}
	tr_table_print(&t, out, "");
	tr_table_fini(&t);
}

/* --- curves ----------------------------------------------------------------------------------- */

static void print_curve_head(const struct tr_simulate_rows *rows, FILE *out)
{
	fprintf(out, "%8s %9s", "cache", "experts");
	for (size_t p = 0; p < rows->n_policy; p++)
		fprintf(out, " %11s", rows->row[p].policy);
	fprintf(out, " %11s\n", "(Belady)");
}

static void print_curve_line(const struct tr_simulate_rows *rows, size_t at, FILE *out)
{
	const struct tr_simulate_row *r = &rows->row[at];

	fprintf(out, "%8s %9" PRIu64, r->cache, r->stats.capacity);
	for (size_t p = 0; p < rows->n_policy; p++)
		fprintf(out, " %11.4f", 1 - tr_simulate_hit_rate(&r[p]));
	fprintf(out, " %11.4f\n", 1 - (double)r->optimum / (double)r->stats.n_request);
}

void tr_simulate_print_curves(const struct tr_simulate_rows *rows, FILE *out)
{
	for (size_t i = 0; i < rows->n; i += rows->n_policy) {
		bool is_first = !i || rows->row[i].trace != rows->row[i - 1].trace;

		if (is_first && rows->n_trace > 1)
			fprintf(out, "%s%s\n", i ? "\n" : "", rows->row[i].trace);
		if (is_first)
			print_curve_head(rows, out);
		print_curve_line(rows, i, out);
	}
}

/* --- CSV and JSON ----------------------------------------------------------------------------- */

static void print_number(double v, FILE *out)
{
	if (v >= 0)
		fprintf(out, ",%.6f", v);
	else
		fputc(',', out);
}

static void print_predictor(const struct tr_predictor_stats *p, FILE *out)
{
	const double values[] = { p->recall, p->recall_wide, p->precision, p->brier };

	fputc(',', out);
	tr_csv_text(p->name, out);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		print_number(p->visits ? values[i] : -1, out);
}

static void print_vram(const struct tr_replay_vram_stats *v, FILE *out)
{
	fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, v->capacity,
		v->n_hit, v->n_miss, v->n_copied, v->n_evict);
}

void tr_simulate_print_csv(const struct tr_simulate_rows *rows, FILE *out)
{
	fputs("trace,policy,cache,capacity_experts,requests,hits,hit_rate,share_of_belady,"
	      "belady_hits,bytes,evictions",
		out);
	if (rows->vram)
		fputs(",vram_experts,vram_hits,vram_misses,vram_copies,vram_evictions", out);
	fputs(rows->predicted ? ",predictor,recall,recall_wide,precision,brier\n" : "\n", out);
	for (size_t i = 0; i < rows->n; i++) {
		const struct tr_simulate_row *r = &rows->row[i];

		tr_csv_text(r->trace, out);
		fputc(',', out);
		tr_csv_text(r->policy, out);
		fputc(',', out);
		tr_csv_text(r->cache, out);
		fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, r->stats.capacity,
			r->stats.n_request, r->stats.n_hit);
		print_number(tr_simulate_hit_rate(r), out);
		print_number(tr_simulate_share(r), out);
		fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, r->optimum, r->stats.bytes,
			r->stats.n_evict);
		if (rows->vram)
			print_vram(&r->stats.vram, out);
		if (rows->predicted)
			print_predictor(&r->stats.predictor, out);
		fputc('\n', out);
	}
}

static json_t *number_or_null(double v)
{
	return v < 0 ? json_null() : json_real(v);
}

static json_t *text_value(const char *text)
{
	return tr_json_text(text, strlen(text));
}

static json_t *predictor_json(const struct tr_predictor_stats *p)
{
	return json_pack("{s:o, s:I, s:f, s:f, s:f, s:f}", "name", text_value(p->name), "visits",
		(json_int_t)p->visits, "recall", p->recall, "recall_wide", p->recall_wide,
		"precision", p->precision, "brier", p->brier);
}

static json_t *vram_json(const struct tr_replay_vram_stats *v)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "capacity_experts",
		(json_int_t)v->capacity, "capacity_bytes", (json_int_t)v->capacity_bytes, "hits",
		(json_int_t)v->n_hit, "misses", (json_int_t)v->n_miss, "bytes", (json_int_t)v->bytes,
		"warm_experts", (json_int_t)v->n_warm, "copies", (json_int_t)v->n_copied,
		"copied_bytes", (json_int_t)v->copied_bytes, "late_copies", (json_int_t)v->n_late,
		"evictions", (json_int_t)v->n_evict);
}

/* What each tier served. */
static void set_tiers(json_t *row, const struct tr_replay_stats *s)
{
	json_object_set_new(row, "hit_bytes", json_integer((json_int_t)s->hit_bytes));
	json_object_set_new(row, "pmem_hits", json_integer((json_int_t)s->n_pmem));
	json_object_set_new(row, "pmem_bytes", json_integer((json_int_t)s->pmem_bytes));
	json_object_set_new(row, "loads", json_integer((json_int_t)s->n_load));
	json_object_set_new(row, "load_bytes", json_integer((json_int_t)s->load_bytes));
}

json_t *tr_simulate_json(const struct tr_simulate_rows *rows)
{
	json_t *results = json_array();

	for (size_t i = 0; i < rows->n; i++) {
		const struct tr_simulate_row *r = &rows->row[i];
		json_t *row;

		row = json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:f}",
				"trace", text_value(r->trace), "policy", text_value(r->policy),
				"cache", text_value(r->cache), "capacity_experts",
				(json_int_t)r->stats.capacity, "requests",
				(json_int_t)r->stats.n_request, "hits", (json_int_t)r->stats.n_hit,
				"hit_rate", number_or_null(tr_simulate_hit_rate(r)),
				"share_of_belady", number_or_null(tr_simulate_share(r)),
				"belady_hits", (json_int_t)r->optimum, "bytes",
				(json_int_t)r->stats.bytes, "evictions",
				(json_int_t)r->stats.n_evict, "promotions",
				(json_int_t)r->stats.n_promoted, "seconds",
				(double)r->stats.ns / 1e9);
		if (row)
			set_tiers(row, &r->stats);
		if (row && rows->vram)
			json_object_set_new(row, "vram", vram_json(&r->stats.vram));
		if (row && rows->predicted)
			json_object_set_new(row, "predictor", predictor_json(&r->stats.predictor));
		json_array_append_new(results, row);
	}
	return json_pack("{s:o}", "results", results);
}
