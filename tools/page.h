/* page.h - the page that statistics are drawn on: tools/page.html, made an array by the build. */
#ifndef TR_TOOLS_PAGE_H
#define TR_TOOLS_PAGE_H

#include <stddef.h>

extern const unsigned char tr_page_html[];
extern const size_t tr_page_html_bytes;

#endif
