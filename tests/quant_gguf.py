"""Decoded blocks are, to the last bit, what the Python package gguf makes of them."""

import os
import subprocess

import gguf
import numpy as np
import pytest
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K",
         "Q5_K", "Q6_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S",
         "IQ4_NL", "IQ4_XS", "MXFP4"]

# The package has no quantiser for the rest.
QUANTISED = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"]

# Byte offsets of binary16 fields, which random bytes would fill with infinities.
F16_AT = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0],
          "IQ4_XS": [0], "IQ1_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0],
          "IQ3_S": [0]}

DUMP = os.path.join(os.environ.get("TR_BUILDDIR", "."), "tests", "quant_dump")


def gguf_type(name):
    """The package's type, or a skip that says what it lacks."""
    kind = getattr(gguf.GGMLQuantizationType, name, None)
    if kind is None:
        pytest.skip(f"this version of gguf does not know {name}")
    return kind


def theirs(kind, blocks):
    try:
        return quants.dequantize(blocks, kind).astype(np.float32).ravel()
    except NotImplementedError:
        pytest.skip(f"this version of gguf does not decode {kind.name}")


def ours(name, blocks):
    head = f"{name} {len(blocks)}\n".encode()
    done = subprocess.run([DUMP], input=head + blocks.tobytes(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, dtype=np.float32)


def same_values(a, b):
    """Both zeros count as equal, and all NaNs."""
    assert a.shape == b.shape
    differ = np.flatnonzero((a != b) & ~(np.isnan(a) & np.isnan(b)))
    assert differ.size == 0, (f"{differ.size} of {a.size} differ, first at {differ[0]}: "
                              f"{a[differ[0]].hex()} and {b[differ[0]].hex()}")


def as_package_wants(name, blocks):
    """dequantize takes floats as floats and everything else as bytes."""
    if name in ("F32", "F16"):
        return np.ascontiguousarray(blocks).view(np.float32 if name == "F32" else np.float16)
    return blocks


@pytest.mark.parametrize("name", TYPES)
def test_random_blocks(name):
    kind = gguf_type(name)
    rng = np.random.default_rng(len(name) * 1000 + int(kind))
    size = GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (4096, size), dtype=np.uint8)
    # All kinds of finite scales: subnormal, negative, large.
    for at in F16_AT.get(name, []):
        bits = rng.integers(0, 0x7C00, len(blocks), dtype=np.uint16)
        bits |= rng.integers(0, 2, len(blocks), dtype=np.uint16) << 15
        blocks[:, at:at + 2] = bits.astype("<u2").view(np.uint8).reshape(-1, 2)
    if name == "IQ1_M":  # its binary16 has its high byte in two nibbles: clear an exponent bit
        blocks[:, 55] &= 0xBF
    with np.errstate(all="ignore"):
        want = theirs(kind, as_package_wants(name, blocks))
    same_values(ours(name, blocks), want)


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_weights(name):
    kind = gguf_type(name)
    rng = np.random.default_rng(7)
    weights = (rng.standard_normal((8, 1024)) * 0.02).astype(np.float32)
    try:
        stored = quants.quantize(weights, kind)
    except NotImplementedError:
        pytest.skip(f"this version of gguf does not quantise to {name}")
    blocks = np.ascontiguousarray(stored).view(np.uint8).reshape(-1, GGML_QUANT_SIZES[kind][1])
    got = ours(name, blocks)
    same_values(got, theirs(kind, as_package_wants(name, blocks)))
    # And it is these weights that come back, as near as the type can hold them.
    error = np.sqrt(np.mean((got - weights.ravel()) ** 2)) / 0.02
    bits = 8 * GGML_QUANT_SIZES[kind][1] / GGML_QUANT_SIZES[kind][0]
    assert error < 4 * 2 ** -min(bits - 0.5, 8), error


def test_the_helper_refuses_nonsense():
    for text, code in [(b"", 2), (b"Q9_9 1\n", 3), (b"Q4_0 2\n0123456789", 4)]:
        done = subprocess.run([DUMP], input=text, capture_output=True, timeout=60)
        assert done.returncode == code
