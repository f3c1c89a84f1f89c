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
from recurra.kernels.transforms import in_own_dtype

FEW_INPUTS = 16
"""Numbers of a step up to which a sweep's sums are made again in backward instead of being kept."""

Rows = tuple[Tensor, ...]
Tensors = Sequence[Tensor]

LOWEST = -80.0
"""Sums of a minLSTM's gates below this count as this, so that no exponential overflows in single precision."""


@dataclass(frozen=True)
class Sweep:
    """One cell. `number` is its own to the native build; `gates` blocks of H sums a step, the first `read` by weight_in.

    leaves: of its state, the first `emits` of which are its outputs side by side. parameters: of each unit. blocks: weights
    [H, W] that act block by block, on the first sums or, if `recurrent`, on the output before. numbers: own[parameters, H] ->
    what the step knows of each unit. step: sums[B, S], state, numbers -> next state. inner: the same sums[..., S] and numbers
    -> the values by name that `trace` shows.
    """

    name: str
    number: int
    gates: int
    read: int
    leaves: int
    emits: int
    parameters: int
    blocks: int
    recurrent: bool
    step: Callable[[Tensor, Rows, Rows], Rows]
    inner: Callable[[Tensor, Rows], dict[str, Tensor]]
    numbers: Callable[[Tensor], Rows] = lambda own: ()
    hands_out: bool = False
    """Whether the step gives its output before its state, of which it is no part; two gates a head are its last sums."""

    def sums(self, states: Tensors) -> int:
        """The numbers of a step's sums: blocks of H, and an mLSTM's two gates for each head."""
        return self.gates * states[0].shape[1] + (2 * states[-1].shape[1] if self.hands_out else 0)

    def worth_keeping(self, inputs: int) -> bool:
        """Whether the gradients want the sums of all steps: of few inputs they are made again sooner than they are read.

        A recurrent cell's are made step by step, and gates that read sums cost more than sums of few inputs.
        """
        return self.recurrent or self.blocks > 0 or inputs > FEW_INPUTS

    def marks(self, steps: int, states: Tensors) -> tuple[int, ...]:
        """The shape of the states that a recurrent cell keeps for its gradients."""
        chunks = (steps + MARK_STEPS - 1) // MARK_STEPS
        return (chunks, states[0].shape[0], sum(state.shape[1] for state in states)) if self.recurrent else (0,)


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
    a, b = (torch.exp(-gate.clamp(min=LOWEST)) for gate in (f, i))
    return (1 + b) / (2 + a + b), n


def _minlstm(sums: Tensor, state: Rows, numbers: Rows) -> Rows:
    """S' = f/(f+i) S + i/(f+i) s_n, f and i as in `_minlstm_shares` (Feng et al. 2024, section 3.2)."""
    (s,), (keep, n) = state, _minlstm_shares(sums)
    return (n + keep * (s - n),)


def _minlstm_inner(sums: Tensor, numbers: Rows) -> dict[str, Tensor]:
    keep, n = _minlstm_shares(sums)
    return {"f": keep, "i": 1 - keep, "n": n}


MARK_STEPS = 32
"""Steps between two states that are kept for the gradients of a recurrent cell."""
POWER = 8.0
"""c of the RG-LRU: how far a gate can go from its unit's own decay."""
LEAST = 1e-12
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
    return (torch.exp(log) * s + (-torch.expm1(2 * log)).clamp(min=LEAST).sqrt() * (i * v),)


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


def near_log_sigmoid(f: Tensor) -> Tensor:
    """log σ(f), in which log(1 + exp(-|f|)) is a fraction of polynomials, within 2e-4; of what takes no gradient."""
    e = torch.exp(-f.abs())
    return f.clamp(max=0) - e * (30 + 21 * e + e * e) / (30 + 36 * e + 9 * e * e)


def scales(input: Tensor, forget: Tensor, m: Tensor) -> Rows:
    """m', and the gates exp(input) and σ(forget) as they act on what is kept times exp(-m): i exp(-m'), f exp(m - m').

    m' = max(log σ(forget) + m, input) keeps both below one and cancels in every output, so no gradient goes through it.
    """
    m = m.detach()
    new_m = torch.maximum(near_log_sigmoid(forget.detach()) + m, input.detach())
    return new_m, torch.exp(input - new_m), torch.exp(F.logsigmoid(forget) + m - new_m)


def _slstm(sums: Tensor, state: Rows, numbers: Rows) -> Rows:
    """z = tanh(s_z), i = exp(s_i), f = σ(s_f), o = σ(s_o), c' = f c + i z, n' = f n + i, S' = o c'/n' (Beck et al. 2024).

    c and n are kept times exp(-m), see `scales`. Where n = 0 nothing was seen yet, and m is the input gate's.
    """
    (_, c, n, m), (z, i, f, o) = state, sums.chunk(4, dim=-1)
    begins = n == 0
    new_m, gate, keep = scales(i, f, torch.where(begins, torch.full_like(m, -1e30), m))
    new_c, new_n = keep * c + gate * torch.tanh(z), keep * n + gate
    return torch.sigmoid(o) * (new_c / new_n), new_c, new_n, new_m


def _slstm_inner(sums: Tensor, numbers: Rows) -> dict[str, Tensor]:
    z, i, f, o = sums.chunk(4, dim=-1)
    return {"z": torch.tanh(z), "i": i, "f": torch.sigmoid(f), "o": torch.sigmoid(o)}


def _mlstm(sums: Tensor, state: Rows, numbers: Rows) -> Rows:
    """C' = f C + i k v^T, n' = f n + i k, S' = o C'^T q / max(|n' q|, exp(-m')), a matrix for each head (Beck et al. 2024).

    k over the root of a head's width; i, f, m as in `scales`; m counts as 80 at most in that bound.
    """
    n, c, m = state
    hidden, heads = n.shape[1], m.shape[1]
    width = hidden // heads
    q, k, v, o = sums[:, : 4 * hidden].unflatten(1, (4, heads, width)).unbind(1)
    i, f = sums[:, 4 * hidden :].chunk(2, dim=1)
    new_m, gate, keep = (value[..., None] for value in scales(i, f, m))
    k = gate * (k / width**0.5)
    new_n = keep * n.unflatten(1, (heads, width)) + k
    new_c = keep[..., None] * c.unflatten(1, (heads, width, width)) + k[..., None] * v[:, :, None]
    by = torch.maximum((q * new_n).sum(-1, keepdim=True).abs(), torch.exp(-new_m.clamp(max=80)))
    read = (q[..., None] * new_c).sum(2) / by
    return (torch.sigmoid(o) * read).flatten(1), new_n.flatten(1), new_c.flatten(1), new_m.flatten(1)


def _mlstm_inner(sums: Tensor, numbers: Rows) -> dict[str, Tensor]:
    return {"sums": sums}


SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        Sweep("mingru", 0, 2, 2, 1, 1, 0, 0, False, _mingru, _mingru_inner),
        Sweep("minlstm", 1, 3, 3, 1, 1, 0, 0, False, _minlstm, _minlstm_inner),
        Sweep("rglru", 2, 3, 1, 1, 1, 1, 2, False, _rglru, _rglru_inner, _rglru_numbers),
        Sweep("lru", 3, 2, 2, 2, 2, 3, 0, False, _lru, _lru_inner, _lru_numbers),
        Sweep("slstm", 4, 4, 4, 4, 1, 0, 4, True, _slstm, _slstm_inner),
        Sweep("mlstm", 5, 4, 4, 3, 1, 0, 0, True, _mlstm, _mlstm_inner, hands_out=True),
    )
}


@dataclass(frozen=True)
class Parameters:
    """What a sweep is made with; None where it has none.

    weight_in[R*H, I] and bias_in[R*H] make the first sums (an RG-LRU without them reads inputs of width H as they are);
    weight_gates[G, H, W] and bias_gates[G*H] make the others from the first sums of a unit's block; a recurrent cell's
    weight_gates[4, H, W] act on the output before; own[P, H].
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


def by_blocks(first: Tensor, weight: Tensor) -> Tensor:
    """weight[G, H, W] times the numbers[..., H] of each block: [..., G*H]."""
    _, hidden, width = weight.shape
    blocks = first.unflatten(-1, (hidden // width, width))
    read = torch.einsum("...bj,gbij->...gbi", blocks, weight.unflatten(1, (hidden // width, width)))
    return read.flatten(-3)


def sums_of(x: Tensor, parameters: Parameters, tokens: Tensor | None, lengths: Tensor | None) -> Tensor:
    """The sums[T, B, S] that the inputs make for all steps, x[T, B, I] or a table [V, I] with tokens[T, B]."""
    first = reference.project(
        x, parameters.weight_in, parameters.bias_in, None, None if tokens is not None else lengths
    )
    weight, bias, sums = parameters.weight_gates, parameters.bias_gates, first
    if weight is not None and bias is not None:
        sums = torch.cat([first, by_blocks(first, weight) + bias], dim=-1)
    return sums if tokens is None else F.embedding(tokens, sums)


def prepared(
    cell: str, x: Tensor, parameters: Parameters, tokens: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Rows]:
    """What the steps of a sweep are given: the sums[T, B, S], and what a step knows of each unit."""
    numbers = () if parameters.own is None else SWEEPS[cell].numbers(parameters.own)
    return sums_of(x, parameters, tokens, lengths), numbers


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
    """The truth: (outputs[T, B, .], the last states, the sums of every step or nothing, no marks), a step at a time.

    x[T, B, I], or a table [V, I] with tokens, whose sums are not kept but for a recurrent cell.
    """
    sweep, weight = SWEEPS[cell], parameters.weight_gates
    with in_own_dtype(x.device):
        sums, numbers = prepared(cell, x, parameters, tokens, lengths)

    def step(row: Tensor, state: Rows) -> tuple[Rows, Rows]:
        if sweep.recurrent and weight is not None:
            row = row + by_blocks(state[0], weight)
        after = sweep.step(row, state, numbers)
        return after[len(after) - sweep.leaves :], (torch.cat(after[: sweep.emits], dim=-1), row)

    widths = (sweep.emits * states[0].shape[1], sweep.sums(states))
    with in_own_dtype(x.device):
        (outputs, kept), last = reference.run(step, sums, tuple(states), lengths, resets, reverse, widths)
    kept = kept if keep and (tokens is None or sweep.recurrent) else x.new_empty(0)
    marks = sweep.marks(sums.shape[0], states) if keep else (0,)
    return [outputs, *last, kept, x.new_zeros(marks)]
