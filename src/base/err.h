/* err.h - errors are values: a negative code, and a message filled at the place that knows. */
#ifndef TR_BASE_ERR_H
#define TR_BASE_ERR_H

#include "tierra.h"

#include <stdarg.h>

#if defined(__GNUC__)
#define TR_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define TR_PRINTF(a, b)
#endif

/* Fills err (which may be NULL) and returns code, so that `return tr_err_set(...)` reads well.
 * The message names thing, value and limit; it is cut at TR_ERR_MSG_BYTES - 1. */
int tr_err_set(struct tr_err *err, int code, const char *fmt, ...) TR_PRINTF(3, 4);

/* As tr_err_set with code -errno_value mapped to the TR_E range; appends ": strerror". */
int tr_err_sys(struct tr_err *err, int errno_value, const char *fmt, ...) TR_PRINTF(3, 4);

/* Puts "prefix: " before the message already in err. Returns err->code. */
int tr_err_prefix(struct tr_err *err, const char *fmt, ...) TR_PRINTF(2, 3);

/* A broken promise of our own code. Input never reaches it. */
#define tr_assert(cond) ((cond) ? (void)0 : tr_assert_fail(#cond, __FILE__, __LINE__))
void tr_assert_fail(const char *cond, const char *file, int line) __attribute__((noreturn, cold));

#endif
