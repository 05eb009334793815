/* tool.h - what every command of tierra shares: its entry, exit codes, messages, checked memory. */
#ifndef TR_TOOLS_TOOL_H
#define TR_TOOLS_TOOL_H

#include "tierra.h"

struct tr_command {
	const char *name;
	const char *summary; /* one line for `tierra --help` */
	/* argv[0] is "tierra NAME". Returns an exit code. */
	int (*run)(int argc, char **argv);
};

enum tr_exit {
	TR_EXIT_OK = 0,
	TR_EXIT_ERROR = 1,
	TR_EXIT_USAGE = 2,
	TR_EXIT_INTERRUPTED = 130,
};

/* What -q and -v ask for; the least severe level that is shown follows from it. */
enum tr_verbosity {
	TR_VERBOSITY_QUIET = -1, /* errors */
	TR_VERBOSITY_NORMAL,	 /* warnings, progress, the summary */
	TR_VERBOSITY_INFO,
	TR_VERBOSITY_DEBUG,
};

/* Sends the library's messages to standard error. verbosity lives as long as the process. */
void tr_tool_log_to_stderr(const enum tr_verbosity *verbosity);

/* "tierra: MESSAGE" on standard error. */
void tr_tool_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void tr_tool_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Prints the message of err (none for an interruption) and returns the exit code that fits. */
int tr_tool_fail(const struct tr_err *err);

/* Flushes standard output and returns the exit code: an error, with its message, when something did not
 * get there or writing it failed before (not 0). */
int tr_tool_end_output(int failed);

/* As calloc, realloc; the process ends with a message when memory does. */
void *tr_tool_calloc(size_t n, size_t size);
void *tr_tool_realloc(void *p, size_t n, size_t size);

/* Monotonic time. */
uint64_t tr_tool_now_ns(void);

#endif
