/*
 * bpe.h - byte-pair merging of one piece of text into tokens.
 *
 * Two ways to rank a pair of neighbours: the place of the pair in the list of merges, or, for
 * vocabularies in tiktoken's manner that come without the list, the id of the token that the pair
 * makes when put together.
 */
#ifndef TR_MODEL_BPE_H
#define TR_MODEL_BPE_H

#include "model/vocab.h"

struct tr_bpe_cfg {
	bool whole_first; /* a piece that is a token is that token, whatever the merges say */
	bool rank_by_id;  /* no list of merges */
	size_t n_merge;	  /* room for as many; 0 with rank_by_id */
	int32_t unknown;  /* token for a byte that has none; -1: such a byte is an error */
};

struct tr_bpe;

/* vocab is sealed and outlives the result. */
int tr_bpe_new(struct tr_bpe **bpe, const struct tr_vocab *vocab, const struct tr_bpe_cfg *cfg,
	struct tr_err *err);
void tr_bpe_free(struct tr_bpe *bpe);

/* The next line of the list, "A B" in the printable alphabet; its rank is the number of lines
 * before it. */
int tr_bpe_add_merge(struct tr_bpe *bpe, const char *text, size_t n, struct tr_err *err);

/* What one caller of tr_bpe_encode works with: ids grow at the end, the rest is scratch. All zero
 * at the start. */
struct tr_bpe_work {
	int32_t *ids;
	size_t n_ids;
	size_t cap_ids;
	struct tr_bpe_node *nodes;
	struct tr_bpe_pair *heap;
	size_t n_heap;
	size_t cap_piece;
};

/* Appends one id; TR_E_NOMEM or 0. */
int tr_bpe_push(struct tr_bpe_work *w, int32_t id, struct tr_err *err);

/* Appends the tokens of a piece of less than 2^31 bytes. O(n log n). */
int tr_bpe_encode(const struct tr_bpe *bpe, struct tr_bpe_work *w, const char *piece, size_t n,
	struct tr_err *err);

/* Frees all, the ids included unless the caller has taken them and set ids to NULL. */
void tr_bpe_work_fini(struct tr_bpe_work *w);

#endif
