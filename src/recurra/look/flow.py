"""How the signal flows through time: the gradient of an answer's value with respect to every state before it, by layer.

dV/dS_t is what a small change of the state after step t would do to the answer. Its norm back through time shows what the
network can still learn from, or be told by, at that distance (Bengio et al. 1994). Exact: the network runs a step at a time
with states that keep their history, and one backward pass gives all of them. What stands beside a state is its own norm,
and how many of a gate's values are as good as shut or open (Karpathy et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recurra.look.kinds import Asker, Target
from recurra.look.parts import Part, Walk, watched
from recurra.look.why import frozen
from recurra.state import leaves

MOST = 1024
"""Steps that are gone back, the last ones."""
LEFT = 0.01
"""The memory ends where less than this share of the greatest norm is left."""
SHUT, OPEN = 0.1, 0.9
"""A gate is shut below the one and open above the other; a value between -1 and 1 is saturated beyond plus or minus OPEN."""
GATES = frozenset({"r", "z", "i", "f", "o", "a"})


@dataclass(frozen=True)
class Flow:
    """By layer and direction: the norms of dV/dS_t [T] of the state after each step, NaN where it was not asked; and the
    effective memory, the steps back from the answer at which a hundredth of the greatest norm is last reached."""

    norms: dict[tuple[str, str], np.ndarray]
    memory: dict[tuple[str, str], int | None]
    left: dict[tuple[str, str], tuple[int, float]]
    """How many steps back the first state lies that signal comes back to, and the share of the greatest norm there."""


def flow_of(asker: Asker, target: Target, parts: list[Part]) -> Flow | None:
    """The flow back from one answer; None for a model that reads both ways an input that is too long to go back over."""
    inputs = asker.part(target)
    steps = inputs.shape[1]
    first = max(0, steps - MOST)
    if first and not asker.task.causal:
        return None
    with frozen(asker.task):
        state = None
        if first:
            with torch.no_grad():
                state = asker.task(inputs[:, :first])[1]
        with torch.enable_grad(), watched(asker.task) as walks:
            value = asker.again(inputs[:, first:], target, state=state)[0]
        norms: dict[tuple[str, str], np.ndarray] = {}
        memory: dict[tuple[str, str], int | None] = {}
        left: dict[tuple[str, str], tuple[int, float]] = {}
        for part in parts:
            for direction, cell in part.cells.items():
                found = walks.get(cell)
                if not found:
                    continue
                key = part.name, direction
                norms[key] = _in_place(_norms(found[0], value), part, first, steps)
                memory[key] = memory_of(norms[key], reverse=cell.reverse)
                left[key] = _left(norms[key], part.apart, reverse=cell.reverse)
    return Flow(norms, memory, left)


def _norms(walk: Walk, value: Tensor) -> np.ndarray:
    """The norm of dV/dS after each step of a walk, [T, B]."""
    steps, rows = walk.outputs.shape[:2]
    squares = np.zeros((steps, rows))
    told = [leaf for state in walk.each for leaf in leaves(state).values()]
    wanted = [leaf for leaf in told if leaf.requires_grad]
    if not wanted or not value.requires_grad:
        return squares
    found = iter(torch.autograd.grad(value, wanted, retain_graph=True, allow_unused=True, materialize_grads=True))
    for step, state in enumerate(walk.each):
        for leaf in leaves(state).values():
            if leaf.requires_grad:
                squares[step] += next(found).cpu().double().flatten(1).square().sum(1).numpy()
    return np.sqrt(squares)


def _in_place(norms: np.ndarray, part: Part, first: int, steps: int) -> np.ndarray:
    """norms[T', B] of the steps asked for as those of all steps: what was not asked is NaN."""
    flat = norms.reshape(-1)
    if part.apart > 1:
        flat = flat[: steps - first]
    return np.concatenate([np.full(first, math.nan), flat])


def memory_of(norms: np.ndarray, *, reverse: bool = False) -> int | None:
    """How many steps back from the last state that a cell came to (k: after all but k of its steps) the signal still is a
    hundredth of its greatest; None where no signal comes back at all."""
    known = norms[np.isfinite(norms)]
    greatest = known.max(initial=0.0)
    if not greatest > 0:
        return None
    back = known if reverse else known[::-1]
    return int(np.flatnonzero(back >= LEFT * greatest).max())


def _left(norms: np.ndarray, apart: int, *, reverse: bool) -> tuple[int, float]:
    """Of states that are `apart` steps from one another only every so many lead to the answer: the first of these counts."""
    known = norms[np.isfinite(norms)]
    far = known[::-1] if reverse else known
    at = int(far[:apart].argmax()) if len(far) else 0
    greatest = far.max(initial=0.0)
    return max(0, len(far) - 1 - at), float(far[at] / greatest) if greatest > 0 else 0.0


def saturation(inner: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of each gate [T, H] the share of values that are shut and open; of the others that are saturated on both sides."""
    found = {}
    for name, values in inner.items():
        size = max(1, values.size)
        if name in GATES and values.size and values.min() >= 0 and values.max() <= 1:
            found[name] = {"shut": float((values < SHUT).sum()) / size, "open": float((values > OPEN).sum()) / size}
        elif values.size and np.abs(values).max() <= 1:
            found[name] = {"low": float((values < -OPEN).sum()) / size, "high": float((values > OPEN).sum()) / size}
    return found
