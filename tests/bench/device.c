#include "device.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Documentation/block/stat.rst: the sectors are of 512 bytes whatever the device has. */
bool device_count(const char *path, struct device_count *out)
{
	uint64_t sectors, busy_ms;
	char name[64];
	struct stat st;
	FILE *f;
	int n;

	if (stat(path, &st))
		return false;
	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/stat", major(st.st_dev),
		minor(st.st_dev));
	f = fopen(name, "r");
	if (!f)
		return false;
	n = fscanf(f, "%*u %*u %" SCNu64 " %*u %*u %*u %*u %*u %*u %" SCNu64, &sectors, &busy_ms);
	fclose(f);
	*out = (struct device_count){ sectors * 512, busy_ms * 1000000 };
	return n == 2;
}
