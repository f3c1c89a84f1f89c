"""When things were measured: texts, dates and numbers as moments, which `steps` puts in order.

Knows no files and no series.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import compress
from typing import NamedTuple

import numpy as np

from recurra.data.steps import EPOCH, MICRO, months_of, times_in_month

_GREATEST = 1 << 62
"""Numbered rows beyond it, on either side, are no moments."""
_DIGIT = re.compile(r"\d+")
_MONTH = re.compile(r"(?i)\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*")
_HALF = re.compile(r"(?i) [ap]m$")
_BETWEEN = re.compile(r"(?<=\d)T(?=\d)")
"""What parts date and time in ISO 8601."""
_AMBIGUOUS = "9/9/9"
_FORMATS = {
    _AMBIGUOUS: ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d"),
    "9-9-9": ("%Y-%m-%d",),
    "9.9.9": ("%d.%m.%Y",),
    "9年9月9日": ("%Y年%m月%d日",),
    "9年9月": ("%Y年%m月",),
    "Mon 9": ("%b %Y", "%B %Y"),
    "Mon-9": ("%b-%Y", "%B-%Y"),
    "9 Mon 9": ("%d %b %Y", "%d %B %Y"),
    "9-Mon-9": ("%d-%b-%Y", "%d-%B-%Y"),
    "Mon 9, 9": ("%b %d, %Y", "%B %d, %Y"),
}
"""Dates that ISO 8601 does not know, or not with such a time, by their shape. Of several formats the one is taken that reads
most of them; of equals the one by which most steps are alike, and then the first."""
_TIMES = {"": "", " 9:9": " %H:%M", " 9:9:9": " %H:%M:%S", " 9:9 AM": " %I:%M %p", " 9:9:9 AM": " %I:%M:%S %p"}
_SHAPE = re.compile(r"(.*?)( 9:9(?::9)?(?: AM)?)?")
"""A date, and the time beside it."""
_QUARTER = re.compile(r"(\d{4})[ -]?[Qq]([1-4])")


def shape_of(text: str) -> str:
    """What a date is written like, so that two ways of writing can be told apart: its digits become 9, a month's name "Mon",
    and a half of the day "AM".
    """
    return _named(_DIGIT.sub("9", text.strip()))


@lru_cache(maxsize=256)
def _named(shape: str) -> str:
    # a column has few shapes, twelve where months have names
    return _HALF.sub(" AM", _MONTH.sub("Mon", _BETWEEN.sub(" ", shape))).removesuffix("Z")


def looks_dated(values: Sequence[object]) -> bool:
    """Whether the first values of a column are dates."""
    first = [value for value in values[:20] if value is not None and not (isinstance(value, str) and not value.strip())]
    if not first or not all(isinstance(value, (str, int, float, datetime.date)) for value in first):
        return False
    return moments_of(first).moments is not None and not all(_is_number(value) for value in first)


class Moments(NamedTuple):
    """A column of moments as it was read.

    - moments: int64 [N]; None where most cannot be read.
    - wrong: places of those that cannot.
    - example: what the others are written like; "dates" or "numbers" where they are that.
    - form: the format they were read in, where such texts could be read in another; else None.
    """

    moments: np.ndarray | None
    wrong: list[int]
    example: str
    form: str | None = None


_NONE = Moments(None, [], "")


def moments_of(values: Sequence[object], known: str | None = None) -> Moments:
    """The moments of a column, which is read in one format, the one that most of its values have.

    `known` is `Moments.form` of a column that was read before. Dates that look alike are read in that order of day, month
    and year again, whatever these alone could be; those that contradict it are among the wrong ones.
    """
    if all(isinstance(value, (datetime.datetime, datetime.date)) for value in values):
        # an offset from UTC can lead out of the calendar: such a moment is named below
        with contextlib.suppress(OverflowError):
            return Moments(np.array([_of_datetime(value) for value in values], dtype=np.int64), [], "dates")
    if all(_is_whole(value) for value in values):
        numbers = [_whole(value) for value in values]
        wrong = [place for place, number in enumerate(numbers) if abs(number) > _GREATEST]
        if 2 * len(wrong) > len(numbers):
            return _NONE
        return Moments(
            np.array([min(max(number, -_GREATEST), _GREATEST) for number in numbers], np.int64), wrong, "numbers"
        )
    texts = [str(value).strip() if value is not None else "" for value in values]
    of_texts = [shape_of(text) for text in texts]
    shapes = Counter(of_texts)
    shape, count = shapes.most_common(1)[0]
    if 2 * count <= len(texts) and not _mostly_dates(shapes):
        return _NONE
    alike = [one == shape for one in of_texts]
    parse, form = _parser(list(compress(texts, alike)), shape, known)
    if parse is None:
        return _NONE
    moments, wrong = np.zeros(len(texts), dtype=np.int64), []
    for place, text in enumerate(texts):
        found = parse(text) if alike[place] else None
        if found is None:
            wrong.append(place)
        else:
            moments[place] = found
    if 2 * len(wrong) > len(texts) and not _mostly_dates(shapes):
        return _NONE
    unread = set(wrong)
    example = next((text for place, text in enumerate(texts) if place not in unread), texts[0])
    return Moments(moments, wrong, example, form)


def _mostly_dates(shapes: Counter[str]) -> bool:
    dated = sum(count for shape, count in shapes.items() if re.match(r"9[-/.年]9|(9[ -])?Mon[ -]9", shape))
    return 2 * dated > shapes.total()


def _parser(
    texts: Sequence[str], shape: str, known: str | None
) -> tuple[Callable[[str], int | None] | None, str | None]:
    """(what reads such a text, its format where these could be read in another)."""
    parts = _SHAPE.fullmatch(shape)
    date, time = (parts[1], parts[2] or "") if parts is not None else (shape, "")
    if re.fullmatch(r"9-9(-9)?( 9.*)?", date) and not time.endswith("AM"):
        return _iso, None
    if re.fullmatch(r"(?i)9[ -]?q9", shape):
        return _quarter, None
    candidates = [f"{one}{_TIMES[time]}" for one in _FORMATS.get(date, ())]
    read = {form: [moment for text in texts if (moment := _with(form, text)) is not None] for form in candidates}
    again = [form for form in candidates if known is not None and _date_of(form) == _date_of(known)]
    best = max(again or candidates, key=lambda form: (len(read[form]), _evenness(read[form])), default=None)
    if best is None or (not again and 2 * len(read[best]) <= len(texts)):
        return None, None
    return partial(_with, best), best if date == _AMBIGUOUS else None


def _date_of(form: str) -> str:
    return form.split(" ")[0]


def order_of(form: str) -> str:
    """A format of dates as a person says it: "day/month/year"."""
    names = {"%d": "day", "%m": "month", "%Y": "year"}
    return "/".join(names[part] for part in _date_of(form).split("/"))


def order_beside(text: str, form: str) -> str | None:
    """In which other order than that of `form` a date can be read, None where it can be in none."""
    others = [f"{one}{time}" for one in _FORMATS[_AMBIGUOUS] if one != _date_of(form) for time in _TIMES.values()]
    return next((order_of(other) for other in others if _with(other, text.strip()) is not None), None)


def unlike(time: str, read: Moments, text: str, where: str, known: str | None) -> str:
    """What is said of moments that cannot be read as the others are, or as those read before were; the first is `text`."""
    other = None if read.form is None else order_beside(text, read.form)
    if read.form is None or other is None:
        return (
            f"{time!r} is written in two ways: as {read.example!r}, and as {text!r} ({where}): write all moments alike"
        )
    order = order_of(read.form)
    if known is not None:
        return (
            f"{time!r} is read as {order}, as in the training data, and {text!r} can only be {other} ({where}): write all "
            "moments as there"
        )
    return (
        f"{time!r} is written in two ways: as {read.example!r}, {order}, and as {text!r}, {other} ({where}): write all "
        "moments alike"
    )


def is_form(form: object) -> bool:
    """Whether this is a format that `Moments` can hold."""
    return form in [f"{one}{time}" for one in _FORMATS[_AMBIGUOUS] for time in _TIMES.values()]


def _evenness(moments: list[int]) -> int:
    """How many steps from one row to the next are as the most frequent one, in time or in months."""
    array = np.array(moments, dtype=np.int64)
    apart = [np.diff(array)]
    if len(times_in_month(array)) == 1:
        apart.append(np.diff(months_of(array)))
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


def _quarter(text: str) -> int | None:
    found = _QUARTER.fullmatch(text)
    return None if found is None else _of_datetime(datetime.datetime(int(found[1]), 3 * int(found[2]) - 2, 1))


def _with(form: str, text: str) -> int | None:
    try:
        return _of_datetime(datetime.datetime.strptime(_BETWEEN.sub(" ", text), form))
    except ValueError:
        return None


def _of_datetime(value: datetime.datetime | datetime.date | object) -> int:
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return (value - EPOCH) // MICRO
    assert isinstance(value, datetime.date)
    return (datetime.datetime(value.year, value.month, value.day) - EPOCH) // MICRO


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
