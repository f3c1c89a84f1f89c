"""What a forecaster knows of its series: their names and scales, what stands beside them, their step and season."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.dates import is_form, order_of
from recurra.data.numbers import ENDLESS
from recurra.data.series import Series, SeriesDataset
from recurra.data.steps import Step
from recurra.data.text_codec import read_json
from recurra.errors import DataError, ModelError

_VERSION = 1
SERIES_FILE = "series.json"


@dataclass(frozen=True)
class ForecastCodec:
    """Series ↔ rows of numbers.

    - names, scales: each series of the training data and its standard deviation there.
    - columns: names of what is known beside (past, ahead, static); centres and spreads[C]: what they are standardised by.
    - step, season: the step between rows, and the steps after which things come again (1: none known).
    - asked: how a person said that tables are to be read (fill, and the columns of moments, series and values).
    - gaps: rows are as they came, with the wait before each as the last column of the past.
    - dates: the format in which dates were read that could be read in another (01/02/2024), None where there were none such.
    """

    names: tuple[str, ...]
    scales: tuple[float, ...]
    columns: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    step: Step
    season: int
    gaps: bool = False
    asked: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None)
    dates: str | None = None

    @classmethod
    def learn(
        cls, dataset: SeriesDataset, season: int,
        asked: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None),
    ) -> ForecastCodec:  # fmt: skip
        """From the training data."""
        scales = [_spread(one.values) for one in dataset.series]
        stacked = np.concatenate([beside(one) for one in dataset.series])
        spreads = stacked.std(axis=0)
        spreads[spreads < 1e-7 * np.maximum(1, np.abs(stacked).max(axis=0, initial=0))] = 1.0
        return cls(
            tuple(one.name for one in dataset.series), tuple(scales), dataset.columns,
            tuple(map(float, stacked.mean(axis=0))), tuple(map(float, spreads)), dataset.step, season, dataset.gaps, asked,
            dataset.dates,
        )  # fmt: skip

    @property
    def width(self) -> int:
        """Numbers of a row: the value, the number of the series, and what stands beside."""
        return 2 + len(self.centres)

    @property
    def ahead(self) -> int:
        return len(self.columns[1])

    def number(self, name: str) -> int:
        """Which series of the training data this is, -1 for one that is new."""
        return self.names.index(name) if name in self.names else -1

    def rows(self, series: Series) -> np.ndarray:
        """A series as rows[T, F], float64. Raises `DataError` where other columns stand beside its values."""
        found = beside(series)
        if found.shape[1] != len(self.centres):
            raise DataError(
                f"Series {series.name!r} has other columns than the model",
                got=f"{found.shape[1]} beside the values",
                expected=", ".join(name for part in self.columns for name in part) or "none",
            )
        standard = (found - np.array(self.centres)) / np.array(self.spreads)
        number = np.full((len(series), 1), float(self.number(series.name)))
        return np.concatenate([series.values[:, None], number, standard], axis=1)

    def rows_of(self, given: Any) -> np.ndarray:
        """Plain numbers of a new series, or rows by name ({"y": ..., "unique_id": ..., what stands beside}), as rows[T, F].

        Raises `DataError` for anything else.
        """
        if isinstance(given, list) and given and isinstance(given[0], Mapping):
            return self._by_name(given)
        try:
            values = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError("This is no series", got=repr(given)[:60], expected="numbers, one a row") from error
        if values.ndim != 1 or not (np.abs(values) <= ENDLESS).all() or self.centres:
            expected = "rows with what stands beside them" if self.centres else "finite numbers, one a row"
            raise DataError("This is no series that the model can read", got=f"shape {values.shape}", expected=expected)
        return np.stack([values, np.full(len(values), -1.0)], axis=1)

    def _by_name(self, given: Sequence[Mapping[str, Any]]) -> np.ndarray:
        names = [name for part in self.columns for name in part]
        found = np.zeros((len(given), self.width))
        for place, row in enumerate(given):
            lacking = [name for name in ("y", *names) if not isinstance(row.get(name), (int, float))]
            if lacking:
                raise DataError(
                    f"Row {place + 1} lacks {', '.join(lacking)}", got=str(dict(row))[:80], expected="numbers"
                )
            found[place, 0] = float(row["y"])
            found[place, 1] = self.number(str(row.get("unique_id", "")))
            found[place, 2:] = [float(row[name]) for name in names]
        found[:, 2:] = (found[:, 2:] - np.array(self.centres)) / np.array(self.spreads)
        if not (np.abs(found) <= ENDLESS).all():
            raise DataError("A value is not finite", fix="Fill it, or leave the row out")
        return found

    def known_ahead(self, series: Series) -> np.ndarray:
        """What is known ahead, standardised: [T + K, A]."""
        first = len(self.columns[0])
        part = slice(first, first + self.ahead)
        return (series.ahead - np.array(self.centres[part])) / np.array(self.spreads[part])

    def check(self, dataset: SeriesDataset) -> None:
        """Refuse series that the model cannot read. Raises `DataError`."""
        if dataset.columns != self.columns:
            raise DataError(
                f"{dataset.name} has other columns than the model",
                got=_told(dataset.columns),
                expected=_told(self.columns),
                fix="Name them as for `fit`, with --past, --ahead and --static",
            )
        if dataset.step != self.step and any(len(one) > 1 for one in dataset.series):
            raise DataError(
                f"{dataset.name} is measured at other steps than the model learnt",
                got=dataset.step.words, expected=self.step.words,
                fix=f"Dates are read as {order_of(self.dates)}, as those of the training data" if self.dates else None,
            )  # fmt: skip

    def to_text(self) -> str:
        values = {"version": _VERSION, **asdict(self)}
        # left out where there is nothing to say, so that the hash of a model that was saved before stays what it is
        if not self.step.weekdays:
            del values["step"]["weekdays"]
        if self.dates is None:
            del values["dates"]
        return json.dumps(values, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def load(cls, folder: Path) -> ForecastCodec:
        """Read `series.json`. Raises `ModelError` where it is missing, damaged or of another version."""
        path = folder / SERIES_FILE
        values = read_json(path)
        if values.get("version") != _VERSION:
            raise ModelError(f"{path} has another version", got=values.get("version"), expected=_VERSION)
        try:
            return _from_json(values)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} is damaged", got=str(error)[:80], expected="what `recurra fit` wrote") from error


def beside(series: Series) -> np.ndarray:
    """All that stands beside the values: past, ahead, static; [T, C]."""
    size = len(series)
    return np.concatenate([series.past, series.ahead[:size], np.tile(series.static, (size, 1))], axis=1)


def _told(columns: tuple[tuple[str, ...], ...]) -> str:
    kinds = zip(("past", "ahead", "static"), columns, strict=True)
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds if names) or "none beside the values"


def _from_json(values: dict[str, Any]) -> ForecastCodec:
    names = tuple(str(name) for name in values["names"])
    numbers = {key: tuple(float(number) for number in values[key]) for key in ("scales", "centres", "spreads")}
    if len(numbers["scales"]) != len(names) or len(set(names)) != len(names):
        raise ValueError("names and scales")
    if not all(math.isfinite(number) for part in numbers.values() for number in part):
        raise ValueError("a number that is not finite")
    if min(numbers["scales"], default=1.0) <= 0 or min(numbers["spreads"], default=1.0) <= 0:
        raise ValueError("a scale that is not positive")
    past, ahead, static = (tuple(map(str, part)) for part in values["columns"])
    if len(numbers["centres"]) != len(numbers["spreads"]) or len(past + ahead + static) != len(numbers["centres"]):
        raise ValueError("columns and their scales")
    step = values["step"]
    step = Step(int(step["months"]), int(step["micros"]), bool(step["dated"]), bool(step.get("weekdays", False)))
    dates = values.get("dates")
    if dates is not None and not is_form(dates):
        raise ValueError("a format of dates that is none")
    return ForecastCodec(
        names, numbers["scales"], (past, ahead, static), numbers["centres"], numbers["spreads"], step,
        max(1, int(values["season"])), bool(values["gaps"]), _asked(values["asked"]), dates,
    )  # fmt: skip


def _asked(values: Any) -> tuple[str | None, str | None, str | None, str | None]:
    fill, time, series, value = (None if part is None else str(part) for part in values)
    return fill, time, series, value


def _spread(values: np.ndarray) -> float:
    spread = float(values.std()) if len(values) else 0.0
    scale = float(np.abs(values).max()) if len(values) else 0.0
    return spread if spread > 1e-9 * max(scale, 1e-30) and spread > 0 else max(scale, 1.0)
