"""Files of the UCR and UEA archives (.ts): a header, then a series a line, its dimensions and its answer parted by colons.

Knows the format and nothing of tasks: what comes out is a table whose column `series` holds arrays [T, F], with a column
`label` or `target` where the file has answers. A missing value (`?`) is NaN. Where a header and its series contradict one
another, the series are believed, and it is told.

Format: Middlehurst et al., "Bake off redux", 2024; written by the tools of sktime and aeon.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recurra.data.checking import Problem, places
from recurra.data.stamps import UNEVEN, is_uneven, parted, series_of
from recurra.data.tables import Table
from recurra.errors import DataError

SERIES, LABEL, TARGET = "series", "label", "target"
_WRITTEN = {"univariate": "univariate", "equallength": "equalLength"}
_SWITCHED = {"true": True, "false": False}


@dataclass
class _Header:
    """What the lines before `@data` say; None where they say nothing."""

    classes: tuple[str, ...] | None = None
    target: bool = False
    dimensions: int | None = None
    length: int | None = None
    begins: int = 0
    stamped: bool = False
    says: dict[str, tuple[bool, int]] = field(default_factory=dict)
    """Of `univariate` and `equallength`: what it says, and in which line."""

    @property
    def answered(self) -> bool:
        return self.target or self.classes is not None


def parse_ts(text: str, name: str) -> Table:
    """The series of a .ts file, float32 [T, F] each. Raises `DataError` naming the line that is wrong."""
    lines = text.split("\n")
    header = _header(lines, name)
    series: list[np.ndarray] = []
    answers: list[str | float] = []
    numbers: list[int] = []
    uneven: list[int] = []
    for number, line in enumerate(lines[header.begins :], header.begins + 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        where = f"{name}, line {number}"
        parts = parted(stripped) if header.stamped else stripped.split(":")
        *dimensions, answer = parts if header.answered else [*parts, ""]
        if header.answered and not dimensions:
            raise DataError(
                f"{where} has no answer", got=_short(stripped), expected="values, a colon and the answer", fix=_CUT
            )
        wanted = header.dimensions
        if wanted is None:
            wanted = header.dimensions = len(dimensions)
        if len(dimensions) != wanted:
            raise DataError(f"{where} has another number of dimensions", got=len(dimensions), expected=wanted, fix=_CUT)
        if header.answered:
            answers.append(_answer(answer.strip(), header, where))
        array, moments = _array(dimensions, header, where)
        uneven += [number] if moments is not None and is_uneven(moments) else []
        series.append(array)
        numbers.append(number)
    if not series:
        raise DataError(f"{name} has a header and no series", expected="a line for each series after @data")
    columns: dict[str, list] = {SERIES: series}
    if header.answered:
        columns[TARGET if header.target else LABEL] = answers
    task = None if not header.answered else "regress" if header.target else "classify"
    problems = _contradictions(header, series, numbers)
    if uneven:
        many = "1 series is" if len(uneven) == 1 else f"{len(uneven)} series are"
        problems.append(Problem(uneven[0], f"{many} {UNEVEN} ({places(uneven, 'line')})", False, tuple(uneven)))
    return Table(columns, numbers, name, "line", problems=problems, task=task)


_CUT = "Mend that line, or fetch the file again: it may have been cut"


def _header(lines: list[str], name: str) -> _Header:
    header = _Header()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where, word = f"{name}, line {number}", words[0].lower()
        if word == "@data":
            header.begins = number
            return header
        if not word.startswith("@"):
            raise DataError(
                f"{where} belongs to no header", got=_short(line), expected="@words, and @data before the first series"
            )
        _read_word(header, word[1:], words[1:], number, where)
    raise DataError(f"{name} has no line @data", expected="a header, a line @data, and a series a line", fix=_CUT)


def _read_word(header: _Header, word: str, values: list[str], number: int, where: str) -> None:
    """What one `@word` of the header says, in line `number`. Words that do not change how series are read are passed over."""
    if word == "timestamps":
        header.stamped = _switch(word, values, where)
    if word in _WRITTEN:
        header.says[word] = _switch(word, values, where), number
    if word == "missing":
        _switch(word, values, where)
    if word in ("classlabel", "targetlabel") and _switch(word, values, where):
        if word == "targetlabel":
            header.target = True
        else:
            header.classes = tuple(values[1:])
    if word in ("dimensions", "dimension"):
        header.dimensions = _count(word, values, where)
    if word == "serieslength":
        header.length = _count(word, values, where)


def _switch(word: str, values: list[str], where: str) -> bool:
    found = _SWITCHED.get(values[0].lower()) if values else None
    if found is None:
        raise DataError(f"{where}: @{word} is neither on nor off", got=" ".join(values)[:40], expected="true or false")
    return found


def _count(word: str, values: list[str], where: str) -> int:
    if len(values) != 1 or not values[0].isascii() or not values[0].isdigit() or not 0 < int(values[0][:12]) < 1 << 31:
        raise DataError(
            f"{where}: @{word} is no number", got=" ".join(values)[:40], expected="a whole number from 1 on"
        )
    return int(values[0])


def _answer(text: str, header: _Header, where: str) -> str | float:
    if not header.target:
        if header.classes and text not in header.classes:
            shown = ", ".join(header.classes[:10]) + (" …" if len(header.classes) > 10 else "")
            raise DataError(
                f"{where} has a class that the header does not name", got=_short(text), expected=shown, fix=_CUT
            )
        return text
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where} has a target that is no number", got=_short(text), fix=_CUT) from None


def _array(dimensions: list[str], header: _Header, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(the dimensions of a line side by side, float32 [T, F], the moments of the steps where they have stamps)."""
    moments = None
    if header.stamped:
        table, moments = series_of(dimensions, where)
    else:
        columns = [_values(text, where, place) for place, text in enumerate(dimensions, 1)]
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            got = ", ".join(map(str, sorted(lengths)))
            raise DataError(
                f"{where}: the dimensions differ in length", got=f"{got} steps", expected="one length", fix=_CUT
            )
        table = np.array(columns, dtype=np.float64).T
    length = len(table)
    if header.length is not None and length != header.length:
        raise DataError(
            f"{where} has another length than the header says", got=length, expected=header.length, fix=_CUT
        )
    with np.errstate(over="ignore"):
        return table.astype(np.float32), moments


def _contradictions(header: _Header, series: list[np.ndarray], numbers: list[int]) -> list[Problem]:
    """What of the header the series are not."""
    found: list[Problem] = []
    first = series[0]
    are = {
        "univariate": (first.shape[1] == 1, [numbers[0]], f"there are {first.shape[1]} dimensions"),
        "equallength": (
            len({len(one) for one in series}) == 1,
            [number for one, number in zip(series, numbers, strict=True) if len(one) != len(first)],
            f"series are of other lengths than the first, of {len(first)} steps",
        ),
    }
    for word, (said, line) in header.says.items():
        holds, where, what = are[word]
        if said and not holds:
            message = f"the header says @{_WRITTEN[word]} true (line {line}), but {what} ({places(where, 'line')})"
            found.append(Problem(where[0], message, False, tuple(where)))
    return found


def _values(text: str, where: str, dimension: int) -> list[float]:
    if not text.strip():
        return []
    parts = text.split(",")
    try:
        return [float(part) for part in parts] if "?" not in text else [_value(part) for part in parts]
    except ValueError:
        step, wrong = next((i, part) for i, part in enumerate(parts, 1) if not _is_value(part))
        raise DataError(
            f"{where}: dimension {dimension}, step {step} is no number",
            got=_short(wrong),
            expected="a number, or ? where it is missing",
            fix=_CUT,
        ) from None


def _value(text: str) -> float:
    return float("nan") if text.strip() == "?" else float(text)


def _is_value(text: str) -> bool:
    try:
        _value(text)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    return repr(text.strip())[:60]
