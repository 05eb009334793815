/*
 * memory.c - how much memory this process may still take.
 *
 * /proc/meminfo knows the machine; a container or a batch job may be allowed less, which the files
 * of its control group say (version 2: memory.max; version 1: memory.limit_in_bytes). File pages
 * are used memory there, but the kernel takes them back before it refuses any, so they count as
 * free, as they do in MemAvailable.
 */
#include "engine/plan.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* The names of one version of control groups; `under` is the folder of the mount. */
struct version {
	const char *under, *limit, *used, *file_pages[2];
};

static const struct version v1 = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
	"memory.usage_in_bytes", { "total_inactive_file %llu", "total_active_file %llu" } };
static const struct version v2 = { "/sys/fs/cgroup", "memory.max", "memory.current",
	{ "inactive_file %llu", "active_file %llu" } };

static FILE *open_in(const char *dir, const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return fopen(path, "re");
}

static bool read_u64(const char *dir, const char *name, uint64_t *out)
{
	FILE *f = open_in(dir, name);
	unsigned long long v;
	bool ok;

	if (!f)
		return false;
	ok = fscanf(f, "%llu", &v) == 1;
	fclose(f);
	if (ok)
		*out = v;
	return ok;
}

/* Sum of the lines that match a format with one number. */
static uint64_t sum_lines(const char *dir, const char *name, const char *const *formats, size_t n)
{
	FILE *f = open_in(dir, name);
	unsigned long long v;
	uint64_t sum = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		for (size_t i = 0; i < n; i++)
			if (sscanf(line, formats[i], &v) == 1)
				sum += v;
	fclose(f);
	return sum;
}

static uint64_t machine_left(const char *root)
{
	static const char *const format = "MemAvailable: %llu";

	return sum_lines(root, "proc/meminfo", &format, 1) * 1024;
}

/* What a group leaves; no limit leaves everything. */
static uint64_t group_left(const char *dir, const struct version *v)
{
	uint64_t limit, used = 0, pages;

	if (!read_u64(dir, v->limit, &limit))
		return UINT64_MAX;
	read_u64(dir, v->used, &used);
	pages = sum_lines(dir, "memory.stat", v->file_pages, 2);
	used -= TR_MIN(used, pages);
	return limit > used ? limit - used : 0;
}

/* Limits of the groups above count too: walks up to the mount point. */
static uint64_t walk_groups(const char *root, char *group, const struct version *v)
{
	uint64_t left = UINT64_MAX, here;
	char dir[900], *cut;

	for (;;) {
		snprintf(dir, sizeof(dir), "%s%s%s", root, v->under, group);
		here = group_left(dir, v);
		left = TR_MIN(left, here);
		cut = strrchr(group, '/');
		if (!cut || !*group)
			return left;
		*cut = '\0';
	}
}

static uint64_t groups_left(const char *root)
{
	uint64_t left = UINT64_MAX, here;
	char line[400], *group;
	FILE *f = open_in(root, "proc/self/cgroup");

	if (!f)
		return left;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "0::", 3))
			here = walk_groups(root, line + 3, &v2);
		else if ((group = strstr(line, ":memory:")))
			here = walk_groups(root, group + 8, &v1);
		else
			continue;
		left = TR_MIN(left, here);
	}
	fclose(f);
	return left;
}

struct tr_memory tr_memory_available(const char *root)
{
	return (struct tr_memory){ machine_left(root), groups_left(root) };
}
