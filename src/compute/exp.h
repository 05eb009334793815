/*
 * exp.h - the one exponential, as the sequence of operations that every instruction set repeats.
 *
 * Everything is binary32, round to nearest even; each line below is one operation.
 *
 *   t = fma(x, LOG2E, MAGIC)     MAGIC = 1.5 * 2^23: the low bits of t hold k = rint(x * log2 e)
 *   n = t - MAGIC                k as a float
 *   r = fma(n, -LN2_HI, x)       exact
 *   r = fma(n, -LN2_LO, r)       |r| <= ln(2) / 2 and a little
 *   p = C6
 *   p = fma(p, r, C5)   p = fma(p, r, C4)   p = fma(p, r, C3)   p = fma(p, r, C2)
 *   p = fma(p, r, 1)    p = fma(p, r, 1)
 *   h = k >> 1 (arithmetic)
 *   y = (p * 2^h) * 2^(k - h)    two products: 2^128 has no binary32; a power is (e + 127) << 23
 *   x > HI: y = +inf    x < LO: y = +0    x is NaN: y = NaN (any)
 *
 * HI is the last float whose exponential is finite, LO the last whose exponential is normal. The
 * error is below 1 ulp for all floats between them (tests/t_vector.c scans it).
 *
 * silu(x) is x / (1 + exp(-x)), sigmoid(x) is 1 / (1 + exp(-x)): one negation, exp, one addition,
 * one true division.
 */
#ifndef TR_COMPUTE_EXP_H
#define TR_COMPUTE_EXP_H

#include "base/portable.h"

#include <math.h>
#include <stdint.h>

#define TR_EXP_LOG2E 0x1.715476p+0f
#define TR_EXP_MAGIC 0x1.8p+23f
#define TR_EXP_LN2_HI 0x1.62e43p-1f
#define TR_EXP_LN2_LO -0x1.05c61p-29f
#define TR_EXP_C6 0x1.6d110ap-10f
#define TR_EXP_C5 0x1.120b6ep-7f
#define TR_EXP_C4 0x1.55551ap-5f
#define TR_EXP_C3 0x1.5554dcp-3f
#define TR_EXP_C2 0x1p-1f
#define TR_EXP_HI 0x1.62e42ep+6f
#define TR_EXP_LO -0x1.5d589ep+6f

/* 2^e for e in -126..127. */
TR_FN float tr_exp_pow2(int32_t e)
{
	union {
		uint32_t u;
		float f;
	} v = { .u = (uint32_t)(e + 127) << 23 };

	return v.f;
}

TR_FN float tr_exp_canonical(float x)
{
	float t, n, r, p;
	int32_t k, h;

	if (x != x)
		return x;
	if (x > TR_EXP_HI)
		return INFINITY;
	if (x < TR_EXP_LO)
		return 0.0f;
	t = tr_fmaf(x, TR_EXP_LOG2E, TR_EXP_MAGIC);
	n = t - TR_EXP_MAGIC;
	r = tr_fmaf(n, -TR_EXP_LN2_HI, x);
	r = tr_fmaf(n, -TR_EXP_LN2_LO, r);
	p = TR_EXP_C6;
	p = tr_fmaf(p, r, TR_EXP_C5);
	p = tr_fmaf(p, r, TR_EXP_C4);
	p = tr_fmaf(p, r, TR_EXP_C3);
	p = tr_fmaf(p, r, TR_EXP_C2);
	p = tr_fmaf(p, r, 1.0f);
	p = tr_fmaf(p, r, 1.0f);
	k = (int32_t)n;
	h = k >> 1;
	return (p * tr_exp_pow2(h)) * tr_exp_pow2(k - h);
}

/* x / (1 + exp(-x)) */
TR_FN float tr_silu_canonical(float x)
{
	return x / (1.0f + tr_exp_canonical(-x));
}

TR_FN float tr_sigmoid_canonical(float x)
{
	return 1.0f / (1.0f + tr_exp_canonical(-x));
}

#endif
