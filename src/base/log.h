/* log.h - messages to whoever set a sink; without one they are dropped. */
#ifndef TR_BASE_LOG_H
#define TR_BASE_LOG_H

#include "base/err.h"

void tr_log(enum tr_log_level level, const char *fmt, ...) TR_PRINTF(2, 3);

#define tr_warn(...) tr_log(TR_LOG_WARN, __VA_ARGS__)
#define tr_info(...) tr_log(TR_LOG_INFO, __VA_ARGS__)
#define tr_debug(...) tr_log(TR_LOG_DEBUG, __VA_ARGS__)

#endif
