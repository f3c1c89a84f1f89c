"""A trained model measured as it will be streamed: its state carried on, further than any chunk of the training.

Three questions: does a carried state answer as well as a fresh one on the same steps; does the state stay as large as it
was in training; how far back does it remember. It knows tasks, feeds and states, and no files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import Batch, collate, generator
from recurra.models import Task
from recurra.state import leaves
from recurra.training.memory import context_reach, gradient_norms, gradient_reach
from recurra.training.wording import does_harm, sentences_of, warnings_of

TOKENS = 1 << 15
"""Steps of the data that are looked at, each three times, or a half of them five times: 100,000 steps in all."""
WORK = 4e10
"""Steps times parameters of one reading: what a large model may cost."""
LAGS = 256
"""The most steps that gradients go back."""
WINDOWS = 8
"""Fewer windows or rows than this tell nothing."""
PIECE = 1 << 11
"""Steps read at once: outputs over a large vocabulary take room."""
BOUND = 0.99
"""A unit beyond this, of those that stay within one, is saturated."""

Table = list[list[float]]
"""Sums of losses in nats: a line for each window, a column for each of its parts."""
Parts = list[tuple[int, int]]
"""Where the parts of a window begin and end."""


@torch.no_grad()
def streamed(task: Task, dataset: Any, steps: int) -> dict[str, Any]:
    """What the model makes of `dataset` when its state is carried on, as plain numbers, sentences and warnings.

    Arguments:
    - task: the trained model; it is left in the mode it was in, and no random number is drawn. One thread does it all.
    - dataset: what `task.feed` takes, with targets; at most `TOKENS` steps of it are read.
    - steps: the length of a chunk in training, for a model that answers at each step.

    Returns `sentences` and `warnings` (lists of text) and `seconds` (what measuring took); and where there is something
    to measure:
    - `unit` ("windows" or "rows"), `count` of them, `steps` (of a window, or of the mean row), `stream_steps` read in one go.
    - `measure`, the metric judged by (the loss of windows in nats, the task's best one for rows), and `more_is_better`.
    - `fresh`, `carried`: the metrics of the task, each window or row from the initial state, and with the state carried.
      `difference`: `value`, how much worse the measure is when carried, and `noise`, its standard error over pairs of the
      same steps; for windows over their second half, where a fresh start has caught up.
    - `state`, by the names of its tensors: `first` and `end`, the norm (root mean square over the units) after the first
      chunk and over the last quarter of the stream; `middle`, over its second quarter; `saturated_first`, `saturated_end`,
      the share of units beyond 0.99, None for a tensor whose numbers are not bounded by one.
    - `memory`: `context` (steps of context that give all but a hundredth of what context gives) and `gradient` (steps back
      at which a hundredth of the greatest dL/dS is left), each with `steps`, `more` (further than was looked) and
      `curve`, pairs of steps and value.

    Raises `DataError` for data that the model cannot read.
    """
    started = time.monotonic()
    was_training, threads = task.training, torch.get_num_threads()
    task.eval()
    # thousands of small calls: on a busy machine each would wait for threads that give it nothing
    torch.set_num_threads(1)
    try:
        found = _measured(task, dataset, steps)
    finally:
        torch.set_num_threads(threads)
        task.train(was_training)
    if isinstance(found, str):
        found = {"sentences": [found], "warnings": []}
    else:
        found |= {"sentences": sentences_of(found), "warnings": warnings_of(found)}
    return {**found, "seconds": round(time.monotonic() - started, 2)}


def _measured(task: Task, dataset: Any, steps: int) -> dict[str, Any] | str:
    """The numbers, or why there are none."""
    if not task.streams:
        return task.unstreamed
    if not task.causal:
        return "Nothing was measured as a stream: the model reads both ways, so it needs the whole sequence at once."
    if not leaves(task.initial_state(1)):
        return "Nothing was measured as a stream: the model has no state, so there is nothing to carry."
    feed = task.feed(dataset, rows=1, steps=PIECE, training=False)
    # a chunk longer than that would take too much data to be seen often
    steps = min(steps, TOKENS // (4 * WINDOWS))
    most = int(max(min(TOKENS, WORK / task.parameter_count), 4 * WINDOWS * steps))
    batches = task.batches(feed)
    first = next(batches, None)
    if first is None or first.targets is None:
        return "Nothing was measured as a stream: the data hold no rows with answers."
    every = _chain(first, batches)
    if first.targets.is_floating_point():
        # numbers for a whole row, and not one a step
        return _rows(task, _drawn(every, most // 2))
    if first.targets.dim() > 1 and feed.unit != "tokens":
        return (
            "Nothing was measured as a stream: it reads sentences that stand by themselves, and answers at each step."
        )
    if first.targets.dim() > 1:
        return _windows(task, _one_stream(every, most), steps)
    # rows are read more often than windows
    return _rows(task, _drawn(every, most // 2))


def _chain(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


# ---- what is kept while reading


@dataclass
class _Watch:
    """The size of a state by tensor, each time it is looked at; `tallies` are left out."""

    tallies: tuple[str, ...] = ()
    squares: dict[str, list[float]] = field(default_factory=dict)
    saturated: dict[str, list[float]] = field(default_factory=dict)
    greatest: dict[str, float] = field(default_factory=dict)

    def see(self, state: Any) -> None:
        for name, leaf in leaves(state).items():
            if name.startswith(self.tallies) or not leaf.numel():
                continue
            size = leaf.abs()
            self.squares.setdefault(name, []).append(float(leaf.cpu().double().square().mean()))
            self.saturated.setdefault(name, []).append(float((size > BOUND).cpu().double().mean()))
            self.greatest[name] = max(self.greatest.get(name, 0.0), float(size.max()))

    def norm(self, name: str, span: slice = slice(None)) -> float:
        return math.sqrt(_mean(self.squares[name][span]))

    def share(self, name: str, span: slice = slice(None)) -> float:
        return _mean(self.saturated[name][span])


def _sizes(fresh: _Watch, stream: _Watch) -> dict[str, dict[str, float | None]]:
    """What became of each tensor of the state on the way."""
    found: dict[str, dict[str, float | None]] = {}
    for name, seen in stream.squares.items():
        quarter = max(1, len(seen) // 4)
        end, middle = slice(-quarter, None), slice(quarter, 2 * quarter)
        bounded = max(stream.greatest[name], fresh.greatest[name]) <= 1.0
        found[name] = {
            "first": fresh.norm(name),
            "middle": stream.norm(name, middle),
            "end": stream.norm(name, end),
            "saturated_first": fresh.share(name) if bounded else None,
            "saturated_end": stream.share(name, end) if bounded else None,
        }
    return found


@dataclass
class _Sums:
    """Measures that add up, as the task has them."""

    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, measured: Mapping[str, Tensor]) -> None:
        for name, value in measured.items():
            brought = value.cpu()
            self.sums[name] = self.sums[name] + brought if name in self.sums else brought


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _paired(carried: Sequence[float], fresh: Sequence[float]) -> dict[str, float]:
    """How much more the first are than the second on average, and the standard error of that."""
    gaps = torch.tensor(carried, dtype=torch.float64) - torch.tensor(fresh, dtype=torch.float64)
    return {"value": float(gaps.mean()), "noise": float(gaps.std()) / math.sqrt(len(gaps))}


# ---- a model that answers at each step: one stream in windows


def _one_stream(batches: Iterable[Batch], most: int) -> tuple[Tensor, Tensor]:
    """Inputs[N(, F)] and targets[N] of the first `most` steps of a feed of one row."""
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in batches:
        assert batch.targets is not None
        inputs.append(batch.inputs[0, :most])
        targets.append(batch.targets[0, :most])
        most -= len(inputs[-1])
        if most <= 0:
            break
    return torch.cat(inputs), torch.cat(targets)


def _parts(window: int, steps: int) -> Parts:
    """A window cut where its beginning is told from the rest: twice each octave, and at a chunk and the half of it."""
    cuts = {0, window, steps, steps // 2}
    size = 1
    while size < window:
        cuts |= {size, min(size + size // 2, window)}
        size *= 2
    return list(pairwise(sorted(cuts)))


def _windows(task: Task, stream: tuple[Tensor, Tensor], steps: int) -> dict[str, Any] | str:
    total = len(stream[0])
    # longer than a chunk, to see whether memory ends there
    window = steps * max(2, -(-64 // steps))
    count = total // window
    if count < WINDOWS:
        return (
            f"Nothing was measured as a stream: that takes {WINDOWS * window:,} steps of validation data, and there are "
            f"{total:,}."
        )
    # a few streams side by side cost hardly more than one
    rows = max(1, min(8, count // 32))
    along = count // rows
    inputs, targets = (part[: rows * along * window].unflatten(0, (rows, along, window)) for part in stream)
    parts = _parts(window, steps)
    early, carried = _Watch(task.tallies), _Watch(task.tallies)
    here = _Sums()
    state: Any = None
    stream_losses: Table = []
    for place in range(along):
        batch = Batch(inputs[:, place], targets[:, place])
        outputs: list[Tensor] = []
        for start in range(0, window, steps):
            read, state = task(batch.inputs[:, start : start + steps], state)
            carried.see(state)
            outputs.append(read)
        stream_losses += _losses(task, torch.cat(outputs, 1), batch, parts)
        here.add(task.measure(torch.cat(outputs, 1)[:, :steps], _span(batch, 0, steps)))
    anew = _Sums()
    fresh_losses: Table = []
    for batch in _split(Batch(_by_place(inputs), _by_place(targets)), max(1, PIECE // window)):
        first, after = task(batch.inputs[:, :steps])
        early.see(after)
        rest, _ = task(batch.inputs[:, steps:], after)
        fresh_losses += _losses(task, torch.cat([first, rest], 1), batch, parts)
        anew.add(task.measure(first, _span(batch, 0, steps)))
    # where a window has caught up with the stream, as far as training went
    settled = [place for place, (start, end) in enumerate(parts) if start >= steps // 2 and end <= steps]
    difference = _paired(*(_per_step(table, parts, settled) for table in (stream_losses, fresh_losses)))
    quality = task.metrics(anew.sums)
    return {
        "unit": "windows",
        "count": len(fresh_losses),
        "steps": steps,
        "stream_steps": along * window,
        "measure": "loss",
        "more_is_better": False,
        "fresh": quality,
        "carried": task.metrics(here.sums),
        "difference": difference,
        "state": _sizes(early, carried),
        "memory": {
            "context": _context_of_windows(fresh_losses, stream_losses, parts, does_harm(difference, quality)),
            "gradient": _gradient(task, *_before_windows(inputs, targets, task)),
        },
    }


def _by_place(values: Tensor) -> Tensor:
    """[R, N, W(, F)] -> [N * R, W(, F)], in the order in which the streams are read."""
    return values.transpose(0, 1).flatten(0, 1)


def _span(batch: Batch, start: int, end: int) -> Batch:
    assert batch.targets is not None
    return Batch(batch.inputs[:, start:end], batch.targets[:, start:end])


def _split(batch: Batch, rows: int) -> Iterator[Batch]:
    assert batch.targets is not None
    for start in range(0, len(batch.inputs), rows):
        yield Batch(batch.inputs[start : start + rows], batch.targets[start : start + rows])


def _losses(task: Task, outputs: Tensor, batch: Batch, parts: Parts) -> Table:
    """The sum of the losses in each part of each row."""
    assert batch.targets is not None
    found: Table = []
    for row in range(len(outputs)):
        one = slice(row, row + 1)
        whole = Batch(batch.inputs[one], batch.targets[one])
        losses = [task.loss(outputs[one, start:end], _span(whole, start, end))[0] for start, end in parts]
        found.append(torch.stack(losses).cpu().double().tolist())
    return found


def _per_step(table: Table, parts: Parts, places: Sequence[int]) -> list[float]:
    """The mean loss of each window over some of its parts."""
    steps = sum(parts[place][1] - parts[place][0] for place in places)
    return [sum(row[place] for place in places) / steps for row in table]


def _context_of_windows(fresh: Table, stream: Table, parts: Parts, harm: bool) -> dict[str, Any]:
    """The loss by the place in a window that begins from nothing, and after how many steps more context is no help.

    Some places hold harder tokens than others, and that is no matter of context. So what counts is how much more the
    windows lose at a place than the stream does on the same tokens, added to the mean loss of the stream; but where the
    stream itself does `harm`, it is no measure, and the windows stand alone.
    """
    alone = [[0.0] * len(parts)] * len(fresh)
    beside = alone if harm else stream
    gaps = [_paired(*(_per_step(table, parts, [place]) for table in (fresh, beside))) for place in range(len(parts))]
    level = _mean(_per_step(beside, parts, range(len(parts))))
    losses = [level + gap["value"] for gap in gaps]
    # the token at place p has been told by p + 1 tokens: the middle of each part stands for it
    contexts = [(start + end + 1) // 2 for start, end in parts]
    known = losses if harm else [*losses, level]
    reached = context_reach(known, gaps[-1]["noise"])
    return {
        "steps": contexts[min(reached, len(contexts) - 1)],
        "more": reached >= len(contexts),
        "first": losses[0],
        "last": min(known),
        "curve": [[context, loss] for context, loss in zip(contexts, losses, strict=True)],
    }


def _before_windows(inputs: Tensor, targets: Tensor, task: Task) -> tuple[Batch, Any]:
    """Some windows, spread over the streams, up to a step whose loss goes back, and the states that they begin from."""
    window = inputs.shape[2]
    lags = min(window, LAGS)
    # two windows in a row: the first brings the state to what it is in a stream
    pairs = torch.cat([inputs[:, :-1], inputs[:, 1:]], 2).flatten(0, 1)
    answers = targets[:, 1:, -1:].flatten(0, 1)
    chosen = _spread(len(pairs), _some(task, lags))
    pairs, answers = pairs[chosen], answers[chosen]
    _, state = task(pairs[:, : 2 * window - lags])
    return Batch(pairs[:, 2 * window - lags :], answers), state


def _some(task: Task, lags: int) -> int:
    """How many rows gradients go back for."""
    return int(max(4, min(32, WORK / 8 / (task.parameter_count * lags))))


def _spread(count: int, most: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, most)).long()


def _gradient(task: Task, batch: Batch, state: Any) -> dict[str, Any]:
    norms = gradient_norms(task, batch, state)
    reach = gradient_reach(norms)
    greatest = max(norms, default=0.0)
    return {
        "steps": reach or 0,
        "more": reach is not None and reach == len(norms),
        # all lags of a long curve would fill the record
        "curve": [[lag, norms[lag - 1] / greatest] for lag in _lags(len(norms))] if reach else [],
    }


def _lags(count: int) -> list[int]:
    return sorted({round(lag) for lag in torch.logspace(0, math.log10(count), 64, dtype=torch.float64).tolist()})


# ---- a model that answers once: rows, and the same rows one after another


def _drawn(batches: Iterable[Batch], most: int) -> list[tuple[Tensor, Tensor]]:
    """Rows and their targets in a drawn order, of `most` steps together; the same rows for the same data."""
    rows = [
        (
            batch.inputs[row, : batch.inputs.shape[1] if batch.lengths is None else int(batch.lengths[row])],
            batch.targets[row],
        )
        for batch in batches
        if batch.targets is not None
        for row in range(len(batch.inputs))
    ]
    rows = [row for row in rows if len(row[0])]
    found: list[tuple[Tensor, Tensor]] = []
    for place in torch.randperm(len(rows), generator=generator(0)).tolist():
        most -= len(rows[place][0])
        if most < 0:
            break
        found.append(rows[place])
    return found


def _rows(task: Task, rows: list[tuple[Tensor, Tensor]]) -> dict[str, Any] | str:
    if len(rows) < WINDOWS:
        return f"Nothing was measured as a stream: that takes {WINDOWS} rows of validation data, and there are {len(rows)}."
    early, carried = _Watch(task.tallies), _Watch(task.tallies)
    fresh, values = _answered(task, rows, early)
    side = max(1, min(8, len(rows) // 64))
    along = len(rows) // side
    kept = rows[: side * along]
    state: Any = None
    here, carried_values = _Sums(), []
    for place in range(along):
        batch = _batch(kept[place * side : (place + 1) * side])
        outputs, state = task(batch.inputs, state, batch.lengths)
        carried.see(state)
        here.add(task.measure(outputs, batch))
        carried_values += _values(task, outputs, batch)
    gradients = _gradient(task, *_last_rows(task, rows))
    if not gradients["curve"]:
        return "Nothing was measured as a stream: the answer of this model does not depend on the state it is handed."
    name, more_is_better = task.best
    lengths = [len(row) for row, _ in rows]
    difference = _paired(carried_values, values[: len(carried_values)])
    if more_is_better:
        difference["value"] = -difference["value"]
    return {
        "unit": "rows",
        "count": len(kept),
        "steps": round(_mean(lengths)),
        "stream_steps": sum(lengths[: len(kept)]) // side,
        "measure": name,
        "more_is_better": more_is_better,
        "fresh": fresh,
        "carried": task.metrics(here.sums),
        "difference": difference,
        "state": _sizes(early, carried),
        "memory": {"context": _context_of_rows(task, rows, fresh[name], max(lengths)), "gradient": gradients},
    }


def _batch(rows: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    return collate([row for row, _ in rows], torch.stack([target for _, target in rows]))


def _values(task: Task, outputs: Tensor, batch: Batch) -> list[float]:
    """The task's best metric of each row by itself."""
    assert batch.targets is not None
    name, values = task.best[0], []
    for row, target in enumerate(batch.targets.split(1)):
        sums = task.measure(outputs[row : row + 1], Batch(batch.inputs[:1], target))
        values.append(task.metrics({what: value.cpu() for what, value in sums.items()})[name])
    return values


def _answered(
    task: Task, rows: Sequence[tuple[Tensor, Tensor]], watch: _Watch | None = None
) -> tuple[dict[str, float], list[float]]:
    """The metrics, and the best one of each row, where each row begins from the initial state."""
    # rows of like length together: little is read that pads
    order = sorted(range(len(rows)), key=lambda place: len(rows[place][0]))
    sums, values = _Sums(), [0.0] * len(rows)
    for start in range(0, len(rows), 64):
        places = order[start : start + 64]
        batch = _batch([rows[place] for place in places])
        outputs, state = task(batch.inputs, None, batch.lengths)
        sums.add(task.measure(outputs, batch))
        if watch is not None:
            watch.see(state)
            for place, value in zip(places, _values(task, outputs, batch), strict=True):
                values[place] = value
    return task.metrics(sums.sums), values


def _context_of_rows(task: Task, rows: list[tuple[Tensor, Tensor]], whole: float, longest: int) -> dict[str, Any]:
    """The best metric from the last steps of each row alone, and how many of them are enough."""
    contexts, size = [1], 1
    while size < longest:
        # twice each octave where that is cheap
        contexts += [size + size // 2, 2 * size] if 1 < size < 32 else [2 * size]
        size *= 2
    contexts = [context for context in contexts if context < longest]
    name, more_is_better = task.best
    found = [_answered(task, [(row[-context:], target) for row, target in rows])[0][name] for context in contexts]
    curve = [[context, value] for context, value in zip([*contexts, longest], [*found, whole], strict=True)]
    # one row more or less is no difference
    losses = [-value if more_is_better else value for _, value in curve]
    place = context_reach(losses, 1.0 / len(rows) if more_is_better else 0.0)
    ends = [value for _, value in curve]
    return {
        "steps": curve[place][0],
        "more": False,
        "first": ends[0],
        "last": max(ends) if more_is_better else min(ends),
        "curve": curve,
    }


def _last_rows(task: Task, rows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Batch, Any]:
    """The last steps of some rows, padded in front, and the states that they begin from."""
    lags = min(LAGS, max(len(row) for row, _ in rows))
    some = rows[: _some(task, lags)]
    before = [row[: max(0, len(row) - lags)] for row, _ in some]
    state = task.initial_state(len(some))
    if any(len(part) for part in before):
        batch = collate(before)
        _, state = task(batch.inputs, state, batch.lengths)
    ends = [row[-lags:] for row, _ in some]
    padded = torch.stack([torch.cat([end.new_zeros(lags - len(end), *end.shape[1:]), end]) for end in ends])
    lengths = torch.tensor([len(end) for end in ends], device=padded.device)
    return Batch(padded, torch.stack([target for _, target in some]), lengths), state
