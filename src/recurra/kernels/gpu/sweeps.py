"""The linear sweeps on a GPU: sums in large products, coefficients in torch, the steps in one scan (`scans.py`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recurra.kernels.gpu.launch import wide
from recurra.kernels.gpu.scans import CHUNK, linear_scan
from recurra.kernels.sweeps import LEAST, SWEEPS, Parameters, Rows, Tensors, sums_of


def _mingru(sums: Tensor, numbers: Rows) -> tuple[Tensor, Tensor]:
    inner = SWEEPS["mingru"].inner(sums, numbers)
    return 1 - inner["z"], inner["z"] * inner["n"]


def _minlstm(sums: Tensor, numbers: Rows) -> tuple[Tensor, Tensor]:
    inner = SWEEPS["minlstm"].inner(sums, numbers)
    return inner["f"], inner["i"] * inner["n"]


def _rglru(sums: Tensor, numbers: Rows) -> tuple[Tensor, Tensor]:
    inner = SWEEPS["rglru"].inner(sums, numbers)
    share = (-torch.expm1(2 * numbers[0] * inner["r"])).clamp(min=LEAST).sqrt()
    return inner["a"], share * (inner["i"] * inner["v"])


def _lru(sums: Tensor, numbers: Rows) -> tuple[Tensor, Tensor]:
    re, im, scale = numbers
    return torch.cat([re, im]).expand_as(sums), torch.cat([scale, scale]) * sums


COEFFICIENTS: dict[str, Callable[[Tensor, Rows], tuple[Tensor, Tensor]]] = {
    "mingru": _mingru,
    "minlstm": _minlstm,
    "rglru": _rglru,
    "lru": _lru,
}
"""(sums[T, B, S], what the step knows of each unit) -> a and b of S_t = a_t S_{t-1} + b_t; complex for the LRU."""


def by_scan(
    cell: str,
    x: Tensor,
    states: Tensors,
    parameters: Parameters,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    keep: bool,
    chunk: int = CHUNK,
) -> list[Tensor]:
    """`sweeps.by_reference` of a cell of `COEFFICIENTS`, with all steps side by side. First derivatives.

    Numbers of 16 bits are computed in float32, and results rounded once.
    """
    narrow = x.dtype
    x, states = wide(x), [wide(state) for state in states]
    parameters = Parameters(*map(wide, parameters.all))
    sums = sums_of(x, parameters, tokens, lengths)
    numbers = () if parameters.own is None else SWEEPS[cell].numbers(parameters.own)
    a, b = COEFFICIENTS[cell](sums, numbers)
    pairs = SWEEPS[cell].leaves == 2
    first = torch.cat(list(states), dim=-1)
    outputs, last = linear_scan(a, b, first, lengths=lengths, resets=resets, reverse=reverse, pairs=pairs, chunk=chunk)
    kept = x.new_empty(0)
    if keep and tokens is None:
        kept = sums
        if lengths is not None:
            alive = torch.arange(sums.shape[0], device=sums.device)[:, None] < lengths
            kept = torch.where(alive[..., None], sums, torch.zeros_like(sums))
    # (memory of their own, as every result of an operation has)
    parts = [part.clone() for part in last.chunk(len(states), dim=-1)]
    return [value.to(narrow) for value in (outputs, *parts, kept, x.new_zeros(0))]
