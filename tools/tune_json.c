/* tune_json.c - the answer as one JSON object, described in tierra-tune(1). */
#include "tools/tune.h"

static json_t *parts_json(const struct tr_forecast *f)
{
	struct tr_tune_part parts[TR_TUNE_MAX_PART];
	size_t n = tr_tune_parts(f, parts);
	json_t *to = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(to, parts[i].name, json_real(parts[i].s));
	return to;
}

static json_t *steps_json(const struct tr_tune *t)
{
	json_t *to = json_array();

	for (size_t i = 0; i < t->n_step; i++) {
		const struct tr_tune_step *s = &t->step[i];

		json_array_append_new(
			to, json_pack("{s:s, s:s, s:s, s:s, s:b, s:f, s:f}", "option", s->option,
				    "tried", s->tried, "chosen", s->chosen, "note", s->note,
				    "taken", (int)s->taken, "tokens_per_s_before", s->before,
				    "tokens_per_s_best_tried", s->after));
	}
	return to;
}

static json_t *row_json(const struct tr_tune_row *r)
{
	return json_pack("{s:I, s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, "
			 "s:i, s:i, s:i, s:f, s:f, s:o, s:o}",
		"dram_bytes", (json_int_t)r->choice.dram_bytes, "policy", r->choice.policy,
		"predictor", r->choice.predictor ? r->choice.predictor : "none", "promote_percent",
		(int)r->choice.promote, "run_hit_rate", r->run_hit_rate, "hit_rate", r->hit_rate,
		"read_bytes_per_token", r->read_bytes, "warm_tokens_per_s", 1 / r->warm.token_s,
		"tokens_per_s", 1 / r->first.token_s, "token_s_median", r->token_s[0], "token_s_95",
		r->token_s[1], "token_s_slowest", r->token_s[2], "load_s", r->load_s, "prompt_s",
		r->prompt_s, "n_prompt", (int)r->n_prompt, "n_token", (int)r->n_token,
		"prefetch_experts", (int)r->choice.n_ahead, "foreseen_per_token", r->foreseen,
		"vain_per_token", r->vain, "seconds", parts_json(&r->first), "warm_seconds",
		parts_json(&r->warm));
}

static json_t *whats_json(
	const struct tr_tune_what *what, size_t n, const char *more, const char *less)
{
	json_t *to = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *one =
			json_pack("{s:s, s:f}", "name", what[i].name, more, what[i].tokens_per_s);

		if (less)
			json_object_set_new(one, less, json_real(what[i].other));
		json_array_append_new(to, one);
	}
	return to;
}

static json_t *shares_json(const struct tr_tune *t)
{
	struct tr_tune_share share[TR_TUNE_N_SHARE];
	size_t n = tr_tune_shares(t, share);
	json_t *to = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			to, json_pack("{s:f, s:f, s:f}", "dram", share[i].dram, "vram",
				    share[i].vram, "tokens_per_s", share[i].tokens_per_s));
	return to;
}

static json_t *run_json(const struct tr_machine_run *r)
{
	if (!r)
		return json_null();
	return json_pack("{s:i, s:f, s:f}", "n_token", (int)r->n_token, "token_s", r->token_s,
		"said_s", r->said_s);
}

json_t *tr_tune_json(struct tr_tune *t)
{
	char trap[TR_TUNE_MAX_TRAP][TR_TUNE_TRAP_BYTES], line[2048];
	struct tr_tune_what what[TR_TUNE_MAX_WHAT];
	json_t *rows = json_array(), *traps = json_array(), *root;
	size_t n = tr_tune_traps(t, trap);

	for (size_t i = 0; i < n; i++)
		json_array_append_new(traps, json_string(trap[i]));
	for (size_t i = 0; i < t->n_row; i++)
		json_array_append_new(rows, row_json(&t->row[i]));
	tr_tune_command(t, line, sizeof(line));
	root = json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o}", "model", t->model.name,
		"machine", t->machine.name, "command", line, "floor_bytes",
		(json_int_t)t->model.floor_bytes, "best", row_json(&t->row[t->best]), "results",
		rows, "shares", shares_json(t), "traps", traps);
	json_object_set_new(root, "search", steps_json(t));
	json_object_set_new(root, "run", run_json(tr_tune_run_of(t)));
	n = tr_tune_purchases(t, what);
	json_object_set_new(root, "purchases", whats_json(what, n, "tokens_per_s", NULL));
	n = tr_tune_assumptions(t, what);
	json_object_set_new(root, "assumptions",
		whats_json(what, n, "with_20_percent_more", "with_20_percent_less"));
	return root;
}
