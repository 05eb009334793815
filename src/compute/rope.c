#include "compute/rope.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* The pair whose wavelength completes beta turns within the original context. */
static double correction(const struct tr_rope *r, double beta)
{
	return r->n_rot * log(r->orig_ctx / (2 * M_PI * beta)) / (2 * log(r->freq_base));
}

int tr_rope_init(struct tr_rope *rope)
{
	uint32_t n = rope->n_rot / 2, i;
	double low = 0, high = 0, theta, keep;

	rope->freq = tr_calloc(n, sizeof(*rope->freq));
	if (!rope->freq)
		return TR_E_NOMEM;
	if (rope->yarn) {
		low = fmax(0, floor(correction(rope, rope->beta_fast)));
		high = fmin(rope->n_rot - 1, ceil(correction(rope, rope->beta_slow)));
	}
	for (i = 0; i < n; i++) {
		theta = pow(rope->freq_base, -2.0 * i / rope->n_rot);
		if (rope->yarn) {
			keep = (i - low) / fmax(0.001, high - low);
			keep = 1 - fmin(fmax(keep, 0), 1);
			theta *= keep + (1 - keep) / rope->factor;
		}
		rope->freq[i] = (float)theta;
	}
	return 0;
}

void tr_rope_fini(struct tr_rope *rope)
{
	free(rope->freq);
	rope->freq = NULL;
}

void tr_rope_table(const struct tr_rope *rope, uint32_t pos, size_t n, float *table)
{
	uint32_t i;
	size_t t;

	for (t = 0; t < n; t++)
		for (i = 0; i < rope->n_rot / 2; i++) {
			double angle = (double)(pos + t) * rope->freq[i];

			*table++ = (float)(cos(angle) * rope->magnitude);
			*table++ = (float)(sin(angle) * rope->magnitude);
		}
}

void tr_rope_rotate_pairs(float *x, const float *table_row, uint32_t n_rot)
{
	float a, b, c, s;
	uint32_t i;

	for (i = 0; i < n_rot; i += 2) {
		a = x[i];
		b = x[i + 1];
		c = table_row[i];
		s = table_row[i + 1];
		x[i] = a * c - b * s;
		x[i + 1] = a * s + b * c;
	}
}
