"""A validation set, where none was given: part of the training data held back."""

from __future__ import annotations

from collections import defaultdict

import torch

from recurra.data.batches import generator
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.data.pieces import Text, whole
from recurra.errors import DataError

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


def split_labelled(dataset: LabelledDataset, seed: int) -> tuple[LabelledDataset, LabelledDataset]:
    """A tenth of the rows of each class, drawn by `seed`, held back; a class with a single row stays in training."""
    labels = _labels(dataset)
    by_class: dict[str, list[int]] = defaultdict(list)
    for place in torch.randperm(len(dataset), generator=generator(seed, 7)).tolist():
        by_class[labels[place]].append(place)
    held: set[int] = set()
    for places in by_class.values():
        if len(places) > 1:
            held.update(places[: max(1, round(len(places) * SHARE))])
    if not held or len(held) == len(dataset):
        raise DataError(
            f"{dataset.name} has too few rows to hold some back for validation",
            got=f"{len(dataset)} rows in {len(by_class)} classes",
            expected="at least one class with two rows or more",
            fix="Give more rows, or a validation file with --valid",
        )
    kept = [place for place in range(len(dataset)) if place not in held]
    return subset(dataset, kept, dataset.name), subset(dataset, sorted(held), f"{dataset.name} (a tenth)")


def a_part(dataset: TextDataset | LabelledDataset) -> TextDataset | LabelledDataset:
    """So much of a validation set that looking at it often costs little; the end of a run measures the whole."""
    if isinstance(dataset, TextDataset):
        text = _joined(dataset)
        return dataset if len(text) <= CHARACTERS else TextDataset([whole(text[:CHARACTERS])], dataset.name)
    if len(dataset) <= ROWS:
        return dataset
    places = torch.linspace(0, len(dataset) - 1, ROWS).long().unique().tolist()
    return subset(dataset, places, dataset.name)


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


def subset(dataset: LabelledDataset, places: list[int], name: str) -> LabelledDataset:
    """The rows of `dataset` at `places`."""
    return LabelledDataset(
        inputs=[dataset.inputs[place] for place in places],  # pyright: ignore[reportArgumentType]
        labels=None if dataset.labels is None else [dataset.labels[place] for place in places],
        lines=[dataset.lines[place] for place in places],
        name=name,
    )


def _labels(dataset: LabelledDataset) -> list[str]:
    if dataset.labels is None:
        raise DataError(
            f"{dataset.name} has no labels", expected="a label for each row", fix="Name the column with --label"
        )
    return dataset.labels
