"""Which layers keep their recurrent weight in their programs, and how it is shared out among these.

The sizes are what Triton's compiler (3.7.1, capability 9.0) gave registers for: 8 warps and 255 registers a thread.
docs/gpu.md has the table and the bytes of stack, `benchmarks/gpu_compile.py` makes it. It knows sizes, and no kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recurra.kernels.gpu.launch import accumulator, held_in_registers, operands
from recurra.kernels.gpu.shares import ROWS, Device, precision

ALONE = 64
"""Up to this many units a block of rows is one program: they are done before a meeting would be over."""
ALONE_NARROW = 128
"""The same for weights of 16 bits, and for a cell of one gate."""
UNITS = (8, 16, 32)
"""Units that a part may have. Forward takes the fewest that the device has room for, which shares out the products; backward,
where each part reads the gradients of all gates, begins at 16, which halves what is read."""
COLUMNS = 64
"""Columns of a forward product, at most: the sums of 128 and their tiles together have 232 to 664 bytes of stack."""
HELD = 96 * 1024
"""Bytes of a weight that a part holds in registers."""
HELD_NARROW = 128 * 1024
"""The same for numbers of 16 bits, which are not taken apart."""
SHARED_BESIDES = 16 * 1024
"""Bytes of shared memory that a program with all units has at most, beside weights that are not held."""
SHARED_OF_SUMS = 64 * 1024
"""Bytes of shared memory through which parts add up their warps' sums, at most."""
WARPS = 8
CHUNK = 256
"""Units of the state that a part multiplies at once, at most."""


@dataclass(frozen=True)
class Resident:
    """PARTS programs a block of ROWS rows, each with UNITS units and all their weights."""

    parts: int
    units: int
    chunk: int
    """Units of the state in one product, of which there are CHUNKS."""
    chunks: int = 1
    split: int = 1
    """Shares of a chunk, each of them a warp's: 1 where warps have columns of their own."""
    warps: int = WARPS
    hold: bool = True
    """Whether the weight is held in registers; else the compiler keeps it in shared memory."""
    rows: int = ROWS

    def options(self, dtype: torch.dtype, device: Device) -> dict[str, Any]:
        """What a kernel is compiled for."""
        chosen: dict[str, Any] = {
            "R": self.rows, "U": self.units, "HOLD": self.hold and held_in_registers(), "num_warps": self.warps,
            # (loads are ahead by hand; the compiler's own copies ahead would have a held tile go through shared memory)
            "num_stages": 1,
            "PRECISION": precision(dtype, device), "ACC": accumulator(dtype).triton,
        }  # fmt: skip
        if self.parts == 1:
            return {**chosen, "TO": operands(dtype).triton}
        return {**chosen, "PARTS": self.parts, "K": self.chunk, "CHUNKS": self.chunks, "SPLIT": self.split}


def keep(
    gates: int, hidden: int, batch: int, dtype: torch.dtype, device: Device, backward: bool = False
) -> Resident | None:
    """How a layer with so many gates keeps its weight, or None where it has no room for it."""
    if not device.tensor_cores or not hidden:
        return None
    size, whole = operands(dtype).torch.itemsize, max(16, 1 << (hidden - 1).bit_length())
    narrow, in_three = size == 2, precision(dtype, device) == "tf32x3"
    of_weights = 0 if whole <= ALONE else gates * whole * whole * size * (2 if in_three else 1)
    small = whole <= ALONE or (whole <= ALONE_NARROW and (narrow or gates == 1))
    if small and of_weights + SHARED_BESIDES <= device.shared:
        # (eight columns a warp; 128 units have no room in registers)
        return Resident(1, whole, whole, warps=min(WARPS, whole // 8), hold=whole <= ALONE)
    free = device.multiprocessors // max(1, -(-batch // ROWS))
    deep = -(-hidden // 128) * 128
    chunk = CHUNK if deep % CHUNK == 0 else deep & -deep
    columns = 1 if gates == 1 else 4
    # (what other parts hand over goes through shared memory, at once or, where products are three, by chunks)
    at_once = chunk if in_three else deep * (gates if backward else 1)
    if max(ROWS * at_once * size, SHARED_OF_SUMS) > device.shared:
        return None
    for units in UNITS[1:] + UNITS[:1] if backward else UNITS:
        parts = -(-hidden // units)
        held = units * deep * size * (gates if backward else columns)
        fits = held <= (HELD_NARROW if narrow else HELD) and (backward or units * columns <= COLUMNS)
        if parts <= free and fits:
            return Resident(parts, units, chunk, deep // chunk, WARPS)
    return None
