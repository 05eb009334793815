/* top.h - the first of many. */
#ifndef TR_POLICIES_TOP_H
#define TR_POLICIES_TOP_H

#include <stdint.h>

/* Indices of the largest of p[0..n) into top[0..n_top), the largest first, the lower index first
 * among equals. n_top is at most n. By insertion: most fail against the last at once. */
static inline void tr_top(const float *p, uint32_t n, uint32_t *top, uint32_t n_top)
{
	uint32_t have = 0, i;

	for (uint32_t e = 0; e < n; e++) {
		if (have == n_top && (!n_top || p[e] <= p[top[have - 1]]))
			continue;
		for (i = have < n_top ? have++ : have - 1; i && p[top[i - 1]] < p[e]; i--)
			top[i] = top[i - 1];
		top[i] = e;
	}
}

#endif
