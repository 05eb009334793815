/* synth_blocks.h - random numbers, and random blocks of any tensor type, for made-up weights. */
#ifndef TR_TESTS_BENCH_SYNTH_BLOCKS_H
#define TR_TESTS_BENCH_SYNTH_BLOCKS_H

#include "model/quant.h"

#include <stddef.h>
#include <stdint.h>

struct synth_rng {
	uint64_t state;
};

/* A stream of its own for each (seed, stream). */
struct synth_rng synth_rng(uint64_t seed, uint64_t stream);
uint64_t synth_u64(struct synth_rng *r);
float synth_normal(struct synth_rng *r); /* mean 0, deviation 1, within 6 */

/* Fills n_block blocks of type q whose values have mean 0 and root mean square sigma: codes are
 * random over their whole range, scales are what gives sigma. TR_E_UNSUPPORTED
 * when the type has no recipe here. */
int synth_blocks(
	const struct tr_quant *q, float sigma, void *out, size_t n_block, struct synth_rng *r);

/* Root mean square of n_block blocks. */
double synth_rms(const struct tr_quant *q, const void *blocks, size_t n_block);

#endif
