"""What a baseline hands back: its name, its figures, what it cost and what it chose. Knows no baseline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BaselineResult:
    """One baseline on one evaluation set.

    `metrics` has the names of `recurra.data.measures`. `seconds` is the whole cost of the baseline: training,
    choosing and evaluating on every set. `detail` is one readable line: what was chosen, and what was left
    out.
    """

    name: str
    metrics: dict[str, float]
    seconds: float
    detail: str
