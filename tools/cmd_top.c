/* cmd_top.c - `tierra top`: watch a run that is going on. */
#include "tools/engine_args.h"
#include "tools/interrupt.h"
#include "tools/report.h"
#include "tools/table.h"
#include "tools/tool.h"
#include "tools/top.h"
#include "tools/watch.h"

#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
	KEY_ONCE = 0x1000,
	KEY_JSON,
	KEY_LIST,
	KEY_ASCII,
};

enum mode { MODE_WATCH, MODE_ONCE, MODE_JSON, MODE_LIST };

struct args {
	enum mode mode;
	uint64_t pid; /* 0: not given */
	double interval_s;
	bool ascii;
};

static const struct argp_option options[] = {
	{ "once", KEY_ONCE, 0, 0, "print one look as text", 0 },
	{ "json", KEY_JSON, 0, 0, "print one look as JSON", 0 },
	{ "list", KEY_LIST, 0, 0, "list the runs that can be watched", 0 },
	{ "interval", 'i', "SECONDS", 0,
		"between two looks (default 0.25; with --once and --json 1)", 0 },
	{ "ascii", KEY_ASCII, 0, 0, "no characters but ASCII", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case KEY_ONCE:
	case KEY_JSON:
	case KEY_LIST:
		if (a->mode)
			argp_error(state, "--once, --json and --list exclude each other");
		a->mode = key == KEY_ONCE ? MODE_ONCE : key == KEY_JSON ? MODE_JSON : MODE_LIST;
		return 0;
	case 'i':
		a->interval_s = tr_arg_f64(state, "--interval", arg, 0.05, 3600);
		return 0;
	case KEY_ASCII:
		a->ascii = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->pid)
			argp_error(state, "'%s': one process can be watched at a time", arg);
		a->pid = tr_arg_u64(state, "PID", arg, 1, INT32_MAX);
		return 0;
	case ARGP_KEY_END:
		if (a->interval_s == 0)
			a->interval_s = a->mode == MODE_WATCH ? 0.25 : 1;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* --- which ------------------------------------------------------------------------------------ */

static void add_row(struct tr_table *table, uint64_t pid)
{
	struct tr_live_reader *reader;
	struct tr_live live;
	struct tr_top top;
	struct tr_top_rates r;

	if (tr_live_open(&reader, pid, NULL))
		return; /* has just ended */
	tr_top_init(&top);
	if (!tr_live_read(reader, &live, NULL)) {
		tr_top_add(&top, &live, tr_tool_now_ns());
		tr_top_rates(&top, &r);
		tr_table_add(table, "%" PRIu64, pid);
		tr_table_add(table, "%s", tr_phase_names[live.phase]);
		tr_table_add(table, "%" PRIu64, live.n_past);
		tr_table_add(table, r.tokens_per_s < 0 ? "-" : "%.2f", r.tokens_per_s);
		tr_table_add(table, "%.0f s", r.run_s);
		tr_table_add(table, "%s", live.model);
	}
	tr_top_fini(&top);
	tr_live_close(reader);
}

static void print_runs(const uint64_t *pids, size_t n)
{
	static const char *const head[] = { ">pid", "phase", ">tokens", ">tokens/s", ">since",
		"model" };
	struct tr_table table;

	tr_table_init(&table, head, sizeof(head) / sizeof(head[0]));
	for (size_t i = 0; i < n; i++)
		add_row(&table, pids[i]);
	tr_table_print(&table, stdout, "");
	tr_table_fini(&table);
}

/* The only run there is. Exits otherwise. */
static int choose(struct args *a)
{
	struct tr_err err;
	uint64_t *pids;
	size_t n;

	if (tr_live_list(&pids, &n, &err))
		return tr_tool_fail(&err);
	if (a->mode == MODE_LIST)
		print_runs(pids, n);
	else if (n > 1)
		print_runs(pids, n),
			tr_tool_error("%zu runs can be watched: give the PID of one", n);
	else if (!n)
		tr_tool_error("no run of yours is going on that can be watched");
	else
		a->pid = pids[0];
	free(pids);
	return a->mode == MODE_LIST ? tr_tool_end_output(0) : n == 1 ? TR_EXIT_OK : TR_EXIT_ERROR;
}

/* --- one look --------------------------------------------------------------------------------- */

/* Two statuses, so that there is a now. A run that ends meanwhile is shown as it was last. */
static int look_twice(struct tr_top *top, const struct args *a, struct tr_err *err)
{
	struct timespec pause = { .tv_sec = (time_t)a->interval_s,
		.tv_nsec = (long)((a->interval_s - (double)(time_t)a->interval_s) * 1e9) };
	struct tr_live_reader *reader;
	struct tr_live live;
	int rc = tr_live_open(&reader, a->pid, err);

	if (rc)
		return rc;
	for (int i = 0; i < 2 && !rc; i++) {
		if (i)
			nanosleep(&pause, NULL);
		rc = tr_live_read(reader, &live, err);
		if (!rc || rc == TR_E_NOENT)
			tr_top_add(top, &live, tr_tool_now_ns());
	}
	tr_live_close(reader);
	return rc == TR_E_NOENT ? 0 : rc;
}

static unsigned output_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	long n = columns ? strtol(columns, NULL, 10) : 0;

	if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return n >= 20 && n <= 1000 ? (unsigned)n : 80;
}

static int print_once(const struct args *a)
{
	struct tr_top_look look = { .keys = NULL };
	struct tr_err err;
	struct tr_frame frame;
	struct tr_top top;
	json_t *json;
	int rc;

	tr_top_init(&top);
	rc = look_twice(&top, a, &err);
	if (rc) {
		rc = tr_tool_fail(&err);
	} else if (a->mode == MODE_JSON) {
		json = tr_top_json(&top);
		rc = tr_tool_end_output(!json || tr_json_write(json, stdout));
		json_decref(json);
	} else {
		tr_frame_init(&frame, output_width(), 0, a->ascii);
		tr_top_draw(&frame, &top, &look);
		tr_frame_print(&frame, stdout);
		tr_frame_fini(&frame);
		rc = tr_tool_end_output(0);
	}
	tr_top_fini(&top);
	return rc;
}

static int watch(const struct args *a)
{
	struct tr_watch w = { .pid = a->pid,
		.every_ns = (uint64_t)(a->interval_s * 1e9),
		.ascii = a->ascii,
		.keys = "q quits" };
	struct tr_err err;

	tr_interrupt_catch();
	switch (tr_watch_run(&w, &err)) {
	case TR_WATCH_QUIT:
		return TR_EXIT_OK;
	case TR_WATCH_ENDED:
		fprintf(stderr, "tierra: %s\n", err.msg);
		return TR_EXIT_OK;
	case TR_WATCH_INTERRUPTED:
		return TR_EXIT_INTERRUPTED;
	default:
		return tr_tool_fail(&err);
	}
}

static int run(int argc, char **argv)
{
	static const struct argp argp = { .options = options,
		.parser = parse,
		.args_doc = "[PID]",
		.doc = "Watches a `tierra generate` that is going on: the only one there is, or "
		       "that "
		       "of PID." };
	struct args a = { 0 };
	int rc = TR_EXIT_OK;

	tr_args_parse(&argp, argc, argv, &a);
	setlocale(LC_CTYPE, "");
	a.ascii = a.ascii || MB_CUR_MAX == 1;
	if (!a.pid || a.mode == MODE_LIST)
		rc = choose(&a);
	if (rc || a.mode == MODE_LIST)
		return rc;
	return a.mode == MODE_WATCH ? watch(&a) : print_once(&a);
}

const struct tr_command tr_command_top = {
	.name = "top",
	.summary = "watch a run that is going on",
	.run = run,
};
