"""Measuring a language model that goes on learning while it reads, and one with a cache beside it; the model stays as it is.

Dynamic evaluation (Krause et al. 2018): after each short segment, which is measured first, the weights take a step down its
gradient, divided by the root of its running mean square, and are drawn back a little to where they were trained.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.baselines import NGramCache
from recurra.data.batches import Feed
from recurra.errors import DataError
from recurra.models import LanguageModel
from recurra.state import detach

SEGMENT = 20
"""Tokens measured between two steps."""
PULL = 0.002
"""How far the weights are drawn back at each step."""
MEMORY = 0.995
"""Decay of the running mean square of the gradients."""


def evaluate_adapting(
    model: LanguageModel, feed: Feed, *, rate: float | None = None, cache: NGramCache | None = None
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(metrics, the sums they come from) of `model` over one stream, read in order and only once.

    Arguments:
    - feed: a feed of one row; its segments are the steps of learning.
    - rate: how far a weight goes at a step at most, about; None learns nothing.
    - cache: mixes what it counted on the way into each probability.

    Accuracy is the model's own: a cache is asked only for the token that came. Raises `DataError` for a rate under which
    the model falls apart.
    """
    # a copy: the model stays as it is, whatever becomes of this
    model = copy.deepcopy(model).eval()
    learner = None if rate is None else _Learner(model, rate)
    threads = torch.get_num_threads()
    # thousands of small calls: on a busy machine each would wait for threads that give it nothing
    torch.set_num_threads(1)
    try:
        sums = _sums(model, feed, learner, cache)
        return model.metrics(sums), sums
    finally:
        torch.set_num_threads(threads)


def _sums(model: LanguageModel, feed: Feed, learner: _Learner | None, cache: NGramCache | None) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    state = None
    for batch in model.batches(feed):
        assert batch.targets is not None
        with torch.set_grad_enabled(learner is not None):
            outputs, state = model(batch.inputs, state if batch.carries else None)
            losses = F.cross_entropy(outputs[0], batch.targets[0], reduction="none")
        if not torch.isfinite(losses.detach()).all():
            raise DataError("The model fell apart while it learnt", fix="Take a lower --dynamic")
        with torch.no_grad():
            measured = model.measure(outputs.detach(), batch)
        if cache is not None:
            pairs = zip(batch.targets[0].tolist(), losses.detach().cpu().double().neg().exp().tolist(), strict=True)
            nats = -math.fsum(math.log(cache.mixed(token, probability)) for token, probability in pairs)
            measured["nats"] = torch.tensor(nats, dtype=torch.float64)
        for name, value in measured.items():
            sums[name] = sums[name] + value if name in sums else value
        if learner is not None:
            learner.learn(losses.mean())
        state = detach(state)
    return sums


class _Learner:
    def __init__(self, model: LanguageModel, rate: float) -> None:
        self._rate = rate
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._trained = [p.detach().clone() for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._steps = 0

    def learn(self, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self._parameters)
        self._steps += 1
        # the mean over what was seen, so that the first steps are no longer than the later ones
        seen = 1 - MEMORY**self._steps
        with torch.no_grad():
            for value, trained, square, gradient in zip(
                self._parameters, self._trained, self._squares, gradients, strict=True
            ):
                square.lerp_(gradient.square(), 1 - MEMORY)
                value.addcdiv_(gradient, (square / seen).sqrt_().add_(1e-8), value=-self._rate)
                value.lerp_(trained, PULL)
