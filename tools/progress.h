/* progress.h - one line on the terminal: how much, how fast, how long still. */
#ifndef TR_TOOLS_PROGRESS_H
#define TR_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tr_progress {
	bool show;	   /* false: nothing is printed */
	bool open;	   /* a line is on the terminal */
	char phase[48];	   /* the one that start_ns belongs to */
	uint64_t start_ns;
	uint64_t start_done; /* done at start_ns: what was there before does not count as speed */
};

/* Shows when standard error is a terminal, unless quiet. */
void tr_progress_init(struct tr_progress *p, bool quiet);

/* A tr_progress_fn; ctx is a struct tr_progress. Asks to stop once an interrupt was seen. */
int tr_progress_step(void *ctx, const char *phase, uint64_t done, uint64_t total,
	const char *unit);

/* Takes the line away. */
void tr_progress_clear(struct tr_progress *p);

/* "prefill  384/1024 tokens  37%  40.2 tokens/s  0:16 left" into buf. Rate and time left appear
 * once elapsed_ns allows a guess (a quarter of a second). fresh: the part of done that came in
 * elapsed_ns. */
void tr_progress_format(char *buf, size_t buf_bytes, const char *phase, uint64_t done,
	uint64_t total, const char *unit, uint64_t fresh, uint64_t elapsed_ns);

#endif
