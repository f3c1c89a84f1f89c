"""A launch whose programs run at the same time, in Triton's interpreter: each in a process of its own, over shared memory.

The interpreter runs one program after another, so that parts which wait for one another would wait for ever; elsewhere in the
tests each step is a launch of its own. Here they wait as on a device. Every read of what another part may have written takes
a while that differs from part to part, so that one which comes too early or too late is seen.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from recurra.kernels.gpu import resident_common
from recurra.kernels.gpu.launch import HOW

SECONDS = 60.0
"""After which parts are said to wait for ever."""
SLOW = 0.003
"""Seconds that a read takes at most."""


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
    """`launch.through_steps` as it is on a device: one launch of all steps."""
    assert not stepwise and not alone and grid[1] > 1
    counters = torch.zeros(grid[0], dtype=torch.int64)
    for value in (*args, counters):
        if isinstance(value, Tensor) and value.numel():
            value.share_memory_()
    whole = {**HOW, **options, "MEET": True, **({"PHASE": 0} if phases else {})}
    children = [
        _begun((block, part), grid, lambda: kernel[(1, 1)](*args, counters, 0, sizes[0], *sizes, **whole))
        for block in range(grid[0])
        for part in range(grid[1])
    ]
    _wait_for(children)


def _begun(index: tuple[int, int], grid: tuple[int, int], run: Any) -> int:
    """The process of one program."""
    with warnings.catch_warnings():
        # (Python warns of threads, of which the child uses none)
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    failed = 1
    try:
        _as_program(index, grid)
        run()
        failed = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(failed)


@triton.jit
def _looked(counter):
    return tl.atomic_add(counter.to(tl.pointer_type(tl.int64), bitcast=True), 0)


def _as_program(index: tuple[int, int], grid: tuple[int, int]) -> None:
    """From here on this process is that program of a launch."""
    builder: Any = interpreter.interpreter_builder
    when = random.Random(index[1])
    load = builder.create_masked_load

    def place(*_: int) -> None:
        builder.grid_idx, builder.grid_dim = (*index, 0), (*grid, 1)

    def slowly(ptrs: Any, mask: Any, other: Any, modifier: Any, *rest: Any) -> Any:
        from_parts = str(modifier).lower().endswith("cg")
        if from_parts:
            time.sleep(when.uniform(0, SLOW))
        found = load(ptrs, mask, other, modifier, *rest)
        if from_parts:
            time.sleep(when.uniform(0, SLOW))
        return found

    builder.set_grid_idx, builder.set_grid_dim, builder.create_masked_load = place, place, slowly
    resident_common._acquired = _looked  # (in place of machine code)


def _wait_for(children: list[int]) -> None:
    """Until all have ended; where one fails, or all wait for ever, the others are ended."""
    left, failed, ends = set(children), False, time.monotonic() + SECONDS
    while left:
        for child in tuple(left):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                left.remove(child)
                failed = failed or status != 0
        if failed or time.monotonic() > ends:
            for child in left:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            raise AssertionError("a program failed" if failed else f"{len(left)} programs wait for ever")
        time.sleep(0.002)
