/*
 * pmem_map.c - read-only mappings by libpmem2.
 *
 * Any granularity is accepted: ordinary file systems give "page", DAX gives "cache line", and
 * "byte" where the platform flushes caches itself (eADR). A descriptor open for reading can be
 * mapped for reading only, which must be said.
 */
#include "cache/pmem_map.h"

#include <libpmem2.h>

static int err_pmem2(struct tr_err *err, int code, const char *path)
{
	if (code > PMEM2_E_UNKNOWN && code < 0)
		return tr_err_sys(err, -code, "%s: cannot map as persistent memory", path);
	return tr_err_set(err, TR_E_UNSUPPORTED, "%s: cannot map as persistent memory: %s", path,
		pmem2_errormsg());
}

static const char *name_of(enum pmem2_granularity g)
{
	switch (g) {
	case PMEM2_GRANULARITY_BYTE:
		return "byte";
	case PMEM2_GRANULARITY_CACHE_LINE:
		return "cache line";
	default:
		return "page";
	}
}

static int configure(struct pmem2_config *config, uint64_t bytes)
{
	int rc = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);

	if (!rc)
		rc = pmem2_config_set_protection(config, PMEM2_PROT_READ);
	if (!rc && bytes)
		rc = pmem2_config_set_length(config, bytes);
	return rc;
}

int tr_pmem_map_open(struct tr_pmem_map *map, int fd, const char *path, uint64_t bytes,
	struct tr_err *err)
{
	struct pmem2_source *source = NULL;
	struct pmem2_config *config = NULL;
	int rc;

	*map = (struct tr_pmem_map){ .granularity = "page" };
	rc = pmem2_source_from_fd(&source, fd);
	if (!rc)
		rc = pmem2_config_new(&config);
	if (!rc)
		rc = configure(config, bytes);
	if (!rc)
		rc = pmem2_map_new(&map->map, config, source);
	if (rc) {
		rc = err_pmem2(err, rc, path);
	} else {
		map->base = pmem2_map_get_address(map->map);
		map->bytes = pmem2_map_get_size(map->map);
		map->granularity = name_of(pmem2_map_get_store_granularity(map->map));
	}
	if (config)
		pmem2_config_delete(&config);
	if (source)
		pmem2_source_delete(&source);
	return rc;
}

void tr_pmem_map_close(struct tr_pmem_map *map)
{
	if (map->map)
		pmem2_map_delete(&map->map);
	map->base = NULL;
}

bool tr_pmem_map_is_dax(const struct tr_pmem_map *map)
{
	return map->map && pmem2_map_get_store_granularity(map->map) != PMEM2_GRANULARITY_PAGE;
}
