/* utf8.h - where UTF-8 sequences begin and end in bytes that may be anything. */
#ifndef TR_MODEL_UTF8_H
#define TR_MODEL_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum tr_utf8_kind {
	TR_UTF8_CHAR,	    /* a well-formed sequence */
	TR_UTF8_INCOMPLETE, /* all that is left; more bytes could make it well-formed */
	TR_UTF8_BAD,	    /* can never be part of well-formed UTF-8 */
};

/* Looks at the n > 0 bytes at p; *len gets the length of the sequence, 1 to 4. A bad sequence is
 * the longest start of a well-formed one (Unicode 15, section 3.9, table 3-7: "maximal subpart"),
 * at least one byte. */
enum tr_utf8_kind tr_utf8_next(const char *p, size_t n, size_t *len);

/* Code point of the well-formed sequence of len bytes at p. */
uint32_t tr_utf8_code(const char *p, size_t len);

#endif
