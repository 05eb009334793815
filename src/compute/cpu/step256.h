/* step256.h - where the scales of a super-block lie, common to all vector instruction sets. */
#ifndef TR_COMPUTE_CPU_STEP256_H
#define TR_COMPUTE_CPU_STEP256_H

#include "compute/cpu/rows.h"

/* d_at is where d lies in a block. dmin, if there is one, follows d; without it the two bytes that
 * are read with d lie before it, unless the block starts there. */
TR_INLINE int d_pair_at(size_t d_at, bool has_min)
{
	return (int)d_at - (has_min || !d_at ? 0 : 2);
}

#endif
