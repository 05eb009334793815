/*
 * resident.h - the always-used weights: everything but routed experts, read once into memory.
 */
#ifndef TR_ENGINE_RESIDENT_H
#define TR_ENGINE_RESIDENT_H

#include "compute/ops.h"
#include "io/io.h"
#include "model/model.h"

struct tr_resident;

/* Bytes of the tensors that belong here. */
uint64_t tr_resident_bytes_of(const struct tr_model *model);

/* Reads them all; tensors that are neighbours in a file are read together. The rows of large ones
 * come to lie on the nodes of topo that compute them. */
int tr_resident_load(struct tr_resident **res, const struct tr_model *model, struct tr_io *io,
	struct tr_file *files, const struct tr_topo *topo, tr_progress_fn *progress,
	void *progress_ctx, struct tr_err *err);
void tr_resident_free(struct tr_resident *res);

/* Where the tensor lies; t must be one of the model's resident tensors. */
const uint8_t *tr_resident_data(const struct tr_resident *res, const struct tr_tensor *t);

/* t as a matrix of ne[0] columns, all other dimensions as rows. t NULL gives an empty weight. */
struct tr_weight tr_resident_weight(const struct tr_resident *res, const struct tr_tensor *t);

/* The weight is used here no more: w->data becomes NULL, and its memory is given back but for pages that
 * it shares with others. */
void tr_resident_drop(struct tr_weight *w);

#endif
