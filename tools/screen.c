#include "tools/screen.h"
#include "tools/tool.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int __attribute__((format(printf, 3, 4)))
refuse(struct tr_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	err->code = code;
	return code;
}

#ifdef HAVE_NCURSES

#define NCURSES_NOMACROS
#include <ncurses.h>
#include <term.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TTY_PATH "/dev/tty"

struct tr_screen {
	FILE *tty;
	SCREEN *curses;
	attr_t style[TR_N_STYLE];
};

int tr_screen_check(struct tr_err *err)
{
	const char *term = getenv("TERM");
	int fd = open(TTY_PATH, O_RDWR | O_CLOEXEC | O_NOCTTY), known = 0;

	if (fd < 0)
		return refuse(err, TR_E_INVALID,
			"there is no terminal for the live view: " TTY_PATH ": %s",
			strerror(errno));
	setupterm(NULL, fd, &known);
	close(fd);
	if (known != 1)
		return refuse(err, TR_E_INVALID,
			"TERM is '%s', a terminal that is not known here: the live view cannot be "
			"drawn",
			term ? term : "");
	del_curterm(cur_term);
	return 0;
}

static void choose_styles(struct tr_screen *s)
{
	static const short color[TR_N_STYLE] = { [TR_STYLE_GOOD] = COLOR_GREEN,
		[TR_STYLE_FAIR] = COLOR_YELLOW,
		[TR_STYLE_POOR] = COLOR_RED,
		[TR_STYLE_ACCENT] = COLOR_CYAN };

	s->style[TR_STYLE_DIM] = A_DIM;
	s->style[TR_STYLE_BOLD] = A_BOLD;
	s->style[TR_STYLE_TITLE] = A_REVERSE;
	if (!has_colors() || start_color() == ERR || use_default_colors() == ERR)
		return;
	for (short i = 0; i < TR_N_STYLE; i++)
		if (color[i] && init_pair(i, color[i], -1) == OK)
			s->style[i] = (attr_t)COLOR_PAIR(i);
}

int tr_screen_open(struct tr_screen **out, struct tr_err *err)
{
	struct tr_screen *s;
	int rc = tr_screen_check(err);

	if (rc)
		return rc;
	s = tr_tool_calloc(1, sizeof(*s));
	s->tty = fopen(TTY_PATH, "r+e");
	s->curses = s->tty ? newterm(NULL, s->tty, s->tty) : NULL;
	if (!s->curses) {
		if (s->tty)
			fclose(s->tty);
		free(s);
		return refuse(err, TR_E_IO, "the live view cannot be drawn on " TTY_PATH);
	}
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	choose_styles(s);
	*out = s;
	return 0;
}

void tr_screen_close(struct tr_screen *s)
{
	if (!s)
		return;
	endwin();
	delscreen(s->curses);
	fclose(s->tty);
	free(s);
}

void tr_screen_size(const struct tr_screen *s, unsigned *cols, unsigned *rows)
{
	(void)s;
	*cols = (unsigned)getmaxx(stdscr);
	*rows = (unsigned)getmaxy(stdscr);
}

void tr_screen_show(struct tr_screen *s, const struct tr_frame *f)
{
	erase();
	for (unsigned row = 0; row < f->rows; row++)
		for (unsigned col = 0; col < f->cols; col++) {
			const struct tr_cell *c = &f->cell[(size_t)row * f->cols + col];

			if (!c->text[0])
				continue;
			attrset(s->style[c->style]);
			mvaddstr((int)row, (int)col, c->text);
		}
	refresh();
}

int tr_screen_key(struct tr_screen *s)
{
	int key;

	(void)s;
	do
		key = getch();
	while (key == KEY_RESIZE);
	return key == ERR ? 0 : key;
}

int tr_screen_fd(const struct tr_screen *s)
{
	return fileno(s->tty);
}

#else

int tr_screen_check(struct tr_err *err)
{
	return refuse(err, TR_E_UNSUPPORTED,
		"this tierra was built without ncurses and has no live view (configure finds it "
		"with "
		"libncurses-dev); `tierra top --once` prints one");
}

int tr_screen_open(struct tr_screen **out, struct tr_err *err)
{
	(void)out;
	return tr_screen_check(err);
}

void tr_screen_close(struct tr_screen *s)
{
	(void)s;
}

void tr_screen_size(const struct tr_screen *s, unsigned *cols, unsigned *rows)
{
	(void)s;
	*cols = *rows = 0;
}

void tr_screen_show(struct tr_screen *s, const struct tr_frame *f)
{
	(void)s;
	(void)f;
}

int tr_screen_key(struct tr_screen *s)
{
	(void)s;
	return 0;
}

int tr_screen_fd(const struct tr_screen *s)
{
	(void)s;
	return -1;
}

#endif
