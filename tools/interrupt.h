/* interrupt.h - Ctrl-C as a flag that loops look at. */
#ifndef TR_TOOLS_INTERRUPT_H
#define TR_TOOLS_INTERRUPT_H

#include <stdbool.h>

/* From here on the first SIGINT or SIGTERM sets the flag; a second one ends the process as usual. */
void tr_interrupt_catch(void);
bool tr_interrupt_seen(void);

#endif
