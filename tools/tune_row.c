/*
 * tune_row.c - one choice of settings: its routing replayed, and the time of every token of it.
 *
 * A replay makes the decisions of the cache exactly; what it tells of each layer's visit (so many
 * experts from each tier) is put through the machine's figures. Tokens of the second half count as
 * warm. A trace that holds a prompt gives the first token's time from its own chunks; else a prompt
 * of chance is taken.
 */
#include "tools/tool.h"
#include "tools/tune.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define N_BATCH 512 /* tokens of a chunk of prompt, as the engine's default */

struct watch {
	const struct tr_tune *t;
	struct tr_tune_row *row;
	uint64_t n_decode, n_seen; /* tokens */
	double vram_owed;	   /* hits that VRAM serves, less those counted so far */
	struct tr_forecast token;  /* the one at work */
	double *token_s;	   /* [n_decode] */
	uint32_t n_chunk;	   /* tokens of the chunk of prompt at work, 0: none */
};

static double touch_s(const struct tr_speeds *s, double bytes)
{
	return s->touch_bytes_per_s > 0 ? bytes / s->touch_bytes_per_s : 0;
}

/* --- windows ---------------------------------------------------------------------------------- */

static bool is_like(const struct tr_tune_visits *a, const struct tr_tune_visits *b)
{
	return !memcmp(a->n, b->n, sizeof(a->n)) && a->ahead == b->ahead && a->vain == b->vain;
}

static void add_visit(struct tr_tune_window *w, const struct tr_tune_visits *v)
{
	size_t i = 0;

	while (i < w->n_kind && !is_like(&w->kind[i], v))
		i++;
	if (i == TR_TUNE_MAX_VISITS) /* 9 of 8 experts over two tiers, 165 over four */
		i--;
	else if (i == w->n_kind) {
		w->kind[w->n_kind] = *v;
		w->kind[w->n_kind++].count = 0;
	}
	w->kind[i].count++;
}

/* --- reading ahead ---------------------------------------------------------------------------- */

/* From a layer's reads on, until the next layer asks for its own: what came is computed, then all
 * that a layer has beside its experts. The disk can read ahead meanwhile. */
static double idle_s(const struct tr_tune *t, const struct tr_speeds *s, uint32_t n_read)
{
	double rest = (s->resident_s + s->resident_op_s) / t->model.work.n_layer - s->beside_s;
	double one = (double)t->model.unit_bytes / s->tier[TR_MACHINE_DRAM];

	return n_read * one + (rest > 0 ? rest : 0);
}

static double burst_s(const struct tr_speeds *s, uint32_t n)
{
	return s->read_s[n < TR_MAX_READ_TABLE ? n : TR_MAX_READ_TABLE];
}

/* Adds p layers. What was asked for ahead has come as far as the disk had time; a read in vain that
 * is still going on has to end first, half of it in the mean, and takes the asking. */
static void add_layers(const struct tr_tune *t, const struct tr_speeds *s,
	const struct tr_tune_visits *v, double p, struct tr_forecast *out)
{
	uint32_t n[TR_N_MACHINE_KIND], asked = v->ahead + v->vain, whole;
	double idle = idle_s(t, s, v->n[TR_MACHINE_NVME]), done, part, come;

	memcpy(n, v->n, sizeof(n));
	if (!asked || !(s->read_s[1] > 0)) {
		tr_forecast_layer(&t->model.work, s, n, p, out);
		return;
	}
	done = idle < burst_s(s, asked) ? idle / burst_s(s, asked) : 1;
	come = done * v->ahead;
	whole = (uint32_t)come;
	part = come - whole;
	for (uint32_t k = whole; k <= whole + 1; k++) {
		double share = k == whole ? 1 - part : part;

		if (!(share > 0))
			continue;
		n[TR_MACHINE_NVME] = v->n[TR_MACHINE_NVME] - k;
		n[TR_MACHINE_DRAM] = v->n[TR_MACHINE_DRAM] + k;
		tr_forecast_layer(&t->model.work, s, n, p * share, out);
	}
	out->cache_s += p * s->ask_s[1] * v->vain;
	if (done < 1)
		out->disk_wait_s += p * v->vain / asked * s->read_s[1] / 2;
	out->lane_busy_s[TR_MACHINE_NVME] += p * burst_s(s, asked) * done;
}

/* A predictor that looks at routers multiplies each of them once more. */
static double look_s(const struct tr_tune *t, const struct tr_speeds *s, const char *predictor)
{
	const struct tr_workload *w = &t->model.work;
	struct tr_predictor_info info = { .wants_scores = false };

	for (size_t i = 0; predictor && i < tr_n_predictor(); i++) {
		tr_predictor_info(i, &info);
		if (!strcmp(info.name, predictor))
			break;
		info.wants_scores = false;
	}
	if (!info.wants_scores)
		return 0;
	return w->n_moe_layer *
	       (4.0 * w->n_expert * w->n_embd / s->tier[TR_MACHINE_DRAM] + s->step_s / 2);
}

void tr_tune_forecast(const struct tr_tune *t, const struct tr_tune_window *w,
	const struct tr_speeds *s, struct tr_forecast *out)
{
	*out = (struct tr_forecast){ 0 };
	if (!(w->n_token > 0))
		return;
	for (size_t i = 0; i < w->n_kind; i++)
		add_layers(t, s, &w->kind[i], w->kind[i].count / w->n_token, out);
	out->loop_s += look_s(t, s, w->predictor);
	tr_forecast_rest(s, w->position_sum / w->n_token, 1, out);
	out->disk_wait_s += touch_s(s, w->fresh_bytes / w->n_token);
	if (s->tier[TR_MACHINE_PMEM] > 0)
		out->lane_s[TR_MACHINE_PMEM] +=
			w->promoted_bytes / w->n_token / s->tier[TR_MACHINE_PMEM];
	tr_forecast_total(out);
}

/* --- visits ----------------------------------------------------------------------------------- */

static void spread_hits(struct watch *w, uint32_t n_hit, uint32_t n[TR_N_MACHINE_KIND])
{
	w->vram_owed += n_hit * w->t->vram_of_hits;
	n[TR_MACHINE_VRAM] = (uint32_t)w->vram_owed;
	if (n[TR_MACHINE_VRAM] > n_hit)
		n[TR_MACHINE_VRAM] = n_hit;
	w->vram_owed -= n[TR_MACHINE_VRAM];
	n[TR_MACHINE_DRAM] = n_hit - n[TR_MACHINE_VRAM];
}

static void visit_prompt(struct watch *w, const struct tr_replay_visit *v)
{
	const struct tr_workload *work = &w->t->model.work;
	double n[TR_N_MACHINE_KIND] = { 0 };

	n[TR_MACHINE_DRAM] = v->n_hit;
	n[TR_MACHINE_PMEM] = v->n_pmem;
	n[TR_MACHINE_NVME] = v->n_unit - v->n_hit - v->n_pmem;
	w->row->prompt_s += tr_forecast_chunk_layer(work, &w->t->speeds, v->n_token, n);
	if (v->n_token > w->n_chunk) /* the last layer has one */
		w->n_chunk = v->n_token;
	if (!v->ends_token)
		return;
	w->row->prompt_s += tr_forecast_chunk_rest(work, &w->t->speeds, w->n_chunk);
	w->row->n_prompt += w->n_chunk;
	w->n_chunk = 0;
}

static void end_token(struct watch *w, uint64_t position)
{
	struct tr_tune_window *all = &w->row->all, *last = &w->row->last;

	tr_forecast_rest(&w->t->speeds, (double)position, 1, &w->token);
	w->token.loop_s += look_s(w->t, &w->t->speeds, all->predictor);
	tr_forecast_total(&w->token);
	w->token_s[w->n_seen] = w->token.token_s;
	w->token = (struct tr_forecast){ 0 };
	all->n_token++;
	all->position_sum += (double)position;
	if (2 * w->n_seen >= w->n_decode) {
		last->n_token++;
		last->position_sum += (double)position;
	}
	w->n_seen++;
}

static void visit(void *ctx, const struct tr_replay_visit *v)
{
	struct watch *w = ctx;
	double fresh = (double)(v->n_fresh * w->t->model.unit_bytes);
	struct tr_tune_visits here = { .ahead = v->n_ahead, .vain = v->n_vain };
	uint32_t *n = here.n;

	if (v->prefill || w->n_seen == w->n_decode) {
		visit_prompt(w, v);
		return;
	}
	spread_hits(w, v->n_hit, n);
	n[TR_MACHINE_PMEM] = v->n_pmem;
	n[TR_MACHINE_NVME] = v->n_unit - v->n_hit - v->n_pmem;
	if (here.ahead > n[TR_MACHINE_NVME]) /* a set that waits for slots may find them there */
		here.ahead = n[TR_MACHINE_NVME];
	add_layers(w->t, &w->t->speeds, &here, 1, &w->token);
	w->token.disk_wait_s += touch_s(&w->t->speeds, fresh);
	add_visit(&w->row->all, &here);
	w->row->all.fresh_bytes += fresh;
	if (2 * w->n_seen >= w->n_decode) {
		add_visit(&w->row->last, &here);
		w->row->last.fresh_bytes += fresh;
	}
	if (v->ends_token)
		end_token(w, v->token);
}

/* --- the row ---------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Nothing is anywhere yet but in persistent memory and on disk. */
static void draw_prompt(const struct tr_tune *t, struct tr_tune_row *row)
{
	struct tr_workload w = t->model.work;

	w.held[TR_MACHINE_PMEM] = t->in_pmem;
	w.held[TR_MACHINE_NVME] = 1 - t->in_pmem;
	row->n_prompt = t->args.n_prompt;
	row->prompt_s = tr_forecast_prompt(&w, &t->speeds, t->args.n_prompt, N_BATCH);
}

/* Weights that every token uses are read first, from the fastest disk or persistent memory. */
static double load_s(const struct tr_tune *t)
{
	double rate =
		t->in_pmem >= 1 ? t->speeds.tier[TR_MACHINE_PMEM] : t->speeds.disk_bytes_per_s;
	double bytes = (double)t->model.resident_bytes;

	return rate > 0 ? bytes / rate + touch_s(&t->speeds, bytes) : 0;
}

/* Of the hits of a cache of this size those that as many slots as VRAM has would have had. By lfu,
 * whose replay is quick: the ratio hardly depends on the policy. */
static int share_of_vram(struct tr_tune *t, const struct tr_replay_opts *opts, uint64_t n_vram)
{
	struct tr_replay_opts alone = *opts;
	struct tr_replay_stats small, both;
	char count[24];
	int rc;

	t->vram_of_hits = 0;
	if (!n_vram)
		return 0;
	alone.visit = NULL;
	alone.policy = "lfu";
	alone.predictor = NULL;
	rc = tr_replay(t->trace, &alone, &both, &t->err);
	snprintf(count, sizeof(count), "%" PRIu64, n_vram);
	alone.cache = count;
	if (!rc)
		rc = tr_replay(t->trace, &alone, &small, &t->err);
	if (!rc && both.n_hit)
		t->vram_of_hits = (double)small.n_hit / (double)both.n_hit;
	return rc;
}

/* Of the uses of a window those that the caches served. */
static double hits_of(const struct tr_tune_window *w)
{
	double hit = 0, all = 0;

	for (size_t i = 0; i < w->n_kind; i++)
		for (int k = 0; k < TR_N_MACHINE_KIND; k++) {
			double n = w->kind[i].n[k] * w->kind[i].count;

			all += n;
			hit += k == TR_MACHINE_DRAM || k == TR_MACHINE_VRAM ? n : 0;
		}
	return all > 0 ? hit / all : 0;
}

/* Experts that the cache held more at the end of the second half than at its begin. */
static double grown(const struct tr_tune_row *row, const struct tr_replay_stats *stats)
{
	double loaded = (double)stats->n_promoted - (double)stats->n_evict;

	for (size_t i = 0; i < row->last.n_kind; i++)
		loaded += row->last.kind[i].n[TR_MACHINE_NVME] * row->last.kind[i].count;
	return loaded;
}

static void finish(struct watch *w, const struct tr_replay_stats *stats)
{
	struct tr_tune_row *row = w->row;
	const struct tr_tune *t = w->t;

	row->n_token = (unsigned)w->n_seen;
	row->last.promoted_bytes = (double)(stats->n_promoted * t->model.unit_bytes);
	row->all.promoted_bytes =
		row->last.n_token > 0
			? row->last.promoted_bytes * row->all.n_token / row->last.n_token
			: 0;
	tr_tune_forecast(t, &row->all, &t->speeds, &row->first);
	tr_tune_forecast(t, &row->last, &t->speeds, &row->warm);
	row->hit_rate = stats->n_request ? (double)stats->n_hit / (double)stats->n_request : 0;
	row->run_hit_rate = hits_of(&row->all);
	for (size_t i = 0; i < row->last.n_kind; i++)
		row->read_bytes += row->last.kind[i].n[TR_MACHINE_NVME] * row->last.kind[i].count *
				   (double)t->model.unit_bytes / row->last.n_token;
	qsort(w->token_s, w->n_seen, sizeof(*w->token_s), compare);
	for (int i = 0; w->n_seen && i < 3; i++)
		row->token_s[i] = w->token_s[(w->n_seen - 1) *
					     (i == 0	      ? 50
						     : i == 1 ? 95
							      : 100) /
					     100];
	row->foresight = stats->predictor;
	row->load_s = load_s(t);
	row->foreseen = (double)stats->n_ahead / (row->last.n_token > 0 ? row->last.n_token : 1);
	row->vain = (double)stats->n_vain / (row->last.n_token > 0 ? row->last.n_token : 1);
	row->fills = grown(row, stats) > 0.05 * (double)stats->capacity;
	row->replay_s = (double)stats->ns * 1e-9;
	if (!row->n_prompt)
		draw_prompt(t, row);
}

int tr_tune_row(struct tr_tune *t, const struct tr_tune_choice *choice, struct tr_tune_row *row)
{
	const struct tr_workload *work = &t->model.work;
	uint64_t n_vram = t->vram_room / t->model.unit_bytes;
	struct watch w = {
		.t = t, .row = row, .n_decode = t->info.n_token - t->info.n_prefill_token
	};
	struct tr_replay_opts opts = { .policy = choice->policy,
		.predictor = choice->predictor,
		.n_ahead = choice->n_ahead,
		.in_pmem = t->in_pmem,
		.decode_only = true,
		.visit = visit,
		.ctx = &w };
	struct tr_replay_stats stats;
	char count[24];
	int rc;

	*row = (struct tr_tune_row){ .choice = *choice,
		.all = { .predictor = choice->predictor },
		.last = { .predictor = choice->predictor } };
	snprintf(count, sizeof(count), "%" PRIu64,
		choice->dram_bytes / t->model.slot_bytes + n_vram);
	opts.cache = count;
	opts.n_warm = t->info.n_prefill_token + w.n_decode / 2;
	if (t->in_pmem > 0)
		opts.n_promote = (uint64_t)work->n_used * work->n_moe_layer * choice->promote / 100;
	rc = share_of_vram(t, &opts, n_vram);
	if (rc)
		return rc;
	w.token_s = tr_tool_calloc(w.n_decode, sizeof(*w.token_s));
	rc = tr_replay(t->trace, &opts, &stats, &t->err);
	if (!rc)
		finish(&w, &stats);
	free(w.token_s);
	return rc;
}
