/* stops.c - the buffer holds at most what one push brings and the longest stop string. */
#include "tools/stops.h"
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

void tr_stops_init(struct tr_stops *s, const char *const *stop, size_t n_stop)
{
	*s = (struct tr_stops){ .stop = stop, .n_stop = n_stop };
}

void tr_stops_fini(struct tr_stops *s)
{
	free(s->buf);
}

static void append(struct tr_stops *s, const char *text, size_t n)
{
	if (s->given > 0)
		memmove(s->buf, s->buf + s->given, s->n - s->given);
	s->n -= s->given;
	s->given = 0;
	if (s->n + n > s->cap) {
		s->cap = 2 * (s->n + n);
		s->buf = tr_tool_realloc(s->buf, s->cap, 1);
	}
	memcpy(s->buf + s->n, text, n);
	s->n += n;
}

/* Where the stop string that is complete first begins; false when none is complete. */
static bool find_complete(const struct tr_stops *s, size_t *begin)
{
	size_t best_end = SIZE_MAX;

	for (size_t i = 0; i < s->n_stop; i++) {
		size_t len = strlen(s->stop[i]);
		const char *at = memmem(s->buf, s->n, s->stop[i], len);
		size_t from, end;

		if (!at)
			continue;
		from = (size_t)(at - s->buf);
		end = from + len;
		if (end < best_end || (end == best_end && from < *begin)) {
			best_end = end;
			*begin = from;
		}
	}
	return best_end != SIZE_MAX;
}

/* Length of the longest end of the buffer that some stop string begins with. */
static size_t pending(const struct tr_stops *s)
{
	size_t longest = 0;

	for (size_t i = 0; i < s->n_stop; i++) {
		size_t len = strlen(s->stop[i]) - 1;

		if (len > s->n)
			len = s->n;
		while (len > longest && memcmp(s->buf + s->n - len, s->stop[i], len) != 0)
			len--;
		if (len > longest)
			longest = len;
	}
	return longest;
}

size_t tr_stops_push(struct tr_stops *s, const char *text, size_t n, const char **out)
{
	*out = "";
	if (s->matched || (n == 0 && s->n == s->given))
		return 0;
	append(s, text, n);
	*out = s->buf;
	s->matched = find_complete(s, &s->given);
	if (!s->matched)
		s->given = s->n - pending(s);
	return s->given;
}

size_t tr_stops_flush(struct tr_stops *s, const char **out)
{
	size_t from = s->given;

	*out = "";
	if (s->matched || from == s->n)
		return 0;
	s->given = s->n;
	*out = s->buf + from;
	return s->n - from;
}
