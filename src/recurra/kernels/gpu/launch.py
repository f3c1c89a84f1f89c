"""What every launch of a Triton kernel needs: numbers to add up in, flags as bytes, and the device of a tensor."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

HOW: dict[str, Any] = {"enable_fp_fusion": True}
"""How kernels are compiled, said at each launch, since defaults change between versions: products are added unrounded."""


class Accumulator(NamedTuple):
    torch: torch.dtype
    triton: Any


def accumulator(dtype: torch.dtype) -> Accumulator:
    """What sums of this dtype are added up in: float32 at least."""
    if dtype == torch.float64:
        return Accumulator(torch.float64, tl.float64)
    return Accumulator(torch.float32, tl.float32)


def wide(value: Any) -> Any:
    """Numbers of 16 bits in float32; all else as it is."""
    narrow = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if narrow else value


def flags(values: Tensor | None) -> Tensor | None:
    """Booleans as bytes, in the same memory."""
    return None if values is None else values.contiguous().view(torch.uint8)


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """Launches inside go to the tensor's device; in the interpreter that is the processor."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()
