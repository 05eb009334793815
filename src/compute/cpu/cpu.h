/* cpu.h - the tables of kernels, one an instruction set. Which of them exist and may run is for
 * src/compute/kernels.c to know. */
#ifndef TR_COMPUTE_CPU_H
#define TR_COMPUTE_CPU_H

#include "compute/kernels.h"

extern const struct tr_kernels tr_kernels_scalar;
extern const struct tr_kernels tr_kernels_avx2;
extern const struct tr_kernels tr_kernels_avx512;

#endif
