"""Sweeps as programs of their step: what stands behind gradients of gradients of the cells that read sums alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.kernels.ops_scan import by_kernels
from recurra.kernels.programs import Sizes
from recurra.kernels.scan import scan_traced, traced_step
from recurra.kernels.sweeps import SWEEPS, Parameters, Rows, Tensors, prepared
from recurra.kernels.transforms import in_own_dtype, unwatched


@dataclass(frozen=True)
class SweepStep:
    """A sweep's step in the form of `scan`: its sums as inputs, what it knows of each unit as parameters "0", "1", ..."""

    cell: str

    def __call__(self, inputs: Rows, state: Rows, given: Mapping[str, Tensor]) -> tuple[Rows, Rows]:
        sweep = SWEEPS[self.cell]
        after = sweep.step(inputs[0], state, tuple(given[str(at)] for at in range(len(given))))
        return after[len(after) - sweep.leaves :], (torch.cat(after[: sweep.emits], dim=-1),)


def runs(cell: str, like: Tensor) -> bool:
    """Whether a call with numbers like these is a program that kernels run, watched by nobody."""
    return not SWEEPS[cell].recurrent and by_kernels(like) and unwatched()


def by_program(
    cell: str, x: Tensor, states: Tensors, parameters: Parameters, tokens: Tensor | None, lengths: Tensor | None,
    resets: Tensor | None, reverse: bool, keep: bool,
) -> list[Tensor]:  # fmt: skip
    """`sweeps.by_reference` of a cell that `runs`, but for the sums, which are never kept. Gradients of every order."""
    with in_own_dtype(x.device):
        sums, numbers = prepared(cell, x, parameters, tokens, lengths)
    given = {str(at): value for at, value in enumerate(numbers)}
    shapes = tuple((name, tuple(value.shape)) for name, value in given.items())
    sizes = Sizes((sums.shape[-1],), tuple(state.shape[-1] for state in states), (), shapes, False)
    traced = traced_step(SweepStep(cell), sizes)
    if isinstance(traced, str):
        raise AssertionError(f"the step of '{cell}' is no program: {traced}")
    (outputs,), last = scan_traced(traced, (sums,), tuple(states), given, {}, lengths, resets, reverse)
    return [outputs, *last, x.new_empty(0), x.new_empty(0)]
