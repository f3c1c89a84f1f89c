"""Sweeps: layers whose units meet nobody on their way through time. The table of them, and the truth in plain torch.

A sweep makes all its sums from the inputs, in products of many steps; what is left goes through the steps unit by unit. So a
long sequence is trained at the speed of those products, and a step costs little more than they do. Each cell is one step
here, which the reference runs; the native build has the same (`native/sweep.h`). They know arrays and nothing of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.kernels import reference

Rows = tuple[Tensor, ...]
Tensors = Sequence[Tensor]

_LOWEST = -80.0
"""Sums of a minLSTM's gates below this count as this, so that no exponential overflows in single precision."""


@dataclass(frozen=True)
class Sweep:
    """One cell. `number` is its own to the native build; `gates` blocks of H sums a step, the first `read` by weight_in.

    leaves: of its state, which are its outputs side by side. parameters: of each unit. numbers: own[parameters, H] -> what
    the step knows of each unit. step: sums[B, S], state, numbers -> next state. inner: the same sums[..., S] and numbers ->
    the values by name that `trace` shows.
    """

    name: str
    number: int
    gates: int
    read: int
    leaves: int
    parameters: int
    step: Callable[[Tensor, Rows, Rows], Rows]
    inner: Callable[[Tensor, Rows], dict[str, Tensor]]
    numbers: Callable[[Tensor], Rows] = lambda own: ()

    @property
    def in_blocks(self) -> bool:
        """Whether some gates read the first sums, block by block."""
        return self.read < self.gates


def _mingru(sums: Tensor, state: Rows, numbers: Rows) -> Rows:
    """z = σ(s_z), S' = (1 - z) S + z s_n (Feng et al. 2024, section 3.1)."""
    (s,), (z, n) = state, sums.chunk(2, dim=-1)
    return (s + torch.sigmoid(z) * (n - s),)


def _mingru_inner(sums: Tensor, numbers: Rows) -> dict[str, Tensor]:
    z, n = sums.chunk(2, dim=-1)
    return {"z": torch.sigmoid(z), "n": n}


def _minlstm_shares(sums: Tensor) -> tuple[Tensor, Tensor]:
    """f / (f + i) and s_n, where f = σ(s_f) and i = σ(s_i): the two gates as shares of one."""
    f, i, n = sums.chunk(3, dim=-1)
    a, b = (torch.exp(-gate.clamp(min=_LOWEST)) for gate in (f, i))
    return (1 + b) / (2 + a + b), n


def _minlstm(sums: Tensor, state: Rows, numbers: Rows) -> Rows:
    """S' = f/(f+i) S + i/(f+i) s_n, f and i as in `_minlstm_shares` (Feng et al. 2024, section 3.2)."""
    (s,), (keep, n) = state, _minlstm_shares(sums)
    return (n + keep * (s - n),)


def _minlstm_inner(sums: Tensor, numbers: Rows) -> dict[str, Tensor]:
    keep, n = _minlstm_shares(sums)
    return {"f": keep, "i": 1 - keep, "n": n}


POWER = 8.0
"""c of the RG-LRU: how far a gate can go from its unit's own decay."""
_LEAST = 1e-12
"""What is below the RG-LRU's root is this at least, so that its gradient stays finite."""


def _rglru_numbers(own: Tensor) -> Rows:
    return (-POWER * F.softplus(own[0]),)


def _rglru_parts(sums: Tensor, numbers: Rows) -> Rows:
    """v, r, i, log a: log a = -c softplus(Λ) r."""
    v, r, i = sums.chunk(3, dim=-1)
    r, i = torch.sigmoid(r), torch.sigmoid(i)
    return v, r, i, numbers[0] * r


def _rglru(sums: Tensor, state: Rows, numbers: Rows) -> Rows:
    """S' = a S + sqrt(1 - a²) i v, a = exp(-c softplus(Λ) r) (De et al. 2024, section 2.4)."""
    (s,), (v, _, i, log) = state, _rglru_parts(sums, numbers)
    return (torch.exp(log) * s + (-torch.expm1(2 * log)).clamp(min=_LEAST).sqrt() * (i * v),)


def _rglru_inner(sums: Tensor, numbers: Rows) -> dict[str, Tensor]:
    v, r, i, log = _rglru_parts(sums, numbers)
    return {"v": v, "r": r, "i": i, "a": torch.exp(log)}


def _lru_numbers(own: Tensor) -> Rows:
    """The two parts of λ = exp(-exp(ν) + i exp(θ)), and exp(γ)."""
    size, angle = torch.exp(-torch.exp(own[0])), torch.exp(own[1])
    return size * torch.cos(angle), size * torch.sin(angle), torch.exp(own[2])


def _lru(sums: Tensor, state: Rows, numbers: Rows) -> Rows:
    """S' = λ S + exp(γ) s, S and s complex (Orvieto et al. 2023, section 3.4)."""
    (re, im), (x_re, x_im), (l_re, l_im, g) = state, sums.chunk(2, dim=-1), numbers
    return l_re * re - l_im * im + g * x_re, l_re * im + l_im * re + g * x_im


def _lru_inner(sums: Tensor, numbers: Rows) -> dict[str, Tensor]:
    return {}


SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        Sweep("mingru", 0, 2, 2, 1, 0, _mingru, _mingru_inner),
        Sweep("minlstm", 1, 3, 3, 1, 0, _minlstm, _minlstm_inner),
        Sweep("rglru", 2, 3, 1, 1, 1, _rglru, _rglru_inner, _rglru_numbers),
        Sweep("lru", 3, 2, 2, 2, 3, _lru, _lru_inner, _lru_numbers),
    )
}


@dataclass(frozen=True)
class Parameters:
    """What a sweep is made with; None where it has none.

    weight_in[R*H, I] and bias_in[R*H] make the first sums (an RG-LRU without them reads inputs of width H as they are);
    weight_gates[G, H, W] and bias_gates[G*H] make the others from the first sums of a unit's block; own[P, H].
    """

    weight_in: Tensor | None
    bias_in: Tensor | None
    weight_gates: Tensor | None = None
    bias_gates: Tensor | None = None
    own: Tensor | None = None

    @property
    def present(self) -> list[bool]:
        return [value is not None for value in self.all]

    @property
    def all(self) -> tuple[Tensor | None, ...]:
        return self.weight_in, self.bias_in, self.weight_gates, self.bias_gates, self.own

    @property
    def tensors(self) -> list[Tensor]:
        return [value for value in self.all if value is not None]

    @classmethod
    def of(cls, tensors: Tensors, present: Sequence[bool]) -> Parameters:
        """From `tensors` and `present` of another."""
        left = iter(tensors)
        return cls(*(next(left) if there else None for there in present))


def gates_of(first: Tensor, parameters: Parameters) -> Tensor:
    """The first sums[..., H] and behind them those of the gates that read them block by block, [..., S]."""
    weight, bias = parameters.weight_gates, parameters.bias_gates
    if weight is None or bias is None:
        return first
    _, hidden, width = weight.shape
    blocks = first.unflatten(-1, (hidden // width, width))
    read = torch.einsum("...bj,gbij->...gbi", blocks, weight.unflatten(1, (hidden // width, width)))
    return torch.cat([first, read.flatten(-3) + bias], dim=-1)


def by_reference(
    cell: str,
    x: Tensor,
    states: Tensors,
    parameters: Parameters,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    keep: bool,
) -> list[Tensor]:
    """The truth: (outputs[T, B, .], the last states, the sums of every step or nothing), a step at a time.

    x[T, B, I], or a table [V, I] with tokens. With tokens the sums are not kept.
    """
    sweep = SWEEPS[cell]
    first = reference.project(
        x, parameters.weight_in, parameters.bias_in, None, None if tokens is not None else lengths
    )
    sums = gates_of(first, parameters)
    sums = sums if tokens is None else F.embedding(tokens, sums)
    numbers = () if parameters.own is None else sweep.numbers(parameters.own)

    def step(row: Tensor, state: Rows) -> tuple[Rows, Rows]:
        after = sweep.step(row, state, numbers)
        return after, (torch.cat(after, dim=-1),)

    width = sweep.leaves * states[0].shape[1]
    (outputs,), last = reference.run(step, sums, tuple(states), lengths, resets, reverse, (width,))
    kept = reference.without_padding(sums, lengths) if keep and tokens is None else x.new_empty(0)
    return [outputs, *last, kept]
