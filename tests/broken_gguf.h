/* broken_gguf.h - files that the reader must refuse, each for its own reason, and good ones. */
#ifndef TR_TESTS_BROKEN_GGUF_H
#define TR_TESTS_BROKEN_GGUF_H

#include "gguf_write.h"

struct gguf_case {
	const char *name;
	void (*make)(struct gw *w); /* the whole file in w->p, w->n */
	const char *says;	    /* part of the refusal; NULL: the file is good */
};

extern const struct gguf_case broken_ggufs[], good_ggufs[];
extern const size_t n_broken_gguf, n_good_gguf;

#endif
