/*
 * kernels_data.h - what the tests of kernels compute with: random blocks of every type, rows of
 * activations, and the dot product as kernels.h words it, from the public decoders.
 */
#ifndef TR_TESTS_KERNELS_DATA_H
#define TR_TESTS_KERNELS_DATA_H

#include "compute/kernels.h"

/* Every set that this build and this processor have. */
#define for_each_isa(k)                                                                            \
	for (int isa_ = 0; isa_ < TR_N_ISA; isa_++)                                                \
		if (((k) = tr_kernels_get((enum tr_isa)isa_)))

/* How the bytes of a block come about; scales are set to finite values afterwards. */
enum fill { FILL_RANDOM, FILL_00, FILL_FF, FILL_80, N_FILL };

uint32_t rnd(uint64_t *seed);
float rnd_float(uint64_t *seed); /* in -1..1 */

/* n_row rows of n values, packed, at an odd address inside a block that ends where they end.
 * free_rows() frees it. */
uint8_t *new_rows(const struct tr_quant *q, enum fill fill, size_t n_row, size_t n,
	uint64_t *seed);
void free_rows(uint8_t *rows);

/* n_act rows of activations of tr_act_bytes each, 64-byte aligned, quantised by k from floats that
 * are returned in *x (n_act * n; free it, or pass NULL). */
char *new_acts(const struct tr_kernels *k, enum tr_act_kind kind, size_t n_act, size_t n,
	float **x, uint64_t *seed);

/* The float that activation i of act stands for. */
double act_value(enum tr_act_kind kind, const char *act, size_t n, size_t i);

/* The canonical dot of one row. */
float canonical_dot(const struct tr_quant *q, const uint8_t *row, const char *act, size_t n);

/* Bits are the same, or both are NaN. */
int same_float(float a, float b);

#endif
