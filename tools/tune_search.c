/*
 * tune_search.c - which settings to try, and which of them to recommend.
 *
 * One option after the other, each with what was chosen before it:
 *
 *	-t, --pmem-threads	by the machine's figures, without routing (tune_threads.c)
 *	--dram, --policy	sizes under every policy: the smallest that comes within 1% of the
 *				fastest, since what a larger cache gains is not worth its memory
 *	--promote		copies from persistent memory as a token ends
 *	--predictor		each with the engine's own budget
 *	--prefetch-budget	with the predictor that was chosen
 *
 * An option is recommended where it gains more than the noise. No replay is begun that is not
 *expected to end within SEARCH_S.
 */
#include "tools/table.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIN_RESERVE  ((uint64_t)512 << 20)
#define VRAM_RESERVE ((uint64_t)768 << 20) /* of a card: driver, buffers of a prompt */
#define SEARCH_S     30			   /* a search is for somebody who waits */

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
	char a[32], b[32];
	int rc = 0;

	t->vram_bytes = bytes_of(&t->machine, TR_MACHINE_VRAM);
	if (t->args.max_vram)
		rc = tr_parse_size(
			"--max-vram", t->args.max_vram, t->vram_bytes, &t->vram_bytes, &t->err);
	if (!rc && t->args.gpu && t->vram_bytes < fixed)
		tr_tool_warn(
			"--gpu: weights that every token uses, KV cache and buffers take %s, VRAM "
			"has %s",
			tr_table_bytes(fixed, a, sizeof(a)),
			tr_table_bytes(t->vram_bytes, b, sizeof(b)));
	t->vram_room = t->vram_bytes > fixed ? t->vram_bytes - fixed : 0;
	return rc;
}

static int size_dram(struct tr_tune *t)
{
	uint64_t reserve, fixed;
	char a[32], b[32];
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
		tr_tool_warn("weights that every token uses, KV cache and reserve take %s, DRAM "
			     "has %s: the machine would swap",
			tr_table_bytes(fixed, a, sizeof(a)),
			tr_table_bytes(t->dram_bytes, b, sizeof(b)));
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

/* --- steps ------------------------------------------------------------------------------------ */

struct tr_tune_step *tr_tune_step(struct tr_tune *t, const char *option)
{
	struct tr_tune_step *s = &t->step[t->n_step < TR_TUNE_MAX_STEP ? t->n_step++ : 0];

	*s = (struct tr_tune_step){ .option = option };
	if (t->n_row)
		s->before = s->after = 1 / t->row[t->best].warm.token_s;
	return s;
}

void tr_tune_step_tried(struct tr_tune_step *s, const char *what)
{
	size_t n = strlen(s->tried);

	snprintf(s->tried + n, sizeof(s->tried) - n, "%s%s", n ? ", " : "", what);
}

static void choose(struct tr_tune_step *s, const char *what)
{
	snprintf(s->chosen, sizeof(s->chosen), "%s", what);
}

static void explain(struct tr_tune_step *s, const char *why)
{
	snprintf(s->note, sizeof(s->note), "%s", why);
}

/* --- choices ---------------------------------------------------------------------------------- */

/* A replay takes about as long as the one before. */
static bool has_time(const struct tr_tune *t)
{
	double spent = (double)(tr_tool_now_ns() - t->start_ns) * 1e-9;

	return !t->n_row || spent + t->row[t->n_row - 1].replay_s < SEARCH_S;
}

static int try_choice(struct tr_tune *t, const struct tr_tune_choice *choice)
{
	if (t->n_row == TR_TUNE_MAX_ROW || !has_time(t))
		return 0;
	return tr_tune_row(t, choice, &t->row[t->n_row++]);
}

/* --- sizes and policies ----------------------------------------------------------------------- */

static size_t n_policy(const struct tr_tune *t)
{
	if (t->args.policy)
		return 1;
	return t->info.n_request > MANY_REQUESTS ? 2 : N_OF(policies);
}

static int try_policies(struct tr_tune *t, uint64_t bytes)
{
	struct tr_tune_choice c = { .dram_bytes = bytes, .promote = DEFAULT_PROMOTE };
	int rc = 0;

	for (size_t p = 0; !rc && p < n_policy(t); p++) {
		c.policy = t->args.policy ? t->args.policy : policies[p];
		rc = try_choice(t, &c);
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

static double fastest(const struct tr_tune *t)
{
	double best = t->row[0].warm.token_s;

	for (size_t i = 1; i < t->n_row; i++)
		best = t->row[i].warm.token_s < best ? t->row[i].warm.token_s : best;
	return best;
}

/* Of a size, whatever the policy; 0: the first row's. */
static double speed_of(const struct tr_tune *t, uint64_t bytes, const char *policy)
{
	double speed = 0;

	for (size_t i = 0; i < t->n_row; i++) {
		const struct tr_tune_row *r = &t->row[i];

		if (r->choice.dram_bytes == bytes &&
			(!policy || !strcmp(r->choice.policy, policy)) &&
			1 / r->warm.token_s > speed)
			speed = 1 / r->warm.token_s;
	}
	return speed;
}

static void report_size(struct tr_tune *t)
{
	struct tr_tune_step *s = tr_tune_step(t, "--dram");
	uint64_t last = 0;
	char text[32];

	for (size_t i = 0; i < t->n_row; i++) {
		uint64_t bytes = t->row[i].choice.dram_bytes;

		snprintf(text, sizeof(text), "%" PRIu64 "M", bytes >> 20);
		if (!i || bytes != last)
			tr_tune_step_tried(s, text);
		last = bytes;
	}
	snprintf(text, sizeof(text), "%" PRIu64 "M", t->row[t->best].choice.dram_bytes >> 20);
	choose(s, text);
	s->before = speed_of(t, t->row[0].choice.dram_bytes, NULL);
	s->taken = true;
	if (t->args.dram)
		explain(s, "given, no other was tried");
}

static void report_policy(struct tr_tune *t)
{
	struct tr_tune_step *s = tr_tune_step(t, "--policy");
	const struct tr_tune_choice *c = &t->row[t->best].choice;

	for (size_t p = 0; p < n_policy(t); p++)
		tr_tune_step_tried(s, t->args.policy ? t->args.policy : policies[p]);
	choose(s, c->policy);
	s->before = speed_of(t, c->dram_bytes, t->args.policy ? t->args.policy : policies[0]);
	s->taken = true;
	if (t->args.policy)
		explain(s, "given, no other was tried");
}

/* The default policy stays where no other is faster by more than the noise. */
static void choose_size(struct tr_tune *t)
{
	double best = fastest(t), speed;

	for (t->best = 0; t->best + 1 < t->n_row; t->best++)
		if (t->row[t->best].warm.token_s <= best * (1 + TR_TUNE_NOISE_EXACT))
			break;
	speed = speed_of(t, t->row[t->best].choice.dram_bytes, NULL);
	for (size_t i = t->best; i < t->n_row; i++)
		if (t->row[i].choice.dram_bytes == t->row[t->best].choice.dram_bytes &&
			1 / t->row[i].warm.token_s >= speed)
			t->best =
				1 / t->row[t->best].warm.token_s * (1 + TR_TUNE_NOISE_EXACT) < speed
					? i
					: t->best;
}

/* --- others ----------------------------------------------------------------------------------- */

/* The row tried last becomes the best if it gains more than the noise. */
static void keep_if_better(
	struct tr_tune *t, struct tr_tune_step *s, const char *name, double noise)
{
	const struct tr_tune_row *last = &t->row[t->n_row - 1];
	double speed = 1 / last->warm.token_s;
	bool gains = speed > (1 + noise) / t->row[t->best].warm.token_s;

	tr_tune_step_tried(s, name);
	s->after = speed > s->after ? speed : s->after;
	if (!gains)
		return;
	t->best = t->n_row - 1;
	s->taken = true;
	choose(s, name);
}

/* Tries one more; false when it could not be. */
static int try_and_keep(struct tr_tune *t, struct tr_tune_step *s, const struct tr_tune_choice *c,
	const char *name, double noise)
{
	size_t n = t->n_row;
	int rc = try_choice(t, c);

	if (!rc && t->n_row > n)
		keep_if_better(t, s, name, noise);
	else if (!rc)
		explain(s, "not all were tried: no time");
	return rc;
}

static int try_promotes(struct tr_tune *t)
{
	struct tr_tune_step *s = tr_tune_step(t, "--promote");
	struct tr_tune_choice c = t->row[t->best].choice;
	char name[16];
	int rc = 0;

	snprintf(name, sizeof(name), "%u%%", c.promote);
	tr_tune_step_tried(s, name);
	choose(s, name);
	for (size_t i = 0; !rc && i < N_OF(promotes); i++) {
		c.promote = promotes[i];
		snprintf(name, sizeof(name), promotes[i] ? "%u%%" : "off", promotes[i]);
		rc = try_and_keep(t, s, &c, name, TR_TUNE_NOISE_EXACT);
	}
	return rc;
}

/* As the engine's default: an eighth of the slots. */
static uint32_t default_ahead(const struct tr_tune *t)
{
	uint64_t n = t->row[t->best].choice.dram_bytes / t->model.slot_bytes / 8;

	return n > UINT32_MAX ? UINT32_MAX : n ? (uint32_t)n : 1;
}

/* Why no predictor is tried; NULL: they are. */
static const char *no_predictors(const struct tr_tune *t)
{
	if (t->args.predictor && !strcmp(t->args.predictor, "none"))
		return "given, no other was tried";
	if (t->in_pmem >= 1)
		return "nothing is read from a disk";
	if (!t->args.trace)
		return "routing drawn token by token has nothing to foresee: needs --trace";
	if (!(t->row[t->best].read_bytes > 0))
		return "nothing has to be read once it is warm";
	return NULL;
}

#define LISTENS "foresight" /* the policy whose order of eviction makes use of a predictor */

/* With the policy that was chosen, and with the one that listens. */
static int try_predictor(struct tr_tune *t, struct tr_tune_step *s, const char *name,
	const struct tr_tune_choice *base)
{
	struct tr_tune_choice c = *base;
	char what[64];
	int rc;

	c.predictor = name;
	rc = try_and_keep(t, s, &c, name, TR_TUNE_NOISE_SAID);
	if (rc || t->args.policy || !strcmp(c.policy, LISTENS))
		return rc;
	c.policy = LISTENS;
	snprintf(what, sizeof(what), "%s/" LISTENS, name);
	return try_and_keep(t, s, &c, what, TR_TUNE_NOISE_SAID);
}

/* Those that want router scores are of use only where the trace has them. */
static int try_predictors(struct tr_tune *t)
{
	struct tr_tune_step *s = tr_tune_step(t, "--predictor");
	struct tr_tune_choice c = t->row[t->best].choice;
	const char *why = no_predictors(t);
	int rc = 0;

	choose(s, "none");
	if (why)
		explain(s, why);
	c.n_ahead = default_ahead(t);
	for (size_t i = 0; !rc && !why && i < tr_n_predictor(); i++) {
		struct tr_predictor_info info;

		tr_predictor_info(i, &info);
		if (!strcmp(info.name, "none") ||
			(t->args.predictor && strcmp(t->args.predictor, info.name) != 0))
			continue;
		if (info.wants_scores && !t->info.has_scores)
			explain(s, "those that look at routers need a trace with scores "
				   "(--trace FILE,scores)");
		else
			rc = try_predictor(t, s, info.name, &c);
	}
	return rc;
}

static void ahead_name(const struct tr_tune *t, uint32_t n, char name[32])
{
	if (n)
		snprintf(name, 32, "%" PRIu64 "M", (n * t->model.slot_bytes >> 20) + 1);
	else
		snprintf(name, 32, "off");
}

/* From a layer's experts to four layers', and none. */
static int try_budgets(struct tr_tune *t)
{
	static const uint32_t layers[] = { 0, 1, 2, 4 };
	struct tr_tune_step *s = tr_tune_step(t, "--prefetch-budget");
	struct tr_tune_choice c = t->row[t->best].choice;
	char name[32];
	int rc = 0;

	if (!c.predictor) {
		explain(s, "no predictor to read ahead by");
		return 0;
	}
	ahead_name(t, c.n_ahead, name);
	tr_tune_step_tried(s, name);
	choose(s, name);
	for (size_t i = 0; !rc && i < N_OF(layers); i++) {
		c.n_ahead = layers[i] * t->model.work.n_used;
		ahead_name(t, c.n_ahead, name);
		rc = try_and_keep(t, s, &c, name, TR_TUNE_NOISE_EXACT);
	}
	return rc;
}

int tr_tune_search(struct tr_tune *t)
{
	int rc;

	t->start_ns = tr_tool_now_ns();
	tr_tune_threads(t);
	rc = try_sizes(t);
	if (rc)
		return rc;
	choose_size(t);
	report_size(t);
	report_policy(t);
	if (t->in_pmem > 0)
		rc = try_promotes(t);
	if (!rc)
		rc = try_predictors(t);
	if (!rc)
		rc = try_budgets(t);
	return rc;
}
