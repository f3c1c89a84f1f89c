"""What a person may choose when fitting; whatever is left out is chosen from the data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recurra.config import Config

# beyond any machine, and within what 64 bits can count
MANY = 1 << 31


class FitOptions(Config):
    """Choices for `fit`. None means: decide from the data."""

    task: Literal["language", "classify"] | None = None
    text: str | None = None
    label: str | None = None
    cell: str = "gru"
    hidden: int | None = Field(default=None, gt=0)
    layers: int | None = Field(default=None, gt=0)
    activation: str | None = None
    bidirectional: bool = False
    level: Literal["characters", "words", "bpe"] | None = None
    vocabulary: int | None = Field(default=None, gt=1, le=MANY)
    summary: Literal["last", "max"] | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    minutes: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, gt=0, le=MANY)
    rate: float | None = Field(default=None, gt=0)
    rows: int | None = Field(default=None, gt=0, le=MANY)
    steps: int | None = Field(default=None, gt=0, le=MANY)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    baselines: bool = True
