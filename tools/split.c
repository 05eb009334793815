/*
 * split.c - the parent shows the view, prints what was kept when it closes, and what comes after
 * that as it comes. It passes a signal on to the run, which ends between two tokens and has its
 * summary printed; the run gets one itself should the parent be killed.
 */
#include "tools/split.h"
#include "tools/interrupt.h"
#include "tools/screen.h"
#include "tools/tool.h"
#include "tools/watch.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVERY_NS 250000000u

struct pipes {
	int fd[TR_N_CHILD_FD][2];
};

static void close_end(struct pipes *p, int end)
{
	for (int i = 0; i < TR_N_CHILD_FD; i++)
		if (p->fd[i][end] >= 0)
			close(p->fd[i][end]);
}

/* For what would go to a terminal, and the last always. */
static int open_pipes(struct pipes *p, struct tr_err *err)
{
	static const int number[TR_N_CHILD_FD] = { STDOUT_FILENO, STDERR_FILENO, -1 };

	memset(p, -1, sizeof(*p));
	for (int i = 0; i < TR_N_CHILD_FD; i++)
		if ((number[i] < 0 || isatty(number[i])) && pipe(p->fd[i])) {
			err->code = TR_E_IO;
			snprintf(err->msg, sizeof(err->msg), "a pipe for --top: %s",
				strerror(errno));
			close_end(p, 0);
			close_end(p, 1);
			return err->code;
		}
	return 0;
}

static void become_child(struct pipes *p)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	close_end(p, 0);
	for (int i = 0; i < 2; i++)
		if (p->fd[i][1] >= 0) {
			dup2(p->fd[i][1], i ? STDERR_FILENO : STDOUT_FILENO);
			close(p->fd[i][1]);
		}
}

/* What is said after the view, until the end. */
static void pass_on(struct tr_child_output *o, pid_t pid)
{
	bool told = false, alive = true;
	struct tr_err err;

	while (alive) {
		struct pollfd p[TR_N_CHILD_FD];

		if (tr_interrupt_seen() && !told) {
			kill(pid, SIGTERM);
			told = true;
		}
		alive = tr_child_output_take(o);
		if (tr_child_output_print(o, &err) && !told) {
			tr_tool_error("%s", err.msg);
			kill(pid, SIGTERM);
			told = true;
		}
		for (int i = 0; i < TR_N_CHILD_FD; i++)
			p[i] = (struct pollfd){ .fd = o->fd[i], .events = POLLIN };
		if (alive)
			poll(p, TR_N_CHILD_FD, 250);
	}
}

static int exit_status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return TR_EXIT_ERROR;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	tr_tool_error("the run was ended by signal %d (%s)", WTERMSIG(status),
		strsignal(WTERMSIG(status)));
	return 128 + WTERMSIG(status);
}

static int be_parent(struct tr_child_output *o, pid_t pid, bool with_text)
{
	struct tr_watch watch = { .pid = (uint64_t)pid,
		.every_ns = EVERY_NS,
		.keys = "q closes the view, the run goes on   Ctrl-C ends the run",
		.child = o,
		.with_text = with_text && o->fd[0] >= 0 };
	struct tr_err err = { 0 };

	setlocale(LC_CTYPE, "");
	watch.ascii = MB_CUR_MAX == 1;
	tr_interrupt_catch();
	if (tr_watch_run(&watch, &err) == TR_WATCH_FAILED)
		tr_tool_warn("--top: %s; the run goes on without", err.msg);
	pass_on(o, pid);
	return exit_status_of(pid);
}

int tr_split(bool with_text, int *exit_status, struct tr_err *err)
{
	struct tr_child_output o = { 0 };
	struct pipes p;
	pid_t pid;

	if (tr_screen_check(err))
		return err->code;
	if (open_pipes(&p, err))
		return err->code;
	pid = fork();
	if (!pid) {
		become_child(&p);
		return 0;
	}
	close_end(&p, 1);
	for (int i = 0; i < TR_N_CHILD_FD; i++)
		o.fd[i] = p.fd[i][0];
	if (pid < 0) {
		err->code = TR_E_IO;
		snprintf(err->msg, sizeof(err->msg), "a process for --top: %s", strerror(errno));
		tr_child_output_fini(&o);
		return err->code;
	}
	*exit_status = be_parent(&o, pid, with_text);
	tr_child_output_fini(&o);
	return 1;
}
