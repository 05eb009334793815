#include "base/opt.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double suffix_factor(const char **text)
{
	static const char suffix[] = "KMGT";
	const char *at = **text ? strchr(suffix, **text >= 'a' ? **text - 32 : **text) : NULL;
	double factor = 1;

	if (at) {
		factor = ldexp(1, 10 * (int)(at - suffix + 1));
		++*text;
		if (**text == 'i')
			++*text;
	}
	if (**text == 'B')
		++*text;
	return factor;
}

int tr_opt_size(const char *what, const char *text, uint64_t whole, uint64_t *bytes,
	struct tr_err *err)
{
	const char *rest;
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (end == text || !isfinite(v) || v < 0)
		return tr_err_set(err, TR_E_INVALID,
			"%s: '%s' is not a size (write 512M, 96G or 25%%)", what, text);
	rest = end;
	if (*rest == '%') {
		if (rest[1] || v > 100)
			return tr_err_set(err, TR_E_INVALID, "%s: '%s' is not between 0%% and 100%%",
				what, text);
		*bytes = (uint64_t)((double)whole * v / 100);
		return 0;
	}
	v *= suffix_factor(&rest);
	if (*rest)
		return tr_err_set(err, TR_E_INVALID, "%s: '%s' is not a size: unknown suffix '%s'",
			what, text, end);
	if (v >= 9.2e18)
		return tr_err_set(err, TR_E_LIMIT, "%s: '%s' is more than 8 EiB", what, text);
	*bytes = (uint64_t)v;
	return 0;
}

int tr_parse_size(const char *what, const char *text, uint64_t whole, uint64_t *bytes,
	struct tr_err *err)
{
	return tr_opt_size(what, text, whole, bytes, err);
}

int tr_opt_u64(const char *what, const char *text, uint64_t lo, uint64_t hi, uint64_t *out,
	struct tr_err *err)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (end == text || *end || strchr(text, '-') || errno)
		return tr_err_set(err, TR_E_INVALID, "%s: '%s' is not a whole number", what, text);
	if (v < lo || v > hi)
		return tr_err_set(err, TR_E_LIMIT, "%s: %s is outside %llu to %llu", what, text,
			(unsigned long long)lo, (unsigned long long)hi);
	*out = v;
	return 0;
}

int tr_opt_f64(const char *what, const char *text, double lo, double hi, double *out,
	struct tr_err *err)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || isnan(v))
		return tr_err_set(err, TR_E_INVALID, "%s: '%s' is not a number", what, text);
	if (v < lo || v > hi)
		return tr_err_set(err, TR_E_LIMIT, "%s: %s is outside %g to %g", what, text, lo, hi);
	*out = v;
	return 0;
}

int tr_opt_pairs(char *text, tr_opt_pair_fn *each, void *ctx, struct tr_err *err)
{
	char *item = strchr(text, ',');
	char *next, *eq;
	int rc;

	if (item)
		*item++ = '\0';
	for (; item; item = next) {
		next = strchr(item, ',');
		if (next)
			*next++ = '\0';
		eq = strchr(item, '=');
		if (!eq || eq == item)
			return tr_err_set(err, TR_E_INVALID, "%s: '%s' is not option=value", text,
				item);
		*eq = '\0';
		rc = each(ctx, item, eq + 1, err);
		if (rc)
			return rc;
	}
	return 0;
}

char *tr_opt_human(uint64_t bytes, char *buf, size_t buf_bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)bytes;
	int i = 0;

	while (v >= 1024 && i < 5) {
		v /= 1024;
		i++;
	}
	snprintf(buf, buf_bytes, i ? "%.1f %s" : "%.0f %s", v, unit[i]);
	return buf;
}
