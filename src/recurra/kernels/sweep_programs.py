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
    """A sweep's step in the form of `scan`: its sums as inputs, what it knows of each unit as parameters "0", "1", ...

    "weight" is that of the heads of a recurrent cell. `keep`: whether the sums are handed out too.
    """

    cell: str
    keep: bool = False

    def __call__(self, inputs: Rows, state: Rows, given: Mapping[str, Tensor]) -> tuple[Rows, Rows]:
        sweep, sums = SWEEPS[self.cell], inputs[0]
        numbers = tuple(given[str(at)] for at in range(len(given) - ("weight" in given)))
        if "weight" in given:
            sums = sums + _by_heads(state[0], given["weight"])
        after = sweep.step(sums, state, numbers)
        return after[len(after) - sweep.leaves :], (torch.cat(after[: sweep.emits], dim=-1), *([sums] * self.keep))


def _by_heads(outputs: Tensor, weight: Tensor) -> Tensor:
    """`by_blocks` of rows [B, H] and weight[G, H, W], a product a head."""
    gates, _, width = weight.shape
    heads = [
        part @ each.flatten(0, 1).T
        for part, each in zip(outputs.split(width, dim=-1), weight.split(width, dim=1), strict=True)
    ]
    return torch.cat([one[:, gate * width : (gate + 1) * width] for gate in range(gates) for one in heads], dim=-1)


def runs(cell: str, like: Tensor) -> bool:
    """Whether a call with numbers like these is a program that kernels run, watched by nobody."""
    return not SWEEPS[cell].hands_out and by_kernels(like) and unwatched()


def by_program(
    cell: str, x: Tensor, states: Tensors, parameters: Parameters, tokens: Tensor | None, lengths: Tensor | None,
    resets: Tensor | None, reverse: bool, keep: bool,
) -> list[Tensor]:  # fmt: skip
    """`sweeps.by_reference` of a cell that is a program. Gradients of every order. Only a recurrent cell's sums are kept."""
    sweep, weight = SWEEPS[cell], parameters.weight_gates
    with in_own_dtype(x.device):
        sums, numbers = prepared(cell, x, parameters, tokens, lengths)
    given = {str(at): value for at, value in enumerate(numbers)}
    keep = keep and sweep.recurrent
    if sweep.recurrent and weight is not None:
        given["weight"] = weight
    shapes = tuple((name, tuple(value.shape)) for name, value in given.items())
    sizes = Sizes((sums.shape[-1],), tuple(state.shape[-1] for state in states), (), shapes, False)
    traced = traced_step(SweepStep(cell, keep), sizes)
    if isinstance(traced, str):
        raise AssertionError(f"the step of '{cell}' is no program: {traced}")
    emitted, last = scan_traced(traced, (sums,), tuple(states), given, {}, lengths, resets, reverse)
    kept = emitted[1] if keep else x.new_empty(0)
    return [emitted[0], *last, kept, x.new_zeros(sweep.marks(sums.shape[0], states) if keep else (0,))]
