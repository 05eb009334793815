/*
 * stops.h - finds stop strings in text that arrives in pieces.
 *
 * Text that may turn out to be the beginning of a stop string is held back until that is decided.
 * What comes out does not depend on how the text was cut into pieces: the string that is complete
 * first wins, of several complete at the same place the longest.
 */
#ifndef TR_TOOLS_STOPS_H
#define TR_TOOLS_STOPS_H

#include <stdbool.h>
#include <stddef.h>

struct tr_stops {
	const char *const *stop; /* none empty; outlives this */
	size_t n_stop;
	char *buf; /* [given, n) is held back */
	size_t given;
	size_t n;
	size_t cap;
	bool matched;
};

void tr_stops_init(struct tr_stops *s, const char *const *stop, size_t n_stop);
void tr_stops_fini(struct tr_stops *s);

/* Adds n bytes; *out, valid until the next call, is what can be shown now. Returns its length. Once
 * s->matched, nothing more comes out. */
size_t tr_stops_push(struct tr_stops *s, const char *text, size_t n, const char **out);

/* What is still held back when the text ends without a match. */
size_t tr_stops_flush(struct tr_stops *s, const char **out);

#endif
