"""What a person may choose when fitting; whatever is left out is chosen from the data."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recurra.config import Config
from recurra.data.layouts import FrameChoices
from recurra.errors import UsageError

# beyond any machine, and within what 64 bits can count
MANY = 1 << 31


def _as_text(given: Any) -> Any:
    """A number of steps may come as a number."""
    return str(given) if type(given) in (int, float) else given


class FitOptions(Config):
    """Choices for `fit`. None means: decide from the data."""

    task: Literal["language", "classify", "regress", "tag", "translate", "forecast"] | None = None
    text: str | None = None
    label: str | None = None
    tags: str | None = None
    target: str | None = None
    cell: str = "gru"
    size: Literal["small", "base", "large"] = "base"
    hidden: int | None = Field(default=None, gt=0)
    layers: int | None = Field(default=None, gt=0)
    activation: str | None = None
    bidirectional: bool | None = None
    level: Literal["characters", "words", "bpe"] | None = None
    vocabulary: int | None = Field(default=None, gt=1, le=MANY)
    form: Literal["attention", "word-by-word"] | None = None
    shared: bool | None = None
    beam: int | None = Field(default=None, gt=0, le=1000)
    length_penalty: float | None = Field(default=None, ge=0, le=10)
    normalise: bool = False
    horizon: int | None = Field(default=None, gt=0, le=1 << 16)
    lookback: int | None = Field(default=None, gt=1, le=1 << 16)
    season: int | None = Field(default=None, gt=0, le=1 << 16)
    parts: Literal["plain", "segments", "residual", "smoothed"] | None = None
    block: int | None = Field(default=None, gt=0, le=1 << 16)
    output: Literal["point", "quantiles", "laplace"] | None = None
    fill: Literal["previous", "linear", "zero", "mean", "gaps"] | None = None
    time: str | None = None
    series: str | None = None
    ahead: str | None = None
    past: str | None = None
    static: str | None = None
    summary: Literal["last", "max", "attention", "all"] | None = None
    missing: Literal["previous", "zero", "mean"] | None = None
    read: Literal["rows", "pixels", "whole"] | None = None
    convolution: bool | None = None
    augment: bool | None = None
    members: int | None = Field(default=None, gt=0, le=64)
    probes: bool | None = None
    class_weights: Literal["none", "balanced"] = "none"
    consistency: float | None = Field(default=None, ge=0, le=100)
    ngrams: bool | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    weight_drop: float | None = Field(default=None, ge=0, lt=1)
    minutes: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, gt=0, le=MANY)
    optimiser: Literal["adamw", "sgd", "muon"] = "adamw"
    rate: float | None = Field(default=None, gt=0)
    schedule: Literal["cosine", "linear", "constant", "one-cycle", "plateau"] = "cosine"
    warmup: float | None = Field(default=None, ge=0, lt=1)
    weight_decay: float | None = Field(default=None, ge=0)
    clip: float | None = Field(default=None, gt=0)
    average: float | None = Field(default=None, gt=0, lt=1)
    patience: int | None = Field(default=None, gt=0, le=MANY)
    rows: int | None = Field(default=None, gt=0, le=MANY)
    steps: int | None = Field(default=None, gt=0, le=MANY)
    accumulate: int = Field(default=1, gt=0, le=MANY)
    recompute: int | None = Field(default=None, gt=0, le=MANY)
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    device: str = "auto"
    checkpoint_every: Annotated[str, BeforeValidator(_as_text)] = "60s"
    tensorboard: bool = False
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    baselines: bool = True

    def deciding(self) -> dict[str, Any]:
        """Those that decide what a run ends with: a stopped run goes on only where they are the same."""
        return self.model_dump(exclude=_NOT_DECIDING)

    def frame(self) -> FrameChoices:
        """What was said of a table of series; several columns are parted by commas."""

        def parted(columns: str | None) -> tuple[str, ...]:
            return tuple(part.strip() for part in (columns or "").split(",") if part.strip())

        ahead, past, static = parted(self.ahead), parted(self.past), parted(self.static)
        value = self.target if self.task == "forecast" else None
        return FrameChoices(self.fill, self.horizon, self.season, self.time, self.series, value, ahead, past, static)

    def every(self) -> tuple[float, int | None]:
        """When checkpoints are written: (every so many seconds, every so many steps). Raises `UsageError`."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", self.checkpoint_every)
        number = 0.0 if found is None else float(found[1])
        if found is None or number <= 0 or (found[2] == "" and not number.is_integer()):
            raise UsageError(
                "Setting 'checkpoint_every' is wrong",
                got=repr(self.checkpoint_every),
                expected="30s, 5m, 1h, or a number of steps",
            )
        if found[2] == "":
            return math.inf, int(number)
        return number * {"s": 1, "m": 60, "h": 3600}[found[2]], None


_SWITCHED_OFF = {"bidirectional": "--causal", "shared": "--separate"}


def typed(name: str, value: Any) -> str:
    """The option that gives a choice its value, as it is typed."""
    option = name.replace("_", "-")
    return _SWITCHED_OFF.get(name, f"--no-{option}") if value is False else f"--{option}"


# how the work is shared out and shown; the result is the same, but for the last digits
_NOT_DECIDING = {"accumulate", "baselines", "checkpoint_every", "compile", "device", "recompute", "tensorboard"}
