/*
 * table.h - aligned columns of text.
 *
 * Cells are copied; control characters in them are shown as \n, \x1b and so on, since names and
 * metadata come from files. Widths count characters, not bytes.
 */
#ifndef TR_TOOLS_TABLE_H
#define TR_TOOLS_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TR_TABLE_MAX_COLUMN 24

struct tr_table {
	const char *const *head; /* a leading '>' aligns the column to the right and is not shown */
	size_t n_column;
	char **cell; /* row-major */
	size_t n_cell;
	size_t cap_cell;
};

/* head outlives the table. */
void tr_table_init(struct tr_table *t, const char *const *head, size_t n_column);
void tr_table_fini(struct tr_table *t);

/* The next cell, left to right, row after row. */
void tr_table_add(struct tr_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The next cell with a byte count as tr_table_bytes shows it. */
void tr_table_add_bytes(struct tr_table *t, uint64_t bytes);

/* Heading and complete rows, two spaces between columns, each line after indent. */
void tr_table_print(const struct tr_table *t, FILE *out, const char *indent);

/* A field of CSV in quotes, quotes doubled: paths and specs may have commas. */
void tr_csv_text(const char *text, FILE *out);

/* "1.4 GiB", "812 B" into buf; returns buf. */
char *tr_table_bytes(uint64_t bytes, char *buf, size_t buf_bytes);

#endif
