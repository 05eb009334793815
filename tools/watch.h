/*
 * watch.h - the live view on the terminal until somebody or something ends it.
 *
 * A run of our own (generate --top) is a child process: its text and messages come through pipes,
 * and what came is kept in order, to be printed when the view is closed. Should it crash, the
 * terminal is restored all the same, since that is another process.
 */
#ifndef TR_TOOLS_WATCH_H
#define TR_TOOLS_WATCH_H

#include "tierra.h"

enum tr_watch_end {
	TR_WATCH_QUIT,	      /* q */
	TR_WATCH_ENDED,	      /* the run has */
	TR_WATCH_INTERRUPTED, /* a signal, see interrupt.h */
	TR_WATCH_FAILED,      /* the status or the terminal; see err */
};

/* What a child has said. */
#define TR_N_CHILD_FD 3

struct tr_child_output {
	int fd[TR_N_CHILD_FD]; /* its text; its messages; nothing, but it ends with the process. -1:
				* does not come here, or has ended */
	char *text;	       /* all that came through fd[0] */
	size_t text_bytes, text_cap;
	char *said; /* both, as they came */
	size_t said_bytes, said_cap;
	unsigned char *from; /* [said_bytes] index of fd */
};

/* Takes what is there. False once all have ended. */
bool tr_child_output_take(struct tr_child_output *out);
/* Prints what was kept to standard output and standard error, and forgets it. */
int tr_child_output_print(struct tr_child_output *out, struct tr_err *err);
void tr_child_output_fini(struct tr_child_output *out);

struct tr_watch {
	uint64_t pid;
	uint64_t every_ns; /* between two looks */
	bool ascii;
	const char *keys;	       /* for the last line */
	struct tr_child_output *child; /* NULL: the run is none of ours */
	bool with_text;		       /* of the child, in a pane */
};

/* of a child: waits for it to have a status first, the terminal still being as it was. */
enum tr_watch_end tr_watch_run(const struct tr_watch *watch, struct tr_err *err);

#endif
