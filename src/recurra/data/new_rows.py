"""One new row of each series that is followed, read without guessing: its columns are those of a table read before.

Whatever is out of the ordinary, mistakes included, is left to `frames`, which names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.data.columns import Layout
from recurra.data.dates import moments_of
from recurra.data.numbers import ENDLESS
from recurra.data.series_codec import ForecastCodec
from recurra.data.sources import frame_columns
from recurra.data.steps import Step
from recurra.data.values import is_void


class NewRows:
    """Reads tables with the columns of one that was read as `layout` says, one row for each of `names`.

    `of` makes one, or says None where such rows need more than that.
    """

    def __init__(self, layout: Layout, codec: ForecastCodec, names: Sequence[str]) -> None:
        self._layout = layout
        self._step, self._dates = codec.step, codec.dates
        self._beside = [name for part in codec.columns for name in part]
        chosen = [layout.time, layout.series, *layout.values, *self._beside]
        self._columns = {name for name in chosen if name is not None}
        self._places = {name: place for place, name in enumerate(names)}
        self._centres, self._spreads = np.array(codec.centres), np.array(codec.spreads)
        self._rows = np.zeros((len(names), 2 + len(self._beside)))
        self._rows[:, 1] = [codec.number(name) for name in names]

    @classmethod
    def of(cls, layout: Layout | None, codec: ForecastCodec, names: Sequence[str]) -> NewRows | None:
        if layout is None or layout.form == "rows" or codec.gaps or (codec.step.dated and layout.time is None):
            return None
        titles = layout.values if layout.series is None else names
        return cls(layout, codec, names) if sorted(titles) == sorted(names) else None

    def read(self, data: Any, last: Sequence[int]) -> tuple[np.ndarray, list[int]] | None:
        """(rows[B, 2 + C] as the codec makes them, the moment of each), where they follow the moments `last`; or None."""
        columns = data if isinstance(data, Mapping) else frame_columns(data)
        if columns is None or columns.keys() != self._columns:
            return None
        layout, count = self._layout, len(self._places)
        size = count if layout.series is not None else 1
        if not all(isinstance(values, list) and len(values) == size for values in columns.values()):
            return None
        if layout.series is not None:
            places = [self._places.get(str(name).strip(), -1) for name in columns[layout.series]]
            values = columns[layout.values[0]]
        else:
            places = [self._places[name] for name in layout.values]
            values = [columns[name][0] for name in layout.values]
        if len(set(places)) < count or -1 in places or not _are_plain(values):
            return None
        moments = _following(columns[layout.time] if layout.time else None, places, last, self._step, self._dates)
        if moments is None:
            return None
        rows = self._rows.copy()
        rows[places, 0] = values
        if self._beside:
            beside = [columns[name] for name in self._beside]
            if not all(map(_are_plain, beside)):
                return None
            # in a table with a column a series there is one row of what stands beside, for all of them
            rows[places, 2:] = (np.array(beside, dtype=np.float64).T - self._centres) / self._spreads
        return rows, moments


def _following(
    given: list[Any] | None, places: list[int], last: Sequence[int], step: Step, dates: str | None
) -> list[int] | None:
    """The moment of each place, where these follow the last ones; dates are read in the format `dates`, if any."""
    wanted: dict[int, int] = {}
    for moment in set(last):
        wanted[moment] = moment + step.micros if step.even else step.after(moment, 1)[0]
    if given is not None:
        if any(map(is_void, given)):
            return None
        found, wrong, told, _ = moments_of(given, dates)
        if found is None or wrong:
            return None
        if step.dated:
            moments = found.tolist() if len(found) == len(places) else found.tolist() * len(places)
            if told == "numbers" or any(wanted[last[at]] != moment for at, moment in zip(places, moments, strict=True)):
                return None
    return [wanted[moment] for moment in last]


def _are_plain(values: list[Any]) -> bool:
    """Whether all are finite numbers, and not so large that they count as infinite."""
    return all(isinstance(value, (float, int)) and math.isfinite(value) and abs(value) <= ENDLESS for value in values)
