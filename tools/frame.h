/*
 * frame.h - a rectangle of characters with styles, drawn in memory.
 *
 * Text is in the encoding of the locale, which a caller sets. What would go over the right edge is
 * cut, control characters and broken bytes become '?', so a frame never wraps and never moves a
 * cursor.
 */
#ifndef TR_TOOLS_FRAME_H
#define TR_TOOLS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum tr_style {
	TR_STYLE_PLAIN,
	TR_STYLE_DIM,
	TR_STYLE_BOLD,
	TR_STYLE_TITLE,
	TR_STYLE_GOOD,
	TR_STYLE_FAIR,
	TR_STYLE_POOR,
	TR_STYLE_ACCENT,
	TR_N_STYLE,
};

struct tr_cell {
	char text[7]; /* one character; "" behind one that is two columns wide, or a space */
	uint8_t style;
};

struct tr_frame {
	unsigned cols, rows;
	bool ascii;	      /* no blocks and lines */
	struct tr_cell *cell; /* [rows][cols] */
};

/* Blank. The process ends when there is no memory. */
void tr_frame_init(struct tr_frame *f, unsigned cols, unsigned rows, bool ascii);
void tr_frame_fini(struct tr_frame *f);

/* Text from a column on; returns the column behind it, at most cols. */
unsigned tr_frame_put(struct tr_frame *f, unsigned row, unsigned col, enum tr_style style,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* One character of n bytes, of the width that tr_frame_char found. False when it does not fit. */
bool tr_frame_put_char(struct tr_frame *f, unsigned row, unsigned col, enum tr_style style,
	const char *text, size_t n, unsigned width);

/* The character that text begins with: its bytes (0: incomplete) and columns (0: not to be shown as
 * it is). */
size_t tr_frame_char(const char *text, size_t n, unsigned *width);

/* Columns that a text takes. */
unsigned tr_frame_width(const char *text);

/* A bar of share (0 to 1) of width columns. */
void tr_frame_bar(struct tr_frame *f, unsigned row, unsigned col, unsigned width, double share,
	enum tr_style style);

/* One of eight heights for 0 to 1. */
const char *tr_frame_height(const struct tr_frame *f, double v);

/* n rows of another frame of the same width. */
void tr_frame_copy(struct tr_frame *to, unsigned to_row, const struct tr_frame *from,
	unsigned from_row, unsigned n);

/* Lines of text without styles; blanks at the end of lines are left out. */
void tr_frame_print(const struct tr_frame *f, FILE *out);

#endif
