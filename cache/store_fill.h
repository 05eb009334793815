/* store_fill.h - units of the model read in bulk: to fill a store, and to check that one fits. */
#ifndef TR_CACHE_STORE_FILL_H
#define TR_CACHE_STORE_FILL_H

#include "cache/store_file.h"

/* Copies the units of the table from the model to their extents in fd, which is empty, and fills in
 * the sums. path is for messages. */
int tr_store_fill(const struct tr_store_cfg *cfg, struct tr_store_table *table, int fd,
	const char *path, struct tr_err *err);

/* Reads a few units of the plan from the model and compares them with the sums of the table, since
 * a fingerprint does not see weights. TR_E_FORMAT when one differs. */
int tr_store_sample(const struct tr_store_cfg *cfg, const struct tr_store_table *table,
	const struct tr_store_table *plan, struct tr_err *err);

#endif
