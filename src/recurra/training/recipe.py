"""How a model is trained: the numbers, and the learning rate that follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from recurra.config import Config

CYCLE_UP, CYCLE_FIRST, CYCLE_LAST = 0.3, 1 / 25, 1e-4
"""One cycle: the part of the run on which the rate rises, where it starts, where it ends (of the highest rate)."""
RATES = {"adamw": 1.0, "muon": 1.0, "sgd": 100.0}
"""How many times the rate of AdamW: plain steps are as long as the gradient, which is clipped to 1."""
HALVED_AFTER = 2
"""Validations in a row without a better one after which a plateau halves the rate."""


class Recipe(Config):
    """Training runs for `minutes` or for `epochs`, whichever is given (both: what ends first).

    - optimiser: adamw (Loshchilov and Hutter 2019), sgd with momentum 0.9 (Nesterov 1983), or muon (Jordan et al. 2024) for
      the matrices between units, with AdamW for all else.
    - rate: the highest learning rate, reached after `warmup` of the run.
    - schedule: cosine and linear go down to `last_rate` of it, constant stays, one-cycle (Smith and Topin 2019) rises for
      30 % of the run from a 25th and falls to a 10,000th, plateau halves it whenever two validations brought nothing better.
    - weight_decay: for matrices; biases, gains and embeddings are spared.
    - clip: the greatest norm of the gradient.
    - average: validate and keep an exponential average of the weights with this decay (Polyak and Juditsky 1992), or None.
    - rows, steps: rows in a batch, and the length of a chunk where a stream is cut.
    - accumulate: work a batch off in so many parts, which need less memory; the step is the same.
    - patience: stop after so many validations in a row without a better one, or None.
    - precision: bfloat16 runs products in it where the device has them (torch.autocast); weights stay float32.
    - compile: have torch.compile translate the step.
    - keep: which weights are kept, those of the best validation, or the last ones: of a few rows the best is luck.
    - evaluations: how often the validation set is looked at, at the least once an epoch where epochs are few.
    """

    minutes: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, gt=0)
    optimiser: Literal["adamw", "sgd", "muon"] = "adamw"
    rate: float = Field(default=3e-3, gt=0)
    schedule: Literal["cosine", "linear", "constant", "one-cycle", "plateau"] = "cosine"
    last_rate: float = Field(default=0.01, gt=0, le=1)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    average: float | None = Field(default=None, gt=0, lt=1)
    rows: int = Field(default=32, gt=0)
    steps: int = Field(default=128, gt=0)
    accumulate: int = Field(default=1, gt=0)
    patience: int | None = Field(default=None, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    keep: Literal["best", "last"] = "best"
    evaluations: int = Field(default=20, gt=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _has_an_end(self) -> Recipe:
        if self.minutes is None and self.epochs is None:
            raise ValueError("give minutes or epochs")
        return self

    def rate_at(self, progress: float, history: Sequence[dict[str, Any]] = ()) -> float:
        """The learning rate when `progress` (0 to 1) of the run is done and the validations of `history` were made."""
        if self.schedule == "one-cycle":
            if progress < CYCLE_UP:
                return self.rate * _between(CYCLE_FIRST, 1.0, progress / CYCLE_UP)
            return self.rate * _between(1.0, CYCLE_LAST, (progress - CYCLE_UP) / (1 - CYCLE_UP))
        if progress < self.warmup:
            return self.rate * (progress + 1e-3) / (self.warmup + 1e-3)
        done = min(1.0, (progress - self.warmup) / (1 - self.warmup))
        match self.schedule:
            case "cosine":
                return self.rate * _between(1.0, self.last_rate, done)
            case "linear":
                return self.rate * (1 + (self.last_rate - 1) * done)
            case "constant":
                return self.rate
            case "plateau":
                return self.rate * max(self.last_rate, 0.5 ** _halvings(history))

    def is_out_of_patience(self, history: Sequence[dict[str, Any]]) -> bool:
        """Whether the last `patience` validations brought nothing better."""
        return self.patience is not None and _since_best(history) >= self.patience


def _between(first: float, last: float, done: float) -> float:
    """From `first` to `last` along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


def _since_best(history: Sequence[dict[str, Any]]) -> int:
    count = 0
    for entry in reversed(history):
        if entry["best"]:
            break
        count += 1
    return count


def _halvings(history: Sequence[dict[str, Any]]) -> int:
    halvings = waited = 0
    for entry in history:
        waited = 0 if entry["best"] else waited + 1
        if waited == HALVED_AFTER:
            halvings, waited = halvings + 1, 0
    return halvings
