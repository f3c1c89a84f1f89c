"""What a model's metrics are made of, row by row: for intervals, and for comparing two models on the same rows.

A row is one input; of a text, which is read as one stream, it is a block of some hundred characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.data.batches import BlockFeed
from recurra.data.datasets import Dataset, RowsDataset, TextDataset
from recurra.data.pieces import cut
from recurra.errors import DataError
from recurra.fitting.fitted import measure
from recurra.models import LanguageModel, Task

Sums = dict[str, np.ndarray]
"""The sums that `Task.measure` gives, by row: [N, ...] by name."""

BLOCKS = 200  # blocks that a text is cut into, where they are neither too short nor too long then
SHORTEST, LONGEST = 200, 2_000  # characters of a block


def per_row(task: Task, dataset: Dataset, blocks: list[str] | None = None) -> Sums:
    """The sums of each row of a dataset, or of each of the `blocks` that a text was cut into."""
    if isinstance(dataset, RowsDataset):
        # a row's answer does not depend on its neighbours, so each can be measured by itself
        return _stacked([measure(task, dataset.subset([row], dataset.name), rows=1)[1] for row in range(len(dataset))])
    if not isinstance(task, LanguageModel):
        raise TypeError("a text is read by language models")
    return _per_block(task, text_blocks(dataset) if blocks is None else blocks)


def text_blocks(dataset: TextDataset) -> list[str]:
    """A text in blocks of a paragraph or so, which follow one another: cut after newlines where there are some."""
    size = min(LONGEST, max(SHORTEST, dataset.characters // BLOCKS))
    return list(cut(dataset.stream("\n"), size))


def _per_block(task: LanguageModel, blocks: list[str]) -> Sums:
    length = task.codec.unknown_length(blocks)
    feed = BlockFeed([torch.tensor(task.codec.encode(block), dtype=torch.int64) for block in blocks], length)
    measured = _chunks(task, feed)
    some: list[dict[str, Tensor] | None] = [next(measured) if first < last else None for first, last in feed.spans]
    known = next((sums for sums in some if sums is not None), None)
    if known is None:
        raise DataError("There is nothing to evaluate", expected="a text of two tokens or more")
    nothing = {name: torch.zeros_like(value) for name, value in known.items()}
    sums = _stacked([found or nothing for found in some])
    # models that read other tokens can be compared only by the characters that stand in the text
    sums["text"] = np.array([len(block) for block in blocks], dtype=np.float64)
    sums["text"][0] -= task.codec.characters(task.codec.encode(blocks[0])[:1], length)
    return sums


def _chunks(task: LanguageModel, feed: BlockFeed) -> Iterator[dict[str, Tensor]]:
    """The sums of each chunk of one stream."""
    state: Any = None
    for batch in task.batches(feed):
        with torch.no_grad():
            outputs, state = task(batch.inputs, state if batch.carries else None)
            yield task.measure(outputs, batch)


def _stacked(rows: list[dict[str, Tensor]]) -> Sums:
    return {name: np.stack([row[name].cpu().numpy() for row in rows]) for name in rows[0]}
