"""Time stamps of steps, numbers or dates, as moments that can be put in order; a series with stamps as the archives write it.

What is far apart and what is near is no question here: steps follow one another, and it is told where they are uneven.
`frames` makes even what is to be forecast.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from recurra.data.dates import Moments, moments_of
from recurra.data.values import is_void, number_of
from recurra.errors import DataError

UNEVEN = "unevenly spaced in time; their steps are taken one after another"
_PAIR = re.compile(r"\(([^()]*)\)")
_PAIRS = re.compile(r"\s*\([^()]*\)\s*(?:,\s*\([^()]*\)\s*)*")
_PARTING = re.compile(r":(?![^()]*\))")
"""A colon that does not stand in parentheses, as those of the time of day do."""


def stamps_of(values: Sequence[object], known: str | None = None) -> Moments:
    """The moments of steps, float64 [N]: numbers, or dates in one way of writing; none where any is missing.

    `known` is `Moments.form` of stamps that were read before, as for `moments_of`.
    """
    found = [None if is_void(value) else number_of(value) for value in values]
    wrong = [place for place, number in enumerate(found) if number is None or not np.isfinite(number)]
    if not wrong:
        return Moments(np.array(found, dtype=np.float64), [], "numbers")
    blank = [place for place, value in enumerate(values) if is_void(value)]
    if blank:
        return Moments(None, blank, "")
    read = moments_of(values, known)
    if read.moments is None:
        return Moments(None, wrong, "")
    return read._replace(moments=read.moments.astype(np.float64))


def is_uneven(moments: np.ndarray) -> bool:
    """Whether the waits between moments in order differ by more than months do."""
    waits = np.diff(moments)
    return bool(len(waits)) and bool(waits.max() > 1.5 * waits.min())


def parted(line: str) -> list[str]:
    """What stands between the colons of a line, but for those within parentheses."""
    return _PARTING.split(line)


def series_of(dimensions: Sequence[str], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Dimensions `(stamp,value),(stamp,value),...` -> (float64 [T, F], moments [T] in order).

    A step is each moment that any dimension has; where one lacks it, and where a value is `?`, stands NaN. Raises
    `DataError` saying `where` for what is no such dimension, and for a stamp that a dimension has twice.
    """
    pairs = [_pairs(text, where, number) for number, text in enumerate(dimensions, 1)]
    texts = [stamp for one in pairs for stamp, _ in one]
    read = stamps_of(texts)
    moments = read.moments
    if read.wrong or moments is None:
        raise DataError(
            f"{where} has a time stamp that cannot be read", got=repr(texts[read.wrong[0]])[:60],
            expected="numbers, or dates that are all written alike, as 2004-01-31 00:00:00",
        )  # fmt: skip
    steps = np.unique(moments)
    found = np.full((len(steps), len(dimensions)), np.nan)
    begin = 0
    for place, one in enumerate(pairs):
        at = np.searchsorted(steps, moments[begin : begin + len(one)])
        if len(np.unique(at)) < len(at):
            again = next(number for number, spot in enumerate(at) if spot in at[:number])
            raise DataError(
                f"{where}: dimension {place + 1} has a time stamp twice", got=one[again][0],
                fix="Keep one value of each moment",
            )  # fmt: skip
        found[at, place] = [value for _, value in one]
        begin += len(one)
    return found, steps


def _pairs(text: str, where: str, dimension: int) -> list[tuple[str, float]]:
    if not text.strip():
        return []
    who = f"{where}: dimension {dimension}"
    expected = "(stamp,value) and so on, parted by commas, since the header says @timeStamps true"
    if _PAIRS.fullmatch(text) is None:
        raise DataError(f"{who} is no series with time stamps", got=repr(text.strip())[:60], expected=expected)
    found = []
    for step, inner in enumerate(_PAIR.findall(text), 1):
        stamp, comma, value = inner.rpartition(",")
        number = float("nan") if value.strip() == "?" else number_of(value.strip())
        if not comma or number is None:
            raise DataError(f"{who}, step {step} is no stamp with a number", got=repr(inner)[:60], expected=expected)
        found.append((stamp.strip(), number))
    return found
