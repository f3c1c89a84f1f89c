"""Programs over whole sequences by the Triton kernels that `writing.py` writes: forward, backward, on one launch each."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.kernels.gpu import common_kernels
from recurra.kernels.gpu.expressions import HELPERS
from recurra.kernels.gpu.launch import accumulator, by_length, flags, operands, packed, state_buffer, through_steps
from recurra.kernels.gpu.shares import ROWS, Device, Shares, precision, share_out
from recurra.kernels.gpu.writing import Written, write
from recurra.kernels.programs import Given
from recurra.kernels.programs.program import Program, parse
from recurra.kernels.programs.running import backward_with, recorded

WIDE = 16
"""Columns that a sum of a row takes at once, at most, for each warp: eight numbers of a thread, as many values are alive."""
_NAMES = ("add_product", "hand_out", "meet", "place", "rows_of", "steps_of", "takes_part", "tile")


class Made(NamedTuple):
    """A kernel and what it wants."""

    kernel: Any
    written: Written


@lru_cache(maxsize=256)
def made(text: str) -> Made:
    """The kernel of a program's text."""
    program = parse(text)
    written = write(program, program.reset_after)
    # Triton reads the text of a function from where Python has it; this one lies in no file
    name = f"<step {len(linecache.cache)} of a program>"
    linecache.cache[name] = (len(written.text), None, written.text.splitlines(keepends=True), name)
    scope: dict[str, Any] = {"tl": tl, "triton": triton, "__name__": __name__, **HELPERS}
    scope |= {name: getattr(common_kernels, name) for name in _NAMES}
    exec(compile(written.text, name, "exec"), scope)
    unchanging = {"do_not_specialize": ["start", "stop", "T", "B", "PARTS"]}
    kernel = triton.jit(**unchanging)(scope["step_kernel"])
    return Made(kernel, written)


def run(
    program: Program,
    text: str,
    given: Given,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    shares: Shares | None = None,
    stepwise: bool | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """(what a program emits at each step, the last states). Those of 16 bits are multiplied as they are, and added up, like
    everything that is computed on the way and carried from step to step, in float32."""
    like, (steps, batch) = given.inputs[0], given.extent
    # steps that no row of a block takes are not written
    make = like.new_empty if lengths is None else like.new_zeros
    emitted = [make(steps, batch, program.width(value)) for value in program.emitted]
    if not steps or not batch:
        return emitted, [state.clone() for state in given.states]
    kernel, written = made(text)
    device, dtype = Device.of(like), like.dtype
    acc, taken = accumulator(dtype), precision(dtype, device)
    shares = shares or share_out(written.longest, batch, device)
    last = [torch.empty_like(state, memory_format=torch.contiguous_format) for state in given.states]
    scratch = [like.new_empty(batch, width, dtype=acc.torch) for width in written.scratch]
    args = [
        *map(packed, (*given.inputs, *given.fixed)), *(state_buffer(state, acc.torch) for state in given.states),
        *map(packed, (*given.shared, *given.weights)), *emitted, *last, *scratch, packed(lengths), flags(resets),
        by_length(lengths, ROWS),
    ]  # fmt: skip
    options = {
        "REVERSE": reverse, "PARTS": shares.parts, "R": ROWS, "U": shares.units,
        "K": max(16, min(64, triton.next_power_of_2(written.deepest))),
        "W": min(WIDE * shares.warps, triton.next_power_of_2(written.longest)), "PRECISION": taken,
        "ACC": acc.triton, "TO": (operands(dtype) if taken == "narrow" else acc).triton, "num_warps": shares.warps,
    }  # fmt: skip
    grid, phases = (-(-batch // ROWS), shares.parts), range(1, written.stages + 1)
    through_steps(kernel, args, (steps, batch), like, grid, options, phases, stepwise, alone=written.alone)
    return emitted, last


def by_triton(
    text: str, given: Given, lengths: Tensor | None, resets: Tensor | None, reverse: bool, keep: bool
) -> list[Tensor]:
    """`programs.by_torch`, by the kernel that is written for it."""
    text = recorded(text) if keep else text
    emitted, last = run(parse(text), text, given, lengths, resets, reverse)
    return [*emitted, *last]


def backward_by_triton(
    text: str,
    grads: Sequence[Tensor | None],
    grads_after: Sequence[Tensor],
    given: Given,
    saved: Sequence[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
) -> Given:
    """`programs.backward_by_native`, by the kernel of the gradient's program."""
    return backward_with(run, text, grads, grads_after, given, saved, lengths, resets, reverse)
