/*
 * grids.c - the tables of grids.h: each entry of grids.def as the bytes of its values.
 */
#include "model/quants/grids.h"

#define CODE2(e, j) ((e) >> 2 * (j) & 3)
#define CODE3(e, j) ((e) >> 3 * (j) & 7)

/* The alphabets. 8, 25, 43 */
#define IQ2(e, j) (8 + 17 * CODE2(e, j) + (CODE2(e, j) >> 1))
/* 4, 12 to 52, 62 */
#define IQ3_XXS(e, j) (4 + 8 * CODE3(e, j) + 2 * (CODE3(e, j) == 7))
/* 1, 3 to 15 */
#define IQ3_S(e, j) (1 + 2 * CODE3(e, j))
/* 0, 8, 16 for -1, 0, 1 */
#define IQ1(e, j) (8 * CODE2(e, j))

#define ENTRY_8 uint64_t
#define ENTRY_4 uint32_t
#define TR_GRID(name, width, n) _Alignas(64) const ENTRY_##width tr_##name##_grid[n]
#define TR_GRID_4(value, e)                                                                        \
	((uint32_t)(value(e, 0) | value(e, 1) << 8 | value(e, 2) << 16) | (uint32_t)value(e, 3) << 24)
#define TR_GRID_8(value, e) (TR_GRID_4(value, e) | (uint64_t)TR_GRID_4(value, (e) >> 8) << 32)

#include "model/quants/grids.def"
