/* opt.h - sizes, percentages and NAME,key=value lists as users write them. */
#ifndef TR_BASE_OPT_H
#define TR_BASE_OPT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* "512M", "96G", "1.5T", "4096", "25%". Suffixes K M G T are powers of 1024, an optional "iB" or
 * "B" may follow. A percentage is taken of whole. what names the option in the error. */
int tr_opt_size(const char *what, const char *text, uint64_t whole, uint64_t *bytes,
	struct tr_err *err);

/* A decimal integer or float in [lo, hi], nothing behind it. */
int tr_opt_u64(const char *what, const char *text, uint64_t lo, uint64_t hi, uint64_t *out,
	struct tr_err *err);
int tr_opt_f64(const char *what, const char *text, double lo, double hi, double *out,
	struct tr_err *err);

/* Splits "name,key=value,key=value" in place. Calls each for every pair; a nonzero return ends
 * the walk and is returned. */
typedef int tr_opt_pair_fn(void *ctx, const char *key, const char *value, struct tr_err *err);
int tr_opt_pairs(char *text, tr_opt_pair_fn *each, void *ctx, struct tr_err *err);

/* "1.4 GiB" into buf; returns buf. */
char *tr_opt_human(uint64_t bytes, char *buf, size_t buf_bytes);

#endif
