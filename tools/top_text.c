/* top_text.c - the last lines of a text, wrapped at the edge of a frame. */
#include "tools/top.h"

#define TAIL_BYTES 16384 /* more than any pane shows */

struct wrap {
	struct tr_frame *f;
	unsigned row, n_row; /* of the pane */
	size_t skip;	     /* lines above it */
	size_t line;
	unsigned col;
};

static void put(struct wrap *w, const char *text, size_t n, unsigned width)
{
	if (w->col + width + 1 > w->f->cols) {
		w->line++;
		w->col = 1;
	}
	if (w->n_row && w->line >= w->skip && w->line - w->skip < w->n_row)
		tr_frame_put_char(w->f, w->row + (unsigned)(w->line - w->skip), w->col,
			TR_STYLE_PLAIN, text, n, width);
	w->col += width;
}

static void put_text(struct wrap *w, const char *text, size_t n)
{
	unsigned width;
	size_t got;

	w->line = 0;
	w->col = 1;
	for (; n; text += got, n -= got) {
		got = tr_frame_char(text, n, &width);
		if (!got) /* the rest of the character is on its way */
			return;
		if (*text == '\n') {
			w->line++;
			w->col = 1;
		} else if (*text == '\t') {
			do
				put(w, " ", 1, 1);
			while ((w->col - 1) % 8 && w->col + 2 < w->f->cols);
		} else if (*text != '\r') {
			put(w, width ? text : "?", width ? got : 1, width ? width : 1);
		}
	}
}

void tr_top_draw_text(
	struct tr_frame *f, unsigned row, unsigned n_row, const char *text, size_t text_bytes)
{
	size_t from = text_bytes > TAIL_BYTES ? text_bytes - TAIL_BYTES : 0;
	struct wrap w = { .f = f, .row = row };

	while (from && from < text_bytes && (text[from] & 0xc0) == 0x80)
		from++;
	if (f->cols < 4 || !n_row)
		return;
	put_text(&w, text + from, text_bytes - from); /* counts */
	w.skip = w.line + 1 > n_row ? w.line + 1 - n_row : 0;
	w.n_row = n_row;
	put_text(&w, text + from, text_bytes - from);
}
