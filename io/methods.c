/* methods.c - the registry of methods, the choice among them, and the limits of a configuration. */
#include "io/method.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

#define MAX_DEPTH	4096
#define MAX_THREAD	1024
#define MIN_PIECE_BYTES 4096u	   /* also the grain */
#define MAX_PIECE_BYTES (1u << 30) /* Linux transfers at most 2 GiB - 4 KiB at a time */

#define METHOD(name) extern const struct tr_io_method tr_io_method_##name;
#include "io/methods.def"
#undef METHOD

#define METHOD(name) &tr_io_method_##name,
const struct tr_io_method *const tr_io_methods[] = {
#include "io/methods.def"
	NULL,
};
#undef METHOD

const struct tr_io_method *tr_io_method_find(const char *name)
{
	for (const struct tr_io_method *const *m = tr_io_methods; *m; m++)
		if (!strcmp((*m)->name, name))
			return *m;
	return NULL;
}

int tr_io_method_open(const struct tr_io_method **method, void **state, const struct tr_io_cfg *cfg,
	struct tr_err *err)
{
	struct tr_err why;
	int rc;

	*method = tr_io_method_find(cfg->method ? cfg->method : TR_IO_METHOD_DEFAULT);
	if (!*method)
		return tr_err_set(err, TR_E_INVALID,
			"no I/O method '%s'; there are uring, threads, sync, cufile", cfg->method);
	if (cfg->method)
		return (*method)->open(state, cfg, err);
	if (!(*method)->open(state, cfg, &why))
		return 0;
	*method = tr_io_method_find(TR_IO_METHOD_FALLBACK);
	rc = (*method)->open(state, cfg, err);
	if (!rc)
		tr_warn("%s; I/O method %s is used", why.msg, (*method)->name);
	return rc;
}

int tr_io_cfg_fill(struct tr_io_cfg *cfg, struct tr_err *err)
{
	if (!cfg->clock)
		cfg->clock = &tr_clock_real;
	if (!cfg->depth)
		cfg->depth = 64;
	if (!cfg->background_depth)
		cfg->background_depth = TR_MAX(cfg->depth / 4, 1u);
	cfg->background_depth = TR_MIN(cfg->background_depth, cfg->depth);
	if (!cfg->piece_bytes)
		cfg->piece_bytes = 1 << 20;
	if (!cfg->n_thread)
		cfg->n_thread = 8;
	if (!cfg->max_retry)
		cfg->max_retry = 3;
	if (cfg->depth > MAX_DEPTH)
		return tr_err_set(
			err, TR_E_LIMIT, "I/O depth %u is above %u", cfg->depth, MAX_DEPTH);
	if (cfg->n_thread > MAX_THREAD)
		return tr_err_set(
			err, TR_E_LIMIT, "%u I/O threads are above %u", cfg->n_thread, MAX_THREAD);
	if (cfg->piece_bytes < MIN_PIECE_BYTES || cfg->piece_bytes > MAX_PIECE_BYTES)
		return tr_err_set(err, TR_E_LIMIT,
			"I/O pieces of %" PRIu64 " bytes: not in [%u, %u]", cfg->piece_bytes,
			MIN_PIECE_BYTES, MAX_PIECE_BYTES);
	cfg->piece_bytes = TR_ALIGN_DOWN(cfg->piece_bytes, MIN_PIECE_BYTES);
	return 0;
}
