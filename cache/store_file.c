/*
 * store_file.c - header and table of a store file.
 *
 * Nothing in a file is believed before its checksum holds, and nothing after that which does not
 * fit the catalogue: a store is a copy and can always be made again.
 */
#include "cache/store_file.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC "TRSTORE"
#define FORMAT_VERSION 1u

struct header {
	char magic[8];
	uint32_t version;
	uint32_t align; /* of extents */
	char fingerprint[40];
	uint64_t n_row;
	uint64_t data_off;
	uint64_t file_bytes;
	uint64_t table_sum;
	uint64_t header_sum; /* of everything before it */
};

_Static_assert(sizeof(struct header) == 96, "header of a store has no padding");
_Static_assert(sizeof(struct tr_store_row) == 32, "row of a store has no padding");
_Static_assert(TR_FINGERPRINT_BYTES <= sizeof(((struct header *)0)->fingerprint), "it fits");

#define TABLE_OFF ((uint64_t)TR_STORE_EXTENT_ALIGN)

static uint64_t data_off_of(size_t n_row)
{
	return TR_ALIGN_UP(TABLE_OFF + n_row * sizeof(struct tr_store_row), TR_STORE_EXTENT_ALIGN);
}

static int no_memory(struct tr_err *err, size_t n_row)
{
	return tr_err_set(err, TR_E_NOMEM, "no memory for a table of %zu experts", n_row);
}

int tr_store_table_plan(struct tr_store_table *table, const struct tr_store_cfg *cfg,
	struct tr_err *err)
{
	const struct tr_catalog *c = cfg->catalog;
	struct tr_store_row *row;
	size_t n = 0;

	for (size_t u = 0; u < c->n_unit; u++)
		n += cfg->home[u] == cfg->tier_idx;
	*table = (struct tr_store_table){ .n_row = n, .data_off = data_off_of(n) };
	table->rows = tr_calloc(n, sizeof(*table->rows));
	if (!table->rows)
		return no_memory(err, n);
	table->file_bytes = table->data_off;
	row = table->rows;
	for (size_t u = 0; u < c->n_unit; u++) {
		if (cfg->home[u] != cfg->tier_idx)
			continue;
		*row++ = (struct tr_store_row){ u, table->file_bytes, c->units[u].bytes, 0 };
		table->file_bytes += TR_ALIGN_UP(c->units[u].bytes, TR_STORE_EXTENT_ALIGN);
	}
	return 0;
}

void tr_store_table_free(struct tr_store_table *table)
{
	free(table->rows);
	*table = (struct tr_store_table){ 0 };
}

static int by_unit(const void *key, const void *row)
{
	uint64_t unit = *(const uint64_t *)key, other = ((const struct tr_store_row *)row)->unit;

	return (unit > other) - (unit < other);
}

const struct tr_store_row *tr_store_table_find(const struct tr_store_table *table, uint64_t unit)
{
	return bsearch(&unit, table->rows, table->n_row, sizeof(*table->rows), by_unit);
}

bool tr_store_table_covers(const struct tr_store_table *table, const struct tr_store_table *plan)
{
	for (size_t i = 0; i < plan->n_row; i++)
		if (!tr_store_table_find(table, plan->rows[i].unit))
			return false;
	return true;
}

/* --- reading -----------------------------------------------------------------------------------*/

static bool read_exactly(int fd, void *buf, size_t bytes, uint64_t off)
{
	uint8_t *at = buf;

	while (bytes) {
		ssize_t n = pread(fd, at, bytes, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		off += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return true;
}

static uint64_t sum_of_header(const struct header *h)
{
	return XXH3_64bits(h, offsetof(struct header, header_sum));
}

static int refuse(struct tr_err *err, const char *why)
{
	return tr_err_set(err, TR_E_FORMAT, "%s", why);
}

static int read_header(struct header *h, int fd, const char *fingerprint, struct tr_err *err)
{
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return refuse(err, "it is not a regular file");
	if (!read_exactly(fd, h, sizeof(*h), 0))
		return refuse(err, "it is too short for a header");
	if (memcmp(h->magic, MAGIC, sizeof(h->magic)))
		return refuse(err, "it was not written by tierra");
	if (h->version != FORMAT_VERSION)
		return tr_err_set(err, TR_E_FORMAT, "its version is %u, this program writes %u",
			h->version, FORMAT_VERSION);
	if (h->header_sum != sum_of_header(h))
		return refuse(err, "the checksum of its header does not match");
	if (strncmp(h->fingerprint, fingerprint, sizeof(h->fingerprint)))
		return refuse(err, "it belongs to another model");
	if (h->file_bytes != (uint64_t)st.st_size)
		return tr_err_set(err, TR_E_FORMAT, "it has %llu bytes instead of %llu",
			(unsigned long long)st.st_size, (unsigned long long)h->file_bytes);
	return 0;
}

static int check_rows(const struct tr_store_table *t, const struct tr_catalog *c,
	struct tr_err *err)
{
	uint64_t end = t->data_off;

	for (size_t i = 0; i < t->n_row; i++) {
		const struct tr_store_row *r = &t->rows[i];

		if (r->unit >= c->n_unit || (i && r->unit <= r[-1].unit) ||
			r->bytes != c->units[r->unit].bytes || r->off != end ||
			r->off > t->file_bytes || r->bytes > t->file_bytes - r->off)
			return tr_err_set(err, TR_E_FORMAT, "row %zu of its table does not fit the model",
				i);
		end = TR_ALIGN_UP(r->off + r->bytes, TR_STORE_EXTENT_ALIGN);
	}
	return 0;
}

int tr_store_table_read(struct tr_store_table *table, int fd, const char *fingerprint,
	const struct tr_catalog *catalog, struct tr_err *err)
{
	struct header h;
	size_t bytes;
	int rc;

	*table = (struct tr_store_table){ 0 };
	rc = read_header(&h, fd, fingerprint, err);
	if (rc)
		return rc;
	if (h.align != TR_STORE_EXTENT_ALIGN || h.n_row > catalog->n_unit ||
		h.data_off != data_off_of(h.n_row))
		return refuse(err, "its header contradicts itself");
	*table = (struct tr_store_table){ .n_row = h.n_row, .data_off = h.data_off,
		.file_bytes = h.file_bytes };
	bytes = h.n_row * sizeof(*table->rows);
	table->rows = tr_calloc(h.n_row, sizeof(*table->rows));
	if (!table->rows)
		return no_memory(err, h.n_row);
	if (!read_exactly(fd, table->rows, bytes, TABLE_OFF))
		rc = refuse(err, "its table cannot be read");
	else if (XXH3_64bits(table->rows, bytes) != h.table_sum)
		rc = refuse(err, "the checksum of its table does not match");
	else
		rc = check_rows(table, catalog, err);
	if (rc)
		tr_store_table_free(table);
	return rc;
}

uint64_t tr_store_file_held(int fd, const char *fingerprint)
{
	struct header h;

	if (read_header(&h, fd, fingerprint, NULL) || h.data_off > h.file_bytes)
		return 0;
	return h.file_bytes - h.data_off;
}

/* --- writing -----------------------------------------------------------------------------------*/

int tr_store_write_all(int fd, struct iovec *iov, int n, uint64_t off)
{
	while (n) {
		ssize_t done = pwritev(fd, iov, n, (off_t)off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno;
		off += (uint64_t)done;
		while (n && (size_t)done >= iov->iov_len) {
			done -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (uint8_t *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

int tr_store_table_write(const struct tr_store_table *table, int fd, const char *fingerprint,
	struct tr_err *err)
{
	size_t bytes = table->n_row * sizeof(*table->rows);
	struct header h = { .magic = MAGIC, .version = FORMAT_VERSION, .align = TR_STORE_EXTENT_ALIGN,
		.n_row = table->n_row, .data_off = table->data_off,
		.file_bytes = table->file_bytes, .table_sum = XXH3_64bits(table->rows, bytes) };
	struct iovec head = { &h, sizeof(h) }, rows = { table->rows, bytes };
	int e;

	memcpy(h.fingerprint, fingerprint, strnlen(fingerprint, TR_FINGERPRINT_BYTES - 1));
	h.header_sum = sum_of_header(&h);
	e = tr_store_write_all(fd, &rows, 1, TABLE_OFF);
	if (!e)
		e = tr_store_write_all(fd, &head, 1, 0);
	return e ? tr_err_sys(err, e, "writing header and table") : 0;
}
