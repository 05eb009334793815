/*
 * avx512_strips.h - what strips of quantised weights share.
 *
 * vpdpbusd wants one unsigned factor. Here it is the activation, x + 128: what that adds to a lane,
 * 128 times the sum of its four weights, depends on the weights alone and is taken off where a step
 * of them is unpacked, once for all activations.
 */
#ifndef TR_COMPUTE_CPU_AVX512_STRIPS_H
#define TR_COMPUTE_CPU_AVX512_STRIPS_H

#include "compute/cpu/avx512.h"
#include "compute/cpu/panel.h"
#include "compute/cpu/strips.h"

/* x + 128 of 64 activations. */
TR_INLINE __m512i tr_avx512_unsigned(const int8_t *x)
{
	return _mm512_xor_si512(_mm512_loadu_si512(x), _mm512_set1_epi8((char)128));
}

/* The canonical ends of n sums, acc + accm where there are two. All have room for a multiple of 16,
 * and what lies behind the n-th does not matter. */
TR_INLINE void tr_avx512_strip_trees(float *sum, const __m512 *acc, const __m512 *accm, size_t n)
{
	__m512 lanes[16];

	for (size_t i = 0; i < n; i += 16) {
		TR_UNROLL_ALL
		for (int k = 0; k < 16; k++)
			lanes[k] = accm ? _mm512_add_ps(acc[i + (size_t)k], accm[i + (size_t)k])
					: acc[i + (size_t)k];
		_mm512_storeu_ps(sum + i, tr_avx512_trees(lanes));
	}
}

#endif
