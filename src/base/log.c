/* log.c - one process-wide sink, set once by the program before it opens anything. */
#include "base/log.h"

#include <stdio.h>

static tr_log_fn *log_sink;
static void *log_ctx;

void tr_log_set(tr_log_fn *fn, void *ctx)
{
	log_sink = fn;
	log_ctx = ctx;
}

void tr_log(enum tr_log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!log_sink)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_sink(log_ctx, level, line);
}
