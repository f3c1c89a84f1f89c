"""When things were measured: texts to moments, and the even step from one moment to the next.

A moment is a whole number: microseconds since 1970 where there are dates, or the number itself where rows are numbered.
Knows no files and no series.
"""

from __future__ import annotations

import calendar
import contextlib
import datetime
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recurra.errors import DataError

_EPOCH = datetime.datetime(1970, 1, 1)
_MICRO = datetime.timedelta(microseconds=1)
_LAST = (datetime.datetime.max - _EPOCH) // _MICRO
_GREATEST = 1 << 62
"""Numbered rows beyond it, on either side, are no moments."""
_DIGIT = re.compile(r"\d+")
_UNITS = (("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000))
_FORMATS = {
    "9/9/9": ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d"),
    "9.9.9": ("%d.%m.%Y",),
    "9年9月9日": ("%Y年%m月%d日",),
    "9年9月": ("%Y年%m月",),
}
"""Dates that ISO 8601 does not know, by their shape. Where several formats read all of them, the one is taken by which most
steps are alike, and of equals the first."""
_TIMES = ("", " %H:%M", " %H:%M:%S")


@dataclass(frozen=True)
class Step:
    """The even step from one moment to the next: `months`, or an amount of `micros` (of numbered rows: of ones)."""

    months: int = 0
    micros: int = 1
    dated: bool = False

    def after(self, moment: int, count: int) -> list[int]:
        """The `count` moments that follow one another after `moment`. Raises `DataError` for dates after the year 9999."""
        if not self.months:
            if self.dated and moment + count * self.micros > _LAST:
                raise _too_late()
            return [moment + place * self.micros for place in range(1, count + 1)]
        first = _EPOCH + moment * _MICRO
        last_day = first.day == _days(first.year, first.month)
        found = []
        for place in range(1, count + 1):
            number = first.year * 12 + first.month - 1 + place * self.months
            year, month = divmod(number, 12)
            if year > datetime.MAXYEAR:
                raise _too_late()
            longest = _days(year, month + 1)
            day = longest if last_day else min(first.day, longest)
            found.append((first.replace(year=year, month=month + 1, day=day) - _EPOCH) // _MICRO)
        return found

    def places(self, moments: np.ndarray) -> np.ndarray:
        """How many steps each moment lies behind the first, float64; whole numbers where all is even."""
        if not len(moments):
            return np.zeros(0)
        if not self.months:
            return (moments - moments[0]) / self.micros
        whole = _months(moments)
        return (whole - whole[0]) / self.months

    @property
    def words(self) -> str:
        """As a person says it: "1 hour", "3 months", "1 row"."""
        if self.months:
            return _counted(self.months // 12, "year") if self.months % 12 == 0 else _counted(self.months, "month")
        if not self.dated:
            return _counted(self.micros, "row")
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
        day, week = 86_400_000_000, 7 * 86_400_000_000
        for whole in (day, week):
            if self.micros < whole and whole % self.micros == 0:
                return whole // self.micros
        return 52 if self.micros == week else 1


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")


def _too_late() -> DataError:
    return DataError("These moments go beyond the calendar", expected="dates up to the year 9999", fix="Mend the dates")


def _days(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _months(moments: np.ndarray) -> np.ndarray:
    return moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def shape_of(text: str) -> str:
    """What a date is written like: its digits become 9, so that two ways of writing can be told apart."""
    return _DIGIT.sub("9", text.strip().replace("T", " ").removesuffix("Z"))


def looks_dated(values: Sequence[object]) -> bool:
    """Whether the first values of a column are dates."""
    first = [value for value in values[:20] if value is not None and not (isinstance(value, str) and not value.strip())]
    if not first or not all(isinstance(value, (str, int, float, datetime.date)) for value in first):
        return False
    return moments_of(first)[0] is not None and not all(_is_number(value) for value in first)


def moments_of(values: Sequence[object]) -> tuple[np.ndarray | None, list[int], str]:
    """(moments int64 [N], places of those that cannot be read, in what format): None where most cannot be read.

    A column is read in one format, the one that most of its values have; what has another is among those that cannot be read.
    """
    if all(isinstance(value, (datetime.datetime, datetime.date)) for value in values):
        # an offset from UTC can lead out of the calendar: such a moment is named below
        with contextlib.suppress(OverflowError):
            return np.array([_of_datetime(value) for value in values], dtype=np.int64), [], "dates"
    if all(_is_whole(value) for value in values):
        numbers = [_whole(value) for value in values]
        wrong = [place for place, number in enumerate(numbers) if abs(number) > _GREATEST]
        if 2 * len(wrong) > len(numbers):
            return None, [], ""
        return np.array([min(max(number, -_GREATEST), _GREATEST) for number in numbers], np.int64), wrong, "numbers"
    texts = [str(value).strip() if value is not None else "" for value in values]
    shapes = Counter(map(shape_of, texts))
    shape, count = shapes.most_common(1)[0]
    if 2 * count <= len(texts) and not _mostly_dates(shapes):
        return None, [], ""
    parse = _parser([text for text in texts if shape_of(text) == shape], shape)
    if parse is None:
        return None, [], ""
    moments, wrong = np.zeros(len(texts), dtype=np.int64), []
    for place, text in enumerate(texts):
        found = parse(text) if shape_of(text) == shape else None
        if found is None:
            wrong.append(place)
        else:
            moments[place] = found
    if 2 * len(wrong) > len(texts) and not _mostly_dates(shapes):
        return None, [], ""
    example = next(text for text in texts if shape_of(text) == shape)
    return moments, wrong, example


def _mostly_dates(shapes: Counter[str]) -> bool:
    dated = sum(count for shape, count in shapes.items() if re.match(r"9[-/.年]9", shape))
    return 2 * dated > shapes.total()


def _parser(texts: Sequence[str], shape: str):
    date = shape.split(" ")[0]
    if re.fullmatch(r"9-9(-9)?", date):
        return _iso
    candidates = [f"{one}{time}" for one in _FORMATS.get(date, ()) for time in _TIMES]
    if re.fullmatch(r"[A-Za-z]{3,9}[ -]9", shape) or re.fullmatch(r"9[ -][A-Za-z]{3,9}[ -]9", shape):
        candidates = ["%b %Y", "%B %Y", "%b-%Y", "%d %b %Y", "%d-%b-%Y", "%d %B %Y"]
    read = {form: [_with(form, text) for text in texts] for form in candidates}
    whole = [form for form, moments in read.items() if None not in moments]
    if not whole:
        return None
    best = max(whole, key=lambda form: _evenness([moment for moment in read[form] if moment is not None]))
    return lambda text: _with(best, text)


def _evenness(moments: list[int]) -> int:
    """How many steps from one row to the next are as the most frequent one, in time or in months."""
    array = np.array(moments, dtype=np.int64)
    apart = [np.diff(array)]
    if len(_days_of(array)) == 1:
        apart.append(np.diff(_months(array)))
    return max(int(np.unique(gaps, return_counts=True)[1].max(initial=0)) for gaps in apart)


def _iso(text: str) -> int | None:
    text = text.removesuffix("Z")
    try:
        if re.fullmatch(r"\d{4}-\d{1,2}", text):
            year, month = text.split("-")
            return _of_datetime(datetime.datetime(int(year), int(month), 1))
        return _of_datetime(datetime.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _with(form: str, text: str) -> int | None:
    try:
        return _of_datetime(datetime.datetime.strptime(text.replace("T", " "), form))
    except ValueError:
        return None


def _of_datetime(value: datetime.datetime | datetime.date | object) -> int:
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return (value - _EPOCH) // _MICRO
    assert isinstance(value, datetime.date)
    return (datetime.datetime(value.year, value.month, value.day) - _EPOCH) // _MICRO


def _is_number(value: object) -> bool:
    try:
        return math.isfinite(float(str(value)))
    except ValueError:
        return False


def _whole(value: object) -> int:
    """A whole number, exactly: those of nanoseconds have more digits than a float."""
    text = str(value).strip()
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _is_whole(value: object) -> bool:
    return _is_number(value) and float(str(value)).is_integer()


def text_of(moment: int, step: Step) -> str:
    """A moment as it is written: an ISO date, with the time of day where steps are shorter than a day; or its number."""
    if not step.dated:
        return str(moment)
    value = _EPOCH + moment * _MICRO
    whole = value.time() == datetime.time()
    if step.months and whole and value.day == 1:
        return f"{value:%Y-%m-%d}"
    return f"{value:%Y-%m-%d}" if whole and (step.months or step.micros % _UNITS[0][1] == 0) else str(value)


def datetime_of(moment: int) -> datetime.datetime:
    """A dated moment as Python's own type."""
    return _EPOCH + moment * _MICRO


def step_of(runs: Sequence[np.ndarray], dated: bool) -> Step:
    """The step that most moments are apart, of series whose moments are in order."""
    if dated:
        whole = [_months(run) for run in runs if len(run) > 1]
        days = {int(day) for run in runs for day in _days_of(run)}
        apart = Counter(int(gap) for run in whole for gap in np.diff(run))
        if apart and len(days) == 1 and 0 not in apart:
            return Step(apart.most_common(1)[0][0], 0, True)
    gaps = Counter(int(gap) for run in runs for gap in np.diff(run) if gap > 0)
    return Step(0, gaps.most_common(1)[0][0] if gaps else 1, dated)


def _days_of(moments: np.ndarray) -> np.ndarray:
    """The time within its month of each moment, in microseconds; of the last days of months all the same."""
    stamps = moments.astype("datetime64[us]")
    months = stamps.astype("datetime64[M]")
    within = (stamps - months.astype("datetime64[us]")).astype(np.int64)
    left = ((months + 1).astype("datetime64[us]") - stamps).astype(np.int64)
    day = 86_400_000_000
    return np.full(len(moments), -1) if len(moments) and (left == day).all() else np.unique(within)
