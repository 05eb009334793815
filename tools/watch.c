#include "tools/watch.h"
#include "tools/interrupt.h"
#include "tools/screen.h"
#include "tools/tool.h"
#include "tools/top.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_NS 20000000u /* between two looks for a status that is not there yet */

#define FRAME_NS 40000000u /* no more frames than an eye follows, however fast text comes */

/* --- what a child says ------------------------------------------------------------------------ */

static void *grow(void *p, size_t *cap, size_t want)
{
	if (want <= *cap)
		return p;
	*cap = want > 2 * *cap ? want : 2 * *cap;
	return tr_tool_realloc(p, *cap, 1);
}

static void keep(struct tr_child_output *o, int which, const char *bytes, size_t n)
{
	size_t cap = o->said_cap;

	o->said = grow(o->said, &o->said_cap, o->said_bytes + n);
	o->from = grow(o->from, &cap, o->said_bytes + n);
	memcpy(o->said + o->said_bytes, bytes, n);
	memset(o->from + o->said_bytes, which, n);
	o->said_bytes += n;
	if (which)
		return;
	o->text = grow(o->text, &o->text_cap, o->text_bytes + n);
	memcpy(o->text + o->text_bytes, bytes, n);
	o->text_bytes += n;
}

static void take_one(struct tr_child_output *o, int which)
{
	struct pollfd p = { .fd = o->fd[which], .events = POLLIN };
	char bytes[4096];
	ssize_t n;

	while (o->fd[which] >= 0 && poll(&p, 1, 0) == 1) {
		n = read(o->fd[which], bytes, sizeof(bytes));
		if (n > 0) {
			keep(o, which, bytes, (size_t)n);
		} else if (n == 0 || errno != EINTR) {
			close(o->fd[which]);
			o->fd[which] = -1;
		}
	}
}

bool tr_child_output_take(struct tr_child_output *o)
{
	bool alive = false;

	for (int i = 0; i < TR_N_CHILD_FD; i++) {
		take_one(o, i);
		alive = alive || o->fd[i] >= 0;
	}
	return alive;
}

int tr_child_output_print(struct tr_child_output *o, struct tr_err *err)
{
	size_t at = 0, end;

	for (; at < o->said_bytes; at = end) {
		FILE *to = o->from[at] ? stderr : stdout;

		for (end = at; end < o->said_bytes && o->from[end] == o->from[at];)
			end++;
		if (fwrite(o->said + at, 1, end - at, to) != end - at || fflush(to)) {
			err->code = TR_E_IO;
			snprintf(err->msg, sizeof(err->msg), "standard %s: %s",
				to == stdout ? "output" : "error", strerror(errno));
			o->said_bytes = 0;
			return err->code;
		}
	}
	o->said_bytes = 0;
	return 0;
}

void tr_child_output_fini(struct tr_child_output *o)
{
	for (int i = 0; i < TR_N_CHILD_FD; i++)
		if (o->fd[i] >= 0)
			close(o->fd[i]);
	free(o->text);
	free(o->said);
	free(o->from);
}

/* --- the view --------------------------------------------------------------------------------- */

struct watching {
	const struct tr_watch *w;
	struct tr_live_reader *reader;
	struct tr_screen *screen;
	struct tr_top top;
};

/* Until something is to be read or ns have passed. */
static void wait_for(const struct watching *s, uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u) };
	const struct tr_child_output *child = s->w->child;
	struct pollfd p[1 + TR_N_CHILD_FD];

	p[0].fd = s->screen ? tr_screen_fd(s->screen) : -1;
	for (int i = 0; i < TR_N_CHILD_FD; i++)
		p[1 + i].fd = child ? child->fd[i] : -1;
	for (int i = 0; i <= TR_N_CHILD_FD; i++)
		p[i].events = POLLIN;
	ppoll(p, 1 + TR_N_CHILD_FD, &t, NULL);
}

/* True while it lives; of a process that is none of ours only its status tells. */
static bool hear_child(const struct watching *s)
{
	return !s->w->child || tr_child_output_take(s->w->child);
}

/* 0, or how it ended before there was anything to see. */
static int find_status(struct watching *s, struct tr_err *err)
{
	for (;;) {
		bool alive = hear_child(s);
		int rc = tr_live_open(&s->reader, s->w->pid, err);

		if (!rc)
			return -1;
		if (!s->w->child || rc != TR_E_NOENT)
			return TR_WATCH_FAILED;
		if (!alive)
			return TR_WATCH_ENDED;
		if (tr_interrupt_seen())
			return TR_WATCH_INTERRUPTED;
		wait_for(s, START_NS);
	}
}

static void draw(struct watching *s)
{
	const struct tr_watch *w = s->w;
	struct tr_top_look look = { .keys = w->keys };
	struct tr_frame frame;
	unsigned cols, rows;

	if (w->with_text) {
		look.text = w->child->text ? w->child->text : "";
		look.text_bytes = w->child->text_bytes;
	}
	tr_screen_size(s->screen, &cols, &rows);
	tr_frame_init(&frame, cols ? cols : 1, rows ? rows : 1, w->ascii);
	tr_top_draw(&frame, &s->top, &look);
	tr_screen_show(s->screen, &frame);
	tr_frame_fini(&frame);
}

/* -1: go on. */
static int look_once(struct watching *s, struct tr_err *err)
{
	struct tr_live live;
	int rc, key;

	hear_child(s);
	rc = tr_live_read(s->reader, &live, err);
	if (rc)
		return rc == TR_E_NOENT ? TR_WATCH_ENDED : TR_WATCH_FAILED;
	tr_top_add(&s->top, &live, tr_tool_now_ns());
	while ((key = tr_screen_key(s->screen)))
		if (key == 'q' || key == 'Q')
			return TR_WATCH_QUIT;
	draw(s);
	return -1;
}

static int look_on(struct watching *s, struct tr_err *err)
{
	int end = -1;

	while (end < 0) {
		uint64_t start = tr_tool_now_ns();

		if (tr_interrupt_seen())
			return TR_WATCH_INTERRUPTED;
		end = look_once(s, err);
		if (end < 0)
			wait_for(s, s->w->every_ns);
		if (end < 0 && tr_tool_now_ns() - start < FRAME_NS) /* text, or a key */
			usleep(FRAME_NS / 1000);
	}
	return end;
}

enum tr_watch_end tr_watch_run(const struct tr_watch *w, struct tr_err *err)
{
	struct watching s = { .w = w };
	int end = find_status(&s, err);

	if (end >= 0)
		return (enum tr_watch_end)end;
	if (tr_screen_open(&s.screen, err)) {
		tr_live_close(s.reader);
		return TR_WATCH_FAILED;
	}
	tr_top_init(&s.top);
	end = look_on(&s, err);
	tr_screen_close(s.screen);
	tr_top_fini(&s.top);
	tr_live_close(s.reader);
	return (enum tr_watch_end)end;
}
