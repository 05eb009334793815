/*
 * stats.h - what `tierra stats` and `tierra generate --stats` share: files of expert statistics, the
 * command line, and the ways to show them.
 *
 * The JSON form is described in tierra-stats(1); `generate --profile` reads it, too. A form that can
 * be written is one function and one line in stats_file.c.
 */
#ifndef TR_TOOLS_STATS_H
#define TR_TOOLS_STATS_H

#include "tools/report.h"

/* --- files ------------------------------------------------------------------------------------ */

#define TR_STATS_FORMAT "tierra-stats"
#define TR_STATS_VERSION 1

struct tr_stats_file {
	const char *path; /* as given */
	struct tr_expert_stats *stats;
	json_t *run; /* speeds, settings, quality of a run; NULL when there is no one run */
	bool is_trace;
};

/* A file of statistics in JSON, or a trace (n_expert as in tr_trace_open). */
int tr_stats_read(struct tr_stats_file *file, const char *path, unsigned n_expert,
	struct tr_err *err);
void tr_stats_file_fini(struct tr_stats_file *file);

/* NULL when there is a form for the suffix of path, else the suffixes there are: ".json .csv". */
const char *tr_stats_unknown_suffix(const char *path);
/* Has no room for how a run went. */
bool tr_stats_is_csv(const char *path);
/* In the form that the suffix of path, which has one, says. */
int tr_stats_write(const struct tr_stats_file *file, struct tr_err *err);

/* Adds to the run of a file that is a trace what policies would have missed; takes about ns. */
int tr_stats_add_curves(struct tr_stats_file *file, unsigned n_expert, uint64_t ns,
	struct tr_err *err);
/* Adds how decoding went to the run: history, timeline, and miss_curves for about curve_ns. */
int tr_stats_add_run(json_t *run, const struct tr_engine *engine, const struct tr_expert_stats *s,
	uint64_t curve_ns, struct tr_err *err);
json_t *tr_stats_curves_json(const struct tr_miss_curves *c);

/* A page of HTML. 0, or -1 when the file or memory refuses. */
int tr_stats_write_page(const struct tr_stats_file *file, FILE *out);

json_t *tr_stats_json(const struct tr_stats_file *file);
int tr_stats_from_json(struct tr_stats_file *file, const json_t *root, struct tr_err *err);
void tr_stats_write_csv(const struct tr_expert_stats *s, FILE *out);
/* Headings of a column a tier, each after a comma. */
void tr_stats_csv_tiers(const char *what, const struct tr_expert_stats *s, FILE *out);

/* --- command line ----------------------------------------------------------------------------- */

enum tr_stats_output { TR_STATS_TABLE, TR_STATS_CSV, TR_STATS_JSON, TR_STATS_MAP };

/* What experts are ranked and painted by. */
enum tr_stats_by { TR_STATS_USES, TR_STATS_PREFILL, TR_STATS_MASS, TR_STATS_LOADS,
	TR_STATS_EVICTIONS, TR_N_STATS_BY };

extern const char *const tr_stats_by_names[TR_N_STATS_BY];

struct tr_stats_args {
	char **path;
	size_t n_path;
	const char *merge; /* file to write; NULL: none */
	bool html;	   /* which is a page */
	bool compare;	   /* of two files */
	enum tr_stats_output output;
	enum tr_stats_by by;
	bool ascii;
	size_t n_top;	   /* experts shown one by one */
	unsigned n_expert; /* of CSV traces */
};

/* Usage errors exit. The paths are those of argv. */
void tr_stats_args_parse(struct tr_stats_args *args, int argc, char **argv);
void tr_stats_args_fini(struct tr_stats_args *args);

/* --- shown ------------------------------------------------------------------------------------ */

double tr_stats_value(const struct tr_expert_stats *s, enum tr_stats_by by, size_t unit);

void tr_stats_print(const struct tr_stats_file *file, const struct tr_stats_args *args, FILE *out);
/* A line a layer. */
void tr_stats_print_layers_csv(const struct tr_expert_stats *s, FILE *out);
json_t *tr_stats_summary_json(const struct tr_stats_file *file, const struct tr_stats_args *args);

/* Layers down, bins of experts across, in 80 columns. */
void tr_stats_print_map(const struct tr_expert_stats *s, const struct tr_stats_args *args, FILE *out);

/* [n_moe_layer + 1], the last of all layers together. */
struct tr_stats_comparison {
	const struct tr_stats_file *a, *b;
	struct tr_expert_likeness *likeness;
};

int tr_stats_compare(struct tr_stats_comparison *c, const struct tr_stats_file *a,
	const struct tr_stats_file *b, struct tr_err *err);
void tr_stats_comparison_fini(struct tr_stats_comparison *c);
void tr_stats_print_comparison(const struct tr_stats_comparison *c, FILE *out);
void tr_stats_print_comparison_csv(const struct tr_stats_comparison *c, FILE *out);
json_t *tr_stats_comparison_json(const struct tr_stats_comparison *c);

#endif
