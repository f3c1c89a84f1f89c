"""What every launch of a Triton kernel needs: numbers to add up in, flags as bytes, and the device of a tensor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

HOW: dict[str, Any] = {"enable_fp_fusion": True}
"""How kernels are compiled, said at each launch, since defaults change between versions: products are added unrounded."""


class Numbers(NamedTuple):
    """A dtype by its two names."""

    torch: torch.dtype
    triton: Any


NARROW = {
    torch.bfloat16: Numbers(torch.bfloat16, tl.bfloat16),
    torch.float16: Numbers(torch.float16, tl.float16),
}


def accumulator(dtype: torch.dtype) -> Numbers:
    """What sums of this dtype are added up in: float32 at least."""
    if dtype == torch.float64:
        return Numbers(torch.float64, tl.float64)
    return Numbers(torch.float32, tl.float32)


def operands(dtype: torch.dtype) -> Numbers:
    """What products of this dtype take."""
    return NARROW.get(dtype) or accumulator(dtype)


def held_in_registers() -> bool:
    """Whether kernels hold tiles by what only a compiler knows: the interpreter has no machine code."""
    return os.environ.get("TRITON_INTERPRET") != "1"


def flags(values: Tensor | None) -> Tensor | None:
    """Booleans as bytes, in the same memory."""
    return None if values is None else values.contiguous().view(torch.uint8)


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """Launches inside go to the tensor's device; in the interpreter that is the processor."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def packed(value: Tensor | None) -> Tensor | None:
    """The same, in one piece of memory."""
    return None if value is None else value.contiguous()


def state_buffer(first: Tensor, dtype: torch.dtype) -> Tensor:
    """Two places for what a step leaves to the next, the first one filled."""
    both = first.new_empty(2, *first.shape, dtype=dtype)
    both[0] = first
    return both


def by_length(lengths: Tensor | None, block: int) -> Tensor | None:
    """The rows from the longest to the shortest, so that those of a block end together; None where there is one block."""
    if lengths is None or len(lengths) <= block:
        return None
    return lengths.argsort(descending=True, stable=True)


def through_steps(
    kernel: Any,
    args: Sequence[Any],
    sizes: tuple[int, ...],
    like: Tensor,
    grid: tuple[int, int],
    options: dict[str, Any],
    phases: Sequence[int] = (),
    stepwise: bool | None = None,
    alone: bool = False,
) -> None:
    """Launch a kernel of steps: `kernel[grid](*args, counters, start, stop, *sizes)`, sizes = steps, batch, ...

    One launch takes all steps, and parts of a block (the second axis of the grid) meet in it. `stepwise`, which the
    processor needs since there one program runs after another, makes one launch a step and phase instead: the same numbers.
    `alone`: no part reads what another one wrote, so they do not meet.
    """
    (blocks, parts), steps = grid, sizes[0]
    meets = parts > 1 and not alone
    stepwise = meets and (not like.is_cuda if stepwise is None else stepwise)
    options = {**HOW, **options}
    if like.is_cuda and meets and not stepwise:
        # refused by the device, not waited for, if not all programs have room at once
        options["launch_cooperative_grid"] = True
    counters = torch.zeros(blocks, dtype=torch.int64, device=like.device)
    with on_device(like):
        if not stepwise:
            kernel[grid](*args, counters, 0, steps, *sizes, MEET=meets, **options, **({"PHASE": 0} if phases else {}))
            return
        for step in range(steps):
            for phase in phases or (None,):
                chosen = {} if phase is None else {"PHASE": phase}
                kernel[grid](*args, counters, step, step + 1, *sizes, MEET=False, **options, **chosen)
