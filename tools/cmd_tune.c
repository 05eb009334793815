/*
 * cmd_tune.c - `tierra tune`: measure a machine; find sizes and a policy, and say how fast that should be.
 *
 * Hit rates come from replays of routing, times from the forecast of the library. Of the sizes that come within
 * 1% of the fastest the smallest is recommended: what a larger cache gains beyond it is not worth its memory.
 */
#include "tools/report.h"
#include "tools/table.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define N_BATCH 512 /* tokens of a chunk of prompt, as the engine's default */
#define MIN_RESERVE ((uint64_t)512 << 20)

static const char *const policies[] = { "foresight", "lru", "lfu" };
static const unsigned percents[] = { 5, 10, 25, 50, 75, 100 }; /* of the DRAM there is room for */

struct tuning {
	struct tr_tune_args args;
	struct tr_machine machine;
	struct tr_tune_model model;
	struct tr_speeds speeds;
	struct tr_trace *trace;
	uint64_t room, pmem_bytes; /* DRAM for experts, persistent memory */
	struct tr_tune_row row[TR_TUNE_MAX_ROW];
	size_t n_row, best;
	struct tr_err err;
};

/* --- measuring -------------------------------------------------------------------------------- */

static int measure(struct tuning *t)
{
	const struct tr_tune_args *a = &t->args;
	struct tr_measure_opts opts = { .n_thread = a->n_thread, .pmem = a->pmem,
		.n_pmem = a->n_pmem, .disk = a->disk, .n_disk = a->n_disk, .quant = a->quant,
		.n_quant = a->n_quant };
	char *text;
	FILE *f;
	int rc = tr_machine_measure(&t->machine, &opts, &t->err);

	if (rc)
		return tr_tool_fail(&t->err);
	text = tr_machine_text(&t->machine);
	f = text ? fopen(a->measure, "w") : NULL;
	rc = !f || fprintf(f, "%s\n", text) < 0;
	if ((f && fclose(f)) || rc) {
		tr_tool_error("--measure %s: %s", a->measure, strerror(errno));
		rc = TR_EXIT_ERROR;
	}
	free(text);
	return rc;
}

static void print_machine(const struct tr_machine *m)
{
	static const char *const head[] = { "tier", ">at a time", ">block", ">min GB/s", ">median",
		">max", "path" };
	static const char *const kind[] = { "dram", "pmem", "nvme", "vram" };
	struct tr_table t;

	tr_table_init(&t, head, 7);
	for (size_t i = 0; i < m->n_tier; i++)
		for (size_t p = 0; p < m->tier[i].n_point; p++) {
			const struct tr_machine_point *at = &m->tier[i].point[p];

			tr_table_add(&t, "%s%s", kind[m->tier[i].kind],
				m->tier[i].direct ? "" : " (cached)");
			tr_table_add(&t, "%u", at->n_flight);
			tr_table_add_bytes(&t, at->block_bytes);
			tr_table_add(&t, "%.2f", at->bytes_per_s.min * 1e-9);
			tr_table_add(&t, "%.2f", at->bytes_per_s.mid * 1e-9);
			tr_table_add(&t, "%.2f", at->bytes_per_s.max * 1e-9);
			tr_table_add(&t, "%s", m->tier[i].path);
		}
	tr_table_print(&t, stdout, "");
	tr_table_fini(&t);
	for (size_t i = 0; i < m->n_kernel; i++)
		printf("kernel %-8s %s %.2f GB/s, %.1f G multiply-adds/s with 32 vectors\n",
			m->kernel[i].quant, kind[m->tier[m->kernel[i].tier].kind],
			m->kernel[i].bytes_per_s.mid * 1e-9, m->kernel[i].macs_per_s.mid * 1e-9);
}

/* --- forecasts -------------------------------------------------------------------------------- */

/* Uses that DRAM does not serve go to persistent memory as far as it has room for experts, else to disk. */
static void forecast(const struct tuning *t, const struct tr_speeds *s, double hit,
	uint64_t dram_bytes, struct tr_tune_row *row)
{
	struct tr_workload w = t->model.work;
	double all = (double)t->model.n_unit * w.unit_bytes;
	double pmem = (double)t->pmem_bytes / all, dram = (double)dram_bytes / all;

	pmem = pmem > 1 ? 1 : pmem;
	dram = dram > 1 ? 1 : dram;
	w.share[TR_MACHINE_DRAM] = hit;
	w.share[TR_MACHINE_PMEM] = (1 - hit) * pmem;
	w.share[TR_MACHINE_NVME] = (1 - hit) * (1 - pmem);
	w.held[TR_MACHINE_DRAM] = dram;
	w.held[TR_MACHINE_PMEM] = (1 - dram) * pmem;
	w.held[TR_MACHINE_NVME] = (1 - dram) * (1 - pmem);
	row->dram_bytes = dram_bytes;
	row->hit_rate = hit;
	tr_forecast_token(&w, s, &row->f);
	row->prompt_s = tr_forecast_prompt(&w, s, t->args.n_prompt, N_BATCH);
}

static int try_size(struct tuning *t, uint64_t bytes, const char *policy, struct tr_tune_row *row)
{
	char count[24];
	struct tr_replay_opts opts = { .policy = policy, .cache = count };
	struct tr_replay_stats stats;
	struct tr_trace_info info;
	int rc;

	tr_trace_info(t->trace, &info);
	opts.n_warm = info.n_token / 2;
	opts.decode_only = info.n_prefill_token < info.n_token;
	snprintf(count, sizeof(count), "%" PRIu64, bytes / t->model.unit_bytes);
	rc = tr_replay(t->trace, &opts, &stats, &t->err);
	if (rc)
		return rc;
	row->policy = policy;
	forecast(t, &t->speeds,
		stats.n_request ? (double)stats.n_hit / (double)stats.n_request : 0, bytes, row);
	return 0;
}

static int search(struct tuning *t)
{
	uint64_t all = t->model.n_unit * t->model.unit_bytes;
	uint64_t most = t->room < all ? t->room : all;
	double best = 0;
	int rc = 0;

	for (size_t s = 0; s < sizeof(percents) / sizeof(*percents); s++)
		for (size_t p = 0; !rc && p < sizeof(policies) / sizeof(*policies); p++)
			rc = try_size(t, most / 100 * percents[s], policies[p], &t->row[t->n_row++]);
	for (size_t i = 0; !rc && i < t->n_row; i++)
		best = best > 0 && best < t->row[i].f.token_s ? best : t->row[i].f.token_s;
	for (t->best = 0; !rc && t->best < t->n_row; t->best++)
		if (t->row[t->best].f.token_s <= best * 1.01)
			break;
	return rc;
}

static int open_sizes(struct tuning *t)
{
	uint64_t dram = 0, reserve, fixed;
	int rc = 0;

	for (size_t i = 0; i < t->machine.n_tier; i++) {
		const struct tr_machine_tier *tier = &t->machine.tier[i];

		dram += tier->kind == TR_MACHINE_DRAM ? tier->bytes : 0;
		t->pmem_bytes += tier->kind == TR_MACHINE_PMEM ? tier->bytes : 0;
	}
	if (t->args.max_dram)
		rc = tr_parse_size("--max-dram", t->args.max_dram, dram, &dram, &t->err);
	reserve = dram / 10 > MIN_RESERVE ? dram / 10 : MIN_RESERVE;
	if (!rc && t->args.reserve)
		rc = tr_parse_size("--reserve", t->args.reserve, dram, &reserve, &t->err);
	fixed = reserve + t->model.kv_bytes + (t->args.gpu ? 0 : t->model.resident_bytes);
	t->room = dram > fixed ? dram - fixed : 0;
	if (!rc && dram < fixed)
		tr_tool_warn("weights that every token uses, KV cache and reserve take %" PRIu64
			     " bytes, DRAM has %" PRIu64 ": the machine would swap",
			fixed, dram);
	return rc;
}

static int open_speeds(struct tuning *t)
{
	struct tr_speeds *s = &t->speeds;

	tr_machine_speeds(&t->machine, t->model.quant, t->model.unit_bytes, t->model.work.n_used, s);
	if (s->tier[TR_MACHINE_DRAM] > 0 && (s->tier[TR_MACHINE_NVME] > 0 || t->pmem_bytes)) {
		if (t->args.gpu && s->tier[TR_MACHINE_VRAM] > 0)
			s->resident = s->tier[TR_MACHINE_VRAM];
		if (!(s->tier[TR_MACHINE_NVME] > 0))
			s->tier[TR_MACHINE_NVME] = 1e6;
		return 0;
	}
	t->err.code = TR_E_INVALID;
	snprintf(t->err.msg, sizeof(t->err.msg),
		"machine '%s': it has no DRAM, or neither persistent memory nor a disk",
		t->args.machine);
	return t->err.code;
}

/* --- the answer ------------------------------------------------------------------------------- */

static void command_line(const struct tuning *t, char *to, size_t cap)
{
	const struct tr_tune_row *r = &t->row[t->best];
	int n = snprintf(to, cap, "tierra generate -m %s -c %u --dram %" PRIu64 "M --policy %s",
		t->args.model ? t->args.model : "MODEL", t->model.n_ctx, r->dram_bytes >> 20,
		r->policy);

	for (size_t i = 0; i < t->machine.n_tier && n > 0 && (size_t)n < cap; i++)
		if (t->machine.tier[i].kind == TR_MACHINE_PMEM)
			n += snprintf(to + n, cap - (size_t)n, " --pmem %s",
				t->machine.tier[i].path[0] ? t->machine.tier[i].path : "DIR");
	if (n > 0 && (size_t)n < cap && t->pmem_bytes &&
		t->speeds.n_thread[TR_MACHINE_PMEM] < t->machine.n_thread)
		snprintf(to + n, cap - (size_t)n, " --pmem-threads %u",
			t->speeds.n_thread[TR_MACHINE_PMEM]);
}

static double more(const struct tuning *t, enum tr_machine_kind kind, double factor)
{
	struct tr_speeds s = t->speeds;
	struct tr_tune_row row = t->row[t->best];

	s.tier[kind] *= factor;
	forecast(t, &s, row.hit_rate, row.dram_bytes, &row);
	return 1 / row.f.token_s;
}

static void warn(const struct tuning *t)
{
	const struct tr_tune_row *r = &t->row[t->best];

	if (r->dram_bytes < t->model.floor_bytes)
		tr_tool_warn("%" PRIu64 " bytes of DRAM are below one token's experts (%" PRIu64
			     " bytes): recency policies hit nothing",
			r->dram_bytes, t->model.floor_bytes);
	if (r->f.disk_wait_s > r->f.token_s / 2)
		tr_tool_warn("the disk is saturated (%.0f%% of a token waits for it): reading ahead "
			     "cannot help, --predictor is best left off",
			100 * r->f.disk_wait_s / r->f.token_s);
	if (t->args.gpu)
		tr_tool_warn("--gpu: a forecast only, this version computes on the CPU");
}

struct part {
	const char *name;
	double s;
};

static size_t parts_of(const struct tr_forecast *f, struct part parts[9])
{
	const struct part all[] = { { "experts, bound by DRAM", f->lane_s[TR_MACHINE_DRAM] },
		{ "experts, bound by persistent memory", f->lane_s[TR_MACHINE_PMEM] },
		{ "experts, bound by the memory bus", f->bus_s },
		{ "experts that came from disk", f->arrived_s },
		{ "waiting for the disk", f->disk_wait_s },
		{ "weights that every token uses", f->resident_s }, { "KV cache", f->kv_s },
		{ "parallel loops", f->loop_s } };

	memcpy(parts, all, sizeof(all));
	return sizeof(all) / sizeof(*all);
}

static void print_text(const struct tuning *t)
{
	static const char *const head[] = { ">DRAM", "policy", ">hit", ">tokens/s", ">ms",
		">first token s", "" };
	const struct tr_tune_row *best = &t->row[t->best];
	char line[2048], bytes[32];
	struct part parts[9];
	size_t n = parts_of(&best->f, parts);
	struct tr_table table;

	tr_table_init(&table, head, 7);
	for (size_t i = 0; i < t->n_row; i++) {
		const struct tr_tune_row *r = &t->row[i];

		tr_table_add_bytes(&table, r->dram_bytes);
		tr_table_add(&table, "%s", r->policy);
		tr_table_add(&table, "%.1f%%", 100 * r->hit_rate);
		tr_table_add(&table, "%.2f", 1 / r->f.token_s);
		tr_table_add(&table, "%.1f", 1e3 * r->f.token_s);
		tr_table_add(&table, "%.2f", r->prompt_s);
		tr_table_add(&table, i == t->best ? "<" : "");
	}
	printf("%s on %s, floor %s\n\n", t->model.name, t->machine.name,
		tr_table_bytes(t->model.floor_bytes, bytes, sizeof(bytes)));
	tr_table_print(&table, stdout, "");
	tr_table_fini(&table);
	command_line(t, line, sizeof(line));
	printf("\n%s\n\nwhere a token's %.1f ms go\n", line, 1e3 * best->f.token_s);
	for (size_t i = 0; i < n; i++)
		if (parts[i].s > 0)
			printf("  %-38s %8.2f ms  %5.1f%%\n", parts[i].name, 1e3 * parts[i].s,
				100 * parts[i].s / best->f.token_s);
	printf("\ntokens/s with more\n  a second drive                         %8.2f\n",
		more(t, TR_MACHINE_NVME, 2));
	if (t->pmem_bytes)
		printf("  a seventh PMem module for six          %8.2f\n",
			more(t, TR_MACHINE_PMEM, 7.0 / 6));
	printf("\ntokens/s by share of uses in DRAM\n");
	for (int h = 0; h <= 100; h += 25) {
		struct tr_tune_row row;

		forecast(t, &t->speeds, h / 100.0, (uint64_t)(t->room * (h / 100.0)), &row);
		printf("  %3d%% %8.2f\n", h, 1 / row.f.token_s);
	}
}

static json_t *row_json(const struct tr_tune_row *r)
{
	json_t *where = json_object();
	struct part parts[9];
	size_t n = parts_of(&r->f, parts);

	for (size_t i = 0; i < n; i++)
		json_object_set_new(where, parts[i].name, json_real(parts[i].s));
	return json_pack("{s:I, s:s, s:f, s:f, s:f, s:o}", "dram_bytes", (json_int_t)r->dram_bytes,
		"policy", r->policy, "hit_rate", r->hit_rate, "tokens_per_s", 1 / r->f.token_s,
		"first_token_s", r->prompt_s, "seconds", where);
}

static int print_json(const struct tuning *t)
{
	json_t *rows = json_array(), *root;
	char line[2048];
	int rc;

	for (size_t i = 0; i < t->n_row; i++)
		json_array_append_new(rows, row_json(&t->row[i]));
	command_line(t, line, sizeof(line));
	root = json_pack("{s:s, s:s, s:s, s:o, s:o}", "model", t->model.name, "machine",
		t->machine.name, "command", line, "best", row_json(&t->row[t->best]), "results",
		rows);
	rc = root ? tr_json_write(root, stdout) : -1;
	json_decref(root);
	return rc;
}

static int tune(struct tuning *t)
{
	int rc = tr_machine_open(&t->machine, t->args.machine, &t->err);

	if (!rc)
		rc = tr_tune_model(&t->model, &t->args, &t->err);
	if (!rc)
		rc = open_speeds(t);
	if (!rc)
		rc = open_sizes(t);
	if (!rc)
		rc = tr_tune_routing(&t->trace, &t->model, &t->args, &t->err);
	if (!rc)
		rc = search(t);
	if (t->trace)
		tr_trace_close(t->trace);
	if (rc)
		return tr_tool_fail(&t->err);
	warn(t);
	if (!t->args.json)
		print_text(t);
	return tr_tool_end_output(t->args.json ? print_json(t) : 0);
}

static int run(int argc, char **argv)
{
	static const enum tr_verbosity verbosity = TR_VERBOSITY_NORMAL;
	struct tuning t = { 0 };
	int rc = 0;

	tr_tune_args_parse(&t.args, argc, argv);
	tr_tool_log_to_stderr(&verbosity);
	if (t.args.measure) {
		rc = measure(&t);
		if (!rc)
			print_machine(&t.machine);
	}
	if (!rc && t.args.machine)
		rc = tune(&t);
	tr_log_set(NULL, NULL);
	return rc;
}

const struct tr_command tr_command_tune = {
	.name = "tune",
	.summary = "measure a machine; find sizes for a model on it and how fast they should be",
	.run = run,
};
