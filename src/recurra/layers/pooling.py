"""Pooling: what the outputs of all steps so far come to, kept as a state so that a sequence may come in pieces.

Each takes hidden[T, B, H] and the summary[B, S] of what came before, and gives the summary after it; `read` tells the
[B, width] that an answer is read off; H wide, but for `Every`. A summary that was not given anything yet is zeros. Steps
past `lengths` do not count, and of a row that was reset only what came at or after its last reset does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.errors import UsageError

BOUND = 8.0
"""Scores lie between minus and plus this, so that their exponentials need no common factor that later steps would change."""
HEADS = 4


class Last(nn.Module):
    """The last valid output. Of the first `both_ways` units, half of which read backwards, the last of each direction."""

    def __init__(self, hidden: int, *, both_ways: int = 0) -> None:
        super().__init__()
        self.size = hidden
        self.width = hidden
        self._both_ways = both_ways

    def forward(self, hidden: Tensor, before: Tensor, lengths: Tensor, resets: Tensor | None) -> Tensor:
        rows = torch.arange(hidden.shape[1], device=hidden.device)
        last = hidden[(lengths - 1).clamp(min=0), rows]
        if self._both_ways:
            # the half that reads backwards has seen everything at the first step, not the last
            both, half = self._both_ways, self._both_ways // 2
            last = torch.cat([last[:, :half], hidden[0, :, half:both], last[:, both:]], dim=1)
        return torch.where((lengths > 0)[:, None], last, before)

    def read(self, summary: Tensor) -> Tensor:
        return summary


class Greatest(nn.Module):
    """The greatest value that each unit had so far, never below zero."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.size = hidden
        self.width = hidden

    def forward(self, hidden: Tensor, before: Tensor, lengths: Tensor, resets: Tensor | None) -> Tensor:
        counted, kept = _counted(hidden, lengths, resets)
        floor = torch.zeros_like(hidden[0])
        greatest = torch.where(counted[..., None], hidden, floor).amax(dim=0)
        return torch.maximum(greatest, torch.where(kept[:, None], before, floor))

    def read(self, summary: Tensor) -> Tensor:
        return summary


class Attention(nn.Module):
    """A mean of the outputs, weighted by how much each step matters (after Yang et al. 2016); the units in heads.

    The weight of a step is exp(8 tanh(score / 8)), score = V tanh(W h). The summary is the weighted sum and, behind it, the
    sum of the weights of each head.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.heads = HEADS if hidden % HEADS == 0 else 1
        self.size = hidden + self.heads
        self.width = hidden
        self._hidden = hidden
        self.weight = nn.Parameter(torch.empty(hidden, hidden))
        self.score = nn.Parameter(torch.zeros(self.heads, hidden))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, hidden: Tensor, before: Tensor, lengths: Tensor, resets: Tensor | None) -> Tensor:
        counted, kept = _counted(hidden, lengths, resets)
        score = kernels.linear(torch.tanh(kernels.linear(hidden, self.weight)), self.score)
        weights = torch.exp(BOUND * torch.tanh(score / BOUND)) * counted[..., None]
        weighted = hidden * self._of_units(weights)
        start = torch.where(kept[:, None], before, torch.zeros_like(before))
        parts = torch.cat([weighted, weights], dim=-1)
        return _added(start, parts)

    def read(self, summary: Tensor) -> Tensor:
        total, mass = summary.split([self._hidden, self.heads], dim=-1)
        # nothing was seen yet where there is no mass
        return total / self._of_units(torch.where(mass > 0, mass, torch.ones_like(mass)))

    def _of_units(self, values: Tensor) -> Tensor:
        """A value for each head as one for each of its units."""
        return values.repeat_interleave(self._hidden // self.heads, dim=-1)


class Every(nn.Module):
    """Three in one: the last output, the mean of all, and the greatest value of each unit, never below zero; 3H wide.

    The summary is the last output, the sum, the greatest values, and how many steps there were.
    """

    def __init__(self, hidden: int, *, both_ways: int = 0) -> None:
        super().__init__()
        self.size = 3 * hidden + 1
        self.width = 3 * hidden
        self._hidden = hidden
        self._last = Last(hidden, both_ways=both_ways)
        self._greatest = Greatest(hidden)

    def forward(self, hidden: Tensor, before: Tensor, lengths: Tensor, resets: Tensor | None) -> Tensor:
        last, total, greatest, count = before.split([self._hidden, self._hidden, self._hidden, 1], dim=-1)
        counted, kept = _counted(hidden, lengths, resets)
        parts = torch.cat([hidden, torch.ones_like(hidden[..., :1])], dim=-1)
        parts = torch.where(counted[..., None], parts, torch.zeros_like(parts))
        start = torch.where(kept[:, None], torch.cat([total, count], dim=-1), torch.zeros_like(parts[0]))
        summed = _added(start, parts)
        last = self._last(hidden, last, lengths, resets)
        greatest = self._greatest(hidden, greatest, lengths, resets)
        return torch.cat([last, summed[:, :-1], greatest, summed[:, -1:]], dim=-1)

    def read(self, summary: Tensor) -> Tensor:
        last, total, greatest, count = summary.split([self._hidden, self._hidden, self._hidden, 1], dim=-1)
        return torch.cat([last, total / count.clamp(min=1), greatest], dim=-1)


Pooling = Last | Greatest | Attention | Every


def pooling(name: str, hidden: int, *, both_ways: int = 0) -> Pooling:
    """The pooling of that name over outputs of width `hidden`: last, max, attention or all.

    The first `both_ways` of them read both ways, the second half of these backwards.
    """
    if name in ("last", "all"):
        return (Last if name == "last" else Every)(hidden, both_ways=both_ways)
    kinds = {"max": Greatest, "attention": Attention}
    if name not in kinds:
        raise UsageError(f"There is no summary '{name}'", expected=", ".join(["last", *kinds, "all"]))
    return kinds[name](hidden)


def _added(start: Tensor, parts: Tensor) -> Tensor:
    """start[B, S] and parts[T, B, S] -> their sum."""
    if kernels.recording(parts, start):
        return start + parts.sum(dim=0)
    # one after another, so that a cut between two steps changes no bit
    for part in parts:
        start = start + part
    return start


def _counted(hidden: Tensor, lengths: Tensor, resets: Tensor | None) -> tuple[Tensor, Tensor]:
    """(which steps count [T, B], in which rows what came before does [B])."""
    steps = torch.arange(hidden.shape[0], device=hidden.device)[:, None]
    counted = steps < lengths
    if resets is None:
        return counted, torch.ones_like(lengths, dtype=torch.bool)
    final = torch.where(resets & counted, steps, -1).amax(dim=0)
    return counted & (steps >= final), final < 0
