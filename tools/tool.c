/* tool.c - messages, exit codes and memory of the commands. Standard error is shared with the
 * progress line (progress.c), so on a terminal each message first clears the line it lands on. */
#include "tools/tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void say(const char *label, const char *line)
{
	const char *clear = isatty(STDERR_FILENO) ? "\r\033[K" : "";

	fprintf(stderr, "%stierra: %s%s\n", clear, label, line);
}

static void log_line(void *ctx, enum tr_log_level level, const char *line)
{
	const enum tr_verbosity *verbosity = ctx;
	static const char *const label[] = { "", "warning: ", "", "debug: " };

	if ((int)level <= (int)*verbosity + (int)TR_LOG_WARN)
		say(label[level], line);
}

void tr_tool_log_to_stderr(const enum tr_verbosity *verbosity)
{
	tr_log_set(log_line, (void *)(uintptr_t)verbosity);
}

static void vsay(const char *label, const char *fmt, va_list ap)
{
	char line[TR_ERR_MSG_BYTES + 128];

	vsnprintf(line, sizeof(line), fmt, ap);
	say(label, line);
}

void tr_tool_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay("", fmt, ap);
	va_end(ap);
}

void tr_tool_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay("warning: ", fmt, ap);
	va_end(ap);
}

int tr_tool_fail(const struct tr_err *err)
{
	if (err->code == TR_E_INTERRUPTED)
		return TR_EXIT_INTERRUPTED;
	tr_tool_error("%s", err->msg);
	return err->code == TR_E_INVALID ? TR_EXIT_USAGE : TR_EXIT_ERROR;
}

int tr_tool_end_output(int failed)
{
	if (!failed && !ferror(stdout) && !fflush(stdout))
		return TR_EXIT_OK;
	tr_tool_error("standard output: %s", strerror(errno));
	return TR_EXIT_ERROR;
}

static void *check(void *p, size_t n, size_t size)
{
	if (!p) {
		tr_tool_error("out of memory (%zu x %zu bytes)", n, size);
		exit(TR_EXIT_ERROR);
	}
	return p;
}

void *tr_tool_calloc(size_t n, size_t size)
{
	return check(calloc(n ? n : 1, size), n, size);
}

void *tr_tool_realloc(void *p, size_t n, size_t size)
{
	return check(reallocarray(p, n ? n : 1, size), n, size);
}

uint64_t tr_tool_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
