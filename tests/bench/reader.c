#include "reader.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define GRAIN_BYTES ((size_t)512 << 10)

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void touch_avx512(const uint8_t *p, size_t bytes)
{
	__m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;

	for (size_t i = 0; i + 256 <= bytes; i += 256) {
		a = _mm512_or_si512(a, _mm512_loadu_si512(p + i));
		b = _mm512_or_si512(b, _mm512_loadu_si512(p + i + 64));
		c = _mm512_or_si512(c, _mm512_loadu_si512(p + i + 128));
		d = _mm512_or_si512(d, _mm512_loadu_si512(p + i + 192));
	}
	a = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
	__asm__ volatile("" : : "v"(a));
}

__attribute__((target("avx2"))) static void touch_avx2(const uint8_t *p, size_t bytes)
{
	__m256i a = _mm256_setzero_si256(), b = a;

	for (size_t i = 0; i + 64 <= bytes; i += 64) {
		a = _mm256_or_si256(a, _mm256_loadu_si256((const __m256i *)(p + i)));
		b = _mm256_or_si256(b, _mm256_loadu_si256((const __m256i *)(p + i + 32)));
	}
	a = _mm256_or_si256(a, b);
	__asm__ volatile("" : : "x"(a));
}
#endif

static void touch_words(const uint8_t *p, size_t bytes)
{
	uint64_t a = 0, word;

	for (size_t i = 0; i + sizeof(word) <= bytes; i += sizeof(word)) {
		memcpy(&word, p + i, sizeof(word));
		a |= word;
	}
	__asm__ volatile("" : : "r"(a));
}

void reader_touch(const void *p, size_t bytes)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f")) {
		touch_avx512(p, bytes);
		return;
	}
	if (__builtin_cpu_supports("avx2")) {
		touch_avx2(p, bytes);
		return;
	}
#endif
	touch_words(p, bytes);
}

int reader_dram_open(struct reader_dram *r, unsigned n_thread, size_t bytes, struct tr_err *err)
{
	struct tr_pool_cfg cfg = { .n_thread = n_thread, .pin = true, .spin_us = 100 };

	*r = (struct reader_dram){ .bytes = TR_ALIGN_UP(bytes, GRAIN_BYTES) };
	r->mem = tr_pages_alloc(r->bytes);
	if (!r->mem)
		return tr_err_set(err, TR_E_NOMEM, "reader: no memory for %zu bytes", r->bytes);
	memset(r->mem, 1, r->bytes);
	return tr_pool_new(&r->pool, &cfg, err);
}

void reader_dram_close(struct reader_dram *r)
{
	tr_pool_free(r->pool);
	if (r->mem)
		tr_pages_free(r->mem, r->bytes);
}

static void touch_grains(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct reader_dram *r = ctx;

	(void)worker;
	reader_touch(r->mem + begin * GRAIN_BYTES, (end - begin) * GRAIN_BYTES);
}

double reader_dram_pass(struct reader_dram *r, unsigned n)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < n; i++) {
		uint64_t start = tr_now_ns(&tr_clock_real);

		tr_pool_run(r->pool, touch_grains, r, r->bytes / GRAIN_BYTES, 1);
		best = TR_MIN(best, tr_now_ns(&tr_clock_real) - start);
	}
	return (double)r->bytes * 1e9 / (double)TR_MAX(best, (uint64_t)1);
}
