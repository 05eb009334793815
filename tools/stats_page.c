/*
 * stats_page.c - statistics as one HTML file that needs no other and no network.
 *
 * The page draws itself: it holds a script and, in place of PAGE_DATA, the JSON of a file of
 * statistics and of its sums. Text of files gets to the reader only as text of that JSON, in which
 * no '<' is left, so it can end neither the script nor begin anything else.
 */
#include "tools/page.h"
#include "tools/stats.h"

#include <string.h>

#define PAGE_DATA "@DATA@"

/* Experts shown one by one. */
#define N_TOP 20

/* json_dump_callback_t: '<' occurs in strings alone, where it may be written so. */
static int put(const char *text, size_t n, void *out)
{
	for (size_t i = 0; i < n; i++)
		if ((text[i] == '<' ? fputs("\\u003c", out) : fputc(text[i], out)) == EOF)
			return -1;
	return 0;
}

/* What the page does not show is left out: half of the file. */
static void leave_out(json_t *stats)
{
	json_t *layer;
	size_t l;

	json_array_foreach(json_object_get(stats, "layers"), l, layer)
		json_object_del(layer, "prefill_hits");
}

static json_t *page_json(const struct tr_stats_file *file)
{
	static const struct tr_stats_args args = { .n_top = N_TOP };
	json_t *stats = tr_stats_json(file), *sums = tr_stats_summary_json(file, &args);

	leave_out(stats);
	json_object_del(sums, "run");
	json_object_del(sums, "file");
	return json_pack("{s:o, s:o}", "stats", stats, "sums", sums);
}

static const unsigned char *find_data(void)
{
	size_t n = strlen(PAGE_DATA);

	for (size_t i = 0; i + n <= tr_page_html_bytes; i++)
		if (!memcmp(tr_page_html + i, PAGE_DATA, n))
			return tr_page_html + i;
	return NULL;
}

int tr_stats_write_page(const struct tr_stats_file *file, FILE *out)
{
	const unsigned char *end = tr_page_html + tr_page_html_bytes, *data = find_data();
	json_t *root = page_json(file);
	int rc = root && data ? 0 : -1;

	if (!rc) {
		fwrite(tr_page_html, 1, (size_t)(data - tr_page_html), out);
		rc = json_dump_callback(root, put, out, JSON_COMPACT | JSON_REAL_PRECISION(6));
		data += strlen(PAGE_DATA);
		fwrite(data, 1, (size_t)(end - data), out);
	}
	json_decref(root);
	return rc;
}
