"""Batches and the order they come in. A feed knows rows and lengths, and nothing of what a model does with them.

The order is a function of (seed, epoch, index) alone, so a position in the data is three whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from recurra.errors import DataError
from recurra.wide import moved


@dataclass(frozen=True)
class Batch:
    """What a model reads at once, batch first.

    inputs[B, T] whole numbers or [B, T, F] numbers; targets as the task has them, or None; lengths[B] int64 or None;
    resets[B, T] bool or None. `carries`: the state after the previous batch goes on into this one. `unknown_length`: how many
    characters of the text an unknown token hides, on average.
    """

    inputs: Tensor
    targets: Tensor | None = None
    lengths: Tensor | None = None
    resets: Tensor | None = None
    carries: bool = False
    unknown_length: float = 1.0

    @property
    def units(self) -> int:
        """How many valid steps the batch holds."""
        if self.lengths is not None:
            return int(self.lengths.sum())
        return self.inputs.shape[0] * self.inputs.shape[1]

    def answers(self, missing: str, expected: str) -> Tensor:
        """The targets. Raises `DataError` in the task's words where there are none."""
        if self.targets is None:
            raise DataError(missing, expected=expected)
        return self.targets

    def part(self, rows: slice) -> Batch:
        """Some of the rows. Steps that are padding in all of them stay."""
        return self._each(lambda value: value[rows])

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        if self.inputs.device == device:
            return self
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        return replace(self, **{name: moved(value, device) for name, value in tensors.items()})

    def _each(self, function: Callable[[Tensor], Tensor]) -> Batch:
        optional = (None if value is None else function(value) for value in (self.targets, self.lengths, self.resets))
        targets, lengths, resets = optional
        return Batch(function(self.inputs), targets, lengths, resets, self.carries, self.unknown_length)


class Feed(Protocol):
    """Batches for training or evaluation, the same ones for the same epoch."""

    unit: str

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on."""
        ...


def generator(*numbers: int) -> torch.Generator:
    """A random generator that depends on the given numbers alone."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = (mixed ^ (number + 0x632BE59BD9B4E019)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)


class Ids(Protocol):
    """N tokens, of which a slice gives some as int64: a tensor, or what is no tensor since it is too large for one."""

    def __len__(self) -> int: ...
    def __getitem__(self, span: slice, /) -> Tensor: ...


class StreamFeed:
    """A long sequence of tokens as parallel contiguous streams, cut into chunks that follow one another.

    Arguments:
    - ids[N] int64: the tokens; the target of each is the next one. Of these only the chunk in hand is taken.
    - rows: how many streams run side by side (fewer where the text is short).
    - steps: the length of a chunk.
    - shift: move the cuts from epoch to epoch (training), or cover every token (evaluation).
    - most: tokens of a batch at most, by shorter chunks of as many streams.
    - unknown_length: as in `Batch`.
    """

    unit = "tokens"

    def __init__(
        self,
        ids: Ids,
        rows: int,
        steps: int,
        *,
        seed: int = 0,
        shift: bool = False,
        most: int | None = None,
        unknown_length: float = 1.0,
    ) -> None:
        self._ids = ids
        self._unknown_length = unknown_length
        self._steps = steps
        self._seed = seed
        # a stream should be some chunks long, or carrying its state means nothing
        self._rows = max(1, min(rows, (len(ids) - 1) // (4 * steps)))
        per_row = (len(ids) - 1) // self._rows
        self._shift = min(steps, per_row // 4) if shift else 0
        if most is not None:
            self._steps = max(1, min(steps, most // self._rows))

    def __len__(self) -> int:
        per_row = (len(self._ids) - 1 - self._shift) // self._rows
        return -(-per_row // self._steps)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        offset = int(torch.randint(self._shift + 1, (), generator=generator(self._seed, epoch))) if self._shift else 0
        per_row = (len(self._ids) - 1 - self._shift) // self._rows
        begins = [offset + row * per_row for row in range(self._rows)]
        for index in range(start, len(self)):
            first, last = index * self._steps, min((index + 1) * self._steps, per_row)
            # a token more than the inputs: the last target
            chunk = torch.stack([self._ids[begin + first : begin + last + 1] for begin in begins])
            yield Batch(chunk[:, :-1], chunk[:, 1:], carries=index > 0, unknown_length=self._unknown_length)


class BlockFeed:
    """One stream of tokens in chunks of given sizes, one a batch, the state carried on; the target of each is the next one.

    Arguments:
    - blocks: the tokens of each, int64 [n]. The first token of all has none before it and is no target, so the chunk of
      the first block is one shorter. A block without targets has no batch.
    - unknown_length: as in `Batch`.
    """

    unit = "tokens"

    def __init__(self, blocks: Sequence[Tensor], unknown_length: float = 1.0) -> None:
        self._unknown_length = unknown_length
        self._ids = torch.cat(list(blocks))
        ends = torch.tensor([len(block) for block in blocks]).cumsum(0).tolist()
        self.spans = [(max(1, first), last) for first, last in zip([0, *ends], ends, strict=False)]

    def __len__(self) -> int:
        return sum(first < last for first, last in self.spans)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        spans = [(first, last) for first, last in self.spans if first < last]
        for first, last in spans[start:]:
            inputs, targets = self._ids[first - 1 : last - 1], self._ids[first:last]
            yield Batch(inputs[None], targets[None], carries=first > 1, unknown_length=self._unknown_length)


GROUP, WASTE = 50, 0.04


class BucketFeed:
    """Rows of unequal length, batched with others of about their length, in an order drawn anew each epoch.

    Arguments:
    - inputs: one tensor a row, [T] int64 or [T, F] floating.
    - targets[N] int64, or None.
    - rows: rows in a batch.
    - shuffle: draw the order (training), or go from short to long (evaluation).
    """

    unit = "rows"

    def __init__(
        self, inputs: Sequence[Tensor], targets: Tensor | None, rows: int, *, seed: int = 0, shuffle: bool = False
    ) -> None:
        self._inputs = inputs
        self._targets = targets
        self._lengths = torch.tensor([len(row) for row in inputs], dtype=torch.int64)
        self._rows = rows
        self._seed = seed
        self._shuffle = shuffle

    def __len__(self) -> int:
        return -(-len(self._inputs) // self._rows)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for index in self.order(epoch)[start:]:
            yield self._collate(index)

    def order(self, epoch: int) -> list[Tensor]:
        """The row numbers of each batch: rows of like length stand together, batches in random order."""
        count = len(self._inputs)
        if not self._shuffle:
            return list(torch.argsort(self._lengths, stable=True).split(self._rows))
        random = generator(self._seed, epoch)
        batches = self._sorted_in_groups(torch.randperm(count, generator=random), self._group)
        return [batches[place] for place in torch.randperm(len(batches), generator=random).tolist()]

    def _sorted_in_groups(self, drawn: Tensor, group: int) -> list[Tensor]:
        """Batches of rows sorted by length within groups of many batches: little padding, other company each epoch."""
        return [
            part
            for rows in drawn.split(self._rows * group)
            for part in rows[torch.argsort(self._lengths[rows], stable=True)].split(self._rows)
        ]

    @cached_property
    def _group(self) -> int:
        """The fewest batches in a group, from `GROUP` on, of whose steps less than `WASTE` is padding."""
        drawn, group = torch.randperm(len(self._inputs), generator=generator(self._seed, 0)), GROUP
        while group * self._rows < len(self._inputs):
            batches = [self._lengths[rows] for rows in self._sorted_in_groups(drawn, group)]
            padded = sum(int(lengths.max()) * len(lengths) for lengths in batches)
            if padded - int(self._lengths.sum()) < WASTE * padded:
                break
            group *= 2
        return group

    def _collate(self, index: Tensor) -> Batch:
        rows = [self._inputs[place] for place in index.tolist()]
        return collate(rows, None if self._targets is None else self._targets[index])


class PairFeed(BucketFeed):
    """Sources and targets of unequal lengths, batched with others of about theirs.

    Arguments as for `BucketFeed`, but for targets: one tensor a row, [T] int64, or None. In a batch they are
    targets[B, T], -1 after the end of each.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor] | None,
        rows: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
    ) -> None:
        super().__init__(inputs, None, rows, seed=seed, shuffle=shuffle)
        self._pairs = targets
        if targets is not None:
            self._lengths = self._lengths + torch.tensor([len(row) for row in targets], dtype=torch.int64)

    def _collate(self, index: Tensor) -> Batch:
        targets = None
        if self._pairs is not None:
            chosen = [self._pairs[place] for place in index.tolist()]
            targets = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=-1)
        return collate([self._inputs[place] for place in index.tolist()], targets)


def collate(rows: Sequence[Tensor], targets: Tensor | None = None) -> Batch:
    """Rows of unequal length as one padded batch; lengths are left out where all are equal."""
    inputs = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64, device=inputs.device)
    ragged = bool((lengths != inputs.shape[1]).any())
    return Batch(inputs, targets, lengths if ragged else None)
