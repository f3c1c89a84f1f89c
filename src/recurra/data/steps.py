"""Steps: what one moment is from the next, and moments as they are written.

A moment is a whole number: microseconds since 1970 where there are dates, or the number itself where rows are numbered.
"""

from __future__ import annotations

import calendar
import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recurra.errors import DataError

EPOCH = datetime.datetime(1970, 1, 1)
MICRO = datetime.timedelta(microseconds=1)
DAY = 86_400_000_000
_LAST = (datetime.datetime.max - EPOCH) // MICRO
_UNITS = (("day", DAY), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000))


@dataclass(frozen=True)
class Step:
    """The even step from one moment to the next: `months`, or an amount of `micros` (of numbered rows: of ones).

    With `weekdays` only the days from Monday to Friday count: after a Friday comes the Monday.
    """

    months: int = 0
    micros: int = 1
    dated: bool = False
    weekdays: bool = field(default=False, repr=False)  # digests of data read before hold the repr without it

    @property
    def even(self) -> bool:
        """Whether each moment lies `micros` after the one before, whatever the calendar says."""
        return not self.months and not self.weekdays

    def after(self, moment: int, count: int) -> list[int]:
        """The `count` moments that follow one another after `moment`. Raises `DataError` for dates after the year 9999."""
        if self.weekdays:
            return self._weekdays_after(moment, count)
        if not self.months:
            if self.dated and moment + count * self.micros > _LAST:
                raise _too_late()
            return [moment + place * self.micros for place in range(1, count + 1)]
        first = EPOCH + moment * MICRO
        last_day = first.day == _days(first.year, first.month)
        found = []
        for place in range(1, count + 1):
            number = first.year * 12 + first.month - 1 + place * self.months
            year, month = divmod(number, 12)
            if year > datetime.MAXYEAR:
                raise _too_late()
            longest = _days(year, month + 1)
            day = longest if last_day else min(first.day, longest)
            found.append((first.replace(year=year, month=month + 1, day=day) - EPOCH) // MICRO)
        return found

    def _weekdays_after(self, moment: int, count: int) -> list[int]:
        day, time = divmod(moment, DAY)
        if moment + (count * self.micros // DAY // 5 * 7 + 9) * DAY > _LAST:
            raise _too_late()
        further = np.arange(1, count + 1) * (self.micros // DAY)
        days = np.busday_offset(np.datetime64(int(day), "D"), further, roll="backward").astype(np.int64)
        return (days * DAY + time).tolist()

    def places(self, moments: np.ndarray) -> np.ndarray:
        """How many steps each moment lies behind the first, float64; whole numbers where all is even."""
        if not len(moments):
            return np.zeros(0)
        if self.weekdays:
            return _weekdays_before(moments) * (DAY / self.micros)
        if not self.months:
            return (moments - moments[0]) / self.micros
        whole = months_of(moments)
        return (whole - whole[0]) / self.months

    @property
    def words(self) -> str:
        """As a person says it: "1 hour", "3 months", "1 row"."""
        if self.months:
            return _counted(self.months // 12, "year") if self.months % 12 == 0 else _counted(self.months, "month")
        if not self.dated:
            return _counted(self.micros, "row")
        if self.weekdays:
            return _counted(self.micros // DAY, "weekday")
        for name, size in _UNITS:
            if self.micros % size == 0:
                return _counted(self.micros // size, name)
        return _counted(self.micros, "microsecond")

    @property
    def season(self) -> int:
        """The steps after which such measurements usually come again, 1 where nothing is known: a day, a week, a year."""
        if self.months:
            return max(1, 12 // self.months)
        if not self.dated:
            return 1
        if self.weekdays:
            return max(1, 5 * DAY // self.micros)
        week = 7 * DAY
        for whole in (DAY, week):
            if self.micros < whole and whole % self.micros == 0:
                return whole // self.micros
        return 52 if self.micros == week else 1


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")


def _too_late() -> DataError:
    return DataError("These moments go beyond the calendar", expected="dates up to the year 9999", fix="Mend the dates")


def _days(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _weekdays_before(moments: np.ndarray) -> np.ndarray:
    """How many weekdays each moment lies behind the first; a moment of a weekend lies half of one before the Monday."""
    days, times = np.divmod(moments, DAY)
    dates = days.astype("datetime64[D]")
    found = np.busday_count(dates[0], dates) - 0.5 * ~np.is_busday(dates) + times / DAY
    return found - found[0]


def months_of(moments: np.ndarray) -> np.ndarray:
    return moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def text_of(moment: int, step: Step) -> str:
    """A moment as it is written: an ISO date, with the time of day where steps are shorter than a day; or its number."""
    if not step.dated:
        return str(moment)
    value = EPOCH + moment * MICRO
    whole = value.time() == datetime.time()
    if step.months and whole and value.day == 1:
        return f"{value:%Y-%m-%d}"
    return f"{value:%Y-%m-%d}" if whole and (step.months or step.micros % DAY == 0) else str(value)


def datetime_of(moment: int) -> datetime.datetime:
    """A dated moment as Python's own type."""
    return EPOCH + moment * MICRO


def step_of(runs: Sequence[np.ndarray], dated: bool) -> Step:
    """The step that most moments are apart, of series whose moments are in order."""
    if dated:
        whole = [months_of(run) for run in runs if len(run) > 1]
        days = {int(day) for run in runs for day in times_in_month(run)}
        apart = Counter(int(gap) for run in whole for gap in np.diff(run))
        if apart and len(days) == 1 and 0 not in apart:
            return Step(apart.most_common(1)[0][0], 0, True)
    gaps = Counter(int(gap) for run in runs for gap in np.diff(run) if gap > 0)
    most = gaps.most_common(1)[0][0] if gaps else 1
    return Step(0, most, dated, weekdays=dated and most == DAY and _spare_weekends(runs))


def as_known(step: Step, known: Step | None) -> Step:
    """Of days and weekdays the one that is known already: the rows of a week, or two of them, could be either."""
    if known is None or not (step.dated and known.dated):
        return step
    return known if known.weekdays else replace(step, weekdays=False)


def _spare_weekends(runs: Sequence[np.ndarray]) -> bool:
    """Whether no moment lies in a weekend, though some lie before one and some after it."""
    days = [(run // DAY).astype("datetime64[D]") for run in runs if len(run)]
    weeks = {int(week) for run in days for week in np.unique((run.astype(np.int64) + 3) // 7)}
    return len(weeks) > 1 and all(np.is_busday(run).all() for run in days)


def times_in_month(moments: np.ndarray) -> np.ndarray:
    """The time within its month of each moment, in microseconds; of the last days of months all the same."""
    stamps = moments.astype("datetime64[us]")
    months = stamps.astype("datetime64[M]")
    within = (stamps - months.astype("datetime64[us]")).astype(np.int64)
    left = ((months + 1).astype("datetime64[us]") - stamps).astype(np.int64)
    return np.full(len(moments), -1) if len(moments) and (left == DAY).all() else np.unique(within)
