"""Columns of a table by name and content: those that a person named, those that a guess takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from recurra.data.checking import Problem, left_out
from recurra.data.tables import Table
from recurra.data.values import has_parts, is_missing
from recurra.errors import DataError

SAMPLE = 2_000  # rows looked at


@dataclass(frozen=True)
class Columns:
    """Columns that a person named; None for those that are to be guessed."""

    text: str | None = None
    label: str | None = None
    tags: str | None = None
    target: str | None = None

    @property
    def named(self) -> list[str]:
        return [name for name in (self.text, self.label, self.tags, self.target) if name]


@dataclass(frozen=True)
class Layout:
    """How a table holds series: `form` is long, wide or rows; `values` are the columns with what is to be forecast."""

    form: str
    time: str | None
    series: str | None
    values: tuple[str, ...]
    past: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guess:
    """The task (one of `TASKS`), the columns it reads, and readable reasons for each choice.

    `text` names the column of inputs: texts, numeric sequences, lists of tokens, or sources to translate. `label`, `tags`
    and `target` name those of the answers. Each is None where there is no such column. `layout` is how a table holds series.
    """

    task: str
    text: str | None
    label: str | None
    reasons: list[str]
    tags: str | None = None
    target: str | None = None
    layout: Layout | None = None

    @property
    def columns(self) -> Columns:
        return Columns(self.text, self.label, self.tags, self.target)


def require(column: str, raw: Table, option: str) -> None:
    """Raise `DataError` where a table has no column that a person named with `option`."""
    if column in raw.columns:
        return
    near = get_close_matches(column.lower(), [name.lower() for name in raw.columns], n=1)
    meant = next((name for name in raw.columns if near and name.lower() == near[0]), None)
    raise DataError(
        f"{raw.name} has no column {column!r}",
        expected=f"{option} with one of: {', '.join(raw.columns)}",
        fix=f"Did you mean {meant!r}?" if meant else None,
    )


def by_name(columns: list[str], names: Sequence[str]) -> str | None:
    """The column whose name stands first among `names`, without regard to case."""
    lowered = {column.lower().strip(): column for column in columns}
    return next((lowered[name] for name in names if name in lowered), None)


def first_values(values: list) -> list:
    return [value for value in values[:SAMPLE] if not is_missing(value)]


def without_label(values: Sequence[object], lines: Sequence[int], unit: str) -> list[Problem]:
    """Warnings that rows were left out because of their labels, which `label_text` reads as None."""
    odd = [line for value, line in zip(values, lines, strict=True) if has_parts(value)]
    missing = [line for value, line in zip(values, lines, strict=True) if not has_parts(value)]
    return [
        *left_out(missing, unit, "has no label", "have no label"),
        *left_out(odd, unit, "has a label that is no single value", "have labels that are no single values"),
    ]
