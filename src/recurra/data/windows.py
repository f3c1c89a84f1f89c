"""Series as batches: stretches of rows, and the places in them at which a forecast begins.

Knows series and the order of a feed, and nothing of what a model does with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from recurra.data.batches import Batch, generator


@dataclass(frozen=True)
class WindowBatch(Batch):
    """A batch of stretches: inputs[B, T, F], targets[B, A, H] (NaN where nothing is known).

    - anchors[B, A]: the last row that each forecast has seen; -1 where there is no forecast.
    - ahead[B, A, H, K]: what is known ahead for each forecast.
    - errors[B, 2]: of the history of each row's series the mean error of the seasonal naive forecast, for MASE, and the
      standard deviation.
    - simple[B, A, H]: a simple forecast (Naive2) beside it, for OWA; without columns where none is wanted.
    - apart: how many rows lie between two forecasts of a row, where it is the same everywhere; else 0.
    """

    anchors: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    ahead: Tensor = field(default_factory=lambda: torch.zeros(0, 0, 0, 0))
    errors: Tensor = field(default_factory=lambda: torch.zeros(0, 2))
    simple: Tensor = field(default_factory=lambda: torch.zeros(0, 0, 0))
    apart: int = 0

    @property
    def units(self) -> int:
        return int((self.anchors >= 0).sum())

    def _each(self, function: Callable[[Tensor], Tensor]) -> WindowBatch:
        optional = (None if value is None else function(value) for value in (self.targets, self.lengths, self.resets))
        targets, lengths, resets = optional
        more = (function(value) for value in (self.anchors, self.ahead, self.errors, self.simple))
        kept = self.carries, self.unknown_length
        return WindowBatch(function(self.inputs), targets, lengths, resets, *kept, *more, apart=self.apart)


@dataclass(frozen=True)
class Stretch:
    """A series as a model reads it: rows[T, F], values[T + more] and ahead[T + more, K], with a forecast after each origin.

    `origins` are numbers of rows: a forecast after origin `t` has seen the rows 0 to t. `error` and
    `deviation` are what `WindowBatch.errors` holds, `pattern` is what Naive2 multiplies: [season], or None.
    """

    rows: np.ndarray
    values: np.ndarray
    ahead: np.ndarray
    origins: np.ndarray
    error: float = float("nan")
    deviation: float = 1.0
    pattern: np.ndarray | None = None


class WindowFeed:
    """Stretches drawn anew each epoch for training: `rows` a batch, each of `context` rows with `anchors` forecasts.

    The last row of a stretch is drawn; its other forecasts lie `apart` rows before one another, and `warm` rows in at least.
    An epoch has as many batches as it takes to see each origin once, on average.
    """

    unit = "rows"

    def __init__(
        self, stretches: Sequence[Stretch], horizon: int, *, rows: int, context: int, anchors: int, apart: int,
        seed: int, warm: int, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self._stretches = [one for one in stretches if len(one.origins)]
        self._inputs = [torch.from_numpy(one.rows).to(dtype) for one in self._stretches]
        self._horizon, self._rows, self._context, self._anchors = horizon, rows, context, anchors
        self._apart, self._seed, self._warm, self._dtype = apart, seed, warm, dtype
        self._starts = np.cumsum([0, *(len(one.origins) for one in self._stretches)])
        self._values = [_open_ended(one.values, horizon) for one in self._stretches]
        self._ahead = [_open_ended(one.ahead, horizon) for one in self._stretches]

    def __len__(self) -> int:
        return max(1, -(-int(self._starts[-1]) // (self._rows * self._anchors)))

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        random = generator(self._seed, epoch)
        total = int(self._starts[-1])
        # every origin is the last of a stretch as often as any other; the stretch's other origins lie before it
        order = torch.randperm(max(total, self._rows * len(self)), generator=random) % total
        for index in range(len(self)):
            chosen = order[index * self._rows : (index + 1) * self._rows].tolist()
            if index >= start:
                yield self._batch(chosen)

    def _batch(self, chosen: list[int]) -> WindowBatch:
        context, horizon = self._context, self._horizon
        inputs, lengths, anchors, places = [], [], [], []
        for number in chosen:
            which = int(np.searchsorted(self._starts, number, side="right")) - 1
            stretch = self._stretches[which]
            last = int(stretch.origins[number - int(self._starts[which])])
            first = max(0, last + 1 - context)
            inputs.append(self._inputs[which][first : last + 1])
            size = last + 1 - first
            lengths.append(size)
            spots = size - 1 - self._apart * torch.arange(self._anchors)
            spots[1:][spots[1:] < self._warm] = -1
            anchors.append(spots)
            places.append((which, first))
        at = torch.stack(anchors)
        targets = np.full((len(chosen), self._anchors, horizon), np.nan, dtype=np.float64)
        ahead = np.zeros((len(chosen), self._anchors, horizon, self._ahead[0].shape[1]), dtype=np.float32)
        for row, (which, first) in enumerate(places):
            for column, spot in enumerate(at[row].tolist()):
                if spot >= 0:
                    begin = first + spot + 1
                    targets[row, column] = self._values[which][begin : begin + horizon]
                    ahead[row, column] = self._ahead[which][begin : begin + horizon]
        padded = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True)
        sizes = torch.tensor(lengths, dtype=torch.int64)
        return WindowBatch(
            padded, torch.from_numpy(targets).to(self._dtype), None if (sizes == padded.shape[1]).all() else sizes,
            anchors=at, ahead=torch.from_numpy(ahead).to(self._dtype), errors=torch.ones(len(chosen), 2),
            simple=torch.zeros(len(chosen), self._anchors, 0), apart=self._apart,
        )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Some rows of a stretch that go into a batch, and the first origin among them that counts."""

    stretch: Stretch
    first: int
    last: int
    begin: int


class OriginFeed:
    """All origins of all stretches in order, for measuring: a stretch in chunks, the state carried from one to the next.

    With `lookback` each chunk begins anew, and holds the rows that its first forecast may see. `rows` of them go side by
    side.
    """

    unit = "rows"

    def __init__(
        self, stretches: Sequence[Stretch], horizon: int, *, lookback: int | None, rows: int, chunk: int,
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self._horizon, self._lookback, self._chunk, self._dtype = horizon, lookback, chunk, dtype
        there = sorted((one for one in stretches if len(one.origins)), key=lambda one: int(one.origins[-1]))
        self._parts: list[list[_Part]] = []
        if lookback is None:
            for at in range(0, len(there), rows):
                self._parts += self._carried(there[at : at + rows])
        else:
            apart = [part for one in there for part in self._anew(one, lookback)]
            self._parts = [apart[at : at + rows] for at in range(0, len(apart), rows)]

    def __len__(self) -> int:
        return len(self._parts)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for parts in self._parts[start:]:
            yield self._batch(parts)

    def _carried(self, group: list[Stretch]) -> Iterator[list[_Part]]:
        for first in range(0, int(group[-1].origins[-1]) + 1, self._chunk):
            ends = (min(first + self._chunk, int(one.origins[-1]) + 1) for one in group)
            yield [_Part(one, first, max(first, end), first) for one, end in zip(group, ends, strict=True)]

    def _anew(self, one: Stretch, lookback: int) -> Iterator[_Part]:
        for some in np.array_split(one.origins, -(-len(one.origins) // self._chunk)):
            yield _Part(one, max(0, int(some[0]) + 1 - lookback), int(some[-1]) + 1, int(some[0]))

    def _batch(self, parts: list[_Part]) -> WindowBatch:
        spots = [
            part.stretch.origins[(part.stretch.origins >= part.begin) & (part.stretch.origins < part.last)]
            for part in parts
        ]
        most, horizon = max(1, *map(len, spots)), self._horizon
        width = parts[0].stretch.ahead.shape[1]
        wide = horizon if any(part.stretch.pattern is not None for part in parts) else 0
        anchors = np.full((len(parts), most), -1)
        targets, simple = np.full((len(parts), most, horizon), np.nan), np.full((len(parts), most, wide), np.nan)
        ahead = np.zeros((len(parts), most, horizon, width))
        for row, (part, found) in enumerate(zip(parts, spots, strict=True)):
            if not len(found):
                continue
            stretch = part.stretch
            steps = found[:, None] + 1 + np.arange(horizon)
            values = _open_ended(stretch.values, horizon)
            anchors[row, : len(found)] = found - part.first
            targets[row, : len(found)] = values[steps]
            ahead[row, : len(found)] = _open_ended(stretch.ahead, horizon)[steps]
            if stretch.pattern is not None:
                season = len(stretch.pattern)
                level = values[found] / stretch.pattern[found % season]
                simple[row, : len(found)] = level[:, None] * stretch.pattern[steps % season]
        rows = [torch.from_numpy(part.stretch.rows[part.first : part.last]) for part in parts]
        inputs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self._dtype)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        pairs = [(part.stretch.error, part.stretch.deviation) for part in parts]
        errors = torch.tensor(pairs, dtype=torch.float64)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self._dtype)

        return WindowBatch(
            inputs, tensor(targets), None if (lengths == inputs.shape[1]).all() else lengths,
            carries=self._lookback is None and parts[0].first > 0, anchors=torch.from_numpy(anchors),
            ahead=tensor(ahead), errors=errors, simple=tensor(simple),
        )  # fmt: skip


def _open_ended(values: np.ndarray, horizon: int) -> np.ndarray:
    """The same with what is not known after its end: NaN values, and the last of what is known ahead."""
    if values.ndim == 1:
        return np.concatenate([values, np.full(horizon, np.nan)])
    last = np.repeat(values[-1:], horizon, axis=0) if len(values) else np.zeros((horizon, values.shape[1]))
    return np.concatenate([values, last])
