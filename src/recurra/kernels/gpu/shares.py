"""How the work of a layer is shared out: how many programs a block of rows has, how many units each of them takes.

It knows sizes and what a device has, and no kernel. See `layer_kernels.py` for what the numbers mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.kernels.gpu.launch import NARROW, accumulator
from recurra.kernels.gpu.rounding import as_tf32

ROWS = 16
"""Rows of a block: the least that its products may have."""
MANY = 64
"""Rows of a block in a layer for which there are not enough programs: a weight that is read serves four times as many."""
LEAST = 16
"""Units of a program: the least that its products may have."""
ALONE = 64
"""Up to this many units a block of rows is one program: they are done before a meeting would be over."""
BLOCK = 32
"""Units of a block where a program takes several, one after another."""
MOST = 64
"""Units that a program takes at once, at most."""
SHARED_OF_MOST = 160 * 1024
"""Bytes of shared memory that a program of so many units has; others have up to 96 KiB where a device has no more than 99."""
DEPTH = 64
"""Units of the state that a product takes at once where the weight does not stay."""
DEPTH_OF_MANY = 32
"""The same for blocks of MANY rows: with 64 an LSTM in tf32 wants 299 KB of shared memory backward."""
WARPS = {16: 2, 32: 4, 64: 4}
"""Warps by units: a tile of 16 rows has work for one warp every eight columns."""


@dataclass(frozen=True)
class Shares:
    """PARTS programs a block of rows; each takes UNITS at once, and DEPTH units of the state in one product, with a weight
    that is read at every step."""

    parts: int
    units: int
    depth: int
    rows: int = ROWS

    @property
    def warps(self) -> int:
        return WARPS[self.units] if self.rows == ROWS else 8


@dataclass(frozen=True)
class Device:
    """What counts of a device."""

    multiprocessors: int = 1
    tensor_cores: bool = True
    shared: int = 227 * 1024
    """Bytes of shared memory that a program may have: 227 KiB of capability 9.0, 163 of 8.0, 99 of 8.6, 8.9 and 12.0."""

    @classmethod
    def of(cls, tensor: Tensor) -> Device:
        if not tensor.is_cuda:
            return cls()
        found = torch.cuda.get_device_properties(tensor.device)
        shared = getattr(found, "shared_memory_per_block_optin", found.shared_memory_per_block)
        return cls(found.multi_processor_count, found.major >= 8, shared)


def share_out(hidden: int, batch: int, device: Device, many: bool = False) -> Shares:
    """The shares of a layer. There are never more programs than multiprocessors where they meet: so each finds a place, and
    none waits for one that has not begun. `many`: blocks may have MANY rows."""
    whole = max(LEAST, 1 << (hidden - 1).bit_length())
    programs = -(-batch // ROWS) * -(-hidden // BLOCK)
    rows = MANY if many and batch >= MANY and hidden > ALONE and programs > device.multiprocessors else ROWS
    free = device.multiprocessors // -(-batch // rows) if batch else 1
    if whole <= ALONE or free < 2:
        parts, units = 1, whole if whole <= ALONE else BLOCK
    else:
        sizes = (LEAST, BLOCK, MOST) if device.shared >= SHARED_OF_MOST else (LEAST, BLOCK)
        fitting = (units for units in sizes if -(-hidden // units) <= free)
        units = BLOCK if rows == MANY else next(fitting, BLOCK)
        parts = min(free, -(-hidden // units))
    return Shares(parts, units, min(whole, DEPTH if rows == ROWS else DEPTH_OF_MANY), rows)


def precision(dtype: torch.dtype, device: Device) -> str:
    """How products are taken: numbers of 16 bits as they are, float32 as one product of tf32 numbers or as three that leave
    out next to nothing; in full where there is no other way.

    torch's own products of 16 bits do not look at the precision of float32 either.
    """
    if dtype == torch.float64 or not device.tensor_cores:
        return "ieee"
    if dtype in NARROW:
        return "narrow"
    return "tf32" if as_tf32() else "tf32x3"


def options(shares: Shares, dtype: torch.dtype, device: Device) -> dict[str, Any]:
    """What a kernel is compiled for."""
    return {
        "PARTS": shares.parts,
        "R": shares.rows,
        "U": shares.units,
        "K": shares.depth,
        "PRECISION": precision(dtype, device),
        "num_warps": shares.warps,
        "ACC": accumulator(dtype).triton,
    }
