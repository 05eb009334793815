#include "model/utf8.h"

/* Length that the lead byte promises and the range of the byte after it; 0: no lead byte. The
 * narrowed ranges exclude overlong forms, surrogates and what lies past U+10FFFF. */
static size_t lead(uint8_t c, uint8_t *lo, uint8_t *hi)
{
	*lo = 0x80;
	*hi = 0xBF;
	if (c < 0x80)
		return 1;
	if (c < 0xC2 || c > 0xF4)
		return 0;
	if (c < 0xE0)
		return 2;
	if (c == 0xE0)
		*lo = 0xA0;
	else if (c == 0xED)
		*hi = 0x9F;
	else if (c == 0xF0)
		*lo = 0x90;
	else if (c == 0xF4)
		*hi = 0x8F;
	return c < 0xF0 ? 3 : 4;
}

enum tr_utf8_kind tr_utf8_next(const char *p, size_t n, size_t *len)
{
	const uint8_t *s = (const uint8_t *)p;
	uint8_t lo, hi;
	size_t want = lead(s[0], &lo, &hi);

	*len = 1;
	if (want == 0)
		return TR_UTF8_BAD;
	for (; *len < want; ++*len) {
		if (*len == n)
			return TR_UTF8_INCOMPLETE;
		if (s[*len] < lo || s[*len] > hi)
			return TR_UTF8_BAD;
		lo = 0x80;
		hi = 0xBF;
	}
	return TR_UTF8_CHAR;
}

uint32_t tr_utf8_code(const char *p, size_t len)
{
	const uint8_t *s = (const uint8_t *)p;
	uint32_t code;

	if (len == 1)
		return s[0];
	code = s[0] & (0x7Fu >> len);
	for (size_t i = 1; i < len; i++)
		code = code << 6 | (s[i] & 0x3Fu);
	return code;
}
