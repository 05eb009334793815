/*
 * store_file.h - the bytes of a store file.
 *
 *	0        header, one block of TR_STORE_EXTENT_ALIGN bytes
 *	4096     table: one row a unit, ascending by unit
 *	data     extents in the order of the table, each on TR_STORE_EXTENT_ALIGN: the parts of the
 *	         unit in order, without gaps, then zeros
 *
 * Header and table have checksums of their own; those of extents are in the table. Numbers are in
 * the byte order of the machine: a file from a machine of the other order has no known version.
 */
#ifndef TR_CACHE_STORE_FILE_H
#define TR_CACHE_STORE_FILE_H

#include "cache/store.h"

#define TR_STORE_SUFFIX ".tierra-store"
#define TR_STORE_TMP_PREFIX ".tierra-store.tmp."

struct tr_store_row {
	uint64_t unit;
	uint64_t off; /* in the store file */
	uint64_t bytes;
	uint64_t sum; /* XXH3-64 of the bytes */
};

struct tr_store_table {
	size_t n_row;
	struct tr_store_row *rows;
	uint64_t data_off;
	uint64_t file_bytes;
};

/* The table of a file that holds the units of the plan. Sums are 0. */
int tr_store_table_plan(struct tr_store_table *table, const struct tr_store_cfg *cfg,
	struct tr_err *err);
void tr_store_table_free(struct tr_store_table *table);

/* True when every unit of plan is in table. */
bool tr_store_table_covers(const struct tr_store_table *table, const struct tr_store_table *plan);

/* The row of a unit, NULL when it is not there. */
const struct tr_store_row *tr_store_table_find(const struct tr_store_table *table, uint64_t unit);

/* TR_E_FORMAT when the file is not a whole and sound store of this model; err says why. */
int tr_store_table_read(struct tr_store_table *table, int fd, const char *fingerprint,
	const struct tr_catalog *catalog, struct tr_err *err);
int tr_store_table_write(const struct tr_store_table *table, int fd, const char *fingerprint,
	struct tr_err *err);

/* Bytes of extents that the file says it holds, 0 when it is no store of this model. */
uint64_t tr_store_file_held(int fd, const char *fingerprint);

/* Writes all of iov[0..n) at off and uses iov up. 0 or an errno value. */
struct iovec;
int tr_store_write_all(int fd, struct iovec *iov, int n, uint64_t off);

#endif
