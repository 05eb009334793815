/* stats_file.c - which form a file of statistics has: by its suffix to write, by its content to read. */
#include "tools/stats.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* --- CSV -------------------------------------------------------------------------------------- */

static void print_expert(const struct tr_expert_stats *s, uint32_t l, uint32_t e, FILE *out)
{
	size_t unit = (size_t)l * s->n_expert + e;

	fprintf(out, "%" PRIu32 ",%" PRIu32 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.6f",
		s->layer[l].layer, e, s->layer[l].unit_bytes, s->uses[unit], s->prefill_uses[unit],
		s->mass[unit]);
	for (size_t t = 0; t < s->n_tier; t++)
		fprintf(out, ",%" PRIu64, s->hits[t][unit]);
	fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", s->loads[unit], s->evictions[unit],
		s->loads[unit] * s->layer[l].unit_bytes);
}

void tr_stats_csv_tiers(const char *what, const struct tr_expert_stats *s, FILE *out)
{
	char name[sizeof(s->tier[0].name) + 32];

	for (size_t t = 0; t < s->n_tier; t++) {
		snprintf(name, sizeof(name), "%s %s", what, s->tier[t].name);
		fputc(',', out);
		tr_csv_text(name, out);
	}
}

void tr_stats_write_csv(const struct tr_expert_stats *s, FILE *out)
{
	fputs("layer,expert,unit_bytes,uses,prefill_uses,mass", out);
	tr_stats_csv_tiers("hits", s, out);
	fputs(",loads,evictions,load_bytes\n", out);
	for (uint32_t l = 0; l < s->n_moe_layer; l++)
		for (uint32_t e = 0; e < s->n_expert; e++)
			print_expert(s, l, e, out);
}

/* --- written ---------------------------------------------------------------------------------- */

/* 0, or -1 when the file or memory refuses. */
typedef int write_fn(const struct tr_stats_file *file, FILE *out);

static int write_json(const struct tr_stats_file *file, FILE *out)
{
	json_t *root = tr_stats_json(file);
	int rc = root ? json_dumpf(root, out, JSON_COMPACT | JSON_REAL_PRECISION(9)) : -1;

	json_decref(root);
	return rc || fputc('\n', out) == EOF ? -1 : 0;
}

static int write_csv(const struct tr_stats_file *file, FILE *out)
{
	tr_stats_write_csv(file->stats, out);
	return 0;
}

static const struct {
	const char *suffix;
	write_fn *write;
} forms[] = {
	{ ".json", write_json },
	{ ".csv", write_csv },
	{ ".html", tr_stats_write_page },
};

#define SUFFIXES ".json .csv .html"

static write_fn *find_form(const char *path)
{
	const char *suffix = strrchr(path, '.');

	for (size_t i = 0; suffix && i < sizeof(forms) / sizeof(forms[0]); i++)
		if (!strcasecmp(suffix, forms[i].suffix))
			return forms[i].write;
	return NULL;
}

bool tr_stats_is_csv(const char *path)
{
	return find_form(path) == write_csv;
}

const char *tr_stats_unknown_suffix(const char *path)
{
	return find_form(path) ? NULL : SUFFIXES;
}

static int fail(struct tr_err *err, const char *path)
{
	err->code = TR_E_IO;
	snprintf(err->msg, sizeof(err->msg), "%s: %s", path, strerror(errno));
	return err->code;
}

int tr_stats_write(const struct tr_stats_file *file, struct tr_err *err)
{
	FILE *out = fopen(file->path, "w");
	int rc;

	if (!out)
		return fail(err, file->path);
	rc = find_form(file->path)(file, out) || ferror(out) ? fail(err, file->path) : 0;
	if (fclose(out) && !rc)
		rc = fail(err, file->path);
	return rc;
}

/* --- read ------------------------------------------------------------------------------------- */

static int read_json(struct tr_stats_file *file, FILE *in, struct tr_err *err)
{
	json_error_t e;
	json_t *root = json_loadf(in, JSON_REJECT_DUPLICATES, &e);
	int rc;

	if (!root) {
		err->code = TR_E_FORMAT;
		snprintf(err->msg, sizeof(err->msg), "%s:%d: %s", file->path, e.line, e.text);
		return err->code;
	}
	rc = tr_stats_from_json(file, root, err);
	json_decref(root);
	return rc;
}

static int read_trace(struct tr_stats_file *file, unsigned n_expert, struct tr_err *err)
{
	struct tr_trace *trace;
	struct tr_trace_info info;
	int rc = tr_trace_open(&trace, file->path, n_expert, err);

	if (rc)
		return rc;
	tr_trace_info(trace, &info);
	if (!info.complete)
		tr_tool_warn("%s: the recording was cut short; counting its %" PRIu64
			     " complete tokens",
			file->path, info.n_token);
	rc = tr_trace_expert_stats(trace, &file->stats, err);
	file->is_trace = true;
	tr_trace_close(trace);
	return rc;
}

int tr_stats_add_curves(struct tr_stats_file *file, unsigned n_expert, uint64_t ns,
	struct tr_err *err)
{
	struct tr_miss_curves curves;
	struct tr_trace *trace;
	int rc = tr_trace_open(&trace, file->path, n_expert, err);

	if (rc)
		return rc;
	rc = tr_trace_miss_curves(trace, ns, &curves, err);
	tr_trace_close(trace);
	if (!rc)
		file->run = json_pack("{s:o}", "miss_curves", tr_stats_curves_json(&curves));
	return rc == TR_E_NOENT ? 0 : rc;
}

static bool starts_with_brace(FILE *in)
{
	int c;

	do
		c = fgetc(in);
	while (isspace(c));
	rewind(in);
	return c == '{';
}

int tr_stats_read(struct tr_stats_file *file, const char *path, unsigned n_expert,
	struct tr_err *err)
{
	FILE *in = fopen(path, "rb");
	int rc;

	*file = (struct tr_stats_file){ .path = path };
	if (!in)
		return fail(err, path);
	if (starts_with_brace(in))
		rc = read_json(file, in, err);
	else
		rc = read_trace(file, n_expert, err);
	fclose(in);
	return rc;
}

void tr_stats_file_fini(struct tr_stats_file *file)
{
	tr_expert_stats_free(file->stats);
	json_decref(file->run);
	file->stats = NULL;
	file->run = NULL;
}
