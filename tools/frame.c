#include "tools/frame.h"
#include "tools/tool.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static const char *const heights[] = { "\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586",
	"\u2587", "\u2588" };
static const char *const ascii_heights[] = { "_", ".", ":", "-", "=", "+", "*", "#" };

/* Parts of a column from the left. */
static const char *const parts[] = { "", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a",
	"\u2589" };

void tr_frame_init(struct tr_frame *f, unsigned cols, unsigned rows, bool ascii)
{
	*f = (struct tr_frame){ .cols = cols, .rows = rows, .ascii = ascii };
	f->cell = tr_tool_calloc((size_t)cols * rows, sizeof(*f->cell));
}

void tr_frame_fini(struct tr_frame *f)
{
	free(f->cell);
}

static struct tr_cell *cell_at(const struct tr_frame *f, unsigned row, unsigned col)
{
	return &f->cell[(size_t)row * f->cols + col];
}

size_t tr_frame_char(const char *text, size_t n, unsigned *width)
{
	mbstate_t state = { 0 };
	wchar_t c;
	size_t got = mbrtowc(&c, text, n, &state);
	int columns;

	*width = 0;
	if (got == (size_t)-2)
		return 0;
	if (got == (size_t)-1 || got == 0)
		return 1;
	columns = wcwidth(c);
	*width = columns > 0 && got < sizeof(((struct tr_cell *)0)->text) ? (unsigned)columns : 0;
	return got;
}

bool tr_frame_put_char(struct tr_frame *f, unsigned row, unsigned col, enum tr_style style,
	const char *text, size_t n, unsigned width)
{
	struct tr_cell *c;

	if (row >= f->rows || col + width > f->cols)
		return false;
	c = cell_at(f, row, col);
	memset(c, 0, width * sizeof(*c));
	memcpy(c->text, text, n);
	for (unsigned i = 0; i < width; i++)
		c[i].style = (uint8_t)style;
	return true;
}

unsigned tr_frame_put(
	struct tr_frame *f, unsigned row, unsigned col, enum tr_style style, const char *fmt, ...)
{
	char text[1024];
	size_t n, at = 0, got;
	unsigned width;
	bool fits;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (n = strlen(text); at < n && col < f->cols; at += got) {
		got = tr_frame_char(text + at, n - at, &width);
		if (!got)
			break;
		fits = width ? tr_frame_put_char(f, row, col, style, text + at, got, width)
			     : tr_frame_put_char(f, row, col, style, "?", 1, width = 1);
		if (!fits)
			break;
		col += width;
	}
	return col;
}

unsigned tr_frame_width(const char *text)
{
	size_t n = strlen(text), got;
	unsigned columns = 0, width;

	for (; n && (got = tr_frame_char(text, n, &width)); text += got, n -= got)
		columns += width ? width : 1;
	return columns;
}

void tr_frame_bar(struct tr_frame *f, unsigned row, unsigned col, unsigned width, double share,
	enum tr_style style)
{
	double v = share > 1 ? 1 : share < 0 ? 0 : share;
	unsigned eighths = (unsigned)(v * width * 8 + 0.5), i;

	for (i = 0; i < width; i++) {
		unsigned part = eighths > 8 * i ? eighths - 8 * i : 0;

		if (part >= 8 || (f->ascii && part >= 4))
			tr_frame_put(f, row, col + i, style, "%s", f->ascii ? "#" : heights[7]);
		else if (part && !f->ascii)
			tr_frame_put(f, row, col + i, style, "%s", parts[part]);
		else
			tr_frame_put(
				f, row, col + i, TR_STYLE_DIM, "%s", f->ascii ? "." : "\u00b7");
	}
}

const char *tr_frame_height(const struct tr_frame *f, double v)
{
	int i = (int)(v * 8);

	return (f->ascii ? ascii_heights : heights)[i < 0 ? 0 : i > 7 ? 7 : i];
}

void tr_frame_copy(struct tr_frame *to, unsigned to_row, const struct tr_frame *from,
	unsigned from_row, unsigned n)
{
	if (to_row < to->rows && n)
		memcpy(cell_at(to, to_row, 0), cell_at(from, from_row, 0),
			(n < to->rows - to_row ? n : to->rows - to_row) * to->cols *
				sizeof(*to->cell));
}

/* Whether column col is the right half of a wide character. */
static bool is_covered(const struct tr_frame *f, unsigned row, unsigned col)
{
	unsigned width;
	const char *left;

	if (!col || cell_at(f, row, col)->text[0])
		return false;
	left = cell_at(f, row, col - 1)->text;
	return left[0] && tr_frame_char(left, strlen(left), &width) && width == 2;
}

void tr_frame_print(const struct tr_frame *f, FILE *out)
{
	for (unsigned row = 0; row < f->rows; row++) {
		unsigned end = f->cols;

		while (end && (!cell_at(f, row, end - 1)->text[0] ||
				      !strcmp(cell_at(f, row, end - 1)->text, " ")))
			end--;
		for (unsigned col = 0; col < end; col++)
			if (!is_covered(f, row, col))
				fputs(cell_at(f, row, col)->text[0] ? cell_at(f, row, col)->text
								    : " ",
					out);
		fputc('\n', out);
	}
}
