/*
 * observe.h - what tokens of an engine spent their time on, and the figures of a run that follow.
 */
#ifndef TR_MACHINE_OBSERVE_H
#define TR_MACHINE_OBSERVE_H

#include "tierra.h"

struct tr_sample;

/* All zero at the start. */
struct tr_observed {
	uint32_t n_used; /* experts of a layer; given */
	size_t n, cap;
	struct tr_sample *sample;
	bool no_memory; /* some were lost */
};

void tr_observed_fini(struct tr_observed *o);
/* A decoded token's spans, position tokens before it. */
void tr_observe(struct tr_observed *o, const struct tr_token_spans *token, double position);
/* All figures but model and unit_bytes, which are given. TR_E_NOENT when no layer was observed. */
int tr_observed_run(const struct tr_observed *o, struct tr_machine_run *run, struct tr_err *err);

#endif
