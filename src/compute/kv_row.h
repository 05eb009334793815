/*
 * kv_row.h - one row of the cache of past positions: width values, kept as enum tr_kv_type says.
 *
 *   F16, F32  the values
 *   Q8_0      blocks as struct tr_block_q8_0, the last one filled up with zeros. Codes are those of
 *             activations of kind Q8_32 (kernels.h), d is theirs rounded to binary16. A value is
 *             d * q, which is exact.
 */
#ifndef TR_COMPUTE_KV_ROW_H
#define TR_COMPUTE_KV_ROW_H

#include "compute/kernels.h"
#include "tierra.h"

#define TR_KV_BLOCK 32 /* values of a Q8_0 block */

size_t tr_kv_row_bytes(enum tr_kv_type type, size_t width);

/* Stores width floats, rounded to the type. */
void tr_kv_row_store(const struct tr_kernels *k, enum tr_kv_type type, void *row, const float *x,
	size_t width);

/*
 * n rows that are row_bytes apart, as what dots and mix take. Rows of Q8_0 are unpacked to room,
 * tr_kv_room_floats(n, width) floats; of their values only the first width are asked for, which may
 * be fewer than there are. Other types are taken where they lie.
 */
struct tr_panel tr_kv_panel(const struct tr_kernels *k, enum tr_kv_type type, const uint8_t *rows,
	size_t row_bytes, size_t n, size_t width, float *room);
size_t tr_kv_room_floats(size_t n, size_t width);

#endif
