"""Sentences in two languages: which columns hold them, and how they are read."""

from __future__ import annotations

from recurra.data.checking import Problem
from recurra.data.columns import Columns, Guess, by_name, require
from recurra.data.datasets import PairDataset
from recurra.data.pieces import whole
from recurra.data.sources import Documents
from recurra.data.tables import Table
from recurra.errors import DataError

TASK = "translate"
SOURCE_NAMES = ("source", "src", "原文")
TARGET_NAMES = ("target", "translation", "tgt", "译文")


def looks_like(raw: Table, columns: Columns) -> bool:
    """Whether there are texts with their translations beside them."""
    if columns.target is not None:
        return True
    source, target = _columns(raw, columns)
    return source is not None and target is not None


def choose(raw: Table, columns: Columns, need_labels: bool, asked: bool, reasons: list[str]) -> Guess:
    for name, option in ((columns.text, "--text"), (columns.target, "--target")):
        if name is not None:
            require(name, raw, option)
    source, target = _columns(raw, columns)
    if source is None or (target is None and need_labels):
        raise DataError(
            f"{raw.name} has no column of {'sources' if source is None else 'targets'}",
            got=f"columns {', '.join(raw.columns)}",
            fix="Name them with --text COLUMN and --target COLUMN",
        )
    reasons.append(f"Source: the column {source!r}; target: {target!r}; say otherwise with --text and --target.")
    return Guess(TASK, source, None, reasons, target=target)


def _columns(raw: Table, columns: Columns) -> tuple[str | None, str | None]:
    names = list(raw.columns)
    target = columns.target or by_name(names, TARGET_NAMES)
    source = columns.text or by_name([name for name in names if name != target], SOURCE_NAMES)
    return source, target


def read(raw: Documents | Table, found: Guess, need_labels: bool) -> tuple[PairDataset, list[Problem]]:
    if isinstance(raw, Documents):
        return PairDataset(
            [whole(text) for text in raw.documents], None, list(range(1, len(raw.documents) + 1)), raw.name
        ), []
    assert found.text is not None
    targets = None if found.target is None else [str(value) for value in raw.columns[found.target]]
    sources = [str(value) for value in raw.columns[found.text]]
    return PairDataset(sources, targets, raw.lines, raw.name), list(raw.problems)
