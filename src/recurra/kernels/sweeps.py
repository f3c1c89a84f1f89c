"""Sweeps: layers whose units meet nobody on their way through time. The table of them, and the truth in plain torch.

A sweep makes all its sums from the inputs, in products of many steps; what is left goes through the steps unit by unit. So a
long sequence is trained at the speed of those products, and a step costs little more than they do. Each cell is one step
here, which the reference runs; the native build has the same (`native/sweep.h`). They know arrays and nothing of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.kernels import reference

Rows = tuple[Tensor, ...]
Tensors = Sequence[Tensor]

_LOWEST = -80.0
"""Sums of a minLSTM's gates below this count as this, so that no exponential overflows in single precision."""


@dataclass(frozen=True)
class Sweep:
    """One cell. `number` is its own to the native build; `gates` blocks of H sums are made from the inputs of a step.

    step: sums[B, S], state -> next state; its first leaf is the output. inner: sums[..., S] -> the values by name that
    `trace` shows.
    """

    name: str
    number: int
    gates: int
    leaves: int
    step: Callable[[Tensor, Rows], Rows]
    inner: Callable[[Tensor], dict[str, Tensor]]


def _mingru(sums: Tensor, state: Rows) -> Rows:
    """z = σ(s_z), S' = (1 - z) S + z s_n (Feng et al. 2024, section 3.1)."""
    (s,), (z, n) = state, sums.chunk(2, dim=-1)
    return (s + torch.sigmoid(z) * (n - s),)


def _mingru_inner(sums: Tensor) -> dict[str, Tensor]:
    z, n = sums.chunk(2, dim=-1)
    return {"z": torch.sigmoid(z), "n": n}


def _minlstm_shares(sums: Tensor) -> tuple[Tensor, Tensor]:
    """f / (f + i) and s_n, where f = σ(s_f) and i = σ(s_i): the two gates as shares of one."""
    f, i, n = sums.chunk(3, dim=-1)
    a, b = (torch.exp(-gate.clamp(min=_LOWEST)) for gate in (f, i))
    return (1 + b) / (2 + a + b), n


def _minlstm(sums: Tensor, state: Rows) -> Rows:
    """S' = f/(f+i) S + i/(f+i) s_n, f and i as in `_minlstm_shares` (Feng et al. 2024, section 3.2)."""
    (s,), (keep, n) = state, _minlstm_shares(sums)
    return (n + keep * (s - n),)


def _minlstm_inner(sums: Tensor) -> dict[str, Tensor]:
    keep, n = _minlstm_shares(sums)
    return {"f": keep, "i": 1 - keep, "n": n}


SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        Sweep("mingru", 0, 2, 1, _mingru, _mingru_inner),
        Sweep("minlstm", 1, 3, 1, _minlstm, _minlstm_inner),
    )
}


def by_reference(
    cell: str,
    x: Tensor,
    states: Tensors,
    weights: Tensors,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    keep: bool,
) -> list[Tensor]:
    """The truth: (outputs[T, B, H], the last states, the sums of every step or nothing), a step at a time.

    x[T, B, I], or a table [V, I] with tokens; weights: weight_in[S, I] and bias_in[S]. With tokens the sums are not kept.
    """
    sweep, (weight_in, bias_in) = SWEEPS[cell], weights
    sums = reference.project(x, weight_in, bias_in, tokens, lengths)

    def step(row: Tensor, state: Rows) -> tuple[Rows, Rows]:
        after = sweep.step(row, state)
        return after, after[:1]

    (outputs,), last = reference.run(step, sums, tuple(states), lengths, resets, reverse, (states[0].shape[1],))
    kept = reference.without_padding(sums, lengths) if keep and tokens is None else x.new_empty(0)
    return [outputs, *last, kept]
