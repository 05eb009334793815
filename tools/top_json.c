/* top_json.c - one look at a run as JSON; tierra-top(1) describes it. */
#include "tools/report.h"
#include "tools/top.h"

#include <string.h>

/* null for what is not known */
static json_t *known(double v)
{
	return v < 0 ? json_null() : json_real(v);
}

/* Of a file: it need not be UTF-8. */
static json_t *text_json(const char *text)
{
	return tr_json_text(text, strlen(text));
}

static json_t *tiers_json(const struct tr_live *n, const struct tr_top_rates *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < n->stats.n_tier; i++) {
		json_t *t = tr_report_json_tier(&n->stats.tier[i]);

		json_object_set_new(t, "hit_rate_now", known(r->tier[i].hit_now));
		json_object_set_new(t, "hit_rate", known(r->tier[i].hit));
		json_object_set_new(t, "bytes_per_s", known(r->tier[i].bytes_per_s));
		json_array_append_new(all, t);
	}
	return all;
}

static json_t *lanes_json(const struct tr_live *n, const struct tr_top_rates *r)
{
	json_t *all = json_object();

	for (size_t i = 0; i < TR_N_LANE; i++) {
		json_t *lane = json_pack("{s:f}", "seconds", (double)n->lane_ns[i] / 1e9);

		json_object_set_new(lane, "share_now", known(r->lane[i]));
		json_object_set_new(lane, "share", known(r->lane_all[i]));
		json_object_set_new(all, tr_lane_names[i], lane);
	}
	return all;
}

static json_t *layers_json(const struct tr_live *n, const struct tr_top_rates *r)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < n->n_layer; i++) {
		const struct tr_live_layer *l = &n->layer[i];
		json_t *layer = json_pack("{s:i, s:I, s:I, s:I}", "layer", (int)l->layer, "uses",
			(json_int_t)l->uses, "dram", (json_int_t)l->dram, "pmem",
			(json_int_t)l->pmem);

		json_object_set_new(layer, "dram_hit_rate_now", known(r->dram[i]));
		json_array_append_new(all, layer);
	}
	return all;
}

static json_t *prefetch_json(const struct tr_prefetch_stats *p)
{
	return json_pack("{s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "mode",
		text_json(p->mode), "on", (int)p->on, "issued", (json_int_t)p->issued, "useful",
		(json_int_t)p->useful, "late", (json_int_t)p->late, "wasted", (json_int_t)p->wasted,
		"cancelled", (json_int_t)p->cancelled, "bytes", (json_int_t)p->bytes,
		"wasted_bytes", (json_int_t)p->wasted_bytes, "budget_bytes",
		(json_int_t)p->budget_bytes);
}

static json_t *predictor_json(const struct tr_predictor_stats *p, const struct tr_top_rates *r)
{
	json_t *out = json_pack("{s:o, s:I, s:f, s:f, s:f, s:f}", "name", text_json(p->name),
		"visits", (json_int_t)p->visits, "recall", p->recall, "recall_wide", p->recall_wide,
		"precision", p->precision, "brier", p->brier);

	json_object_set_new(out, "share_of_decoding", known(r->ahead));
	return out;
}

static json_t *tokens_json(const struct tr_live *n, const struct tr_top_rates *r)
{
	json_t *out = json_pack("{s:I, s:I, s:I, s:I}", "in_session", (json_int_t)n->n_past,
		"context", (json_int_t)n->n_ctx, "prefill", (json_int_t)n->n_prefill, "decoded",
		(json_int_t)n->n_decode);
	json_t *minute = json_array();

	json_object_set_new(out, "per_s_now", known(r->tokens_per_s));
	json_object_set_new(out, "per_s", known(r->overall));
	for (size_t i = 0; i < r->n_minute; i++)
		json_array_append_new(minute, json_real(r->minute[i]));
	json_object_set_new(out, "per_s_by_second", minute);
	return out;
}

json_t *tr_top_json(const struct tr_top *top)
{
	const struct tr_live *n = &top->now;
	const struct tr_stats *s = &n->stats;
	struct tr_top_rates r;
	json_t *root;

	tr_top_rates(top, &r);
	root = json_pack("{s:I, s:o, s:o, s:s, s:f, s:f, s:f}", "pid", (json_int_t)n->pid,
		"version", text_json(n->version), "model", text_json(n->model), "phase",
		tr_phase_names[n->phase], "run_seconds", r.run_s, "idle_seconds", r.idle_s,
		"now_seconds", r.seconds);
	if (!root)
		return NULL;
	json_object_set_new(root, "step",
		json_pack("{s:o, s:I, s:I, s:o}", "name", text_json(n->step), "done",
			(json_int_t)n->done, "total", (json_int_t)n->total, "unit",
			text_json(n->unit)));
	json_object_set_new(root, "tokens", tokens_json(n, &r));
	json_object_set_new(root, "tiers", tiers_json(n, &r));
	json_object_set_new(root, "lanes", lanes_json(n, &r));
	json_object_set_new(root, "disk",
		json_pack("{s:o, s:o}", "bytes_per_s", known(r.disk_bytes_per_s), "busy",
			known(r.disk_busy)));
	json_object_set_new(root, "prefetch", prefetch_json(&s->prefetch));
	json_object_set_new(root, "predictor", predictor_json(&s->predictor, &r));
	json_object_set_new(root, "memory",
		json_pack("{s:I, s:I, s:I}", "process_bytes", (json_int_t)n->rss_bytes,
			"resident_bytes", (json_int_t)s->resident_bytes, "kv_bytes",
			(json_int_t)s->kv_bytes));
	json_object_set_new(root, "layers", layers_json(n, &r));
	return root;
}
