/*
 * memory.c - how much memory this process may still take.
 *
 * /proc/meminfo knows the machine; a container or a batch job may be allowed less, which the files
 * of its control group say (version 2: memory.max; version 1: memory.limit_in_bytes).
 */
#include "engine/plan.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static bool read_u64(const char *path, uint64_t *out)
{
	unsigned long long v;
	FILE *f = fopen(path, "re");
	bool ok;

	if (!f)
		return false;
	ok = fscanf(f, "%llu", &v) == 1;
	fclose(f);
	*out = v;
	return ok;
}

static uint64_t meminfo_available(void)
{
	unsigned long long kib = 0;
	char line[256];
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	fclose(f);
	return (uint64_t)kib * 1024;
}

/* What a group with this limit and usage file leaves; no limit leaves everything. */
static uint64_t group_left(const char *dir, const char *limit_name, const char *used_name)
{
	char path[640];
	uint64_t limit, used;

	snprintf(path, sizeof(path), "%s/%s", dir, limit_name);
	if (!read_u64(path, &limit))
		return UINT64_MAX;
	snprintf(path, sizeof(path), "%s/%s", dir, used_name);
	if (!read_u64(path, &used))
		return limit;
	return limit > used ? limit - used : 0;
}

/* Limits of the groups above count too: walks up to the mount point. */
static uint64_t walk_groups(const char *mount, char *group, const char *limit_name,
	const char *used_name)
{
	uint64_t left = UINT64_MAX, here;
	char dir[512], *cut;

	for (;;) {
		snprintf(dir, sizeof(dir), "%s%s", mount, group);
		here = group_left(dir, limit_name, used_name);
		left = TR_MIN(left, here);
		cut = strrchr(group, '/');
		if (!cut || !*group)
			return left;
		*cut = '\0';
	}
}

static uint64_t cgroup_left(void)
{
	uint64_t left = UINT64_MAX, here;
	char line[400], *group;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return left;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "0::", 3)) {
			here = walk_groups("/sys/fs/cgroup", line + 3, "memory.max",
				"memory.current");
		} else if ((group = strstr(line, ":memory:"))) {
			here = walk_groups("/sys/fs/cgroup/memory", group + 8,
				"memory.limit_in_bytes", "memory.usage_in_bytes");
		} else {
			continue;
		}
		left = TR_MIN(left, here);
	}
	fclose(f);
	return left;
}

uint64_t tr_memory_available(void)
{
	return TR_MIN(meminfo_available(), cgroup_left());
}
