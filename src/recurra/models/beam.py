"""Beam search: the likeliest sequences that a model says from a state on, found by keeping a few at each step.

A hypothesis is a row of a state, so going on with the best of them is a selection of rows. It knows a model as one function
of tokens and a state, and no text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.errors import UsageError
from recurra.state import select

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""(tokens[B], state) -> (the logarithms of the probabilities of the next token[B, V], the next state)."""


@dataclass(frozen=True)
class Hypothesis:
    """Tokens without the one that ends them, the logarithm of their probability, and that with its length made up for."""

    tokens: list[int]
    log_probability: float
    score: float


@dataclass(frozen=True)
class Beam:
    """How many hypotheses go on at each step, and how much a long one is favoured: 0 not at all, 1 about as by its mean.

    score(Y) = log P(Y) / ((5 + |Y|) / 6)^penalty, |Y| with the end (Wu et al. 2016, equation 14).
    """

    width: int = 5
    penalty: float = 1.0

    def __post_init__(self) -> None:
        if type(self.width) is not int or not 0 < self.width <= 1000:
            raise UsageError("'beam' is out of range", got=self.width, expected="1 to 1000")
        if not 0 <= self.penalty <= 10:
            raise UsageError("'length_penalty' is out of range", got=self.penalty, expected="0 to 10")

    def score(self, log_probability: float, length: int) -> float:
        return log_probability / ((5 + length) / 6) ** self.penalty


@torch.no_grad()
def search(step: Step, state: Any, last: Tensor, most: Tensor, end: int, beam: Beam) -> list[list[Hypothesis]]:
    """The best hypotheses of each row of `state`, at most `beam.width`, best first.

    last[B] is the token that each row reads first; most[B] how many it may say before the end is the only token left. What
    has ended is kept, and loses only to a better score. A row is done when as many hypotheses have ended as the beam is wide
    and none that goes on has a better score now than the worst of them: poor ones that end early must not stop a good one.
    With a width of 1 it is greedy search, which ends with its first end.
    The books are kept on the CPU: a device is waited for once a step, when it has found the best ways on.
    """
    ended: list[list[Hypothesis]] = [[] for _ in range(len(last))]
    width, device, most = beam.width, last.device, most.cpu()
    rows = torch.arange(len(last))  # those that are not done
    scores = torch.zeros(len(last), 1)
    kept = torch.full((len(last), width), -torch.inf)  # the best scores of what has ended
    said = torch.zeros(len(last), 1, 0, dtype=last.dtype)
    tokens = last
    while len(rows):
        logs, state = step(tokens, state)
        logs = logs.float().view(len(rows), -1, logs.shape[-1])
        only_end = (most[rows] <= said.shape[2]).nonzero()[:, 0].to(device)
        if len(only_end):
            ends = logs[only_end][..., end]
            logs[only_end] = -torch.inf
            logs[only_end, :, end] = ends
        values, origins, tokens_after = (found.cpu() for found in _best(scores.to(device), logs, width))
        is_end = tokens_after == end
        length = said.shape[2] + 1
        ending = is_end[:, :width] & values[:, :width].isfinite()
        for row, place in ending.nonzero().tolist():
            value = float(values[row, place])
            found = said[row, origins[row, place]].tolist()
            ended[rows[row]].append(Hypothesis(found, value, beam.score(value, length)))
        new = (values[:, :width] * beam.score(1.0, length)).masked_fill(~ending, -torch.inf)
        kept = torch.cat([kept, new], dim=1).topk(width, dim=1).values
        # those that go on first, in their order
        order = is_end.to(torch.int8).argsort(dim=1, stable=True)[:, :width]
        scores = values.gather(1, order).masked_fill(is_end.gather(1, order), -torch.inf)
        origins, going = origins.gather(1, order), tokens_after.gather(1, order)
        said = torch.cat([said.gather(1, origins[..., None].expand(-1, -1, said.shape[2])), going[..., None]], dim=2)
        best = scores.amax(dim=1)
        worst = kept[:, -1]
        # greedy search looks no further: what it would go on with was not the likeliest
        done = worst.isfinite() if width == 1 else worst >= best * beam.score(1.0, length + 1)
        on = best.isfinite() & ~done
        before = logs.shape[1]
        chosen = (torch.arange(len(rows))[:, None] * before + origins)[on].flatten()
        state, tokens = select(state, chosen.to(device)), going[on].flatten().to(device)
        rows, scores, said, kept = rows[on], scores[on], said[on], kept[on]
    return [sorted(found, key=lambda each: -each.score)[:width] for found in ended]


def _best(scores: Tensor, logs: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The 2 * width best ways on of each row: (their values, which hypothesis they go on from, the token), best first.

    scores[B, K], logs[B, K, V]. Of twice as many at most half have ended, so that enough go on.
    """
    count = min(width + 1, logs.shape[2])
    values, tokens = logs.topk(count, dim=2)
    together = (scores[..., None] + values).flatten(1)
    values, places = together.topk(min(2 * width, together.shape[1]), dim=1)
    return values, places // count, tokens.flatten(1).gather(1, places)
