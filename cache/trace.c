/* trace.c - a trace in memory: growing arrays, and the checks on what is added to them. */
#include "cache/trace.h"
#include "base/mem.h"
#include "cache/trace_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct tr_err *err)
{
	return tr_err_set(err, TR_E_NOMEM, "no memory for a trace");
}

int tr_trace_init(struct tr_trace *t, const struct tr_trace_head *head, struct tr_err *err)
{
	*t = (struct tr_trace){ .head = *head };
	t->mark = tr_calloc(head->n_expert, sizeof(*t->mark));
	if (t->mark)
		return 0;
	tr_trace_fini(t);
	return no_memory(err);
}

void tr_trace_units_fini(struct tr_trace_units *u)
{
	free(u->home);
	free(u->cost);
	free(u->hot);
	*u = (struct tr_trace_units){ 0 };
}

void tr_trace_fini(struct tr_trace *t)
{
	free(t->head.layers);
	tr_trace_units_fini(&t->units);
	free(t->set);
	free(t->pick);
	free(t->weight);
	free(t->unit);
	free(t->vram.slot_bytes);
	free(t->late);
	free(t->scores);
	free(t->score_expert);
	free(t->score);
	free(t->mark);
	*t = (struct tr_trace){ 0 };
}

/* Room for n more elements. The arrays of a group share cap, which changes once all have grown. */
static bool grow(void *array, size_t size, size_t n_old, size_t n, size_t cap, size_t *new_cap)
{
	void **p = array;
	size_t want = TR_MAX(cap, (size_t)64);
	void *grown;

	while (want < n_old + n)
		want *= 2;
	*new_cap = want;
	if (want == cap)
		return true;
	grown = reallocarray(*p, want, size);
	if (grown)
		*p = grown;
	return grown;
}

static bool make_room(struct tr_trace *t, size_t n_pick, size_t n_unit)
{
	size_t cap_set, cap_pick, cap_unit;

	if (!grow(&t->set, sizeof(*t->set), t->n_set, 1, t->cap_set, &cap_set) ||
		!grow(&t->pick, sizeof(*t->pick), t->n_pick, n_pick, t->cap_pick, &cap_pick) ||
		!grow(&t->weight, sizeof(*t->weight), t->n_pick, n_pick, t->cap_pick, &cap_pick) ||
		!grow(&t->unit, sizeof(*t->unit), t->n_unit, n_unit, t->cap_unit, &cap_unit))
		return false;
	t->cap_set = cap_set;
	t->cap_pick = cap_pick;
	t->cap_unit = cap_unit;
	return true;
}

static uint32_t next_stamp(struct tr_trace *t)
{
	if (t->stamp == UINT32_MAX) {
		memset(t->mark, 0, t->head.n_expert * sizeof(*t->mark));
		t->stamp = 0;
	}
	return ++t->stamp;
}

/* Each expert exists and no token has one twice. */
static int check_picks(struct tr_trace *t, uint32_t n_tok, const uint16_t *picks, size_t n_pick,
	struct tr_err *err)
{
	size_t per_tok = n_pick / n_tok;

	for (size_t i = 0; i < n_pick; i++) {
		uint32_t stamp = i % per_tok ? t->stamp : next_stamp(t);

		if (picks[i] >= t->head.n_expert)
			return tr_err_set(err, TR_E_FORMAT, "expert %u: there are %u", picks[i],
				t->head.n_expert);
		if (t->mark[picks[i]] == stamp)
			return tr_err_set(err, TR_E_FORMAT,
				"expert %u is there twice for one token", picks[i]);
		t->mark[picks[i]] = stamp;
	}
	return 0;
}

/* Insertion sort: a token has a handful. */
static uint32_t sort_few(uint32_t *unit, uint32_t base, const uint16_t *picks, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t at = i;

		for (; at && unit[at - 1] > base + picks[i]; at--)
			unit[at] = unit[at - 1];
		unit[at] = base + picks[i];
	}
	return (uint32_t)n;
}

static uint32_t sweep(
	struct tr_trace *t, uint32_t *unit, uint32_t base, const uint16_t *picks, size_t n)
{
	uint32_t stamp = next_stamp(t), n_unit = 0;

	for (size_t i = 0; i < n; i++)
		t->mark[picks[i]] = stamp;
	for (uint32_t e = 0; e < t->head.n_expert; e++)
		if (t->mark[e] == stamp)
			unit[n_unit++] = base + e;
	return n_unit;
}

int tr_trace_add(struct tr_trace *t, uint32_t layer, uint32_t n_tok, bool scan,
	const uint16_t *picks, const uint16_t *weights, size_t n_pick, struct tr_err *err)
{
	struct tr_trace_set *s;
	int rc;

	if (layer >= t->head.n_moe_layer)
		return tr_err_set(
			err, TR_E_FORMAT, "MoE layer %u: there are %u", layer, t->head.n_moe_layer);
	if (!n_tok || n_tok > TR_TRACE_MAX_TOK || !n_pick || n_pick % n_tok)
		return tr_err_set(err, TR_E_FORMAT, "%zu experts for %u tokens", n_pick, n_tok);
	rc = check_picks(t, n_tok, picks, n_pick, err);
	if (rc)
		return rc;
	if (!make_room(t, n_pick, TR_MIN(n_pick, (size_t)t->head.n_expert)))
		return no_memory(err);
	s = &t->set[t->n_set++];
	*s = (struct tr_trace_set){ .first_pick = t->n_pick,
		.first_unit = t->n_unit,
		.n_pick = (uint32_t)n_pick,
		.n_tok = n_tok,
		.layer = layer,
		.scan = scan };
	memcpy(t->pick + t->n_pick, picks, n_pick * sizeof(*picks));
	if (weights)
		memcpy(t->weight + t->n_pick, weights, n_pick * sizeof(*weights));
	else
		memset(t->weight + t->n_pick, 0, n_pick * sizeof(*t->weight));
	t->has_weights = t->has_weights || weights;
	t->n_pick += n_pick;
	s->n_unit =
		n_tok == 1 ? sort_few(t->unit + t->n_unit, layer * t->head.n_expert, picks, n_pick)
			   : sweep(t, t->unit + t->n_unit, layer * t->head.n_expert, picks, n_pick);
	t->n_unit += s->n_unit;
	if (!t->in_step) {
		t->n_tok += n_tok;
		t->n_scan_tok += scan ? n_tok : 0;
	}
	t->in_step = true;
	return 0;
}

/* Experts exist and are there once. */
static int check_sketch(struct tr_trace *t, const struct tr_sketch *sketch, struct tr_err *err)
{
	uint32_t stamp = next_stamp(t);

	for (uint32_t i = 0; i < sketch->n; i++) {
		if (sketch->expert[i] >= t->head.n_expert || t->mark[sketch->expert[i]] == stamp)
			return tr_err_set(err, TR_E_FORMAT,
				"scores: expert %u is there twice, or is none of %u",
				sketch->expert[i], t->head.n_expert);
		t->mark[sketch->expert[i]] = stamp;
	}
	return 0;
}

int tr_trace_add_scores(struct tr_trace *t, uint32_t layer, uint32_t ahead,
	const struct tr_sketch *sketch, struct tr_err *err)
{
	uint32_t n = sketch->n;
	size_t at = t->n_scores * n, cap;
	int rc;

	if (layer >= t->head.n_moe_layer)
		return tr_err_set(
			err, TR_E_FORMAT, "MoE layer %u: there are %u", layer, t->head.n_moe_layer);
	rc = check_sketch(t, sketch, err);
	if (rc)
		return rc;
	if (!grow(&t->scores, sizeof(*t->scores), t->n_scores, 1, t->cap_scores, &cap) ||
		!grow(&t->score_expert, n * sizeof(uint16_t), t->n_scores, 1, t->cap_scores, &cap) ||
		!grow(&t->score, n * sizeof(uint16_t), t->n_scores, 1, t->cap_scores, &cap))
		return no_memory(err);
	t->cap_scores = cap;
	t->n_score = n;
	t->scores[t->n_scores++] = (struct tr_trace_scores){ t->n_set, layer, ahead, sketch->rest };
	memcpy(t->score_expert + at, sketch->expert, n * sizeof(*sketch->expert));
	memcpy(t->score + at, sketch->score, n * sizeof(*sketch->score));
	return 0;
}

struct tr_sketch tr_trace_sketch(const struct tr_trace *t, size_t i)
{
	size_t at = i * t->n_score;

	return (struct tr_sketch){ t->n_score, t->scores[i].rest, t->score_expert + at,
		t->score + at };
}

int tr_trace_add_late(struct tr_trace *t, uint32_t n_held, uint32_t n_left, struct tr_err *err)
{
	size_t cap = t->cap_late;

	if (n_held > n_left)
		return tr_err_set(err, TR_E_FORMAT, "copies: %u are held, %u are left", n_held, n_left);
	if (!grow(&t->late, sizeof(*t->late), t->n_late, 1, t->cap_late, &cap))
		return no_memory(err);
	t->cap_late = cap;
	t->late[t->n_late++] = (struct tr_trace_late){ t->n_set, n_held, n_left };
	return 0;
}

void tr_trace_end_step(struct tr_trace *t)
{
	if (t->in_step)
		t->set[t->n_set - 1].ends_step = true;
	t->in_step = false;
}

/* --- public ----------------------------------------------------------------------------------- */

static bool starts_with_magic(FILE *in)
{
	char magic[TR_TRACE_MAGIC_BYTES];
	size_t n = fread(magic, 1, sizeof(magic), in);

	rewind(in);
	return n == sizeof(magic) && !memcmp(magic, TR_TRACE_MAGIC, sizeof(magic));
}

int tr_trace_open(struct tr_trace **out, const char *path, unsigned n_expert, struct tr_err *err)
{
	struct tr_trace *t = tr_calloc(1, sizeof(*t));
	FILE *in;
	int rc;

	if (!t)
		return no_memory(err);
	in = fopen(path, "rb");
	if (!in)
		rc = tr_err_sys(err, errno, "%s", path);
	else if (starts_with_magic(in))
		rc = tr_trace_read(t, in, path, err);
	else
		rc = tr_trace_read_csv(t, in, path, n_expert, err);
	if (in)
		fclose(in);
	if (rc)
		free(t);
	else
		*out = t;
	return rc;
}

void tr_trace_close(struct tr_trace *t)
{
	if (!t)
		return;
	tr_trace_fini(t);
	free(t);
}

void tr_trace_info(const struct tr_trace *t, struct tr_trace_info *out)
{
	const struct tr_trace_head *h = &t->head;

	*out = (struct tr_trace_info){ .model = h->model,
		.n_layer = h->n_layer,
		.n_moe_layer = h->n_moe_layer,
		.n_expert = h->n_expert,
		.n_used = h->n_used,
		.n_token = t->n_tok,
		.n_prefill_token = t->n_scan_tok,
		.n_set = t->n_set,
		.n_request = t->n_unit,
		.slot_bytes = h->slot_bytes,
		.has_weights = t->has_weights,
		.has_scores = t->n_scores > 0,
		.complete = t->complete };
}
