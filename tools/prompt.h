/* prompt.h - the prompt as bytes. */
#ifndef TR_TOOLS_PROMPT_H
#define TR_TOOLS_PROMPT_H

#include "tierra.h"

/* The whole of path ("-": standard input) without one newline at the end. *text is allocated, the
 * caller frees it. An interrupt while reading gives TR_E_INTERRUPTED. */
int tr_prompt_read(const char *path, char **text, size_t *text_bytes, struct tr_err *err);

#endif
