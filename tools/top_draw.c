/*
 * top_draw.c - a frame of the live view.
 *
 * Each section is drawn by itself, as high as it wants. Then the sections that fit are put one
 * below the other, the least important left out first, and what rows are left go to the text, if it
 * is shown, and to blank lines between groups.
 */
#include "tools/top.h"

#define MAX_HIGH	16 /* rows of a section */
#define MIN_TEXT	4  /* rows of text worth having a pane for */
#define KEYS		(TR_TOP_N_SECTION - 1)
#define LEAST_IMPORTANT 8

struct drawn {
	struct tr_frame frame[TR_TOP_N_SECTION];
	unsigned high[TR_TOP_N_SECTION];
};

static unsigned height_of(const struct drawn *d)
{
	unsigned sum = 0;

	for (size_t i = 0; i < TR_TOP_N_SECTION; i++)
		sum += d->high[i];
	return sum;
}

/* Takes sections as they are important, as long as they fit into rows. */
static void leave_out(struct drawn *d, unsigned rows)
{
	unsigned used = 0;

	for (unsigned importance = 0; importance <= LEAST_IMPORTANT; importance++)
		for (size_t i = 0; i < TR_TOP_N_SECTION; i++) {
			if (tr_top_sections[i].importance != importance)
				continue;
			if (importance && used + d->high[i] > rows)
				d->high[i] = 0;
			used += d->high[i];
		}
}

static unsigned n_gap(const struct drawn *d)
{
	unsigned n = 0;

	for (size_t i = 0; i < TR_TOP_N_SECTION; i++)
		n += d->high[i] && tr_top_sections[i].group;
	return n;
}

/* The sections but the last from the top; returns the row behind them. */
static unsigned place(struct tr_frame *f, const struct drawn *d, bool gaps)
{
	unsigned row = 0;

	for (size_t i = 0; i < KEYS; i++) {
		if (!d->high[i])
			continue;
		row += gaps && tr_top_sections[i].group;
		tr_frame_copy(f, row, &d->frame[i], 0, d->high[i]);
		row += d->high[i];
	}
	return row;
}

static void draw_pane(
	struct tr_frame *f, unsigned row, unsigned end, const struct tr_top_look *look)
{
	for (unsigned i = 1; i + 1 < f->cols; i++)
		tr_frame_put(f, row, i, TR_STYLE_DIM, "%s", f->ascii ? "-" : "\u2500");
	tr_frame_put(f, row, 3, TR_STYLE_BOLD, " text ");
	tr_top_draw_text(f, row + 1, end - row - 1, look->text, look->text_bytes);
}

void tr_top_draw(struct tr_frame *f, const struct tr_top *top, const struct tr_top_look *look)
{
	struct tr_top_view v = { .n = &top->now, .look = look };
	unsigned want_text = look->text ? MIN_TEXT + 1 : 0, row, end;
	struct drawn d;
	bool gaps;

	tr_top_rates(top, &v.r);
	for (size_t i = 0; i < TR_TOP_N_SECTION; i++) {
		tr_frame_init(&d.frame[i], f->cols, MAX_HIGH, f->ascii);
		d.high[i] = tr_top_sections[i].draw(&d.frame[i], &v);
	}
	if (!f->rows) {
		bool ascii = f->ascii;

		tr_frame_fini(f);
		tr_frame_init(f, f->cols, height_of(&d) + n_gap(&d), ascii);
	}
	leave_out(&d, f->rows > want_text + 8 ? f->rows - want_text : f->rows);
	gaps = f->rows >= height_of(&d) + n_gap(&d) + 2 * want_text;
	row = place(f, &d, gaps);
	end = f->rows - d.high[KEYS];
	if (look->text && row + 3 <= end)
		draw_pane(f, row + gaps, end, look);
	tr_frame_copy(f, end, &d.frame[KEYS], 0, d.high[KEYS]);
	for (size_t i = 0; i < TR_TOP_N_SECTION; i++)
		tr_frame_fini(&d.frame[i]);
}
