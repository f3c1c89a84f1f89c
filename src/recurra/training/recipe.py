"""How a model is trained: the numbers, and the learning rate that follows from them."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from recurra.config import Config


class Recipe(Config):
    """Training runs for `minutes` or for `epochs`, whichever is given (both: what ends first).

    - rate: the highest learning rate of AdamW (Loshchilov and Hutter 2019), reached after `warmup` of the run and then
      lowered along a half cosine to `last_rate` of it.
    - rows, steps: rows in a batch, and the length of a chunk where a stream is cut.
    - clip: the greatest norm of the gradient.
    - evaluations: how often the validation set is looked at, at the least once an epoch where epochs are few.
    """

    minutes: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, gt=0)
    rate: float = Field(default=3e-3, gt=0)
    last_rate: float = Field(default=0.01, gt=0, le=1)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    rows: int = Field(default=32, gt=0)
    steps: int = Field(default=128, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    evaluations: int = Field(default=20, gt=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _has_an_end(self) -> Recipe:
        if self.minutes is None and self.epochs is None:
            raise ValueError("give minutes or epochs")
        return self

    def rate_at(self, progress: float) -> float:
        """The learning rate when `progress` (0 to 1) of the run is done."""
        if progress < self.warmup:
            return self.rate * (progress + 1e-3) / (self.warmup + 1e-3)
        done = min(1.0, (progress - self.warmup) / (1 - self.warmup))
        return self.rate * (self.last_rate + (1 - self.last_rate) * (1 + math.cos(math.pi * done)) / 2)
