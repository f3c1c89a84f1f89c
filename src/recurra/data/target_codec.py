"""Numbers to learn ↔ the same with mean 0 and scale 1: learned once from the training data, saved as readable JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from recurra.errors import DataError, ModelError


class TargetCodec:
    """`names` of K numbers, and their `mean` and `scale`, float64 [K]. A number that never changes has scale 1."""

    def __init__(self, names: Sequence[str], mean: np.ndarray, scale: np.ndarray) -> None:
        self.names: tuple[str, ...] = tuple(names)
        self.mean = mean
        self.scale = scale

    @classmethod
    def learn(cls, names: Sequence[str], targets: Sequence[tuple[float, ...]]) -> Self:
        """From the numbers of all rows of the training data. Raises `DataError` where there are none."""
        table = np.array(targets, dtype=np.float64).reshape(len(targets), len(names))
        if not table.size:
            raise DataError("There are no numbers to learn", expected="at least one row with a number")
        mean, scale = table.mean(axis=0), table.std(axis=0)
        return cls(names, mean, np.where(scale <= 1e-12 * np.abs(mean), 1.0, scale))

    def encode(self, targets: Sequence[tuple[float, ...]]) -> np.ndarray:
        """Standardised float64 [N, K]. Raises `DataError` for another number of numbers."""
        widths = {len(row) for row in targets} - {len(self.names)}
        if widths:
            raise DataError("The rows have another number of numbers", got=min(widths), expected=len(self.names))
        return (np.array(targets, dtype=np.float64).reshape(len(targets), len(self.names)) - self.mean) / self.scale

    def decode(self, outputs: np.ndarray) -> list[list[float]]:
        """Standardised numbers [N, K] in their own units."""
        return (outputs * self.scale + self.mean).tolist()

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"names": list(self.names), "mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Raises `ModelError` where `values` is not what `to_json` wrote."""
        found = values if isinstance(values, dict) else {}
        names, mean, scale = found.get("names"), found.get("mean"), found.get("scale")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ModelError("The numbers of the codec are damaged", got=repr(names)[:80], expected="a list of names")
        for part in (mean, scale):
            if not isinstance(part, list) or len(part) != len(names) or not all(_is_finite(number) for number in part):
                raise ModelError(
                    "The numbers of the codec are damaged", got=repr(part)[:80], expected="a number a name"
                )
        assert isinstance(mean, list) and isinstance(scale, list)
        if min(scale) <= 0:
            raise ModelError("The numbers of the codec are damaged", expected="a positive scale a name")
        return cls(names, np.array(mean, dtype=np.float64), np.array(scale, dtype=np.float64))


def _is_finite(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
