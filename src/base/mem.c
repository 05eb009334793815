#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

/* Arrays from there on begin at a huge page. Buffers of a prefill of 512 tokens are 134 MB: taken by
 * pages of 4 KiB the first one took 5% longer. */
#define HUGE_FROM (4 * HUGE_PAGE)

void *tr_alloc(size_t n, size_t size)
{
	size_t align = TR_CACHE_LINE;
	uint64_t bytes;
	void *p;

	if (!tr_mul_u64(n, size, &bytes) || bytes > SIZE_MAX - HUGE_PAGE)
		return NULL;
	if (bytes >= HUGE_FROM)
		align = HUGE_PAGE;
	bytes = TR_ALIGN_UP(TR_MAX(bytes, (uint64_t)1), TR_CACHE_LINE);
	p = aligned_alloc(align, (size_t)TR_ALIGN_UP(bytes, (uint64_t)align));
	if (p && align == HUGE_PAGE)
		madvise(p, (size_t)TR_ALIGN_DOWN(bytes, (uint64_t)HUGE_PAGE), MADV_HUGEPAGE);
	return p;
}

void *tr_calloc(size_t n, size_t size)
{
	void *p = tr_alloc(n, size);

	if (p)
		memset(p, 0, n * size);
	return p;
}

void *tr_pages_alloc(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

void tr_pages_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

bool tr_pages_touch(void *p, size_t bytes)
{
#ifdef MADV_POPULATE_WRITE
	return !madvise(p, bytes, MADV_POPULATE_WRITE);
#else
	(void)p;
	(void)bytes;
	return false;
#endif
}

void tr_pages_drop(void *p, size_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = TR_ALIGN_UP((uintptr_t)p, page);
	uintptr_t end = TR_ALIGN_DOWN((uintptr_t)p + bytes, page);

	if (begin < end)
		madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static uint64_t status_kib(const char *key)
{
	unsigned long long kib = 0;
	size_t n = strlen(key);
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, n) && sscanf(line + n, ": %llu", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

uint64_t tr_mem_rss_bytes(void)
{
	return status_kib("VmRSS") * 1024;
}

uint64_t tr_mem_rss_peak_bytes(void)
{
	return status_kib("VmHWM") * 1024;
}
