/* split.h - a run with a live view: the run in one process, the view in another. */
#ifndef TR_TOOLS_SPLIT_H
#define TR_TOOLS_SPLIT_H

#include "tierra.h"

/* Returns twice: in a new process, whose text and messages come to the view as far as they would
 * have gone to a terminal, with 0; and when that process has ended and all it said has been
 * printed, in this one with 1 and its exit status. A negative code, once, when there can be no
 * view. Call it while there is one thread. */
int tr_split(bool with_text, int *exit_status, struct tr_err *err);

#endif
