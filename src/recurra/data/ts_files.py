"""Files of the UCR and UEA archives (.ts): a header, then a series a line, its dimensions and its answer parted by colons.

Knows the format and nothing of tasks: what comes out is a table whose column `series` holds arrays [T, F], with a column
`label` or `target` where the file has answers. A missing value (`?`) is NaN.

Format: Middlehurst et al., "Bake off redux", 2024; written by the tools of sktime and aeon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recurra.data.tables import Table
from recurra.errors import DataError

SERIES, LABEL, TARGET = "series", "label", "target"
_SWITCHES = {"timestamps", "univariate", "missing", "equallength"}
_SWITCHED = {"true": True, "false": False}


@dataclass
class _Header:
    """What the lines before `@data` say; None where they say nothing."""

    classes: tuple[str, ...] | None = None
    target: bool = False
    dimensions: int | None = None
    length: int | None = None
    begins: int = 0

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
    for number, line in enumerate(lines[header.begins :], header.begins + 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        where = f"{name}, line {number}"
        *dimensions, answer = stripped.split(":") if header.answered else [*stripped.split(":"), ""]
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
        series.append(_array(dimensions, header, where))
        numbers.append(number)
    if not series:
        raise DataError(f"{name} has a header and no series", expected="a line for each series after @data")
    columns: dict[str, list] = {SERIES: series}
    if header.answered:
        columns[TARGET if header.target else LABEL] = answers
    task = None if not header.answered else "regress" if header.target else "classify"
    return Table(columns, numbers, name, "line", task=task)


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
        _read_word(header, word[1:], words[1:], where)
    raise DataError(f"{name} has no line @data", expected="a header, a line @data, and a series a line", fix=_CUT)


def _read_word(header: _Header, word: str, values: list[str], where: str) -> None:
    """What one `@word` of the header says. Words that change nothing in how series are read are passed over."""
    if word in _SWITCHES and _switch(word, values, where) and word == "timestamps":
        raise DataError(
            f"{where}: series with time stamps are not read", fix="Resample them to even steps, and write values alone"
        )
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


def _array(dimensions: list[str], header: _Header, where: str) -> np.ndarray:
    """The dimensions of a line side by side, float32 [T, F]."""
    columns = [_values(text, where, place) for place, text in enumerate(dimensions, 1)]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        got = ", ".join(map(str, sorted(lengths)))
        raise DataError(
            f"{where}: the dimensions differ in length", got=f"{got} steps", expected="one length", fix=_CUT
        )
    (length,) = lengths
    if header.length is not None and length != header.length:
        raise DataError(
            f"{where} has another length than the header says", got=length, expected=header.length, fix=_CUT
        )
    with np.errstate(over="ignore"):
        return np.array(columns, dtype=np.float64).T.astype(np.float32)


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
