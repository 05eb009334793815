/* progress.c - the engine reports a few times a second; each report rewrites the line. The rate is
 * the mean of the phase, which is steadier than the last interval. */
#include "tools/progress.h"
#include "tools/interrupt.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GUESS_AFTER_NS 250000000u

void tr_progress_init(struct tr_progress *p, bool quiet)
{
	*p = (struct tr_progress){ .show = !quiet && isatty(STDERR_FILENO) };
}

static void format_amount(char *buf, size_t cap, uint64_t done, uint64_t total, const char *unit)
{
	char a[32], b[32];

	if (!strcmp(unit, "bytes"))
		snprintf(buf, cap, "%s of %s", tr_table_bytes(done, a, sizeof(a)),
			tr_table_bytes(total, b, sizeof(b)));
	else
		snprintf(buf, cap, "%" PRIu64 "/%" PRIu64 " %s", done, total, unit);
}

static void format_rate(char *buf, size_t cap, double per_s, const char *unit)
{
	char a[32];

	if (!strcmp(unit, "bytes"))
		snprintf(buf, cap, "%s/s", tr_table_bytes((uint64_t)per_s, a, sizeof(a)));
	else
		snprintf(buf, cap, "%.1f %s/s", per_s, unit);
}

static void format_left(char *buf, size_t cap, double s)
{
	uint64_t left = (uint64_t)(s + 0.5);

	if (left >= 3600)
		snprintf(buf, cap, "%" PRIu64 ":%02u:%02u left", left / 3600,
			(unsigned)(left / 60 % 60), (unsigned)(left % 60));
	else
		snprintf(buf, cap, "%u:%02u left", (unsigned)(left / 60), (unsigned)(left % 60));
}

void tr_progress_format(char *buf, size_t buf_bytes, const char *phase, uint64_t done,
	uint64_t total, const char *unit, uint64_t fresh, uint64_t elapsed_ns)
{
	double per_s = elapsed_ns ? (double)fresh * 1e9 / (double)elapsed_ns : 0;
	char amount[80], rate[64], left[48];
	unsigned pct = total ? (unsigned)((double)done * 100 / (double)total) : 100;

	format_amount(amount, sizeof(amount), done, total, unit);
	if (elapsed_ns < GUESS_AFTER_NS || per_s <= 0 || done > total) {
		snprintf(buf, buf_bytes, "%s  %s  %u%%", phase, amount, pct);
		return;
	}
	format_rate(rate, sizeof(rate), per_s, unit);
	format_left(left, sizeof(left), (double)(total - done) / per_s);
	snprintf(buf, buf_bytes, "%s  %s  %u%%  %s  %s", phase, amount, pct, rate, left);
}

int tr_progress_step(void *ctx, const char *phase, uint64_t done, uint64_t total,
	const char *unit)
{
	struct tr_progress *p = ctx;
	uint64_t now = tr_tool_now_ns();
	char line[256];

	if (tr_interrupt_seen())
		return 1;
	if (!p->show)
		return 0;
	if (strncmp(p->phase, phase, sizeof(p->phase) - 1) != 0 || done < p->start_done) {
		snprintf(p->phase, sizeof(p->phase), "%s", phase);
		p->start_ns = now;
		p->start_done = done;
	}
	tr_progress_format(line, sizeof(line), phase, done, total, unit, done - p->start_done,
		now - p->start_ns);
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	p->open = true;
	return 0;
}

void tr_progress_clear(struct tr_progress *p)
{
	if (p->open)
		fputs("\r\033[K", stderr);
	p->open = false;
	p->phase[0] = '\0';
}
