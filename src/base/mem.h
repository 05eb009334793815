/* mem.h - checked sizes and aligned memory. */
#ifndef TR_BASE_MEM_H
#define TR_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define TR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define TR_MAX(a, b) ((a) > (b) ? (a) : (b))
#define TR_ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1)) /* a is a power of two */
#define TR_ALIGN_UP(x, a) TR_ALIGN_DOWN((x) + ((__typeof__(x))(a)-1), a)

#define TR_CACHE_LINE 64

/* False when the product or sum leaves 64 bits. */
static inline bool tr_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

static inline bool tr_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

/* Zeroed array of n elements, aligned to a cache line. NULL when out of memory or n * size
 * overflows; n == 0 gives a valid pointer. The caller frees with free(). */
void *tr_calloc(size_t n, size_t size);

/* The same without zeroes: pages of a large array, huge ones where the kernel has them, stay untouched until
 * they are used. */
void *tr_alloc(size_t n, size_t size);

/* Large zeroed memory straight from the kernel, transparent huge pages asked for.
 * NULL when out of memory; freed with tr_pages_free and the same size. */
void *tr_pages_alloc(size_t bytes);
void tr_pages_free(void *p, size_t bytes);

/* Has the kernel give the pages of a range that have not been touched yet. Changes no byte, so others
 * may use the range meanwhile. False where the kernel cannot (before Linux 5.14). */
bool tr_pages_touch(void *p, size_t bytes);

/* Gives back the pages that lie whole within a range of it; what is read there later is zero. */
void tr_pages_drop(void *p, size_t bytes);

/* Resident set of this process in bytes, and its peak; 0 where the kernel does not say. */
uint64_t tr_mem_rss_bytes(void);
uint64_t tr_mem_rss_peak_bytes(void);

#endif
