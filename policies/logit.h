/*
 * logit.h - probabilities from evidence: logistic regression that learns while it is used.
 *
 * Works on four experts at a time (compiler vectors, so every machine's baseline has them). exp and
 * log are written out: the same calls give the same bits with every C library. They are good to
 * 1e-6 relative, far better than what is estimated with them. A weight's step shrinks with the
 * gradients it has seen (Duchi, Hazan, Singer: Adaptive subgradient methods, 2011), so no rate is
 * tuned per model. A step is taken for many experts at once: feed() for each four, then step().
 * Lanes whose features are all 0 teach nothing.
 */
#ifndef TR_POLICIES_LOGIT_H
#define TR_POLICIES_LOGIT_H

#include <stdint.h>
#include <string.h>

enum { TR_F4 = 4, TR_MAX_FEATURE = 8 };

typedef float tr_f4 __attribute__((vector_size(16)));
typedef int32_t tr_i4 __attribute__((vector_size(16)));

static inline uint32_t tr_f4_pad(uint32_t n)
{
	return (n + TR_F4 - 1) / TR_F4 * TR_F4;
}

static inline tr_f4 tr_f4_load(const float *p)
{
	tr_f4 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void tr_f4_store(float *p, tr_f4 v)
{
	memcpy(p, &v, sizeof(v));
}

static inline tr_f4 tr_f4_of(float x)
{
	return (tr_f4){ x, x, x, x };
}

static inline tr_f4 tr_f4_clip(tr_f4 x, float low, float high)
{
	tr_f4 l = tr_f4_of(low), h = tr_f4_of(high);
	tr_i4 under = x<l, over = x> h;

	return (tr_f4)(((tr_i4)x & ~(under | over)) | ((tr_i4)l & under) | ((tr_i4)h & over));
}

/* e to the power of x, x clipped to [-80, 80]. */
static inline tr_f4 tr_exp4(tr_f4 x)
{
	tr_f4 y, r;
	tr_i4 n;

	x = tr_f4_clip(x, -80, 80);
	y = x * 1.44269504f + 128.5f;
	n = __builtin_convertvector(y, tr_i4) - 128; /* rounds: y is positive */
	r = x - __builtin_convertvector(n, tr_f4) * 0.693147181f;
	y = 0.0416666667f + r * (0.00833333333f + r * 0.00138888889f);
	y = 1 + r * (1 + r * (0.5f + r * (0.166666667f + r * y)));
	return y * (tr_f4)((n + 127) << 23);
}

/* Natural logarithm of normal x > 0. */
static inline tr_f4 tr_log4(tr_f4 x)
{
	tr_i4 bits = (tr_i4)x, n;
	tr_f4 r, s;

	n = ((bits - 0x3f3504f3) >> 23); /* x / 2^n lies in [0.7, 1.42) */
	r = (tr_f4)(bits - (n << 23));
	r = (r - 1) / (r + 1);
	s = r * r;
	s = 0.333333333f + s * (0.2f + s * (0.142857143f + s * 0.111111111f));
	return 2 * (r + r * (r * r) * s) + __builtin_convertvector(n, tr_f4) * 0.693147181f;
}

static inline float tr_exp(float x)
{
	return tr_exp4(tr_f4_of(x))[0];
}

static inline float tr_log(float x)
{
	return tr_log4(tr_f4_of(x))[0];
}

/* Log odds of p, which is kept away from 0 and 1 by margin. */
static inline tr_f4 tr_log_odds4(tr_f4 p, float margin)
{
	p = tr_f4_clip(p, margin, 1 - margin);
	return tr_log4(p / (1 - p));
}

struct tr_logit {
	uint32_t n; /* features in use */
	float weight[TR_MAX_FEATURE];
	float seen[TR_MAX_FEATURE];	/* sum of squared gradients */
	tr_f4 gradient[TR_MAX_FEATURE]; /* of the step being gathered */
};

/* caution: squared gradients taken as seen before the first, so that early steps stay small. */
static inline void tr_logit_init(struct tr_logit *m, uint32_t n, const float *weight, float caution)
{
	memset(m, 0, sizeof(*m));
	m->n = n;
	for (uint32_t i = 0; i < n; i++) {
		m->weight[i] = weight[i];
		m->seen[i] = caution;
	}
}

static inline tr_f4 tr_logit_p(const struct tr_logit *m, const tr_f4 *x)
{
	tr_f4 sum = { 0 };

	for (uint32_t i = 0; i < m->n; i++)
		sum += m->weight[i] * x[i];
	return 1 / (1 + tr_exp4(-sum));
}

/* outcome: 0 or 1. */
static inline void tr_logit_feed(struct tr_logit *m, const tr_f4 *x, tr_f4 outcome)
{
	tr_f4 off = outcome - tr_logit_p(m, x);

	for (uint32_t i = 0; i < m->n; i++)
		m->gradient[i] += off * x[i];
}

static inline void tr_logit_step(struct tr_logit *m, float rate)
{
	for (uint32_t i = 0; i < m->n; i++) {
		tr_f4 v = m->gradient[i];
		float g = (v[0] + v[1]) + (v[2] + v[3]);

		m->seen[i] += g * g;
		m->weight[i] += rate * g * tr_exp(-0.5f * tr_log(m->seen[i]));
		m->gradient[i] = (tr_f4){ 0 };
	}
}

#endif
