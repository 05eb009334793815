/* tune_text.c - the answer as tables and lines. */
#include "tools/table.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <stdlib.h>

static void print_rows(const struct tr_tune *t)
{
	static const char *const head[] = { ">DRAM", "policy", "predictor", ">promote", ">hit",
		">read MB", ">ahead", ">tokens/s", ">cold", ">p95 ms", ">first token s", "" };
	struct tr_table table;

	tr_table_init(&table, head, 12);
	for (size_t i = 0; i < t->n_row; i++) {
		const struct tr_tune_row *r = &t->row[i];

		tr_table_add_bytes(&table, r->choice.dram_bytes);
		tr_table_add(&table, "%s", r->choice.policy);
		tr_table_add(&table, "%s", r->choice.predictor ? r->choice.predictor : "none");
		if (t->in_pmem > 0)
			tr_table_add(&table, "%u%%", r->choice.promote);
		else
			tr_table_add(&table, "-");
		tr_table_add(&table, "%.1f%%", 100 * r->hit_rate);
		tr_table_add(&table, "%.1f", r->read_bytes * 1e-6);
		if (r->choice.n_ahead)
			tr_table_add(&table, "%.1f+%.1f", r->foreseen, r->vain);
		else
			tr_table_add(&table, "-");
		tr_table_add(&table, "%.2f", 1 / r->warm.token_s);
		tr_table_add(&table, "%.2f", 1 / r->first.token_s);
		tr_table_add(&table, "%.1f", 1e3 * r->token_s[1]);
		tr_table_add(&table, "%.2f", r->load_s + r->prompt_s);
		tr_table_add(&table, i == t->best ? "<" : "");
	}
	tr_table_print(&table, stdout, "");
	tr_table_fini(&table);
}

/* Every option of the search, in its order. */
static void print_steps(const struct tr_tune *t)
{
	static const char *const head[] = { "option", "chosen", ">tokens/s before", ">best tried",
		"tried" };
	struct tr_table table;

	tr_table_init(&table, head, 5);
	for (size_t i = 0; i < t->n_step; i++) {
		const struct tr_tune_step *s = &t->step[i];

		tr_table_add(&table, "%s", s->option);
		tr_table_add(&table, "%s", s->chosen[0] ? s->chosen : "-");
		tr_table_add(&table, "%.2f", s->before);
		tr_table_add(&table, "%.2f", s->after);
		tr_table_add(
			&table, "%s%s%s", s->tried, s->tried[0] && s->note[0] ? "; " : "", s->note);
	}
	printf("\nwhat was searched, one option after the other (-t, --pmem-threads: with half of "
	       "the uses in DRAM)\n");
	tr_table_print(&table, stdout, "");
	tr_table_fini(&table);
}

static void print_best(const struct tr_tune *t)
{
	const struct tr_tune_row *r = &t->row[t->best];
	struct tr_tune_part parts[TR_TUNE_MAX_PART];
	size_t n = tr_tune_parts(&r->warm, parts);
	char line[2048];

	tr_tune_command(t, line, sizeof(line));
	printf("\n%s\n\n", line);
	printf("first token, from a cold start   %10.2f s, of which %.2f s load weights (prompt of "
	       "%u)\n",
		r->load_s + r->prompt_s, r->load_s, r->n_prompt);
	printf("the next %4u tokens             %10.2f tokens/s\n", r->n_token,
		1 / r->first.token_s);
	printf("once warm (their second half)    %10.2f tokens/s\n", 1 / r->warm.token_s);
	printf("a token: median %.1f ms, 95th of 100 %.1f, slowest %.1f\n", 1e3 * r->token_s[0],
		1e3 * r->token_s[1], 1e3 * r->token_s[2]);
	printf("\nwhere a warm token's %.1f ms go\n", 1e3 * r->warm.token_s);
	for (size_t i = 0; i < n; i++)
		if (parts[i].s > 0)
			printf("  %-38s %8.3f ms  %5.1f%%\n", parts[i].name, 1e3 * parts[i].s,
				100 * parts[i].s / r->warm.token_s);
}

static void print_whats(struct tr_tune *t)
{
	struct tr_tune_what what[TR_TUNE_MAX_WHAT];
	struct tr_tune_share share[TR_TUNE_N_SHARE];
	size_t n = tr_tune_purchases(t, what);

	if (n)
		printf("\ntokens/s with more\n");
	for (size_t i = 0; i < n; i++)
		printf("  %-38s %8.2f\n", what[i].name, what[i].tokens_per_s);
	n = tr_tune_assumptions(t, what);
	printf("\ntokens/s if an assumption is off, the one that decides first\n"
	       "  %-38s %8s %8s\n",
		"", "+20%", "-20%");
	for (size_t i = 0; i < n; i++)
		printf("  %-38s %8.2f %8.2f\n", what[i].name, what[i].tokens_per_s, what[i].other);
	n = tr_tune_shares(t, share);
	printf("\ntokens/s by share of uses served from DRAM%s\n",
		t->speeds.tier[TR_MACHINE_VRAM] > 0 ? " and VRAM" : "");
	for (size_t i = 0; i < n; i++) {
		printf("  %3.0f%%", 100 * share[i].dram);
		if (share[i].vram > 0)
			printf(" + %.0f%%", 100 * share[i].vram);
		printf("%*s%8.2f\n", share[i].vram > 0 ? 1 : 6, "", share[i].tokens_per_s);
	}
}

static const char *source_of(const struct tr_tune *t)
{
	return t->args.trace	 ? "recorded routing"
	       : t->args.profile ? "routing drawn from a profile"
				 : "routing drawn from a skew";
}

static void print_figures(const struct tr_tune *t)
{
	const struct tr_machine_run *r = tr_tune_run_of(t);

	if (r)
		printf("forecast from a run of %u tokens of this model on the machine, which took "
		       "%.2f ms each where its parts add up to %.2f\n\n",
			r->n_token, 1e3 * r->token_s, 1e3 * r->said_s);
	else
		printf("forecast from the machine's figures part by part%s\n\n",
			tr_tune_is_here(t) && t->args.model
				? " (--calibrate: from a run of the model)"
				: "");
}

void tr_tune_print(struct tr_tune *t)
{
	char bytes[32];

	printf("%s on %s, %s, floor %s\n", t->model.name, t->machine.name, source_of(t),
		tr_table_bytes(t->model.floor_bytes, bytes, sizeof(bytes)));
	print_figures(t);
	print_rows(t);
	print_steps(t);
	print_best(t);
	print_whats(t);
}
