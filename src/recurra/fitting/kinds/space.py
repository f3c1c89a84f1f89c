"""What a search may choose among: the name of an option, and its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OneOf:
    """One of some values; None is that of an option that is left out."""

    name: str
    values: tuple[str | int | float | bool | None, ...]

    def holds(self, value: Any) -> bool:
        return any(type(value) is type(each) and value == each for each in self.values)


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`; with `log` its logarithm is what is spread evenly."""

    name: str
    low: float
    high: float
    log: bool = False

    def holds(self, value: Any) -> bool:
        return type(value) is float and self.low <= value <= self.high


Span = OneOf | Between


def around(name: str, usual: int, factors: tuple[float, ...] = (0.5, 1.0, 2.0)) -> OneOf:
    """Whole numbers around the usual one, one at least."""
    return OneOf(name, tuple(dict.fromkeys(max(1, round(factor * usual)) for factor in factors)))
