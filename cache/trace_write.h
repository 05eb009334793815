/*
 * trace_write.h - records what a run asks of its cache.
 *
 * Events collect in memory; a full block is compressed and written at once, so that a file can be
 * read up to its last complete block whatever becomes of the program. A write that fails ends the
 * recording: the run goes on, the first error is kept for tr_trace_writer_close.
 *
 * No lock: used by the thread that runs the engine.
 */
#ifndef TR_CACHE_TRACE_WRITE_H
#define TR_CACHE_TRACE_WRITE_H

#include "cache/trace.h"

struct tr_trace_writer;

/* Makes the file anew. head is copied. */
int tr_trace_writer_open(struct tr_trace_writer **writer, const char *path,
	const struct tr_trace_head *head, struct tr_err *err);

/* Before the first event, if at all. Arrays as for n_moe_layer * n_expert units. */
void tr_trace_write_units(struct tr_trace_writer *w, const struct tr_trace_units *units);

/* The same of a device's memory. slot_bytes[n_moe_layer] */
void tr_trace_write_vram(struct tr_trace_writer *w, const struct tr_trace_vram *vram);

/* A set: head.n_used experts and weights for each of n_tok tokens. layer counts MoE layers. */
void tr_trace_write_set(struct tr_trace_writer *w, uint32_t layer, uint32_t n_tok, bool scan,
	const uint32_t *experts, const float *weights);
/* See struct tr_trace_scores. Of the state of the layer whose set was written last, or of a dense
 * one behind it. */
void tr_trace_write_scores(struct tr_trace_writer *w, uint32_t layer, uint32_t ahead,
	const struct tr_sketch *sketch);
/* Before the step: see struct tr_vram_late. */
void tr_trace_write_late(struct tr_trace_writer *w, uint32_t n_held, uint32_t n_left);
/* All layers of a token or a chunk are through. */
void tr_trace_write_step(struct tr_trace_writer *w);

/* NULL, or why the recording ended early. */
const struct tr_err *tr_trace_writer_error(const struct tr_trace_writer *w);
/* Writes what is left and the end mark. Frees w in any case. */
int tr_trace_writer_close(struct tr_trace_writer *w, struct tr_err *err);

#endif
