/*
 * store.h - experts in persistent memory: a mapped, read-only file.
 *
 * Two kinds. Where the model file itself lies on a DAX file system under the path given, its
 * experts are mapped in place and nothing is written. Elsewhere the planned share is copied once
 * into a store file (DIR/<fingerprint>.tierra-store): header, table of (unit, offset, checksum),
 * one aligned extent a unit with its three parts in order. It is written under a temporary name,
 * synced and renamed, and reused by later runs whose plan it covers. Nothing is written while
 * decoding.
 *
 * A store that is truncated, damaged in its header or of other weights is said so once and written
 * anew. Two processes do not fill one directory at a time: the second waits, and then reuses.
 *
 * An extent whose checksum does not match on first use is given up (the unit's home is then the
 * model file), said once and counted.
 */
#ifndef TR_CACHE_STORE_H
#define TR_CACHE_STORE_H

#include "io/io.h"
#include "model/catalog.h"

struct tr_store;

struct tr_store_cfg {
	const struct tr_model *model;
	const struct tr_catalog *catalog; /* outlives the store */
	const char *dir;	/* a directory, on fsdax or any file system */
	const uint32_t *home;	/* [n_unit] plan; units with home == tier_idx belong here */
	uint32_t tier_idx;
	struct tr_io *io;	/* to copy with */
	struct tr_file *files;	/* [n_shard] */
	tr_progress_fn *progress;
	void *progress_ctx;
};

#define TR_STORE_EXTENT_ALIGN 4096

/* Room that a store could take under dir: free bytes of the file system and what a store of this
 * model there holds already, less a reserve of 5%; exactly what it holds when that would outgrow
 * it by less than a tenth, so that a little more room does not cost a rewrite; UINT64_MAX when the
 * model itself lies there on DAX. Fails when dir is not a directory or cannot be written. */
int tr_store_room(const struct tr_model *model, const char *dir, uint64_t *bytes,
	struct tr_err *err);

/* Opens, and fills first when there is no matching store. TR_E_INTERRUPTED when progress asked to
 * stop (the temporary file is removed). */
int tr_store_open(struct tr_store **store, const struct tr_store_cfg *cfg, struct tr_err *err);
void tr_store_close(struct tr_store *store);

/* The unit's parts in place, or false when it is not here. The first call for a unit checks its
 * checksum. Thread-safe. Valid until close. */
bool tr_store_get(struct tr_store *store, uint32_t unit, const void *part[TR_N_PART]);

const char *tr_store_dir(const struct tr_store *store);
/* "byte", "cache line", "page": what libpmem2 says of the mapping; "none" without one, when no unit
 * is planned here. */
const char *tr_store_granularity(const struct tr_store *store);
bool tr_store_in_place(const struct tr_store *store);
uint64_t tr_store_bytes(const struct tr_store *store);
uint64_t tr_store_n_unit(const struct tr_store *store);
uint64_t tr_store_n_bad(const struct tr_store *store);

#endif
