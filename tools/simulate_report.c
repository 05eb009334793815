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

void tr_simulate_print_table(const struct tr_simulate_rows *rows, FILE *out)
{
	static const char *const head[] = { "policy", ">cache", ">experts", ">requests", ">hits",
		">hit", ">of Belady", ">read", ">evicted", "trace" };
	size_t n_column = sizeof(head) / sizeof(head[0]) - (rows->n_trace == 1);
	struct tr_table t;

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

/* In quotes, quotes doubled: paths and specs may have commas. */
static void print_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void print_number(double v, FILE *out)
{
	if (v >= 0)
		fprintf(out, ",%.6f", v);
	else
		fputc(',', out);
}

void tr_simulate_print_csv(const struct tr_simulate_rows *rows, FILE *out)
{
	fputs("trace,policy,cache,capacity_experts,requests,hits,hit_rate,share_of_belady,"
	      "belady_hits,bytes,evictions\n",
		out);
	for (size_t i = 0; i < rows->n; i++) {
		const struct tr_simulate_row *r = &rows->row[i];

		print_quoted(r->trace, out);
		fputc(',', out);
		print_quoted(r->policy, out);
		fputc(',', out);
		print_quoted(r->cache, out);
		fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, r->stats.capacity,
			r->stats.n_request, r->stats.n_hit);
		print_number(tr_simulate_hit_rate(r), out);
		print_number(tr_simulate_share(r), out);
		fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", r->optimum, r->stats.bytes,
			r->stats.n_evict);
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

json_t *tr_simulate_json(const struct tr_simulate_rows *rows)
{
	json_t *results = json_array();

	for (size_t i = 0; i < rows->n; i++) {
		const struct tr_simulate_row *r = &rows->row[i];

		json_array_append_new(results,
			json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:f}",
				"trace", text_value(r->trace), "policy", text_value(r->policy),
				"cache", text_value(r->cache), "capacity_experts",
				(json_int_t)r->stats.capacity, "requests",
				(json_int_t)r->stats.n_request, "hits", (json_int_t)r->stats.n_hit,
				"hit_rate", number_or_null(tr_simulate_hit_rate(r)),
				"share_of_belady", number_or_null(tr_simulate_share(r)),
				"belady_hits", (json_int_t)r->optimum, "bytes",
				(json_int_t)r->stats.bytes, "evictions",
				(json_int_t)r->stats.n_evict, "seconds",
				(double)r->stats.ns / 1e9));
	}
	return json_pack("{s:o}", "results", results);
}
