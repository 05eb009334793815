#include "base/touch.h"

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

void tr_touch(const void *p, size_t bytes)
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
