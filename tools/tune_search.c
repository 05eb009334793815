/*
 * tune_search.c - which settings to try, and which of them to recommend.
 *
 * Sizes under every policy first. Of the sizes that come within 1% of the fastest the smallest is
 * taken: what a larger cache gains beyond it is not worth its memory. At that size it is tried how
 * many experts may be copied from persistent memory as a token ends, and which predictor is worth
 * its reads ahead, where there are any.
 */
#include "tools/tool.h"
#include "tools/tune.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIN_RESERVE  ((uint64_t)512 << 20)
#define VRAM_RESERVE ((uint64_t)768 << 20) /* of a card: driver, buffers of a prompt */
#define WORTH	     1.01		   /* what more memory, or a setting, has to gain */

static const char *const policies[] = { "foresight", "lfu", "lru", "s3fifo" };
#define MANY_REQUESTS 100000u /* beyond it the first two only: a replay takes a second */
static const unsigned percents[] = { 5, 10, 25, 50, 75, 100 }; /* of the DRAM there is room for */
static const unsigned promotes[] = { 0, 25, 100 };	       /* beside the default */

#define DEFAULT_PROMOTE 10
#define N_OF(list)	(sizeof(list) / sizeof(*(list)))

/* --- sizes ------------------------------------------------------------------------------------ */

static uint64_t bytes_of(const struct tr_machine *m, enum tr_machine_kind kind)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < m->n_tier; i++)
		bytes += m->tier[i].kind == kind ? m->tier[i].bytes : 0;
	return bytes;
}

static int size_vram(struct tr_tune *t)
{
	uint64_t fixed =
		VRAM_RESERVE + (t->args.gpu ? t->model.resident_bytes + t->model.kv_bytes : 0);
	int rc = 0;

	t->vram_bytes = bytes_of(&t->machine, TR_MACHINE_VRAM);
	if (t->args.max_vram)
		rc = tr_parse_size(
			"--max-vram", t->args.max_vram, t->vram_bytes, &t->vram_bytes, &t->err);
	if (!rc && t->args.gpu && t->vram_bytes < fixed)
		tr_tool_warn(
			"--gpu: weights that every token uses, KV cache and buffers take %" PRIu64
			" bytes, VRAM has %" PRIu64,
			fixed, t->vram_bytes);
	t->vram_room = t->vram_bytes > fixed ? t->vram_bytes - fixed : 0;
	return rc;
}

static int size_dram(struct tr_tune *t)
{
	uint64_t reserve, fixed;
	int rc = 0;

	t->dram_bytes = bytes_of(&t->machine, TR_MACHINE_DRAM);
	if (t->args.max_dram)
		rc = tr_parse_size(
			"--max-dram", t->args.max_dram, t->dram_bytes, &t->dram_bytes, &t->err);
	reserve = t->dram_bytes / 10 > MIN_RESERVE ? t->dram_bytes / 10 : MIN_RESERVE;
	if (!rc && t->args.reserve)
		rc = tr_parse_size("--reserve", t->args.reserve, t->dram_bytes, &reserve, &t->err);
	fixed = reserve + (t->args.gpu ? 0 : t->model.resident_bytes + t->model.kv_bytes);
	t->room = t->dram_bytes > fixed ? t->dram_bytes - fixed : 0;
	if (!rc && t->dram_bytes < fixed)
		tr_tool_warn("weights that every token uses, KV cache and reserve take %" PRIu64
			     " bytes, DRAM has %" PRIu64 ": the machine would swap",
			fixed, t->dram_bytes);
	return rc;
}

int tr_tune_sizes(struct tr_tune *t)
{
	double all = (double)t->model.n_unit * t->model.work.unit_bytes;
	int rc = size_dram(t);

	if (!rc)
		rc = size_vram(t);
	t->pmem_bytes = bytes_of(&t->machine, TR_MACHINE_PMEM);
	t->in_pmem = (double)t->pmem_bytes / all;
	t->in_pmem = t->in_pmem > 1 ? 1 : t->in_pmem;
	return rc;
}

/* --- choices ---------------------------------------------------------------------------------- */

static int try_choice(struct tr_tune *t, const struct tr_tune_choice *choice)
{
	if (t->n_row == TR_TUNE_MAX_ROW)
		return 0;
	return tr_tune_row(t, choice, &t->row[t->n_row++]);
}

static int try_policies(struct tr_tune *t, uint64_t bytes)
{
	struct tr_tune_choice c = { .dram_bytes = bytes, .promote = DEFAULT_PROMOTE };
	size_t n = t->info.n_request > MANY_REQUESTS ? 2 : N_OF(policies);
	int rc = 0;

	for (size_t p = 0; !rc && p < n; p++) {
		c.policy = t->args.policy ? t->args.policy : policies[p];
		rc = try_choice(t, &c);
		if (t->args.policy)
			break;
	}
	return rc;
}

static int try_sizes(struct tr_tune *t)
{
	uint64_t all = t->model.n_unit * t->model.slot_bytes, most = t->room < all ? t->room : all,
		 dram;
	int rc = 0;

	if (t->args.dram) {
		rc = tr_parse_size("--dram", t->args.dram, all, &dram, &t->err);
		return rc ? rc : try_policies(t, dram);
	}
	for (size_t s = 0; !rc && s < N_OF(percents); s++)
		rc = try_policies(t, most / 100 * percents[s]);
	return rc;
}

static double best_of(const struct tr_tune *t)
{
	double best = t->row[0].warm.token_s;

	for (size_t i = 1; i < t->n_row; i++)
		best = t->row[i].warm.token_s < best ? t->row[i].warm.token_s : best;
	return best;
}

static void choose_size(struct tr_tune *t)
{
	double best = best_of(t);

	for (t->best = 0; t->best + 1 < t->n_row; t->best++)
		if (t->row[t->best].warm.token_s <= best * WORTH)
			break;
}

/* The row tried last becomes the best if it gains enough; ahead: so much it may gain beside. */
static void keep_if_better(struct tr_tune *t, double ahead)
{
	const struct tr_tune_row *last = &t->row[t->n_row - 1], *best = &t->row[t->best];

	if ((last->warm.token_s - ahead) * WORTH < best->warm.token_s)
		t->best = t->n_row - 1;
}

/* Those that want router scores are of use only where the trace has them. */
static int try_predictors(struct tr_tune *t)
{
	struct tr_tune_choice c = t->row[t->best].choice;
	int rc = 0;

	for (size_t i = 0; !rc && i < tr_n_predictor(); i++) {
		struct tr_predictor_info info;

		tr_predictor_info(i, &info);
		if (!strcmp(info.name, "none") || (info.wants_scores && !t->info.has_scores))
			continue;
		c.predictor = info.name;
		rc = try_choice(t, &c);
		if (!rc)
			keep_if_better(t, t->row[t->n_row - 1].ahead_s);
	}
	return rc;
}

static int try_promotes(struct tr_tune *t)
{
	struct tr_tune_choice c = t->row[t->best].choice;
	int rc = 0;

	for (size_t i = 0; !rc && i < N_OF(promotes); i++) {
		c.promote = promotes[i];
		rc = try_choice(t, &c);
		if (!rc)
			keep_if_better(t, 0);
	}
	return rc;
}

int tr_tune_search(struct tr_tune *t)
{
	int rc = try_sizes(t);

	if (rc)
		return rc;
	choose_size(t);
	if (t->in_pmem > 0)
		rc = try_promotes(t);
	if (!rc && !t->args.dram && t->in_pmem < 1 &&
		t->info.n_token * t->info.n_moe_layer < 1u << 20)
		rc = try_predictors(t);
	return rc;
}
