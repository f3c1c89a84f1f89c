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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.cells import spelled_out
from recurra.look.kinds import Asker, Target
from recurra.models import Task
from recurra.models.task import frozen_weights
from recurra.state import select

WINDOW = 2048
"""Steps that gradients are taken of, the last ones; what was before is a state that stands."""
EACH = 512
"""Steps up to which each is taken out by itself; of a longer input stretches of several are."""
AT_ONCE = 1 << 15
"""Steps times rows that run at once."""
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
class Why:
    """What each step brought to one answer, [T] each; NaN where a method has nothing to say.

    value, without: V as it is, and of the input that says nothing; points and error: of the integral; stretch: how many
    steps are taken out at a time.
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

    @property
    def probability(self) -> float | None:
        return math.exp(self.value) if self.target.unit == "nats" else None


def explain(asker: Asker, target: Target) -> Why:
    """Why `target` was answered. The model is left as it was; it runs in evaluation mode."""
    with frozen(asker.task):
        inputs = asker.batch.inputs
        with torch.no_grad():
            value = float(_value(asker, target))
        gradient, integrated, without, points, error = _gradients(asker, target)
        deletion, stretch = _deleted(asker, target, value)
    gradient, integrated, deletion = (_whole(part, inputs.shape[1]) for part in (gradient, integrated, deletion))
    apart = disagreeing((gradient, integrated, deletion))
    return Why(target, value, gradient, integrated, deletion, without, points, error, stretch, apart)


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


@contextmanager
def entering(modules: Sequence[nn.Module], given: Sequence[Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Within it, what each module is given to read is noted, or is `given`[i] in its place: [T, B, E] each."""
    seen: list[Tensor] = []

    def note(place: int) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def hook(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            x = spelled_out(arguments[0]) if given is None else given[place]
            seen.append(x)
            return (x, *arguments[1:])

        return hook

    handles = [module.register_forward_pre_hook(note(place)) for place, module in enumerate(modules)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _gradients(asker: Asker, target: Target) -> tuple[np.ndarray, np.ndarray, float, int, float]:
    """(gradient × input [T], integrated gradients [T], the value of nothing, points, completeness error)."""
    inputs = asker.part(target)
    steps = inputs.shape[1]
    nothing = np.full(steps, np.nan)
    first = max(0, steps - WINDOW)
    if first and not asker.task.causal:
        return nothing, nothing, math.nan, 0, math.nan
    state = None
    if first:
        with torch.no_grad():
            state = asker.task(inputs[:, :first])[1]
    path = _Path(asker, target, inputs[:, first:], state)
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
    gradient, integrated = (np.concatenate([nothing[:first], part]) for part in (gradient, integrated))
    return gradient, integrated, begin, taken, error


class _Path:
    """The straight way from an input that says nothing to the input: embedded ones from zero, numbers from their mean."""

    def __init__(self, asker: Asker, target: Target, inputs: Tensor, state: Any) -> None:
        self._asker, self._target, self._inputs, self._state = asker, target, inputs, state
        self._entries = asker.entries
        if self._entries:
            with torch.no_grad(), entering(self._entries) as seen:
                asker.again(inputs, target, state=state)
            self._ends = [x.detach() for x in seen[: len(self._entries)]]
            self._begins = [torch.zeros_like(x) for x in self._ends]
        else:
            self._ends, self._begins = [inputs], [asker.reference(inputs)]

    @property
    def size(self) -> int:
        """Steps times parameters."""
        return self._inputs.shape[1] * self._asker.task.parameter_count

    def _run(self, shares: Sequence[float]) -> tuple[list[Tensor], Tensor]:
        """What is read at these shares of the way, as the rows of a batch, and the value of each."""
        rows, axis = len(shares), 1 if self._entries else 0
        given = []
        for begin, end in zip(self._begins, self._ends, strict=True):
            share = end.new_tensor(shares).reshape([-1 if place == axis else 1 for place in range(end.dim())])
            given.append((begin + share * (end - begin)).detach().requires_grad_(torch.is_grad_enabled()))
        state = None if self._state is None else select(self._state, [0] * rows)
        if not self._entries:
            return given, self._asker.again(given[0], self._target, state=state)
        inputs = self._inputs.expand(rows, *self._inputs.shape[1:])
        with entering(self._entries, given):
            return given, self._asker.again(inputs, self._target, state=state)

    def value_at(self, share: float) -> Tensor:
        return self._run([share])[1][0]

    def brought(self, shares: Sequence[float]) -> np.ndarray:
        """The mean over `shares` of dV/dx · (x - nothing), added up over each step's numbers: [T]."""
        total = np.zeros(self._inputs.shape[1])
        size = max(1, AT_ONCE // max(1, self._inputs.shape[1]))
        for at in range(0, len(shares), size):
            with torch.enable_grad():
                given, values = self._run(shares[at : at + size])
                found = torch.autograd.grad(values.sum(), given, allow_unused=True, materialize_grads=True)
            for gradient, begin, end in zip(found, self._begins, self._ends, strict=True):
                # a value that is missing brings nothing
                each = torch.nan_to_num((gradient * (end - begin)).double()).sum(-1)
                total += each.sum(1 if self._entries else 0).cpu().numpy()
        return total / len(shares)


# ---- deletion


def _deleted(asker: Asker, target: Target, value: float) -> tuple[np.ndarray, int]:
    """(how much the value falls without each step [T], how many steps are taken out at a time)."""
    steps = asker.part(target).shape[1]
    most = EACH if steps <= EACH else max(8, min(EACH, WORK // steps))
    stretch = -(-steps // most)
    spans = [(first, min(first + stretch, steps)) for first in range(0, steps, stretch)]
    lost = value - without(asker, target, spans)
    # of a stretch each step has its part, so that they add up to what the whole brought
    found = np.full(steps, np.nan)
    for (first, last), loss in zip(spans, lost, strict=True):
        found[first:last] = loss / (last - first)
    return found, stretch


@torch.no_grad()
def without(asker: Asker, target: Target, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """The value of a target where the steps first .. last - 1 are not there, for each span: shorter rows of one batch.

    NaN where nothing is left that could answer. A token whose own tag is asked about is replaced, not taken out.
    """
    inputs = asker.part(target)[0]
    steps = len(inputs)
    found = np.full(len(spans), np.nan)
    size = max(1, AT_ONCE // max(1, steps))
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
            values = asker.again(batch, asked, lengths)
            found[[places[at] for at in some]] = values.double().cpu().numpy()
    return found


def _moved(own: int, first: int, last: int) -> int:
    """Where a step stands when those before it are gone; in place of a stretch that it is part of stands one."""
    return own if own < first else first if own < last else own - (last - first)


def _asked(target: Target, places: int, behind: int) -> Target:
    return Target(places - 1 - behind, target.index, target.text, places, target.unit)


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
