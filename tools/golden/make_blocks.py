#!/usr/bin/env python3
"""Makes tests/golden/blocks/blocks.bin: blocks of GGUF's quantized types and what package `gguf` makes of them.

Needs gguf and numpy. Deterministic. The format is described in tools/golden/README.md.

usage: make_blocks.py OUT_FILE
"""
import struct, sys

import numpy as np
from gguf import GGMLQuantizationType as Type, quants
from gguf.constants import GGML_QUANT_SIZES

# name, where the f16 values of a block stand
EXPANDED = [("Q8_0", [0]), ("Q4_0", [0]), ("Q4_1", [0, 2]), ("Q5_0", [0]), ("Q5_1", [0, 2]),
            ("Q4_K", [0, 2]), ("Q5_K", [0, 2]), ("Q6_K", [208])]
WRITTEN = ["F16", "BF16", "Q8_0", "Q4_0"]
SCALES = [0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x3c00]  # zero, subnormal, largest, one


def random_blocks(rng, size, halves):
    """All bytes 0 and all bytes 255 under each extreme scale, then random bytes; no scale is Inf or NaN."""
    blocks = []
    for fill in (0, 255):
        for scale in SCALES:
            block = np.full(size, fill, dtype=np.uint8)
            for at in halves:
                block[at:at + 2] = np.frombuffer(struct.pack("<H", scale), dtype=np.uint8)
            blocks.append(block)
    for _ in range(8):
        block = rng.integers(0, 256, size, dtype=np.uint8)
        for at in halves:
            if block[at + 1] & 0x7c == 0x7c:
                block[at + 1] ^= 0x40
        blocks.append(block)
    return np.stack(blocks)


def rows_to_write(rng):
    rows = [np.zeros(32), np.full(32, -0.0), np.ones(32), -np.ones(32), np.arange(32) - 16.0,
            np.arange(32) / 2 - 8, np.where(np.arange(32) == 5, -127.0, 0.5), np.full(32, 1e-30)]
    rows += [rng.standard_normal(32) * s for s in (1e-6, 0.02, 1.0, 300.0)]
    rows += [np.round(rng.standard_normal(32) * 8) / 2 for _ in range(4)]  # many ties
    return np.stack(rows).astype(np.float32)


def main(path):
    rng = np.random.default_rng(1)
    with open(path, "wb") as f:
        f.write(b"RGBK" + struct.pack("<III", 1, len(EXPANDED), len(WRITTEN)))
        for name, halves in EXPANDED:
            elements, size = GGML_QUANT_SIZES[Type[name]]
            blocks = random_blocks(rng, size, halves)
            with np.errstate(all="ignore"):
                values = quants.dequantize(blocks, Type[name]).astype("<f4")
            f.write(struct.pack("<8sIII", name.lower().encode(), len(blocks), elements, size))
            f.write(blocks.tobytes() + values.tobytes())
        for name in WRITTEN:
            rows = rows_to_write(rng)
            with np.errstate(all="ignore"):
                blocks = np.ascontiguousarray(quants.quantize(rows, Type[name])).view(np.uint8)
            f.write(struct.pack("<8sIII", name.lower().encode(), len(rows), 32, blocks[0].nbytes))
            f.write(blocks.tobytes() + rows.astype("<f4").tobytes())


if __name__ == "__main__":
    main(sys.argv[1])
