#include "engine/timeline.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Tokens to choose the median from: odd, so that there is a middle one of a full store. */
#define N_KEEP 15

/* Of a token: four times what 61 layers with eight experts make when each arrives alone. */
#define MAX_SPAN 16384u

struct tokens {
	struct tr_token_spans at[N_KEEP];
	size_t n;
	uint64_t stride; /* tokens from one to the next */
};

struct tr_timeline {
	size_t n_tier;
	struct tr_history history;
	uint64_t served[TR_MAX_TIER]; /* when the last token ended */
	bool open;
	uint64_t begin_ns, lap_ns;
	uint64_t n_token;
	uint64_t kind_ns[TR_N_SPAN_KIND]; /* of the token in work */
	size_t cap[2]; /* of work and last */
	struct tr_token_spans work, last, slowest;
	struct tokens kept;
};

int tr_timeline_new(struct tr_timeline **out, size_t n_tier, struct tr_err *err)
{
	struct tr_timeline *t = tr_calloc(1, sizeof(*t));

	if (!t)
		return tr_err_set(err, TR_E_NOMEM, "timeline: out of memory");
	t->n_tier = n_tier;
	t->history.per_point = 1;
	t->kept.stride = 1;
	*out = t;
	return 0;
}

void tr_timeline_free(struct tr_timeline *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < N_KEEP; i++)
		free(t->kept.at[i].span);
	free(t->work.span);
	free(t->last.span);
	free(t->slowest.span);
	free(t);
}

/* --- history ---------------------------------------------------------------------------------- */

static void add_point(struct tr_history_point *to, const struct tr_history_point *p)
{
	to->n_token += p->n_token;
	to->ns += p->ns;
	for (size_t i = 0; i < TR_MAX_TIER; i++)
		to->hits[i] += p->hits[i];
}

/* Neighbours become one point each. */
static void join_pairs(struct tr_history *h)
{
	for (size_t i = 0; i < h->n_point / 2; i++) {
		struct tr_history_point joined = h->point[2 * i];

		add_point(&joined, &h->point[2 * i + 1]);
		h->point[i] = joined;
	}
	h->n_point /= 2;
	h->per_point *= 2;
}

static void note_history(struct tr_timeline *t, uint64_t ns, const uint64_t *served)
{
	struct tr_history *h = &t->history;
	struct tr_history_point p = { .n_token = 1, .ns = ns };
	bool is_full = !h->n_point || h->point[h->n_point - 1].n_token == h->per_point;

	for (size_t i = 0; i < TR_MAX_TIER; i++)
		p.hits[i] = served[i] - t->served[i];
	for (size_t i = 0; i < TR_N_SPAN_KIND; i++)
		h->kind_ns[i] += t->kind_ns[i];
	memcpy(t->served, served, sizeof(t->served));
	if (is_full && h->n_point == TR_MAX_HISTORY)
		join_pairs(h);
	if (is_full)
		h->point[h->n_point++] = (struct tr_history_point){ 0 };
	add_point(&h->point[h->n_point - 1], &p);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void copy_token(struct tr_token_spans *to, const struct tr_token_spans *from)
{
	struct tr_span *span = from->n_span ? tr_calloc(from->n_span, sizeof(*span)) : NULL;

	if (!span)
		return;
	memcpy(span, from->span, from->n_span * sizeof(*span));
	free(to->span);
	*to = *from;
	to->span = span;
}

static void keep_token(struct tokens *k, const struct tr_token_spans *token)
{
	if ((token->token - 1) % k->stride)
		return;
	if (k->n == N_KEEP) {
		for (size_t i = 1; i < N_KEEP; i += 2)
			free(k->at[i].span);
		for (size_t i = 1; i < (N_KEEP + 1) / 2; i++)
			k->at[i] = k->at[2 * i];
		k->n = (N_KEEP + 1) / 2;
		memset(k->at + k->n, 0, (N_KEEP - k->n) * sizeof(*k->at));
		k->stride *= 2;
		if ((token->token - 1) % k->stride)
			return;
	}
	copy_token(&k->at[k->n], token);
	k->n += k->at[k->n].span != NULL;
}

static void swap_work_and_last(struct tr_timeline *t)
{
	struct tr_token_spans token = t->last;
	size_t cap = t->cap[1];

	t->last = t->work;
	t->cap[1] = t->cap[0];
	t->work = token;
	t->cap[0] = cap;
}

void tr_timeline_begin(struct tr_timeline *t, uint64_t now_ns, size_t n_tok)
{
	t->work.n_span = 0;
	t->work.n_lost = 0;
	memset(t->kind_ns, 0, sizeof(t->kind_ns));
	t->open = n_tok == 1;
	t->begin_ns = t->lap_ns = now_ns;
}

void tr_timeline_end(struct tr_timeline *t, const uint64_t *served)
{
	struct tr_token_spans *w = &t->work;

	if (!t->open)
		return;
	t->open = false;
	w->token = ++t->n_token;
	w->ns = t->lap_ns - t->begin_ns;
	note_history(t, w->ns, served);
	keep_token(&t->kept, w);
	if (w->ns > t->slowest.ns)
		copy_token(&t->slowest, w);
	swap_work_and_last(t);
}

bool tr_timeline_is_open(const struct tr_timeline *t)
{
	return t && t->open;
}

uint64_t tr_timeline_now(const struct tr_timeline *t)
{
	return t->lap_ns;
}

/* --- spans ------------------------------------------------------------------------------------ */

static void add_span(struct tr_timeline *t, const struct tr_span *span)
{
	struct tr_token_spans *w = &t->work;
	size_t cap = TR_MIN(TR_MAX(2 * t->cap[0], (size_t)256), (size_t)MAX_SPAN);
	struct tr_span *grown;

	if (w->n_span == t->cap[0]) {
		grown = cap > w->n_span ? reallocarray(w->span, cap, sizeof(*grown)) : NULL;
		w->n_lost += !grown;
		if (!grown)
			return;
		w->span = grown;
		t->cap[0] = cap;
	}
	w->span[w->n_span++] = *span;
}

/* The stretch since the last lap. */
static struct tr_span end_stretch(struct tr_timeline *t, uint64_t now, enum tr_span_kind kind,
	uint32_t layer)
{
	struct tr_span span = { .begin_ns = (int64_t)(t->lap_ns - t->begin_ns),
		.ns = now - t->lap_ns,
		.kind = kind,
		.layer = layer };

	t->lap_ns = now;
	t->kind_ns[kind] += span.ns;
	return span;
}

void tr_timeline_lap(struct tr_timeline *t, uint64_t now_ns, enum tr_span_kind kind, uint32_t layer)
{
	struct tr_span span;

	if (!t->open)
		return;
	span = end_stretch(t, now_ns, kind, layer);
	add_span(t, &span);
}

void tr_timeline_experts(struct tr_timeline *t, uint64_t now_ns, uint32_t layer, const uint32_t *n,
	uint32_t n_read)
{
	struct tr_span span;

	if (!t->open)
		return;
	span = end_stretch(t, now_ns, TR_SPAN_EXPERTS, layer);
	for (uint32_t tier = 0; tier < t->n_tier; tier++) {
		span.tier = tier;
		span.n = n[tier] + (tier + 1 == t->n_tier ? n_read : 0);
		if (span.n)
			add_span(t, &span);
	}
}

bool tr_timeline_read(struct tr_timeline *t, uint32_t layer, uint32_t expert, uint64_t begin_ns,
	uint64_t end_ns, uint64_t since_ns)
{
	struct tr_span span = { .begin_ns = (int64_t)(begin_ns - t->begin_ns),
		.ns = end_ns - begin_ns,
		.kind = TR_SPAN_READ,
		.layer = layer,
		.tier = (uint32_t)t->n_tier - 1,
		.n = expert };

	if (!t->open || !begin_ns || end_ns < begin_ns || end_ns < since_ns)
		return false;
	add_span(t, &span);
	return true;
}

void tr_timeline_device(struct tr_timeline *t, enum tr_span_kind kind, uint32_t layer, uint32_t n,
	uint64_t begin_ns, uint64_t end_ns)
{
	struct tr_span span = { .begin_ns = (int64_t)(begin_ns - t->begin_ns),
		.ns = end_ns - begin_ns,
		.kind = kind,
		.layer = layer,
		.tier = (uint32_t)t->n_tier - 2,
		.n = n };

	if (t->open && begin_ns && end_ns >= begin_ns)
		add_span(t, &span);
}

/* --- told ------------------------------------------------------------------------------------- */

void tr_timeline_history(const struct tr_timeline *t, struct tr_history *out)
{
	*out = t->history;
}

/* How many of the kept are faster; the earlier first among equals. */
static size_t rank_of(const struct tokens *k, size_t at)
{
	size_t rank = 0;

	for (size_t i = 0; i < k->n; i++)
		rank += k->at[i].ns < k->at[at].ns || (k->at[i].ns == k->at[at].ns && i < at);
	return rank;
}

static const struct tr_token_spans *median(const struct tokens *k)
{
	for (size_t i = 0; i < k->n; i++)
		if (rank_of(k, i) == k->n / 2)
			return &k->at[i];
	return NULL;
}

const struct tr_token_spans *tr_timeline_token(const struct tr_timeline *t, enum tr_token_kind kind)
{
	const struct tr_token_spans *token = kind == TR_TOKEN_MEDIAN	? median(&t->kept)
					     : kind == TR_TOKEN_SLOWEST ? &t->slowest
									: &t->last;

	return token && token->span ? token : NULL;
}
