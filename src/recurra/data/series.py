"""Series to forecast: values at even steps, what else is known at each, and how they follow one another.

Knows no files, no columns and no networks: `frames` makes these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from recurra.data.datasets import RowsDataset
from recurra.data.steps import Step
from recurra.errors import DataError


@dataclass(frozen=True, eq=False)
class Series:
    """One series.

    - name: its `unique_id`.
    - moments[T]: when each value was measured, as `data.dates` counts.
    - values[T]: float64, all finite.
    - past[T, P]: what was measured beside it, known up to its end.
    - ahead[T + K, A]: what is known ahead of time, for K further steps.
    - static[S]: what never changes.
    - seen: the first so many values are history: nothing is measured on them.
    """

    name: str
    moments: np.ndarray
    values: np.ndarray
    past: np.ndarray
    ahead: np.ndarray
    static: np.ndarray
    seen: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def until(self, end: int) -> Series:
        """The first `end` values; what is known ahead stays."""
        return replace(
            self, moments=self.moments[:end], values=self.values[:end], past=self.past[:end], seen=min(self.seen, end)
        )

    def since(self, first: int) -> Series:
        """All but the first values."""
        parts = {name: getattr(self, name)[first:] for name in ("moments", "values", "past", "ahead")}
        return replace(self, **parts, seen=max(0, self.seen - first))

    def after(self, earlier: Series) -> Series:
        """The same series with an earlier part of it as its history."""
        size = len(earlier)
        return Series(
            self.name,
            np.concatenate([earlier.moments, self.moments]),
            np.concatenate([earlier.values, self.values]),
            np.concatenate([earlier.past, self.past]),
            np.concatenate([earlier.ahead[:size], self.ahead]),
            self.static,
            size + self.seen,
        )


@dataclass(frozen=True)
class SeriesDataset(RowsDataset):
    """Series to forecast, all with the same step; a row is a series.

    `columns` are the names of what stands in `past`, `ahead` and `static`; `horizon` is how many values are to be forecast,
    `season` after how many steps things come again (1: none known). `stride`: every so many-th beginning of a forecast
    is measured. `most`: windows that are measured at the end of each series, or None for all. `value`: the column of the
    values, where they all stood in one. `dates`: `Moments.form` of the column of moments.
    """

    series: list[Series]
    step: Step
    lines: list[int]
    name: str
    columns: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())
    gaps: bool = False
    horizon: int = 1
    season: int = 1
    stride: int = 1
    most: int | None = field(default=None)
    value: str | None = None
    dates: str | None = None

    @property
    def raw(self) -> list[Series]:
        return self.series

    @property
    def answers(self) -> list[Any]:
        return self.series

    @property
    def size(self) -> dict[str, int]:
        return {"rows": len(self.series), "tokens": sum(len(one) - one.seen for one in self.series)}

    @cached_property
    def digest(self) -> str:
        found = hashlib.sha256(repr((self.step, self.columns, self.gaps)).encode())
        for one in self.series:
            found.update(one.name.encode("utf-8", "surrogatepass") + b"\0")
            for part in (one.moments, one.values, one.past, one.ahead, one.static):
                found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()

    def subset(self, places: Sequence[int], name: str) -> SeriesDataset:
        chosen = [self.series[place] for place in places]
        return replace(self, series=chosen, lines=[self.lines[place] for place in places], name=name)

    def cut(self, ends: Sequence[int], name: str) -> SeriesDataset:
        """Each series up to its end."""
        parts = [one.until(end) for one, end in zip(self.series, ends, strict=True)]
        return replace(self, series=parts, name=name)

    def seen_until(self, ends: Sequence[int], name: str) -> SeriesDataset:
        """Each series with what stands before its end as history."""
        parts = [replace(one, seen=end) for one, end in zip(self.series, ends, strict=True)]
        return replace(self, series=parts, name=name)

    def after(self, earlier: SeriesDataset) -> SeriesDataset:
        """The same series, those that continue some of an earlier set with these as their history.

        A series continues one of its name whose values end before its own begin; where rows are not dated, it is enough that
        the name is the same. Raises `DataError` where steps or columns differ.
        """
        if self.columns != earlier.columns or (self.step != earlier.step and len(self.moments_apart()) > 0):
            raise DataError(
                f"{self.name} does not continue {earlier.name}",
                got=f"steps of {self.step.words}, columns {self._named()}",
                expected=f"steps of {earlier.step.words}, columns {earlier._named()}",
            )
        before = {one.name: one for one in earlier.series}
        joined = []
        for one in self.series:
            first = before.get(one.name)
            if first is None or not len(first) or not len(one):
                joined.append(one)
            elif not earlier.step.dated:
                moments = first.moments[-1] + earlier.step.micros * np.arange(1, len(one) + 1)
                joined.append(replace(one, moments=moments).after(first))
            elif first.moments[-1] < one.moments[0]:
                joined.append(one.after(first))
            else:
                joined.append(one)
        told = {"step": earlier.step, "horizon": earlier.horizon, "season": earlier.season}
        return replace(self, series=joined, **told)

    def moments_apart(self) -> list[int]:
        """The series that are long enough to tell a step."""
        return [place for place, one in enumerate(self.series) if len(one) > 1]

    def _named(self) -> str:
        return ", ".join(name for part in self.columns for name in part) or "none but the values"
