"""Why an answer came out as it did: which steps of the input mattered, by three methods side by side.

- gradient × input: to first order, what a step's numbers x brought, x · dV/dx (Simonyan et al. 2014; Denil et al. 2014).
- integrated gradients: the same along the way from an input that says nothing (Sundararajan et al. 2017). What the steps
  brought adds up to the whole difference; by how much it does not, the completeness error, is told.
- deletion: the step is taken out, and the model run again on what is left (Li et al. 2016, erasure).

V is the value of the answer: the natural logarithm of its probability, or the number told. Above zero a step spoke for the
answer. No method is the truth about a network: where they disagree, the step is marked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recurra.look.kinds import Asker, Target
from recurra.look.paths import AT_ONCE, Path
from recurra.models import Task
from recurra.models.task import frozen_weights

WINDOW = 2048
"""Steps that gradients are taken of, the last ones; what was before is a state that stands."""
EACH = 512
"""Steps up to which each is taken out by itself; of a longer input stretches of several are."""
WORK = 1 << 22
"""Steps that all deletions of one answer read together, at most."""
STEPS = (16, 64, 256)
"""Points on the way of integrated gradients: the first number of them that is exact enough, or the last."""
EFFORT = 1 << 35
"""Points times steps times parameters, at most, but for the first number of points: what a large model is spared."""
EXACT = 0.02
"""The completeness error that is small enough, as a share of the whole difference."""
APART = 0.5
"""Two methods disagree about a step where their shares of the greatest value differ by more than this."""


@dataclass(frozen=True)
class Columns:
    """What each number of a step brought, of inputs with several: [T, F] each; NaN where a method has nothing to say.

    In `deletion` a column stands at its mean at one step, or at the `stretch` of them that goes together (each has its part
    of what that changed); in `whole`, [F], at all steps.
    """

    names: list[str]
    gradient: np.ndarray
    integrated: np.ndarray
    deletion: np.ndarray
    whole: np.ndarray
    stretch: int


@dataclass(frozen=True)
class Members:
    """What each network of several found by itself, of its own value of the same answer: integrated gradients [M, T].

    values, withouts, errors [M] as in `Why`; agreement: how alike the members' reasons are, the mean correlation of pairs
    over the steps, None where there is nothing to correlate.
    """

    values: list[float]
    withouts: list[float]
    errors: list[float]
    integrated: np.ndarray
    agreement: float | None

    @property
    def mean(self) -> np.ndarray:
        return self.integrated.mean(axis=0)

    @property
    def spread(self) -> np.ndarray:
        """How far the members are from one another at each step: the standard deviation."""
        return self.integrated.std(axis=0)


@dataclass(frozen=True)
class Why:
    """What each step brought to one answer, [T] each; NaN where a method has nothing to say.

    value, without: V as it is, and of the input that says nothing; points and error: of the integral; stretch: how many
    steps are taken out at a time; columns: the same of each number of a step; members: of each network of several.
    """

    target: Target
    value: float
    gradient: np.ndarray
    integrated: np.ndarray
    deletion: np.ndarray
    without: float
    points: int
    error: float
    stretch: int
    disagree: list[int]
    columns: Columns | None = None
    members: Members | None = None

    @property
    def probability(self) -> float | None:
        return math.exp(self.value) if self.target.unit == "nats" else None


def explain(asker: Asker, target: Target) -> Why:
    """Why `target` was answered. The model is left as it was; it runs in evaluation mode."""
    with frozen(asker.task):
        inputs = asker.batch.inputs
        with torch.no_grad():
            value = float(_value(asker, target))
        found = _gradients(asker, target)
        deletion, stretch = _deleted(asker, target, value)
        columns = _columns(asker, target, value, found)
        members = _members(asker, target)
    gradient, integrated = found.gradient.sum(-1), found.integrated.sum(-1)
    gradient, integrated, deletion = (_whole(part, inputs.shape[1]) for part in (gradient, integrated, deletion))
    apart = disagreeing((gradient, integrated, deletion))
    return Why(
        target, value, gradient, integrated, deletion, found.without, found.points, found.error, stretch, apart, columns,
        members,
    )  # fmt: skip


@contextmanager
def frozen(task: Task) -> Iterator[None]:
    """Evaluation mode, without gradients of the weights."""
    training = task.training
    task.eval()
    try:
        with frozen_weights(task):
            yield
    finally:
        task.train(training)


def _value(asker: Asker, target: Target) -> Tensor:
    return asker.again(asker.part(target), target)[0]


def _whole(part: np.ndarray, steps: int) -> np.ndarray:
    """What was found of the first steps, and nothing of the others."""
    return np.concatenate([part, np.full(steps - len(part), np.nan)])


# ---- gradients


@dataclass(frozen=True)
class _Gradients:
    """gradient × input and integrated gradients, [T, F] each, the value of nothing, points, and the completeness error."""

    gradient: np.ndarray
    integrated: np.ndarray
    without: float
    points: int
    error: float


def _gradients(asker: Asker, target: Target) -> _Gradients:
    inputs = asker.part(target)
    steps = inputs.shape[1]
    first = max(0, steps - WINDOW)
    if first and not asker.carries:
        nothing = np.full((steps, inputs.shape[2] if asker.columns else 1), np.nan)
        return _Gradients(nothing, nothing, math.nan, 0, math.nan)
    state = None
    if first:
        with torch.no_grad():
            state = asker.task(inputs[:, :first])[1]
    path = Path(asker, target, inputs[:, first:], state)
    with torch.no_grad():
        end, begin = float(path.value_at(1.0)), float(path.value_at(0.0))
    gradient = path.brought([1.0])
    integrated, taken, error = gradient, 0, math.inf
    for points in STEPS:
        if points > STEPS[0] and points * path.size > EFFORT:
            break
        taken = points
        integrated = path.brought([(place + 0.5) / points for place in range(points)])
        error = abs(float(integrated.sum()) - (end - begin))
        if error <= EXACT * abs(end - begin):
            break
    nothing = np.full((first, gradient.shape[1]), np.nan)
    gradient, integrated = (np.concatenate([nothing, part]) for part in (gradient, integrated))
    return _Gradients(gradient, integrated, begin, taken, error)


# ---- deletion


def _deleted(asker: Asker, target: Target, value: float) -> tuple[np.ndarray, int]:
    """(how much the value falls without each step [T], how many steps are taken out at a time)."""
    steps = asker.part(target).shape[1]
    most = EACH if steps <= EACH else max(8, min(EACH, WORK // steps))
    spans = _stretches(steps, most)
    return _shared(steps, spans, value - without(asker, target, spans)), spans[0][1]


def _stretches(steps: int, most: int) -> list[tuple[int, int]]:
    """(first, last + 1) of stretches of one length, `most` of them at most."""
    size = -(-steps // most)
    return [(first, min(first + size, steps)) for first in range(0, steps, size)]


def _shared(steps: int, spans: Sequence[tuple[int, int]], lost: np.ndarray) -> np.ndarray:
    """What was lost without each stretch -> [T]: each step has its part, so that they add up to what the whole brought."""
    found = np.full(steps, np.nan)
    for (first, last), loss in zip(spans, lost, strict=True):
        found[first:last] = loss / (last - first)
    return found


@torch.no_grad()
def without(asker: Asker, target: Target, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """The value of a target where the steps first .. last - 1 are not there, for each span: shorter rows of one batch.

    NaN where nothing is left that could answer. A token whose own tag is asked about is replaced, not taken out.
    """
    if asker.once:
        return _recalled(asker, target, spans, lambda new: _shortened(asker, target, new))
    found = np.full(len(spans), np.nan)
    for places, batch, lengths, asked in _shorter(asker, target, spans):
        found[places] = asker.again(batch, asked, lengths).cpu().double().numpy()
    return found


Change = tuple[int, ...]
"""What is done to an input: (first, last) is taken out, (first, last, column) says nothing."""


def _recalled(
    asker: Asker, target: Target, changes: Sequence[Change], run: Callable[[list[Change]], Iterable[tuple[Change, Tensor]]]
) -> np.ndarray:  # fmt: skip
    """The value of a target after each change. What the model answers then is read once, for all targets."""
    new = [change for change in dict.fromkeys(changes) if change not in asker.answered]
    asker.answered.update(run(new))
    found = np.full(len(changes), np.nan)
    known = [place for place, change in enumerate(changes) if change in asker.answered]
    if known:
        outputs = torch.stack([asker.answered[changes[place]] for place in known])
        found[known] = asker.value(outputs, torch.zeros(0), target).cpu().double().numpy()
    return found


def _shortened(asker: Asker, target: Target, spans: Sequence[Change]) -> Iterator[tuple[Change, Tensor]]:
    """What is answered without each span, where something is left."""
    for places, batch, lengths, _ in _shorter(asker, target, spans):
        yield from zip([spans[place] for place in places], asker.answers(batch, lengths), strict=True)


def _shorter(
    asker: Asker, target: Target, spans: Sequence[Change]
) -> Iterator[tuple[list[int], Tensor, Tensor, Target]]:
    """Batches of what is left without the spans: (which of them, rows, their lengths, what is asked of these)."""
    inputs = asker.part(target)[0]
    size = max(1, AT_ONCE // max(1, len(inputs)))
    own = target.step if asker.moves(target) else None
    for at in range(0, len(spans), size):
        rows, places, behind = [], [], []
        for place, (first, last) in enumerate(spans[at : at + size], at):
            row = torch.cat([inputs[:first], inputs[last:]])
            if own is not None and first <= own < last:
                unknown = torch.zeros_like(inputs[own : own + 1])
                row = torch.cat([inputs[:first], unknown, inputs[last:]])
            if len(row):
                rows.append(row)
                places.append(place)
                behind.append(0 if own is None else len(row) - 1 - _moved(own, first, last))
        # rows are asked about at the same distance from their end
        for distance in sorted(set(behind)):
            some = [at for at, one in enumerate(behind) if one == distance]
            lengths = torch.tensor([len(rows[at]) for at in some], device=inputs.device)
            batch = nn.utils.rnn.pad_sequence([rows[at] for at in some], batch_first=True)
            asked = target if own is None else _asked(target, batch.shape[1], distance)
            yield [places[at] for at in some], batch, lengths, asked


def _moved(own: int, first: int, last: int) -> int:
    """Where a step stands when those before it are gone; in place of a stretch that it is part of stands one."""
    return own if own < first else first if own < last else own - (last - first)


def _asked(target: Target, places: int, behind: int) -> Target:
    return Target(places - 1 - behind, target.index, target.text, places, target.unit)


# ---- each number of a step, each network of several


def _columns(asker: Asker, target: Target, value: float, found: _Gradients) -> Columns | None:
    """The reasons by column, where steps have several."""
    columns = asker.columns
    if len(columns) < 2:
        return None
    inputs = asker.part(target)
    steps = inputs.shape[1]
    spans = _stretches(steps, min(EACH, max(8, WORK // (steps * len(columns)))))
    places = [place for _, place in columns]
    lost = value - _levelled(asker, target, [(*span, place) for place in places for span in spans])
    return Columns(
        [name for name, _ in columns], found.gradient[:, places], found.integrated[:, places],
        np.stack([_shared(steps, spans, each) for each in lost.reshape(len(places), len(spans))], axis=1),
        value - _levelled(asker, target, [(0, steps, place) for place in places]), spans[0][1],
    )  # fmt: skip


@torch.no_grad()
def _levelled(asker: Asker, target: Target, changes: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The value of a target where a column says nothing from the step first to last - 1, for each (first, last, column)."""
    return _recalled(asker, target, changes, lambda new: _level(asker, target, new))


def _level(asker: Asker, target: Target, changes: Sequence[Change]) -> Iterator[tuple[Change, Tensor]]:
    inputs = asker.part(target)
    level = asker.reference(inputs)
    size = max(1, AT_ONCE // inputs.shape[1])
    for at in range(0, len(changes), size):
        some = changes[at : at + size]
        rows = inputs.repeat(len(some), *[1] * (inputs.dim() - 1))
        for row, (first, last, column) in zip(rows, some, strict=True):
            row[first:last, column] = level[0, first:last, column]
        yield from zip(some, asker.answers(rows), strict=True)


def _members(asker: Asker, target: Target) -> Members | None:
    """The reasons of each network by itself, where several answer together."""
    each = asker.each
    if not each:
        return None
    with torch.no_grad():
        values = [float(_value(one, target)) for one in each]
    found = [_gradients(one, target) for one in each]
    table = np.stack([one.integrated.sum(-1) for one in found])
    return Members(values, [one.without for one in found], [one.error for one in found], table, _alike(table))


def _alike(table: np.ndarray) -> float | None:
    """The mean correlation of all pairs of rows [M, T], over the steps that are known; None where a row is constant."""
    known = table[:, np.isfinite(table).all(axis=0)]
    if known.shape[1] < 2 or (known.std(axis=1) == 0).any():
        return None
    return float(np.corrcoef(known)[np.triu_indices(len(known), 1)].mean())


# ---- side by side


def disagreeing(found: Sequence[np.ndarray]) -> list[int]:
    """The steps about which two methods differ by more than `APART`, each as a share of its greatest."""
    shares = []
    for part in found:
        greatest = np.nanmax(np.abs(part), initial=0.0)
        if greatest > 0:
            shares.append(part / greatest)
    if len(shares) < 2:
        return []
    table = np.stack(shares)
    known = np.isfinite(table).sum(0) >= 2
    spread = np.zeros(table.shape[1])
    spread[known] = np.nanmax(table[:, known], axis=0) - np.nanmin(table[:, known], axis=0)
    return np.flatnonzero(spread > APART).tolist()
