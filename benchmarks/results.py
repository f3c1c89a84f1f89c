"""What a measured row is: the samples of every contestant, the ratios that count, and the share of the machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rows import Row
from timing import Samples, Spread, spread


@dataclass(frozen=True)
class Settings:
    rounds: int
    threads: int
    quick: bool
    text: str


@dataclass
class Result:
    """`ratios` by name: "torch" and "onnx" are how many times faster ours is (for memory: how many times ours takes);
    "own" compares ours with ours, as the bar of the row's kind says. `share` is the part of the machine's measured
    matrix-product peak, or of its copy bandwidth for a step; `others` the part of it that other programs took."""

    row: Row
    samples: Samples
    unit: str = "ms"
    ratios: dict[str, Spread] = field(default_factory=dict)
    share: float | None = None
    note: str = ""
    others: float | None = None

    def median(self, contestant: str) -> float | None:
        return spread(self.samples[contestant]).median if contestant in self.samples else None

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.row.name, **asdict(self), "medians": {name: self.median(name) for name in self.samples}}
