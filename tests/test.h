/* test.h - what every unit test includes: cmocka with the headers it wants first. */
#ifndef TR_TESTS_TEST_H
#define TR_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

/* The message of a refused input names what it should. */
#define assert_err_has(err, text)                                                                  \
	do {                                                                                       \
		if (!strstr((err)->msg, (text)))                                                   \
			fail_msg("message '%s' does not have '%s'", (err)->msg, (text));           \
	} while (0)

#endif
