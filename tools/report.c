/* report.c - one struct in, JSON or a few lines and a table out. No engine is touched here. */
#include "tools/report.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Nine digits carry a float exactly and keep logprobs short. */
#define JSON_FLAGS (JSON_INDENT(2) | JSON_REAL_PRECISION(9))

/* Length of the UTF-8 sequence at s, 0 when there is none. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3
		: s[0] < 0xf5 ? 4 : 0;

	if (len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

json_t *tr_json_text(const char *text, size_t text_bytes)
{
	const unsigned char *s = (const unsigned char *)text;
	char *clean = tr_tool_calloc(text_bytes + 1, 3);
	size_t w = 0;
	json_t *value;

	for (size_t i = 0; i < text_bytes;) {
		size_t len = utf8_len(s + i, text_bytes - i);

		memcpy(clean + w, len ? text + i : "\xef\xbf\xbd", len ? len : 3);
		w += len ? len : 3;
		i += len ? len : 1;
	}
	value = json_stringn(clean, w);
	free(clean);
	return value;
}

static json_t *json_ids(const int32_t *ids, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_integer(ids[i]));
	return array;
}

/* JSON has no infinity; a token that cannot occur has a null. */
static json_t *json_number(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static double per_s(const struct tr_phase_time *t)
{
	return t->ns ? (double)t->n_token * 1e9 / (double)t->ns : 0;
}

static json_t *json_phase(const struct tr_phase_time *t)
{
	return json_pack("{s:f, s:I, s:f}", "seconds", (double)t->ns / 1e9, "tokens",
		(json_int_t)t->n_token, "tokens_per_s", per_s(t));
}

json_t *tr_report_json_tier(const struct tr_tier_stats *t)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "name",
		tr_json_text(t->name, strlen(t->name)), "policy",
		tr_json_text(t->policy, strlen(t->policy)), "capacity_bytes",
		(json_int_t)t->capacity_bytes, "used_bytes", (json_int_t)t->used_bytes, "hits",
		(json_int_t)t->hits, "misses", (json_int_t)t->misses, "joins",
		(json_int_t)t->joins, "bytes", (json_int_t)t->bytes, "wait_ms",
		(double)t->wait_ns / 1e6);
}

static json_t *json_nodes(const struct tr_stats *s)
{
	json_t *array = json_array();

	for (size_t i = 0; i < s->n_node; i++)
		json_array_append_new(array, json_pack("{s:i, s:i}", "node", s->node[i].id,
			"threads", (int)s->node[i].n_thread));
	return array;
}

static json_t *json_engine(const struct tr_stats *s)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
			 "s:I, s:f}",
		"policy", s->policy, "cpu", s->cpu, "io", s->io_method, "threads", (int)s->n_thread,
		"resident_bytes", (json_int_t)s->resident_bytes, "kv_bytes",
		(json_int_t)s->kv_bytes, "floor_bytes", (json_int_t)s->floor_bytes, "evictions",
		(json_int_t)s->evictions, "warm_experts", (json_int_t)s->warm_units, "warm_bytes",
		(json_int_t)s->warm_bytes, "staged_experts", (json_int_t)s->staged, "staged_used",
		(json_int_t)s->staged_used, "io_retries", (json_int_t)s->io_retries,
		"io_fallbacks", (json_int_t)s->io_fallbacks, "promotions",
		(json_int_t)s->promoted_units, "promoted_bytes", (json_int_t)s->promoted_bytes,
		"promote_ms", (double)s->promote_ns / 1e6);
}

json_t *tr_report_json_fetch(const struct tr_fetch_costs *f)
{
	return json_pack("{s:b, s:I, s:f, s:f, s:f, s:s}", "known", (int)f->known,
		"pays_from_tokens", (json_int_t)f->pays_from, "link_bytes_per_s",
		f->link_bytes_per_s, "device_bytes_per_s", f->device_bytes_per_s,
		"cpu_bytes_per_s", f->cpu_bytes_per_s, "source", f->source);
}

static json_t *json_device(const struct tr_stats *s)
{
	const struct tr_vram_stats *v = &s->vram;

	if (!s->device[0])
		return json_null();
	return json_pack("{s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "name",
		tr_json_text(s->device, strlen(s->device)), "lost", (int)s->device_lost,
		"warm_experts", (json_int_t)v->warm_units, "warm_bytes", (json_int_t)v->warm_bytes,
		"copies", (json_int_t)v->copied_units, "copied_bytes", (json_int_t)v->copied_bytes,
		"late_copies", (json_int_t)v->late, "evictions", (json_int_t)v->evictions,
		"fetched", (json_int_t)v->fetched_units, "fetched_bytes",
		(json_int_t)v->fetched_bytes, "fetch_pays_from_tokens",
		(json_int_t)v->fetch.pays_from, "fetch_costs", tr_report_json_fetch(&v->fetch));
}

static json_t *json_prefetch(const struct tr_prefetch_stats *p)
{
	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I, "
			 "s:I, s:f, s:f}",
		"mode", p->mode, "on", (int)p->on, "issued", (json_int_t)p->issued, "useful",
		(json_int_t)p->useful, "late", (json_int_t)p->late, "wasted",
		(json_int_t)p->wasted, "cancelled", (json_int_t)p->cancelled, "failed",
		(json_int_t)p->failed, "bytes", (json_int_t)p->bytes, "wasted_bytes",
		(json_int_t)p->wasted_bytes, "budget_bytes", (json_int_t)p->budget_bytes, "reach",
		(int)p->reach, "tokens", (json_int_t)p->tokens, "tokens_on",
		(json_int_t)p->tokens_on, "switches", (json_int_t)p->switches, "comparisons",
		(json_int_t)p->comparisons, "token_ms_on", (double)p->on_ns / 1e6, "token_ms_off",
		(double)p->off_ns / 1e6);
}

static json_t *json_predictor(const struct tr_predictor_stats *p)
{
	return json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "name", p->name, "visits",
		(json_int_t)p->visits, "recall", p->recall, "recall_wide", p->recall_wide,
		"precision", p->precision, "brier", p->brier, "ahead_ms",
		(double)p->ahead_ns / 1e6, "token_ms", (double)p->token_ns / 1e6);
}

static json_t *json_ratio(uint64_t part, uint64_t whole)
{
	return whole ? json_real((double)part / (double)whole) : json_null();
}

static json_t *json_shares(const struct tr_shares *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "capacity_experts",
		(json_int_t)s->capacity, "requests", (json_int_t)s->n_request, "requests_of_run",
		(json_int_t)s->n_request_run, "hits", (json_int_t)s->n_hit, "lru_hits",
		(json_int_t)s->n_hit_lru, "belady_hits", (json_int_t)s->n_hit_optimum, "hit_rate",
		json_ratio(s->n_hit, s->n_request), "share_of_lru",
		json_ratio(s->n_hit, s->n_hit_lru), "share_of_belady",
		json_ratio(s->n_hit, s->n_hit_optimum));
}

static json_t *json_roofline(const struct tr_roofline *r)
{
	return json_pack("{s:o, s:I, s:f, s:I, s:I, s:o}", "name",
		tr_json_text(r->name, strlen(r->name)), "bytes", (json_int_t)r->bytes, "busy_ms",
		(double)r->busy_ns / 1e6, "bytes_per_s", (json_int_t)r->got_bytes_per_s,
		"reader_bytes_per_s", (json_int_t)r->can_bytes_per_s, "share",
		json_ratio(r->got_bytes_per_s, r->can_bytes_per_s));
}

void tr_report_json_run(const struct tr_report *r, json_t *to)
{
	json_t *roofline = json_array();

	for (size_t i = 0; i < r->n_roofline; i++)
		json_array_append_new(roofline, json_roofline(&r->roofline[i]));
	json_object_set_new(to, "timings", json_pack("{s:o, s:o, s:o}", "load",
		json_phase(&r->load), "prefill", json_phase(&r->prefill), "decode",
		json_phase(&r->decode)));
	json_object_set_new(to, "engine", json_engine(&r->stats));
	json_object_set_new(to, "device", json_device(&r->stats));
	json_object_set_new(to, "prefetch", json_prefetch(&r->stats.prefetch));
	json_object_set_new(to, "predictor", json_predictor(&r->stats.predictor));
	json_object_set_new(to, "shares", r->with_shares ? json_shares(&r->shares) : json_null());
	json_object_set_new(to, "roofline", roofline);
}

static json_t *json_logprobs(const struct tr_report *r)
{
	json_t *array = json_array();

	for (size_t i = 0; i < r->n_id; i++) {
		const struct tr_logprob *t = r->top + i * r->n_top;
		json_t *top = json_array();

		for (size_t k = 0; k < r->n_top; k++)
			json_array_append_new(top, json_pack("{s:i, s:o}", "id", (int)t[k].id,
				"logprob", json_number(t[k].logprob)));
		json_array_append_new(array, json_pack("{s:i, s:o, s:o}", "id",
			(int)r->chosen[i].id, "logprob", json_number(r->chosen[i].logprob), "top",
			top));
	}
	return array;
}

json_t *tr_report_json(const struct tr_report *r)
{
	json_t *tiers = json_array();
	json_t *root;

	for (size_t i = 0; i < r->stats.n_tier; i++)
		json_array_append_new(tiers, tr_report_json_tier(&r->stats.tier[i]));
	root = json_pack("{s:o, s:o, s:o, s:s, s:o}", "prompt_ids",
		json_ids(r->prompt_ids, r->n_prompt), "ids", json_ids(r->ids, r->n_id), "text",
		tr_json_text(r->text, r->text_bytes), "stop_reason", r->stop_reason, "tiers",
		tiers);
	if (root) {
		tr_report_json_run(r, root);
		json_object_set_new(root, "nodes", json_nodes(&r->stats));
	}
	if (root && r->with_logprobs)
		json_object_set_new(root, "logprobs", json_logprobs(r));
	return root;
}

int tr_json_write(const json_t *value, FILE *out)
{
	if (json_dumpf(value, out, JSON_FLAGS) || fputc('\n', out) == EOF || fflush(out))
		return -1;
	return 0;
}

static void print_phase(FILE *out, const char *name, const struct tr_phase_time *t)
{
	fprintf(out, "%-8s %9.3f s", name, (double)t->ns / 1e9);
	if (t->n_token)
		fprintf(out, "  %6" PRIu64 " tokens  %8.2f tokens/s", t->n_token, per_s(t));
	fputc('\n', out);
}

static void print_tiers(FILE *out, const struct tr_stats *s)
{
	static const char *const head[] = { "tier", ">capacity", ">used", ">hits", ">misses",
		">hit", ">read", ">waited" };
	struct tr_table t;

	tr_table_init(&t, head, sizeof(head) / sizeof(head[0]));
	for (size_t i = 0; i < s->n_tier; i++) {
		const struct tr_tier_stats *tier = &s->tier[i];
		uint64_t n_use = tier->hits + tier->misses;

		tr_table_add(&t, "%s", tier->name);
		if (tier->capacity_bytes || i + 1 < s->n_tier)
			tr_table_add_bytes(&t, tier->capacity_bytes);
		else
			tr_table_add(&t, "-");
		tr_table_add_bytes(&t, tier->used_bytes);
		tr_table_add(&t, "%" PRIu64, tier->hits);
		tr_table_add(&t, "%" PRIu64, tier->misses);
		tr_table_add(&t, "%.1f%%", n_use ? (double)tier->hits * 100 / (double)n_use : 0);
		tr_table_add_bytes(&t, tier->bytes);
		tr_table_add(&t, "%.1f ms", (double)tier->wait_ns / 1e6);
	}
	tr_table_print(&t, out, "");
	tr_table_fini(&t);
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? (double)part * 100 / (double)whole : 0;
}

static void print_predictor(FILE *out, const struct tr_predictor_stats *p)
{
	fprintf(out,
		"\npredictor %s: recall %.1f%%, %.1f%% of 1.5 times as many, precision %.1f%%, Brier "
		"%.4f, %.1f%% of decoding\n",
		p->name, p->recall * 100, p->recall_wide * 100, p->precision * 100, p->brier,
		percent(p->ahead_ns, p->token_ns));
}

static void print_prefetch(FILE *out, const struct tr_prefetch_stats *p)
{
	char wasted[32];

	fprintf(out,
		"prefetch %s: %" PRIu64 " experts, %" PRIu64 " useful, %" PRIu64 " late, %" PRIu64
		" wasted (%s), %" PRIu64 " cancelled; on for %" PRIu64 " of %" PRIu64 " tokens\n",
		p->mode, p->issued, p->useful, p->late, p->wasted,
		tr_table_bytes(p->wasted_bytes, wasted, sizeof(wasted)), p->cancelled,
		p->tokens_on, p->tokens);
	if (p->comparisons)
		fprintf(out,
			"prefetch switched %s: %.2f ms a token with, %.2f ms without, at comparison %"
			PRIu64 "\n",
			p->on ? "on" : "off", (double)p->on_ns / 1e6, (double)p->off_ns / 1e6,
			p->comparisons);
}

static void print_shares(FILE *out, const struct tr_shares *s)
{
	fprintf(out,
		"\nshares   dram %" PRIu64 " hits of %" PRIu64 " uses by decoding, lru %" PRIu64
		", Belady %" PRIu64 ": %.1f%% of lru, %.1f%% of Belady\n",
		s->n_hit, s->n_request, s->n_hit_lru, s->n_hit_optimum,
		percent(s->n_hit, s->n_hit_lru), percent(s->n_hit, s->n_hit_optimum));
	if (s->n_request < s->n_request_run)
		fprintf(out, "         of the first %" PRIu64 " of %" PRIu64 " uses\n",
			s->n_request, s->n_request_run);
}

static void print_roofline(FILE *out, const struct tr_roofline *r, size_t n)
{
	char got[32], can[32];

	for (size_t i = 0; i < n; i++, r++)
		if (r->got_bytes_per_s && r->can_bytes_per_s)
			fprintf(out, "roofline %s %s/s of %s/s: %.1f%%\n", r->name,
				tr_table_bytes(r->got_bytes_per_s, got, sizeof(got)),
				tr_table_bytes(r->can_bytes_per_s, can, sizeof(can)),
				percent(r->got_bytes_per_s, r->can_bytes_per_s));
}

/* Only where nodes play a part. */
static void print_nodes(FILE *out, const struct tr_stats *s)
{
	for (size_t i = 0; i < s->n_node; i++)
		fprintf(out, "%s%d with %u threads", i ? ", " : "nodes    ", s->node[i].id,
			s->node[i].n_thread);
	for (size_t i = 0; i < s->n_tier; i++)
		if (s->tier[i].node >= 0)
			fprintf(out, ", %s at %d", s->tier[i].name,
				s->node[s->tier[i].node].id);
	if (s->n_node)
		fputc('\n', out);
}

void tr_report_print_fetch(const struct tr_fetch_costs *f, FILE *out)
{
	const struct {
		const char *name;
		double bytes_per_s;
	} rates[] = { { "link", f->link_bytes_per_s }, { "device", f->device_bytes_per_s },
		{ "CPU", f->cpu_bytes_per_s } };
	char text[32];

	if (!f->known)
		fprintf(out, "when one pays is measured as a run begins");
	else if (!f->pays_from)
		fprintf(out, "none ever pays");
	else
		fprintf(out, "one pays from %" PRIu64 " tokens on", f->pays_from);
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
		if (rates[i].bytes_per_s > 0)
			fprintf(out, ", %s %s/s", rates[i].name,
				tr_table_bytes((uint64_t)rates[i].bytes_per_s, text, sizeof(text)));
	if (f->source[0])
		fprintf(out, !strcmp(f->source, "both") ? " (machine file and measured)" : " (%s)",
			!strcmp(f->source, "machine") ? "machine file" : f->source);
}

static void print_device(FILE *out, const struct tr_stats *s)
{
	const struct tr_vram_stats *v = &s->vram;

	if (!s->device[0])
		return;
	fprintf(out, "%-8s %s, %" PRIu64 " experts warm at the start, %" PRIu64 " copied (%" PRIu64
		" late), %" PRIu64 " evictions%s\n", "device", s->device, v->warm_units,
		v->copied_units, v->late, v->evictions, s->device_lost ? "; lost" : "");
	if (!v->fetched_units && !v->fetch.known)
		return;
	fprintf(out, "%-8s %" PRIu64 " experts for a layer of the prefill; ", "fetch", v->fetched_units);
	tr_report_print_fetch(&v->fetch, out);
	fputc('\n', out);
}

void tr_report_print(const struct tr_report *r, FILE *out)
{
	const struct tr_stats *s = &r->stats;

	print_phase(out, "load", &r->load);
	print_phase(out, "prefill", &r->prefill);
	print_phase(out, "decode", &r->decode);
	fprintf(out, "%-8s %s\n", "stopped", r->stop_reason);
	fprintf(out, "%-8s policy %s, cpu %s, io %s, %u threads, %" PRIu64 " evictions", "engine",
		s->policy, s->cpu, s->io_method, s->n_thread, s->evictions);
	if (s->warm_units)
		fprintf(out, ", %" PRIu64 " experts warm at the start", s->warm_units);
	if (s->promoted_units)
		fprintf(out, ", %" PRIu64 " copied from pmem in %.1f ms", s->promoted_units,
			(double)s->promote_ns / 1e6);
	if (s->io_retries || s->io_fallbacks)
		fprintf(out, ", %" PRIu64 " reads retried, %" PRIu64 " fallbacks", s->io_retries,
			s->io_fallbacks);
	fputc('\n', out);
	print_device(out, s);
	print_nodes(out, s);
	fputc('\n', out);
	tr_report_print_quality(r, out);
}

void tr_report_print_quality(const struct tr_report *r, FILE *out)
{
	const struct tr_stats *s = &r->stats;

	print_tiers(out, s);
	if (r->with_shares)
		print_shares(out, &r->shares);
	print_roofline(out, r->roofline, r->n_roofline);
	if (s->predictor.visits) {
		print_predictor(out, &s->predictor);
		print_prefetch(out, &s->prefetch);
	}
}
