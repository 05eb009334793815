#!/usr/bin/env python3
"""Writes grids.c: the grids of the IQ1, IQ2 and IQ3 types, from the Python package gguf.

    src/model/quants/grids.py > src/model/quants/grids.c
"""

import numpy as np
from gguf import quants

HEAD = """\
/*
 * grids.c - which values an index stands for. Written by grids.py.
 *
 * The grids are data of the GGUF format, defined by ggml (https://github.com/ggml-org/ggml):
 * Copyright (c) 2023 Georgi Gerganov, MIT License, whose text is in the file LICENSE.
 *
 * Below an entry is as short as it can be, a code of 2 or 3 bits a value with the first value
 * lowest; the compiler makes it the bytes that grids.h describes.
 */
#include "model/quants/grids.h"

#define CODE2(e, j) ((e) >> 2 * (j) & 3)
#define CODE3(e, j) ((e) >> 3 * (j) & 7)
#define BYTES4(value, e)                                                                           \\
	((uint32_t)(value(e, 0) | value(e, 1) << 8 | value(e, 2) << 16) | (uint32_t)value(e, 3) << 24)
#define BYTES8(value, e) (BYTES4(value, e) | (uint64_t)BYTES4(value, (e) >> 8) << 32)
"""


def codes(kind):
    """Per entry the place of each value in the grid's alphabet."""
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape)
    alphabet = np.array(kind.grid_map, dtype=grid.dtype)
    found = np.searchsorted(alphabet, grid)
    assert (alphabet[found] == grid).all()
    return found


def table(name, kind, value):
    found = codes(kind)
    n, width = found.shape
    bits = 2 if width == 8 else 3
    packed = (found << (bits * np.arange(width))).sum(axis=1)
    print(f"\n#define E(e) BYTES{width}({value}, e)")
    print(f"_Alignas(64) const uint{8 * width}_t tr_{name}_grid[{n}] = {{")
    for row in packed.reshape(-1, 8):
        print("\t" + " ".join(f"E(0x{e:04x})," for e in row))
    print("};\n#undef E")


def main():
    print(HEAD, end="")
    print("\n/* 8, 25, 43 */")
    print("#define IQ2(e, j) (8 + 17 * CODE2(e, j) + (CODE2(e, j) >> 1))")
    table("iq2_xxs", quants.IQ2_XXS, "IQ2")
    table("iq2_xs", quants.IQ2_XS, "IQ2")
    table("iq2_s", quants.IQ2_S, "IQ2")
    print("\n/* 4, 12 to 52, 62 */")
    print("#define IQ3_XXS(e, j) (4 + 8 * CODE3(e, j) + 2 * (CODE3(e, j) == 7))")
    table("iq3_xxs", quants.IQ3_XXS, "IQ3_XXS")
    print("\n/* 1, 3 to 15 */")
    print("#define IQ3_S(e, j) (1 + 2 * CODE3(e, j))")
    table("iq3_s", quants.IQ3_S, "IQ3_S")
    print("\n/* 0, 8, 16 for -1, 0, 1 */")
    print("#define IQ1(e, j) (8 * CODE2(e, j))")
    table("iq1", quants.IQ1_S, "IQ1")


if __name__ == "__main__":
    main()
