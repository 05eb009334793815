/* generate_args.h - the command line of `tierra generate`. */
#ifndef TR_TOOLS_GENERATE_ARGS_H
#define TR_TOOLS_GENERATE_ARGS_H

#include "tools/engine_args.h"
#include "tools/tool.h"

#define TR_MAX_STOP 16

struct tr_generate_args {
	struct tr_engine_args engine;
	struct tr_sampler_opts sampler;
	const char *prompt;	 /* one of prompt and prompt_file is set */
	const char *prompt_file; /* "-" is standard input */
	int64_t n_predict;	 /* -1: until the context is full */
	bool ignore_eos;
	const char *stop[TR_MAX_STOP];
	size_t n_stop;
	bool json;
	bool with_logprobs;
	size_t n_top; /* of logprobs */
	const char *stats; /* file for expert statistics; NULL: none */
	bool roofline; /* measured for longer */
	bool top;      /* with the live view */
	bool no_live;
	enum tr_verbosity verbosity;
};

/* Ends the process on a usage error and after --help. */
void tr_generate_args_parse(struct tr_generate_args *a, int argc, char **argv);

#endif
