/* touch.h - reads memory and does nothing with it: what a memory can give. */
#ifndef TR_BASE_TOUCH_H
#define TR_BASE_TOUCH_H

#include <stddef.h>

/* Touches every cache line with the widest loads there are. */
void tr_touch(const void *p, size_t bytes);

#endif
