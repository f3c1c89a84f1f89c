"""A voice beside the networks of an ensemble: ridge regression on fixed convolutions, in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.layers import Filling, Probes, ProbesConfig
from recurra.state import State, state_class

STRENGTHS = tuple(10.0**power for power in range(-3, 6))
SHARPNESS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Of few rows all may be told right when left out: no more sure than that."""
BATCH = 64


@state_class
class VoiceState:
    """The states of what fills missing values (an empty tuple where nothing does) and of the probes."""

    filling: State
    probes: State


class Voice(nn.Module):
    """numbers[T, B, F] -> answers[B, K] of all that was read: W features + b. Nothing in it is learnt by gradients."""

    def __init__(self, filling: Filling | None, inputs: int, config: ProbesConfig, answers: int) -> None:
        super().__init__()
        self.filling = filling
        self.probes = Probes(inputs if filling is None else filling.hidden, config)
        self.head = nn.Parameter(torch.zeros(answers, self.probes.hidden), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(answers), requires_grad=False)

    def initial_state(self, batch: int) -> VoiceState:
        filling = () if self.filling is None else self.filling.initial_state(batch)
        return VoiceState(filling, self.probes.initial_state(batch))

    def forward(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, VoiceState]:
        filling = ()
        if self.filling is not None:
            inputs, filling = self.filling(inputs, state.filling, lengths, resets)
        features, probes = self.probes(inputs, state.probes, lengths, resets)
        return kernels.linear(features, self.head, self.bias), VoiceState(filling, probes)

    @torch.no_grad()
    def learn(self, rows: list[Tensor], targets: Tensor, *, classes: bool) -> None:
        """Fit to rows[T, F] and targets[N], class numbers, or [N, K], standardised numbers.

        How strongly it is held back, and how sure of classes it is, is chosen by leaving out each row once.
        """
        filled = [row if self.filling is None else self._fill(row) for row in rows]
        self.probes.learn(filled)
        features = torch.cat([self._features(filled[at : at + BATCH]) for at in range(0, len(filled), BATCH)]).double()
        answers = len(self.bias)
        wanted = 2.0 * nn.functional.one_hot(targets, answers).double() - 1 if classes else targets.double()
        centre, spread = features.mean(dim=0), features.std(dim=0, correction=0)
        table = (features - centre) / torch.where(spread > 1e-6, spread, torch.inf)
        mean = wanted.mean(dim=0)
        weights, left_out = _ridge(table, wanted - mean)
        sharpness = _sharpness(left_out + mean, targets) if classes else 1.0
        head = sharpness * (weights / torch.where(spread > 1e-6, spread, torch.inf)[:, None]).T
        self.head.copy_(head)
        self.bias.copy_(sharpness * mean - head @ centre)

    def _fill(self, row: Tensor) -> Tensor:
        assert self.filling is not None
        return self.filling(row[:, None], self.filling.initial_state(1))[0][:, 0]

    def _features(self, rows: list[Tensor]) -> Tensor:
        padded = nn.utils.rnn.pad_sequence(rows)
        lengths = torch.tensor([len(row) for row in rows])
        return self.probes(padded, self.probes.initial_state(len(rows)), lengths)[0]


def _ridge(table: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(weights[P, K], what each row would be told by the others[N, K]), at the strength that tells rows left out best.

    With G = X X' + strength, the error of a row left out is (G⁻¹ y)_i / (G⁻¹)_ii.
    """
    values, vectors = torch.linalg.eigh(table @ table.T)
    best: tuple[float, Tensor, Tensor] | None = None
    for strength in STRENGTHS:
        inverse = (vectors / (values.clamp(min=0) + strength)) @ vectors.T
        dual = inverse @ wanted
        errors = dual / inverse.diagonal()[:, None]
        size = float(errors.square().mean())
        if best is None or size < best[0]:
            best = size, dual, wanted - errors
    assert best is not None
    return table.T @ best[1], best[2]


def _sharpness(scores: Tensor, targets: Tensor) -> float:
    """The factor of scores[N, K] under which their softmax tells the truth best."""
    losses = [float(nn.functional.cross_entropy(factor * scores, targets)) for factor in SHARPNESS]
    return SHARPNESS[losses.index(min(losses))]
