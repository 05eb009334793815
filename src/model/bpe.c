/*
 * bpe.c - byte-pair merging.
 *
 * A piece starts as one symbol per byte. The pair of neighbours with the lowest rank is merged, the
 * leftmost one on ties, until no pair has a rank. Symbols are a doubly linked list in an array
 * indexed by their first byte; candidate pairs lie in a binary heap by (rank, first byte). A pair
 * is named by where it begins and ends. A merge leaves outdated pairs in the heap: symbols only
 * grow, so a popped pair is current exactly when its first symbol still lives and its successor
 * still ends where the pair ends.
 *
 * The list of merges is an open-addressing table from two ids to (rank, id), about a third full.
 * Each merge takes one pair from the heap and adds at most two, so the heap never holds more than
 * two pairs per byte.
 */
#include "model/bpe.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct merge {
	int32_t left; /* -1: free */
	int32_t right;
	uint32_t rank;
	int32_t id;
};

struct tr_bpe {
	const struct tr_vocab *vocab;
	struct tr_bpe_cfg cfg;
	int32_t byte_ids[256];
	struct merge *merges;
	size_t mask;
	size_t n_line;
	char *text; /* room for both halves of a merge */
};

struct tr_bpe_node {
	uint32_t prev;
	uint32_t end; /* where the next symbol begins; 0: merged into another */
	int32_t id;   /* -1: a byte without token */
};

struct tr_bpe_pair {
	uint32_t rank;
	uint32_t begin;
	uint32_t end;
	int32_t id;
};

#define NO_NODE UINT32_MAX

int tr_bpe_new(struct tr_bpe **bpe, const struct tr_vocab *vocab, const struct tr_bpe_cfg *cfg,
	struct tr_err *err)
{
	struct tr_bpe *b = tr_calloc(1, sizeof(*b));
	size_t n_slot = 16;

	*bpe = NULL;
	while (n_slot < 2 * cfg->n_merge)
		n_slot *= 2;
	if (b) {
		b->merges = malloc(n_slot * sizeof(*b->merges));
		b->text = malloc(2 * vocab->max_bytes + 1);
	}
	if (!b || !b->merges || !b->text) {
		tr_bpe_free(b);
		return tr_err_set(err, TR_E_NOMEM, "no memory for %zu merges", cfg->n_merge);
	}
	b->vocab = vocab;
	b->cfg = *cfg;
	b->mask = n_slot - 1;
	for (size_t i = 0; i < n_slot; i++)
		b->merges[i].left = -1;
	for (int i = 0; i < 256; i++)
		b->byte_ids[i] = tr_vocab_find(vocab, &(char){ (char)i }, 1);
	*bpe = b;
	return 0;
}

void tr_bpe_free(struct tr_bpe *bpe)
{
	if (!bpe)
		return;
	free(bpe->merges);
	free(bpe->text);
	free(bpe);
}

/* The slot of a pair, or the free one where it would go. The constant is 2^64 divided by the golden
 * ratio (multiplicative hashing). */
static struct merge *find_merge(const struct tr_bpe *b, int32_t left, int32_t right)
{
	uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
	size_t i = (size_t)((key ^ key >> 29) * 0x9E3779B97F4A7C15u >> 32) & b->mask;

	while (b->merges[i].left >= 0 && (b->merges[i].left != left || b->merges[i].right != right))
		i = (i + 1) & b->mask;
	return &b->merges[i];
}

static int refuse_merge(const struct tr_bpe *b, const char *what, struct tr_err *err)
{
	return tr_err_set(err, TR_E_FORMAT, "merge %zu: %s", b->n_line, what);
}

int tr_bpe_add_merge(struct tr_bpe *b, const char *text, size_t n, struct tr_err *err)
{
	const char *space = n > 1 ? memchr(text + 1, ' ', n - 1) : NULL;
	size_t max = b->vocab->max_bytes, n_left, n_right, split;
	struct merge *slot, m;

	tr_assert(b->n_line < b->cfg.n_merge);
	if (!space || space == text + n - 1)
		return refuse_merge(b, "no space between two parts", err);
	split = (size_t)(space - text);
	if (!tr_bytemap_decode(text, split, b->text, max, &n_left) ||
		!tr_bytemap_decode(space + 1, n - split - 1, b->text + n_left, max, &n_right))
		return refuse_merge(b,
			"a part is longer than any token or has a character that stands for no "
			"byte",
			err);
	m.left = tr_vocab_find(b->vocab, b->text, n_left);
	m.right = tr_vocab_find(b->vocab, b->text + n_left, n_right);
	m.id = tr_vocab_find(b->vocab, b->text, n_left + n_right);
	m.rank = (uint32_t)b->n_line;
	if (m.left < 0)
		return refuse_merge(b, "the first part is not a token", err);
	if (m.right < 0)
		return refuse_merge(b, "the second part is not a token", err);
	if (m.id < 0)
		return refuse_merge(b, "the parts together are not a token", err);
	slot = find_merge(b, m.left, m.right);
	if (slot->left < 0)
		*slot = m;
	b->n_line++;
	return 0;
}

/* --- heap of candidate pairs --- */

static bool before(const struct tr_bpe_pair *a, const struct tr_bpe_pair *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->begin < b->begin;
}

static void heap_push(struct tr_bpe_work *w, struct tr_bpe_pair pair)
{
	size_t i = w->n_heap++;

	for (; i > 0 && before(&pair, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = pair;
}

static struct tr_bpe_pair heap_pop(struct tr_bpe_work *w)
{
	struct tr_bpe_pair top = w->heap[0], last = w->heap[--w->n_heap];
	size_t i = 0, kid;

	while ((kid = 2 * i + 1) < w->n_heap) {
		if (kid + 1 < w->n_heap && before(&w->heap[kid + 1], &w->heap[kid]))
			kid++;
		if (!before(&w->heap[kid], &last))
			break;
		w->heap[i] = w->heap[kid];
		i = kid;
	}
	w->heap[i] = last;
	return top;
}

/* --- merging --- */

/* Puts the pair of the symbol at begin and its successor on the heap when it has a rank. */
static void offer(
	const struct tr_bpe *b, struct tr_bpe_work *w, const char *piece, size_t n, uint32_t begin)
{
	const struct tr_bpe_node *left = &w->nodes[begin], *right;
	struct tr_bpe_pair pair = { .begin = begin };

	if (left->end == n)
		return;
	right = &w->nodes[left->end];
	pair.end = right->end;
	if (b->cfg.rank_by_id) {
		pair.id = tr_vocab_find(b->vocab, piece + begin, right->end - begin);
		pair.rank = (uint32_t)pair.id;
		if (pair.id < 0)
			return;
	} else {
		const struct merge *m;

		if (left->id < 0 || right->id < 0)
			return;
		m = find_merge(b, left->id, right->id);
		if (m->left < 0)
			return;
		pair.id = m->id;
		pair.rank = m->rank;
	}
	heap_push(w, pair);
}

static void merge_all(const struct tr_bpe *b, struct tr_bpe_work *w, const char *piece, size_t n)
{
	struct tr_bpe_node *nodes = w->nodes;

	while (w->n_heap > 0) {
		struct tr_bpe_pair pair = heap_pop(w);
		struct tr_bpe_node *left = &nodes[pair.begin], *right;

		if (left->end == 0 || left->end == n)
			continue;
		right = &nodes[left->end];
		if (right->end != pair.end)
			continue;
		right->end = 0;
		left->end = pair.end;
		left->id = pair.id;
		if (pair.end < n)
			nodes[pair.end].prev = pair.begin;
		if (left->prev != NO_NODE)
			offer(b, w, piece, n, left->prev);
		offer(b, w, piece, n, pair.begin);
	}
}

static int reserve_piece(struct tr_bpe_work *w, size_t n, struct tr_err *err)
{
	size_t cap = TR_MAX(n, (size_t)256);

	if (n <= w->cap_piece)
		return 0;
	free(w->nodes);
	free(w->heap);
	w->cap_piece = 0;
	w->nodes = malloc(cap * sizeof(*w->nodes));
	w->heap = malloc(2 * cap * sizeof(*w->heap));
	if (!w->nodes || !w->heap)
		return tr_err_set(err, TR_E_NOMEM, "no memory to merge a piece of %zu bytes", n);
	w->cap_piece = cap;
	return 0;
}

int tr_bpe_push(struct tr_bpe_work *w, int32_t id, struct tr_err *err)
{
	if (w->n_ids == w->cap_ids) {
		size_t cap = w->cap_ids ? 2 * w->cap_ids : 256;
		int32_t *ids = realloc(w->ids, cap * sizeof(*ids));

		if (!ids)
			return tr_err_set(err, TR_E_NOMEM, "no memory for %zu token ids", cap);
		w->ids = ids;
		w->cap_ids = cap;
	}
	w->ids[w->n_ids++] = id;
	return 0;
}

/* A symbol without token is a single byte: merges only make tokens. */
static int emit(
	const struct tr_bpe *b, struct tr_bpe_work *w, int32_t id, char byte, struct tr_err *err)
{
	if (id < 0)
		id = b->cfg.unknown;
	if (id < 0)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"the vocabulary has no token for byte 0x%02x and no unknown token",
			(unsigned)(uint8_t)byte);
	return tr_bpe_push(w, id, err);
}

int tr_bpe_encode(const struct tr_bpe *b, struct tr_bpe_work *w, const char *piece, size_t n,
	struct tr_err *err)
{
	int32_t whole = n == 1		     ? b->byte_ids[(uint8_t)piece[0]]
			: b->cfg.whole_first ? tr_vocab_find(b->vocab, piece, n)
					     : -1;
	int rc;

	if (whole >= 0 || n == 0)
		return n ? tr_bpe_push(w, whole, err) : 0;
	rc = reserve_piece(w, n, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++)
		w->nodes[i] = (struct tr_bpe_node){ .prev = i ? (uint32_t)i - 1 : NO_NODE,
			.end = (uint32_t)i + 1,
			.id = b->byte_ids[(uint8_t)piece[i]] };
	w->n_heap = 0;
	for (size_t i = 0; i < n; i++)
		offer(b, w, piece, n, (uint32_t)i);
	merge_all(b, w, piece, n);
	for (size_t i = 0; i < n && !rc; i = w->nodes[i].end)
		rc = emit(b, w, w->nodes[i].id, piece[i], err);
	return rc;
}

void tr_bpe_work_fini(struct tr_bpe_work *w)
{
	free(w->ids);
	free(w->nodes);
	free(w->heap);
	memset(w, 0, sizeof(*w));
}
