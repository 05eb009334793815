/* table.c - collects cells, then prints them with the widths that the longest ask for. */
#include "tools/table.h"
#include "tools/tool.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void tr_table_init(struct tr_table *t, const char *const *head, size_t n_column)
{
	*t = (struct tr_table){ .head = head, .n_column = n_column };
}

void tr_table_fini(struct tr_table *t)
{
	for (size_t i = 0; i < t->n_cell; i++)
		free(t->cell[i]);
	free(t->cell);
}

/* The printable form of text, newly allocated. */
static char *escape(const char *text)
{
	char *out = tr_tool_calloc(strlen(text) * 4 + 1, 1);
	char *w = out;

	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '\n')
			w = stpcpy(w, "\\n");
		else if (*c == '\t')
			w = stpcpy(w, "\\t");
		else if (*c < 0x20 || *c == 0x7f)
			w += sprintf(w, "\\x%02x", *c);
		else
			*w++ = (char)*c;
	}
	return out;
}

void tr_table_add(struct tr_table *t, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		tr_tool_error("out of memory for a table cell");
		exit(TR_EXIT_ERROR);
	}
	if (t->n_cell == t->cap_cell) {
		t->cap_cell = t->cap_cell ? 2 * t->cap_cell : 64;
		t->cell = tr_tool_realloc(t->cell, t->cap_cell, sizeof(*t->cell));
	}
	t->cell[t->n_cell++] = escape(text);
	free(text);
}

void tr_table_add_bytes(struct tr_table *t, uint64_t bytes)
{
	char buf[32];

	tr_table_add(t, "%s", tr_table_bytes(bytes, buf, sizeof(buf)));
}

void tr_csv_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

/* Characters, not bytes: continuation bytes of UTF-8 take no width. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(FILE *out, const char *text, size_t to, bool right, bool last)
{
	int pad = (int)(to - width(text));

	if (right)
		fprintf(out, "%*s%s", pad, "", text);
	else if (last)
		fputs(text, out);
	else
		fprintf(out, "%s%*s", text, pad, "");
}

void tr_table_print(const struct tr_table *t, FILE *out, const char *indent)
{
	const char *head[TR_TABLE_MAX_COLUMN];
	bool right[TR_TABLE_MAX_COLUMN];
	size_t to[TR_TABLE_MAX_COLUMN];
	size_t n = t->n_column;

	for (size_t c = 0; c < n; c++) {
		right[c] = t->head[c][0] == '>';
		head[c] = t->head[c] + right[c];
		to[c] = width(head[c]);
	}
	for (size_t i = 0; i < t->n_cell; i++) {
		size_t w = width(t->cell[i]);

		if (w > to[i % n])
			to[i % n] = w;
	}
	for (size_t row = 0; row <= t->n_cell / n; row++) {
		const char *const *cell = row ? (const char *const *)t->cell + (row - 1) * n : head;

		fputs(indent, out);
		for (size_t c = 0; c < n; c++) {
			print_cell(out, cell[c], to[c], right[c], c + 1 == n);
			fputs(c + 1 == n ? "\n" : "  ", out);
		}
	}
}

char *tr_table_bytes(uint64_t bytes, char *buf, size_t buf_bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	size_t u = 0;

	/* 1023.95 would print as 1024.0. */
	while (v >= 1023.95 && u + 1 < sizeof(unit) / sizeof(unit[0])) {
		v /= 1024;
		u++;
	}
	snprintf(buf, buf_bytes, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
	return buf;
}
