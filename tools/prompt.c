/* prompt.c - reads a file that may be a pipe. */
#include "tools/prompt.h"
#include "tools/interrupt.h"
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(struct tr_err *err, int code, const char *path, const char *why)
{
	err->code = code;
	snprintf(err->msg, sizeof(err->msg), "prompt %s: %s", path, why);
	return code;
}

static int read_all(int fd, const char *path, char **text, size_t *n, struct tr_err *err)
{
	size_t cap = 0;

	for (;;) {
		ssize_t got;

		if (*n == cap) {
			cap = cap ? 2 * cap : 65536;
			*text = tr_tool_realloc(*text, cap, 1);
		}
		got = read(fd, *text + *n, cap - *n);
		if (got == 0)
			return 0;
		if (got > 0)
			*n += (size_t)got;
		else if (errno != EINTR)
			return fail(err, TR_E_IO, path, strerror(errno));
		else if (tr_interrupt_seen())
			return fail(err, TR_E_INTERRUPTED, path, "interrupted");
	}
}

int tr_prompt_read(const char *path, char **text, size_t *text_bytes, struct tr_err *err)
{
	int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	int rc;

	*text = NULL;
	*text_bytes = 0;
	if (fd < 0)
		return fail(err, TR_E_NOENT, path, strerror(errno));
	rc = read_all(fd, path, text, text_bytes, err);
	if (fd != STDIN_FILENO)
		close(fd);
	if (rc) {
		free(*text);
		*text = NULL;
	} else if (*text_bytes && (*text)[*text_bytes - 1] == '\n') {
		--*text_bytes;
	}
	return rc;
}
