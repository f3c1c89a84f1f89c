"""Sentences with a tag for each token: which columns hold them, and how they are read."""

from __future__ import annotations

from recurra.data.checking import Problem
from recurra.data.columns import Columns, Guess, by_name, is_listed, require
from recurra.data.datasets import TaggedDataset
from recurra.data.sources import Documents
from recurra.data.tables import LABEL_NAMES, TEXT_NAMES, Table
from recurra.errors import DataError

TASK = "tag"
TAG_NAMES = ("tags", "ner_tags", "slots", "chunk_tags", "pos_tags", "labels")


def looks_like(raw: Table, columns: Columns) -> bool:
    """Whether there are lists of tokens with lists of tags beside them."""
    if columns.tags is not None:
        return True
    tokens, tags = _columns(raw, columns)
    return tokens is not None and tags is not None


def choose(raw: Table, columns: Columns, need_labels: bool, asked: bool, reasons: list[str]) -> Guess:
    for name, option in ((columns.text, "--text"), (columns.tags, "--tags")):
        if name is not None:
            require(name, raw, option)
    tokens, tags = _columns(raw, columns)
    if tokens is None or (tags is None and need_labels):
        raise DataError(
            f"{raw.name} has no column of {'tokens' if tokens is None else 'tags'}",
            got=f"columns {', '.join(raw.columns)}",
            expected="lists of tokens, and lists of as many tags",
            fix="Name them with --text COLUMN and --tags COLUMN",
        )
    label = columns.label or by_name([name for name in raw.columns if name not in (tokens, tags)], LABEL_NAMES)
    reasons.append(f"Tokens: the column {tokens!r}; tags: {tags!r}; say otherwise with --text and --tags.")
    return Guess(TASK, tokens, label, reasons, tags=tags)


def _columns(raw: Table, columns: Columns) -> tuple[str | None, str | None]:
    lists = [
        name
        for name, values in raw.columns.items()
        if values and is_listed(values[0]) and len(values[0]) and isinstance(values[0][0], str)
    ]
    tags = columns.tags or by_name(lists, TAG_NAMES)
    tokens = columns.text or by_name([name for name in lists if name != tags], TEXT_NAMES)
    return tokens, tags


def read(raw: Documents | Table, found: Guess, need_labels: bool) -> tuple[TaggedDataset, list[Problem]]:
    if isinstance(raw, Documents):
        raise DataError(f"{raw.name} holds no lists of tokens")
    assert found.text is not None
    tokens = [list(map(str, row)) for row in raw.columns[found.text]]
    tags = None if found.tags is None else [list(map(str, row)) for row in raw.columns[found.tags]]
    labels = None if found.label is None else [str(value) for value in raw.columns[found.label]]
    return TaggedDataset(tokens, tags, labels, raw.lines, raw.name), list(raw.problems)
