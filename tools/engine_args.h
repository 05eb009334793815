/* engine_args.h - the options that say how a model is opened, shared by the commands that do so. */
#ifndef TR_TOOLS_ENGINE_ARGS_H
#define TR_TOOLS_ENGINE_ARGS_H

#include "tierra.h"

#include <argp.h>

#define TR_MAX_PMEM (TR_MAX_TIER - 3) /* DRAM, VRAM and the model file are tiers too */

struct tr_engine_args {
	struct tr_engine_opts opts; /* strings point into argv */
	const char *pmem[TR_MAX_PMEM];
};

/* A child parser; its input is a struct tr_engine_args, zeroed by it at the start. */
extern const struct argp tr_engine_argp;

/* Numbers of an option; a bad one ends the command with a usage error that names what. */
uint64_t tr_arg_u64(const struct argp_state *state, const char *what, const char *text,
	uint64_t lo, uint64_t hi);
double tr_arg_f64(const struct argp_state *state, const char *what, const char *text, double lo,
	double hi);

/* Parses a whole command line. Usage errors exit with TR_EXIT_USAGE. */
void tr_args_parse(const struct argp *argp, int argc, char **argv, void *input);

#endif
