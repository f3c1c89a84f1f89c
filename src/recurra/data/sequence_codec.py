"""Numeric sequences ↔ standardised float32: learned once from the training data, saved as readable JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from recurra.data.checking import as_sequence, not_finite
from recurra.data.datasets import LongColumns
from recurra.data.dates import is_form
from recurra.errors import DataError, ModelError

FURTHEST = 1e15
"""Standard deviations from the mean beyond which a value is refused: sums of squares of such values overflow float32."""


class SeriesCodec:
    """Numeric sequences → the same with mean 0 and scale 1 in each feature, by the training data's mean and scale.

    `mean` and `scale` are float64 [F]. A feature that is constant in the training data has scale 1. `long` are the columns
    of a table with a row a step that the sequences came from, None where they came otherwise.
    """

    def __init__(self, mean: np.ndarray, scale: np.ndarray, long: LongColumns | None = None) -> None:
        self.mean = mean
        self.scale = scale
        self.long = long

    @property
    def features(self) -> int:
        return len(self.mean)

    @classmethod
    def learn(cls, sequences: Sequence[np.ndarray], *, alike: bool = False) -> Self:
        """From arrays [T, F]; values that are not finite are passed over. Raises `DataError` where F differs.

        Features that are `alike`, as the columns of a picture, have one mean and one scale.
        """
        widths = {array.shape[1] for array in sequences}
        if len(widths) != 1 or 0 in widths:
            got = f"{sorted(widths)} features" if widths else "no sequences"
            raise DataError("The sequences cannot be standardised", got=got, expected="one number of features in all")
        features = widths.pop()
        counts, sums, squares = np.zeros(features), np.zeros(features), np.zeros(features)
        for array in sequences:
            valid = np.isfinite(array)
            counts += valid.sum(0)
            sums += np.where(valid, array, 0.0).sum(0, dtype=np.float64)
        if alike:
            counts, sums = np.full(features, counts.sum()), np.full(features, sums.sum())
        mean = sums / np.maximum(counts, 1)
        for array in sequences:  # a second pass: sums of raw squares would lose a small spread around a large mean
            deviations = np.where(np.isfinite(array), array - mean, 0.0)
            squares += (deviations**2).sum(0)
        if alike:
            squares = np.full(features, squares.sum())
        scale = np.sqrt(squares / np.maximum(counts, 1))
        constant = scale <= 1e-7 * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, scale))

    def encode(self, sequence: np.ndarray, *, holes: bool = False) -> np.ndarray:
        """Standardised float32 [T, F] of an array [T, F] (or [T] where F is 1); with `holes`, NaN stays NaN.

        Raises `DataError` for another number of features; for infinity, for what is `FURTHEST` from the training data and
        (without `holes`) NaN, naming step and feature from 1; and with `holes` for a feature of several that has no value.
        """
        array = as_sequence(sequence)
        if isinstance(array, str):
            raise DataError(f"The sequence {array}", expected=f"numbers of shape [T, {self.features}]")
        if array.shape[1] != self.features:
            raise DataError(
                "The sequence has another number of features", got=array.shape[1], expected=self.features,
                fix="Give the channels of the training data, in their order",
            )  # fmt: skip
        found = not_finite(np.nan_to_num(array, nan=0.0, posinf=np.inf, neginf=-np.inf) if holes else array)
        if found is not None:
            step, feature, value = found
            raise DataError(
                "The sequence holds a value that is not finite",
                got=f"{value} at step {step}, {self._called(feature)}",
                fix="Fill or cut such values first"
                + ("; or fit with --missing previous, which fills them" if math.isnan(value) else ""),
            )
        silent = np.flatnonzero(np.isnan(array).all(axis=0)) + 1 if holes and len(array) else np.zeros(0)
        if silent.size:
            raise DataError(
                f"The sequence has no value of {self._called(int(silent[0]))}",
                got=f"{silent.size} of {self.features} features missing at every step",
                expected="a value of each feature at some step",
                fix="See that the channels are those of the training data, in their order",
            )
        standard = (array - self.mean) / self.scale
        far = np.argwhere(np.abs(array - self.mean) > FURTHEST * self.scale)
        if far.size:
            step, feature = map(int, far[0])
            raise DataError(
                "The sequence holds a value that is out of all proportion",
                got=f"{array[step, feature]:g} at step {step + 1}, {self._called(feature + 1)}",
                expected=f"values like those of the training data, about {self.mean[feature]:.3g}, give or take "
                f"{self.scale[feature]:.3g}",
                fix="See whether it is a value; where it stands for a missing one, write NaN",
            )
        return standard.astype(np.float32)

    def plain(self, array: np.ndarray) -> bool:
        """Whether all of [T, F] are numbers, and none is `FURTHEST`."""
        return bool((np.abs(array - self.mean) <= FURTHEST * self.scale).all())

    def _called(self, feature: int) -> str:
        """A feature, counted from 1, and its column where it has one."""
        return f"feature {feature}" if self.long is None else f"feature {feature} ({self.long.channels[feature - 1]!r})"

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        found: dict[str, Any] = {"mean": self.mean.tolist(), "scale": self.scale.tolist()}
        if self.long is None:
            return found
        long = asdict(self.long)
        if long["dates"] is None:
            del long["dates"]
        return found | {"long": long}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Raises `ModelError` where `values` is not what `to_json` wrote."""
        pair = (values.get("mean"), values.get("scale")) if isinstance(values, dict) else (None, None)
        for part in pair:
            if not isinstance(part, list) or not part or not all(_is_finite(number) for number in part):
                raise ModelError(
                    "The scales of the codec are damaged", got=repr(part)[:80], expected="a list of numbers"
                )
        mean, scale = (np.array(part, dtype=np.float64) for part in pair)
        if len(mean) != len(scale) or (scale <= 0).any():
            raise ModelError(
                "The scales of the codec are damaged", expected="one mean and one positive scale a feature"
            )
        return cls(mean, scale, _long(values.get("long"), len(mean)) if isinstance(values, dict) else None)


def _long(found: object, features: int) -> LongColumns | None:
    """The columns of a table with a row a step, as `to_json` wrote them. Raises `ModelError` for anything else."""
    if found is None:
        return None
    parts = found if isinstance(found, dict) else {}
    series, time, channels = (parts.get(name) for name in ("series", "time", "channels"))
    named = isinstance(channels, list) and all(isinstance(name, str) for name in channels)
    if not named or not isinstance(channels, list) or not isinstance(series, str) or not isinstance(time, str | None):
        raise ModelError("The columns of the codec are damaged", got=repr(found)[:80], expected="names of columns")
    if len(channels) != features:
        raise ModelError("The columns of the codec are damaged", got=f"{len(channels)} channels", expected=features)
    dates = parts.get("dates")
    if dates is not None and not is_form(dates):
        raise ModelError("The columns of the codec are damaged", got=repr(dates)[:80], expected="a format of dates")
    return LongColumns(series, time, tuple(channels), dates)


def _is_finite(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
