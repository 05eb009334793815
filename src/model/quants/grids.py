#!/usr/bin/env python3
"""Writes grids.def: the grids of the IQ1, IQ2 and IQ3 types, from the Python package gguf.

    src/model/quants/grids.py > src/model/quants/grids.def
"""

import numpy as np
from gguf import quants

HEAD = """\
/*
 * grids.def - which values an index stands for. Written by grids.py.
 *
 * The grids are data of the GGUF format, defined by ggml (https://github.com/ggml-org/ggml):
 * Copyright (c) 2023 Georgi Gerganov, MIT License, whose text is in the file LICENSE.
 *
 * A table begins with TR_GRID(name, values an entry, entries), and an entry is TR_GRID_8 or
 * TR_GRID_4(alphabet, e): e is a code of 2 or 3 bits a value, the first value lowest, the place of
 * that value in the alphabet. Who includes this defines the three, and what an alphabet is.
 */
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
    print(f"\n#define E(e) TR_GRID_{width}({value}, e)")
    print(f"TR_GRID({name}, {width}, {n}) = {{")
    for row in packed.reshape(-1, 8):
        print("\t" + " ".join(f"E(0x{e:04x})," for e in row))
    print("};\n#undef E")


def main():
    print(HEAD, end="")
    table("iq2_xxs", quants.IQ2_XXS, "IQ2")
    table("iq2_xs", quants.IQ2_XS, "IQ2")
    table("iq2_s", quants.IQ2_S, "IQ2")
    table("iq3_xxs", quants.IQ3_XXS, "IQ3_XXS")
    table("iq3_s", quants.IQ3_S, "IQ3_S")
    table("iq1", quants.IQ1_S, "IQ1")


if __name__ == "__main__":
    main()
