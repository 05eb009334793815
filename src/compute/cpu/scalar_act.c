/* scalar_act.c - activations to int8, portable. */
#include "compute/cpu/scalar.h"

#include <math.h>
#include <string.h>

/* Writes n values and returns the scale. */
static float quantise_block(const float *x, size_t n, int8_t *q)
{
	float amax = 0, id;

	for (size_t i = 0; i < n; i++) {
		if (!isfinite(x[i])) {
			memset(q, 0, n);
			return NAN;
		}
		if (fabsf(x[i]) > amax)
			amax = fabsf(x[i]);
	}
	if (amax < TR_ACT_TINY) {
		memset(q, 0, n);
		return 0;
	}
	id = 127.0f / amax;
	for (size_t i = 0; i < n; i++)
		q[i] = (int8_t)lrintf(x[i] * id);
	return amax / 127.0f;
}

void tr_scalar_quantise(enum tr_act_kind kind, const float *x, size_t n, void *act)
{
	size_t block = kind == TR_ACT_Q8_32 ? 32 : 256;
	int8_t *q = act;
	float *d = (float *)((char *)act + tr_act_d_off(kind, n));
	int16_t *sum = (int16_t *)((char *)act + tr_act_sum_off(n));

	if (kind == TR_ACT_F32) {
		memcpy(act, x, n * sizeof(float));
		return;
	}
	for (size_t b = 0; b < n / block; b++)
		d[b] = quantise_block(x + b * block, block, q + b * block);
	if (kind != TR_ACT_Q8_256)
		return;
	for (size_t g = 0; g < n / 16; g++) {
		sum[g] = 0;
		for (int i = 0; i < 16; i++)
			sum[g] = (int16_t)(sum[g] + q[16 * g + i]);
	}
}
