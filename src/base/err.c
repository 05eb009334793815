#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tr_err_set(struct tr_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->code = code;
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
	}
	return code;
}

static int code_of_errno(int e)
{
	switch (e) {
	case ENOMEM:
		return TR_E_NOMEM;
	case ENOENT:
		return TR_E_NOENT;
	case EINVAL:
	case ENOSYS:
	case EOPNOTSUPP:
		return TR_E_UNSUPPORTED;
	case EBUSY:
	case EAGAIN:
		return TR_E_BUSY;
	case EINTR:
		return TR_E_INTERRUPTED;
	default:
		return TR_E_IO;
	}
}

int tr_err_sys(struct tr_err *err, int errno_value, const char *fmt, ...)
{
	int code = code_of_errno(errno_value);
	va_list ap;
	size_t n;

	if (err) {
		err->code = code;
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		n = strlen(err->msg);
		snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", strerror(errno_value));
	}
	return code;
}

int tr_err_prefix(struct tr_err *err, const char *fmt, ...)
{
	char rest[sizeof(err->msg)];
	va_list ap;
	size_t n;

	if (!err)
		return TR_E_INVALID;
	memcpy(rest, err->msg, sizeof(rest));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, ": %.*s", (int)(sizeof(rest) - n), rest);
	return err->code;
}

void tr_assert_fail(const char *cond, const char *file, int line)
{
	fprintf(stderr, "tierra: internal error: %s does not hold at %s:%d\n", cond, file, line);
	abort();
}
