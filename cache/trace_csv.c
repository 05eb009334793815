/*
 * trace_csv.c - traces of other engines: lines "token,layer,expert[,weight]".
 *
 * The first line may name the columns. Lines are sorted by token and layer, those of one pair keep
 * their order and are one set. MoE layers are the layers that occur. All of it is decoding.
 */
#include "base/mem.h"
#include "cache/trace.h"
#include "model/quant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct row {
	uint64_t token;
	uint32_t layer;
	uint32_t expert;
	float weight;
	size_t line;
};

struct table {
	struct row *row;
	size_t n, cap;
	bool weights;
};

static bool number(const char **at, uint64_t max, uint64_t *out)
{
	char *end;

	*at += strspn(*at, " \t");
	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*out = strtoull(*at, &end, 10);
	*at = end + strspn(end, " \t");
	return !errno && *out <= max;
}

static bool comma(const char **at)
{
	return *(*at)++ == ',';
}

static bool parse(const char *text, struct row *r, bool *has_weight)
{
	uint64_t layer, expert;
	char *end;

	if (!number(&text, UINT64_MAX, &r->token) || !comma(&text) ||
		!number(&text, UINT32_MAX, &layer) || !comma(&text) ||
		!number(&text, TR_TRACE_MAX_EXPERT - 1, &expert))
		return false;
	r->layer = (uint32_t)layer;
	r->expert = (uint32_t)expert;
	*has_weight = *text == ',';
	if (*has_weight) {
		r->weight = strtof(++text, &end);
		if (end == text)
			return false;
		text = end;
	}
	return !text[strspn(text, " \t\r\n")];
}

static bool is_blank(const char *text)
{
	return !text[strspn(text, " \t\r\n")];
}

static int add_row(struct table *t, const struct row *r, const char *name, struct tr_err *err)
{
	struct row *grown;

	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 4096;
		grown = reallocarray(t->row, t->cap, sizeof(*grown));
		if (!grown)
			return tr_err_set(err, TR_E_NOMEM, "%s: no memory", name);
		t->row = grown;
	}
	t->row[t->n++] = *r;
	return 0;
}

static int read_rows(struct table *t, FILE *in, const char *name, struct tr_err *err)
{
	char *text = NULL;
	size_t cap = 0, line = 0;
	bool has_weight = false;
	int rc = 0;

	while (!rc && getline(&text, &cap, in) > 0) {
		struct row r = { .line = ++line };

		if (is_blank(text) || (line == 1 && (*text < '0' || *text > '9')))
			continue;
		if (!parse(text, &r, &has_weight))
			rc = tr_err_set(err, TR_E_FORMAT,
				"%s:%zu: not token,layer,expert[,weight] with an expert below %u",
				name, line, TR_TRACE_MAX_EXPERT);
		else
			rc = add_row(t, &r, name, err);
		t->weights = t->weights || has_weight;
	}
	free(text);
	if (!rc && ferror(in))
		rc = tr_err_sys(err, errno, "%s", name);
	if (!rc && !t->n)
		rc = tr_err_set(err, TR_E_FORMAT,
			"%s: neither a trace file nor lines of "
			"token,layer,expert",
			name);
	return rc;
}

static int by_time(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->token != y->token)
		return x->token < y->token ? -1 : 1;
	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The layers that occur, ascending, each once. Returns how many. */
static size_t distinct_layers(const struct table *t, uint32_t *layer)
{
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (!n || t->row[i].layer != layer[n - 1])
			layer[n++] = t->row[i].layer;
	qsort(layer, n, sizeof(*layer), by_number);
	for (size_t i = 0; i < n; i++)
		if (!kept || layer[i] != layer[kept - 1])
			layer[kept++] = layer[i];
	return kept;
}

static int describe(const struct table *t, struct tr_trace_head *h, uint32_t n_expert,
	const char *name, struct tr_err *err)
{
	uint32_t *layer = tr_calloc(t->n, sizeof(*layer)), largest = 0;
	size_t n_layer;

	if (!layer)
		return tr_err_set(err, TR_E_NOMEM, "%s: no memory", name);
	n_layer = distinct_layers(t, layer);
	for (size_t i = 0; i < t->n; i++)
		largest = TR_MAX(largest, t->row[i].expert);
	h->layers = n_layer <= TR_TRACE_MAX_LAYER ? tr_calloc(n_layer, sizeof(*h->layers)) : NULL;
	for (size_t i = 0; h->layers && i < n_layer; i++)
		h->layers[i].layer = layer[i];
	h->n_layer = layer[n_layer - 1] + 1;
	h->n_moe_layer = (uint32_t)n_layer;
	h->n_expert = n_expert ? n_expert : largest + 1;
	free(layer);
	if (n_layer > TR_TRACE_MAX_LAYER)
		return tr_err_set(err, TR_E_LIMIT, "%s: %zu layers: at most %u", name, n_layer,
			TR_TRACE_MAX_LAYER);
	return h->layers ? 0 : tr_err_set(err, TR_E_NOMEM, "%s: no memory", name);
}

static uint32_t moe_index(const struct tr_trace_head *h, uint32_t layer)
{
	uint32_t lo = 0, hi = h->n_moe_layer;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (h->layers[mid].layer <= layer)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Rows [at, end) are one set. */
static int add_set(struct tr_trace *out, const struct table *t, size_t at, size_t end,
	uint16_t *scratch, const char *name, struct tr_err *err)
{
	const struct row *r = &t->row[at];
	size_t n = end - at;
	int rc;

	for (size_t i = 0; i < n; i++) {
		scratch[i] = (uint16_t)r[i].expert;
		scratch[n + i] = tr_f32_to_f16(r[i].weight);
	}
	rc = tr_trace_add(out, moe_index(&out->head, r->layer), 1, false, scratch,
		t->weights ? scratch + n : NULL, n, err);
	return rc ? tr_err_prefix(err, "%s: token %llu, layer %u", name,
			    (unsigned long long)r->token, r->layer)
		  : 0;
}

static int add_sets(
	struct tr_trace *out, const struct table *t, const char *name, struct tr_err *err)
{
	uint16_t *scratch = tr_calloc(2 * t->n, sizeof(*scratch));
	size_t at, end, n_used = 0;
	int rc = scratch ? 0 : tr_err_set(err, TR_E_NOMEM, "%s: no memory", name);

	for (at = 0; !rc && at < t->n; at = end) {
		for (end = at + 1; end < t->n && t->row[end].token == t->row[at].token &&
				   t->row[end].layer == t->row[at].layer;)
			end++;
		rc = add_set(out, t, at, end, scratch, name, err);
		n_used = !at || n_used == end - at ? end - at : 0;
		if (end == t->n || t->row[end].token != t->row[at].token)
			tr_trace_end_step(out);
	}
	out->head.n_used = (uint32_t)n_used;
	out->complete = true;
	free(scratch);
	return rc;
}

int tr_trace_read_csv(
	struct tr_trace *out, FILE *in, const char *name, uint32_t n_expert, struct tr_err *err)
{
	struct tr_trace_head head = { 0 };
	struct table t = { 0 };
	int rc = read_rows(&t, in, name, err);

	*out = (struct tr_trace){ 0 };
	if (!rc) {
		qsort(t.row, t.n, sizeof(*t.row), by_time);
		rc = describe(&t, &head, n_expert, name, err);
	}
	if (!rc)
		rc = tr_trace_init(out, &head, err);
	if (!rc)
		rc = add_sets(out, &t, name, err);
	if (rc)
		tr_trace_fini(out);
	free(t.row);
	return rc;
}
