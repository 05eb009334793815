/*
 * screen.h - frames on a terminal: the full screen while it is open, as it was before once closed.
 *
 * The terminal of the process is used, whatever standard input and output are. In a build without
 * ncurses none can be opened. One at a time.
 */
#ifndef TR_TOOLS_SCREEN_H
#define TR_TOOLS_SCREEN_H

#include "tools/frame.h"

#include "tierra.h"

struct tr_screen;

/* Whether one could be opened, without opening it: ncurses, a terminal, and a type that is known.
 */
int tr_screen_check(struct tr_err *err);

int tr_screen_open(struct tr_screen **screen, struct tr_err *err);
void tr_screen_close(struct tr_screen *screen);

/* As it is now: it follows a terminal that changes its size. */
void tr_screen_size(const struct tr_screen *screen, unsigned *cols, unsigned *rows);
void tr_screen_show(struct tr_screen *screen, const struct tr_frame *frame);

/* A key that was pressed, 0 when there is none (or it was a change of size). Does not block. */
int tr_screen_key(struct tr_screen *screen);
/* For poll: readable when a key was pressed. */
int tr_screen_fd(const struct tr_screen *screen);

#endif
