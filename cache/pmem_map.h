/* pmem_map.h - a file mapped for reading by libpmem2, and what it says of the memory behind it. */
#ifndef TR_CACHE_PMEM_MAP_H
#define TR_CACHE_PMEM_MAP_H

#include "base/err.h"

struct pmem2_map;

struct tr_pmem_map {
	const uint8_t *base; /* NULL: not mapped */
	uint64_t bytes;
	const char *granularity; /* "byte", "cache line", "page": static text */
	struct pmem2_map *map;
};

/* Maps the first `bytes` bytes of the file (0: all of it), whose descriptor may be closed
 * afterwards. path is for messages. A file that shrinks while it is mapped raises SIGBUS. */
int tr_pmem_map_open(struct tr_pmem_map *map, int fd, const char *path, uint64_t bytes,
	struct tr_err *err);
void tr_pmem_map_close(struct tr_pmem_map *map);

/* True when loads go to the medium and no page cache lies between. */
bool tr_pmem_map_is_dax(const struct tr_pmem_map *map);

#endif
