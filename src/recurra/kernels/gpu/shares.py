"""How the work of a layer is shared out: how many programs a block of rows has, how many units each of them takes.

It knows sizes and what a device has, and no kernel. See `layer_kernels.py` for what the numbers mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recurra.kernels.gpu.launch import accumulator

ROWS = 16
"""Rows of a block: the least that its products may have."""
LEAST = 16
"""Units of a program: the least that its products may have."""
ALONE = 64
"""Up to this many units a block of rows is one program: they are done before a meeting would be over."""
BLOCK = 32
"""Units of a block where a program takes several, one after another."""
MOST = 64
"""Units that a program takes at once, at most."""
DEPTH = 64
"""Units of the state that a product takes at once where the weight does not stay."""
KEPT = 16384
"""Bytes of a weight that stay in a program. They stay in registers, in two halves for tf32x3: with more they would not (the
compiler moves loop-invariant loads out of the loop, whether there is room or not)."""
DEEPEST = 128
"""Units of the state that a weight may stay for: compiled for 256, an Elman layer spilt 1,300 bytes a thread."""
WARPS = {16: 2, 32: 4, 64: 4}
"""Warps by units: a tile of 16 rows has work for one warp every eight columns."""

PRECISIONS = {"highest": "tf32x3", "high": "tf32", "medium": "tf32"}
"""How float32 is multiplied, by `torch.get_float32_matmul_precision()`: as three products of tf32, or one."""


@dataclass(frozen=True)
class Shares:
    """PARTS programs a block of ROWS rows; each takes UNITS at once, and DEPTH units of the state in one product."""

    parts: int
    units: int
    depth: int
    resident: bool = field(default=False)
    """Whether a program's share of the weight stays in it through all steps."""


@dataclass(frozen=True)
class Device:
    """What counts of a device."""

    multiprocessors: int = 1
    tensor_cores: bool = True

    @classmethod
    def of(cls, tensor: Tensor) -> Device:
        if not tensor.is_cuda:
            return cls()
        found = torch.cuda.get_device_properties(tensor.device)
        return cls(found.multi_processor_count, found.major >= 8)


def _two_to(count: int) -> int:
    return max(LEAST, 1 << (count - 1).bit_length())


def share_out(gates: int, hidden: int, batch: int, dtype: torch.dtype, device: Device) -> Shares:
    """The shares of a layer with so many gates. There are never more programs than multiprocessors where they meet:
    so each finds a place, and none waits for one that has not begun."""
    whole, size = _two_to(hidden), accumulator(dtype).torch.itemsize
    free = device.multiprocessors // -(-batch // ROWS) if batch else 1
    if whole <= ALONE or free < 2:
        stays = whole <= ALONE and gates * whole * whole * size <= KEPT
        parts, units = 1, whole if stays else min(whole, BLOCK)
    else:
        units = next((units for units in (LEAST, BLOCK, MOST) if -(-hidden // units) <= free), BLOCK)
        parts = min(free, -(-hidden // units))
    resident = parts * units >= hidden and gates * whole * units * size <= KEPT and whole <= DEEPEST
    return Shares(parts, units, whole if resident else min(whole, DEPTH), resident)


def precision(dtype: torch.dtype, device: Device) -> str:
    """How products are taken: what stands in `PRECISIONS`; in full where there is no other way."""
    if dtype == torch.float64 or not device.tensor_cores:
        return "ieee"
    return PRECISIONS[torch.get_float32_matmul_precision()]


def options(shares: Shares, dtype: torch.dtype, device: Device) -> dict[str, Any]:
    """What a kernel is compiled for."""
    return {
        "RESIDENT": shares.resident,
        "PARTS": shares.parts,
        "R": ROWS,
        "U": shares.units,
        "K": shares.depth,
        "PRECISION": precision(dtype, device),
        "num_warps": WARPS[shares.units],
        "ACC": accumulator(dtype).triton,
    }
