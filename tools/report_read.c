/* report_read.c - back from the JSON of a run, as far as it is shown again. Members that are not there
 * leave zeros. */
#include "tools/report.h"

#include <stdio.h>

uint64_t tr_json_get_u64(const json_t *from, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(from, key));

	return v > 0 ? (uint64_t)v : 0;
}

static double get_f64(const json_t *from, const char *key)
{
	return json_number_value(json_object_get(from, key));
}

static uint64_t get_ns(const json_t *from, const char *key)
{
	double ms = get_f64(from, key);

	return ms > 0 && ms < 1e15 ? (uint64_t)(ms * 1e6) : 0;
}

void tr_json_get_text(const json_t *from, const char *key, char *to, size_t cap)
{
	const char *text = json_string_value(json_object_get(from, key));

	snprintf(to, cap, "%s", text ? text : "");
}

static void read_prefetch(const json_t *j, struct tr_prefetch_stats *p)
{
	tr_json_get_text(j, "mode", p->mode, sizeof(p->mode));
	p->on = json_is_true(json_object_get(j, "on"));
	p->issued = tr_json_get_u64(j, "issued");
	p->useful = tr_json_get_u64(j, "useful");
	p->late = tr_json_get_u64(j, "late");
	p->wasted = tr_json_get_u64(j, "wasted");
	p->wasted_bytes = tr_json_get_u64(j, "wasted_bytes");
	p->cancelled = tr_json_get_u64(j, "cancelled");
	p->tokens = tr_json_get_u64(j, "tokens");
	p->tokens_on = tr_json_get_u64(j, "tokens_on");
	p->comparisons = tr_json_get_u64(j, "comparisons");
	p->on_ns = get_ns(j, "token_ms_on");
	p->off_ns = get_ns(j, "token_ms_off");
}

static void read_predictor(const json_t *j, struct tr_predictor_stats *p)
{
	tr_json_get_text(j, "name", p->name, sizeof(p->name));
	p->visits = tr_json_get_u64(j, "visits");
	p->recall = get_f64(j, "recall");
	p->recall_wide = get_f64(j, "recall_wide");
	p->precision = get_f64(j, "precision");
	p->brier = get_f64(j, "brier");
	p->ahead_ns = get_ns(j, "ahead_ms");
	p->token_ns = get_ns(j, "token_ms");
}

static void read_shares(const json_t *j, struct tr_shares *s)
{
	s->capacity = tr_json_get_u64(j, "capacity_experts");
	s->n_request = tr_json_get_u64(j, "requests");
	s->n_request_run = tr_json_get_u64(j, "requests_of_run");
	s->n_hit = tr_json_get_u64(j, "hits");
	s->n_hit_lru = tr_json_get_u64(j, "lru_hits");
	s->n_hit_optimum = tr_json_get_u64(j, "belady_hits");
}

static void read_roofline(const json_t *j, struct tr_roofline *r)
{
	tr_json_get_text(j, "name", r->name, sizeof(r->name));
	r->bytes = tr_json_get_u64(j, "bytes");
	r->busy_ns = get_ns(j, "busy_ms");
	r->got_bytes_per_s = tr_json_get_u64(j, "bytes_per_s");
	r->can_bytes_per_s = tr_json_get_u64(j, "reader_bytes_per_s");
}

void tr_report_read_run(const json_t *from, struct tr_report *r)
{
	const json_t *shares = json_object_get(from, "shares");
	const json_t *roofline = json_object_get(from, "roofline");

	read_prefetch(json_object_get(from, "prefetch"), &r->stats.prefetch);
	read_predictor(json_object_get(from, "predictor"), &r->stats.predictor);
	r->with_shares = json_is_object(shares);
	read_shares(shares, &r->shares);
	while (r->n_roofline < json_array_size(roofline) && r->n_roofline < TR_MAX_ROOFLINE) {
		read_roofline(json_array_get(roofline, r->n_roofline),
			&r->roofline[r->n_roofline]);
		r->n_roofline++;
	}
}
