"""Fixed convolutions, and how often each lies above thresholds: what a few rows of a series need not learn anew.

The kernels are those of MiniRocket (Dempster, Schmidt and Webb 2021): nine taps, three of them 2 and six -1, in all 84 ways,
at several dilations. Here they look back only, and counts are kept as a state, so that a series may come in pieces.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from recurra import kernels
from recurra.cells.cell import check_sequence
from recurra.config import Config
from recurra.layers.convolution import since_reset
from recurra.state import check_like, state_class

WIDTH = 9
KERNELS = tuple(combinations(range(WIDTH), 3))
FEATURES = 10_000
"""About how many counts there are in all."""
MOST_DILATIONS = 8
MOST_CHANNELS = 9
"""Features of the series that one kernel adds up at most."""
PIECE = 1 << 22
"""Comparisons at once."""


@state_class
class ProbesState:
    """past[B, P, F]: the last inputs; counts[B, K]: steps above each threshold; steps[B, 1]: steps read."""

    past: Tensor
    counts: Tensor
    steps: Tensor


class ProbesConfig(Config):
    """`thresholds` for each of the 84 kernels at each of the `dilations`."""

    dilations: tuple[int, ...] = Field(default=(1,), min_length=1)
    thresholds: int = Field(default=20, gt=0, le=1 << 12)

    @classmethod
    def of(cls, steps: int, features: int = 1) -> ProbesConfig:
        """For series of about so many steps: dilations that grow evenly up to an eighth of them.

        Of several features there are many sums to look at, so each dilation comes more than once, over others.
        """
        most = max(1.0, (steps - 1) / (WIDTH - 1))
        count = max(1, min(MOST_DILATIONS, int(torch.tensor(most).log2()) + 1))
        spaced = torch.logspace(0, float(torch.tensor(most).log2()), count, base=2).floor().int().tolist()
        dilations = tuple(sorted({max(1, value) for value in spaced}))
        if features > 1:
            dilations *= -(-MOST_DILATIONS // len(dilations))
        return cls(dilations=dilations, thresholds=-(-FEATURES // (len(KERNELS) * len(dilations))))


class Probes(nn.Module):
    """inputs[T, B, F] -> features[B, K]: the share of steps at which each kernel lies above each threshold, K in all.

    Every other kernel starts only where its window is filled; the others see zeros before the beginning. Of several features
    each kernel adds up some, drawn once by a fixed seed. Nothing is learnt by gradients: `learn` sets the thresholds.
    """

    causal = True

    def __init__(self, inputs: int, config: ProbesConfig) -> None:
        super().__init__()
        self.inputs = inputs
        self.dilations = config.dilations
        self.past = (WIDTH - 1) * max(config.dilations)
        self.hidden = len(config.dilations) * len(KERNELS) * config.thresholds
        shape = (len(config.dilations), len(KERNELS), config.thresholds)
        self.weights = nn.Parameter(_weights(inputs, len(config.dilations)), requires_grad=False)
        self.thresholds = nn.Parameter(torch.zeros(shape), requires_grad=False)

    def initial_state(self, batch: int) -> ProbesState:
        new = self.thresholds.new_zeros
        return ProbesState(new(batch, self.past, self.inputs), new(batch, self.hidden), new(batch, 1))

    def _whole(self, place: int) -> Tensor:
        """Which kernels at a dilation start only where their window is filled, [84]."""
        return (torch.arange(len(KERNELS), device=self.thresholds.device) + place) % 2 == 1

    def forward(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, ProbesState]:
        """inputs[T, B, F] -> features[B, K] of all that was read since the beginning or the last reset, and the state."""
        check_sequence("Probes", inputs, self.inputs, lengths, resets)
        check_like(state, self.initial_state(inputs.shape[1]))
        steps, batch = inputs.shape[:2]
        if steps and batch:
            state = self._counted(inputs, state, lengths, resets)
        else:
            state = ProbesState(state.past.clone(), state.counts.clone(), state.steps.clone())
        return self._shares(state), state

    def _counted(self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None) -> ProbesState:
        steps, batch = inputs.shape[:2]
        time = torch.arange(steps, device=inputs.device)[:, None]
        ends = torch.full((batch,), steps, device=inputs.device) if lengths is None else lengths
        valid = time < ends
        before = torch.cat(
            [state.past.transpose(0, 1), torch.where(valid[..., None], inputs, torch.zeros_like(inputs))]
        )
        since = None if resets is None else since_reset(resets, lengths)
        # how many steps of this sequence came before each
        age = state.steps.long()[:, 0] + time
        last = valid
        if since is not None:
            age = torch.minimum(age, since)
            final = torch.where(resets & valid, time, -1).amax(dim=0)  # pyright: ignore[reportOptionalOperand]
            last = valid & (time >= final)
            kept = (final < 0).to(state.counts.dtype)[:, None]
        else:
            kept = torch.ones_like(state.steps)
        counts = []
        for place, dilation in enumerate(self.dilations):
            found = self._responses(before, steps, place, dilation, since)
            filled = age[..., None] >= (WIDTH - 1) * dilation
            found = torch.where(filled | ~self._whole(place), found, -torch.inf)
            counts.append(self._above(torch.where(last[..., None], found, -torch.inf), place))
        return ProbesState(
            self._past(before, ends, since),
            state.counts * kept + torch.cat(counts, dim=-1),
            state.steps * kept + last.sum(dim=0)[:, None].to(state.steps.dtype),
        )

    def _responses(self, before: Tensor, steps: int, place: int, dilation: int, since: Tensor | None) -> Tensor:
        """before[P + T, B, F] -> what the kernels at one dilation say, [T, B, 84]."""
        taps = []
        for back in range((WIDTH - 1) * dilation, -1, -dilation):
            tap = before[self.past - back : self.past - back + steps]
            taps.append(tap if since is None or not back else torch.where((since >= back)[..., None], tap, 0.0))
        return kernels.linear(torch.cat(taps, dim=-1), self.weights[place])

    def _above(self, found: Tensor, place: int) -> Tensor:
        """found[T, B, 84] -> at how many steps each lies above each threshold, [B, 84 * thresholds]."""
        limits = self.thresholds[place]
        counts = torch.zeros(found.shape[1], limits.numel(), dtype=found.dtype, device=found.device)
        size = max(1, PIECE // max(1, found.shape[1] * limits.numel()))
        for part in found.split(size):
            counts += (part[..., None] > limits).sum(dim=0).flatten(1)
        return counts

    def _past(self, before: Tensor, ends: Tensor, since: Tensor | None) -> Tensor:
        rows = torch.arange(before.shape[1], device=before.device)
        past = before[ends[:, None] + torch.arange(self.past, device=before.device), rows[:, None]]
        if since is None:
            return past
        ages = torch.arange(self.past - 1, -1, -1, device=before.device)
        reach = since[(ends - 1).clamp(min=0), rows]
        kept = (ages <= reach[:, None]) | (ends == 0)[:, None]
        return torch.where(kept[..., None], past, torch.zeros_like(past))

    def _shares(self, state: ProbesState) -> Tensor:
        each = self.thresholds.shape[-1]
        possible = []
        for place, dilation in enumerate(self.dilations):
            cut = self._whole(place).to(state.steps.dtype) * (WIDTH - 1) * dilation
            possible.append((state.steps - cut).clamp(min=1).repeat_interleave(each, dim=1))
        return state.counts / torch.cat(possible, dim=-1)

    @torch.no_grad()
    def learn(self, rows: list[Tensor], seed: int = 0) -> None:
        """Set the thresholds: quantiles of what each kernel says of a row[T, F] of the training data drawn for it."""
        random = torch.Generator().manual_seed(seed)
        kernels_, each = len(KERNELS), self.thresholds.shape[-1]
        # quantiles that fill the interval evenly however many there are (the golden ratio's multiples)
        levels = (torch.arange(1, kernels_ * each * len(self.dilations) + 1) * 0.6180339887498949) % 1
        levels = levels.view(len(self.dilations), kernels_, each)
        for place, dilation in enumerate(self.dilations):
            drawn = torch.randint(len(rows), (kernels_,), generator=random).tolist()
            for row in sorted(set(drawn)):
                chosen = [kernel for kernel, which in enumerate(drawn) if which == row]
                x = rows[row][:, None]
                before = torch.cat([x.new_zeros(self.past, 1, self.inputs), x])
                found = self._responses(before, len(x), place, dilation, None)[:, 0, chosen]
                for at, kernel in enumerate(chosen):
                    self.thresholds[place, kernel] = torch.quantile(found[:, at], levels[place, kernel].to(found.dtype))


def _weights(inputs: int, dilations: int) -> Tensor:
    """[dilations, 84, 9 * F]: the kernels, each over some of the features."""
    random = torch.Generator().manual_seed(0)
    shape = torch.full((len(KERNELS), WIDTH), -1.0, device="cpu")
    for kernel, places in enumerate(KERNELS):
        shape[kernel, list(places)] = 2.0
    chosen = torch.zeros(dilations, len(KERNELS), inputs, device="cpu")
    for place in range(dilations):
        for kernel in range(len(KERNELS)):
            most = torch.tensor(min(inputs, MOST_CHANNELS) + 1.0, device="cpu").log2()
            count = int(2 ** float(torch.rand((), generator=random, device="cpu") * most))
            picked = torch.randperm(inputs, generator=random, device="cpu")[: max(1, count)]
            chosen[place, kernel, picked] = 1.0
    return (shape[None, :, :, None] * chosen[:, :, None]).flatten(2)
