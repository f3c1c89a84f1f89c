"""A validation set, where none was given: part of the training data held back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import TypeVar

import torch

from recurra.data.batches import generator
from recurra.data.datasets import RowsDataset, TextDataset
from recurra.data.pieces import Text, whole
from recurra.errors import DataError

RowsT = TypeVar("RowsT", bound=RowsDataset)

SHARE = 0.1
CHARACTERS, ROWS = 30_000, 2_000
# of a text that is not held
MEASURED = 1_000_000  # characters that the end of a run measures
COUNTED = (
    3_000_000  # characters at the end of the training text that the baselines learn from: half a gigabyte of counts
)
STRETCHES = 64


def split_text(dataset: TextDataset) -> tuple[TextDataset, TextDataset]:
    """The first nine tenths of one text, and the rest; or of the documents, where there are several."""
    texts = dataset.texts
    if len(texts) >= 10:
        cut = round(len(texts) * (1 - SHARE))
        first, last = texts[:cut], texts[cut:]
    else:
        joined = _joined(dataset)
        cut = round(len(joined) * (1 - SHARE))
        first, last = [joined[:cut]], [joined[cut:]]
    if sum(map(len, first)) < 2 or sum(map(len, last)) < 2:
        raise DataError(
            f"{dataset.name} is too short to hold a part back for validation",
            got=f"{dataset.characters} characters",
            expected="20 or more",
            fix="Give more text, or a validation file with --valid",
        )
    return TextDataset(first, dataset.name), TextDataset(last, f"{dataset.name} (last tenth)")


def split_rows(dataset: RowsT, seed: int) -> tuple[RowsT, RowsT]:
    """A tenth of the rows, drawn by `seed`, held back: of each class where there are some, but never its only row."""
    if not dataset.answered:
        raise DataError(
            f"{dataset.name} has no answers",
            expected="an answer for each row",
            fix="Name their column, as with --label",
        )
    kinds = dataset.groups or [None] * len(dataset)
    by_kind: dict[Hashable, list[int]] = defaultdict(list)
    for place in torch.randperm(len(dataset), generator=generator(seed, 7)).tolist():
        by_kind[kinds[place]].append(place)
    held: set[int] = set()
    for places in by_kind.values():
        if len(places) > 1:
            held.update(places[: max(1, round(len(places) * SHARE))])
    if not held or len(held) == len(dataset):
        what = f" in {len(by_kind)} classes" if dataset.groups else ""
        raise DataError(
            f"{dataset.name} has too few rows to hold some back for validation",
            got=f"{len(dataset)} rows{what}",
            expected="two rows or more, of one class at least where there are classes",
            fix="Give more rows, or a validation file with --valid",
        )
    kept = [place for place in range(len(dataset)) if place not in held]
    return dataset.subset(kept, dataset.name), dataset.subset(sorted(held), f"{dataset.name} (a tenth)")


def beginning(dataset: TextDataset, characters: int = CHARACTERS) -> TextDataset:
    """So much of a text to validate on that looking at it often costs little."""
    text = _joined(dataset)
    return dataset if len(text) <= characters else TextDataset([whole(text[:characters])], dataset.name)


def every_nth(dataset: RowsT, rows: int = ROWS) -> RowsT:
    """So many rows to validate on, from all over the set, that looking at them often costs little."""
    if len(dataset) <= rows:
        return dataset
    return dataset.subset(torch.linspace(0, len(dataset) - 1, rows).long().unique().tolist(), dataset.name)


def measured(dataset: TextDataset) -> TextDataset:
    """What of a set to measure on is measured, in memory: of a text that is not held the beginning."""
    return dataset if dataset.held else TextDataset([whole(_joined(dataset)[:MEASURED])], dataset.name)


def counted(dataset: TextDataset) -> TextDataset:
    """What of a training text the baselines learn from, in memory: the end, which is likeliest to resemble what follows."""
    if dataset.held:
        return dataset
    text = _joined(dataset)
    return TextDataset([whole(text[max(0, len(text) - COUNTED) :])], dataset.name)


def spread(dataset: TextDataset, characters: int) -> TextDataset:
    """About so many characters of a text that is not held, from all over it."""
    if dataset.held or dataset.characters <= characters:
        return dataset
    text = _joined(dataset)
    size = characters // STRETCHES
    return TextDataset([text[at : at + size] for at in range(0, len(text), len(text) // STRETCHES)], dataset.name)


def _joined(dataset: TextDataset) -> Text:
    return dataset.texts[0] if len(dataset) == 1 else "\n".join(dataset.documents)
