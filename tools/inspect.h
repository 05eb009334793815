/* inspect.h - a model's description gathered once, printed as tables or as JSON. */
#ifndef TR_TOOLS_INSPECT_H
#define TR_TOOLS_INSPECT_H

#include "tools/engine_args.h"
#include "tools/tool.h"

#include <jansson.h>
#include <stdio.h>

struct tr_inspect {
	struct tr_model *model;
	struct tr_plan plan;	/* valid with_plan */
	struct tr_err plan_err; /* why there is none */
	bool with_plan;
	struct tr_unit_info *unit; /* [n_unit] */
	size_t n_unit;
};

/* Fails when the files cannot be read; a plan that cannot be made is no failure. */
int tr_inspect_open(struct tr_inspect *in, const struct tr_engine_opts *opts, struct tr_err *err);
void tr_inspect_close(struct tr_inspect *in);

void tr_inspect_print_files(const struct tr_inspect *in, FILE *out);
void tr_inspect_print_metadata(const struct tr_inspect *in, FILE *out);
void tr_inspect_print_tensors(const struct tr_inspect *in, FILE *out);
/* Tensors summed up by type. */
void tr_inspect_print_types(const struct tr_inspect *in, FILE *out);
/* Experts in numbers, memory, tiers. */
void tr_inspect_print_plan(const struct tr_inspect *in, FILE *out);
void tr_inspect_print_units(const struct tr_inspect *in, FILE *out);

/* All of it; NULL when out of memory. */
json_t *tr_inspect_json(const struct tr_inspect *in);

#endif
