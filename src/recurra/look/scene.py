"""One input of one model, recorded: the state, the gates and the outputs of every layer, direction and step.

What the cells computed is taken from themselves: states as they were handed on, inner values from `trace`. The terms beside
them, what inputs, states and biases bring to each sum, come from the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.cells import MLSTM, Cell
from recurra.look.flow import Flow
from recurra.look.formulas import Formula
from recurra.look.kinds import Asker, AskTranslator, Outputs, Target
from recurra.look.own import formula_of
from recurra.look.parts import Part, Walk, watched
from recurra.look.why import Why, frozen
from recurra.models import Answer

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Direction:
    """One cell over one input. initial and final by leaf [.]; state by leaf, inner by name, inputs and outputs: [T, .]."""

    cell: Cell
    formula: Formula
    inputs: np.ndarray
    initial: Arrays
    state: Arrays
    final: Arrays
    inner: Arrays
    outputs: np.ndarray
    reverse: bool
    apart: int

    def before(self, step: int) -> Arrays:
        """The state that a step was read from."""
        back = step + self.apart if self.reverse else step - self.apart
        inside = 0 <= back < len(self.outputs) and self.apart > 0
        return {name: value[back] if inside else self.initial[name] for name, value in self.state.items()}

    @cached_property
    def terms(self) -> Arrays:
        """What is added up in each sum, [T, .] by name as in the formula: they are not kept, but made when asked for."""
        parameters = next(self.cell.parameters())
        steps = len(self.outputs)
        before = {}
        for name, value in self.state.items():
            first = np.repeat(self.initial[name][None], min(self.apart or steps, steps), axis=0)
            rest = value[self.apart :] if self.reverse else value[: steps - len(first)]
            before[name] = np.concatenate([rest, first] if self.reverse else [first, rest])
        with torch.no_grad():
            values = {name: _tensor(value, parameters)[0] for name, value in before.items()}
            found = self.formula.shown(_tensor(self.inputs, parameters)[0], values)
            return {name: _array(found[name]) for name in self.formula.names}

    def shown(self, step: int) -> Arrays:
        """Every number of the formula at one step, by name: terms, values, and the state before ("h[t-1]")."""
        parameters = next(self.cell.parameters())
        with torch.no_grad():
            before = {name: _tensor(value, parameters) for name, value in self.before(step).items()}
            values = self.formula.shown(_tensor(self.inputs[step], parameters), before)
            return {name: value[0].cpu().double().numpy() for name, value in values.items()}


@dataclass
class Scene:
    """Everything that was recorded of one input; arrays are numpy, time first."""

    title: str
    inputs: dict[str, Any]
    steps: int
    layers: list[dict[str, Direction]]
    outputs: Outputs
    answer: Answer
    attention: np.ndarray | None
    remark: dict[str, str] | None
    asker: Asker
    targets: list[Target]
    why: list[Why] = field(default_factory=list)
    flow: Flow | None = None

    @property
    def texts(self) -> list[str] | None:
        """The tokens that explain its answers; None where numbers are read."""
        return self.inputs.get("source", self.inputs.get("texts"))


def record(asker: Asker, parts: list[Part], title: str) -> Scene:
    """Run the model once and keep everything."""
    task = asker.task
    with frozen(task), torch.no_grad():
        with watched(task) as walks:
            given = asker.run()
        layers = [
            {
                direction: _direction(cell, walks[cell][0], part, asker)
                for direction, cell in part.cells.items()
                if walks.get(cell)
            }
            for part in parts
        ]
        outputs, targets = asker.outputs(given), asker.targets(given)
        attention = asker.attention().cpu().double().numpy() if isinstance(asker, AskTranslator) else None
    return Scene(
        title, asker.told(), asker.steps if attention is None else given.shape[1], layers, outputs, asker.answer(),
        attention, asker.remark, asker, targets,
    )  # fmt: skip


def _direction(cell: Cell, walk: Walk, part: Part, asker: Asker) -> Direction:
    formula = formula_of(cell)
    state = type(cell.initial_state(1))(**walk.initial)
    inner = cell.trace(walk.inputs, state, walk.lengths)[2]
    steps, width = walk.outputs.shape[:2]
    # rows of a dilated layer are phases; a decoder's are places that each begin anew
    apart = part.apart if width == part.apart else 0 if steps == 1 and width > 1 else 1
    whole = asker.steps if apart > 1 else steps * width
    put = _in_order(whole)
    initial = {name: _array(value[0]) for name, value in walk.initial.items()}
    found = _each(put, inner) | _matrices(cell, walk, put)
    return Direction(
        cell, formula, put(walk.inputs), initial, _each(put, walk.states), _last(walk, whole), found, put(walk.outputs),
        walk.reverse, apart,
    )  # fmt: skip


def _each(put: Callable[[Tensor], np.ndarray], named: Mapping[str, Tensor]) -> Arrays:
    return {name: put(value) for name, value in named.items()}


def _in_order(whole: int) -> Callable[[Tensor], np.ndarray]:
    """[T, B, .] -> the rows of one sequence: steps that ran side by side, as those of a dilated layer, stand in order."""

    def put(value: Tensor) -> np.ndarray:
        return _array(value.reshape(-1, value.shape[-1])[:whole])

    return put


def _last(walk: Walk, whole: int) -> Arrays:
    """The state after the last step of the one sequence."""
    rows = walk.outputs.shape[1]
    row = (whole - 1) % rows if rows > 1 else 0
    return {name: _array(value[row]) for name, value in walk.final.items()}


def _matrices(cell: Cell, walk: Walk, put: Callable[[Tensor], np.ndarray]) -> Arrays:
    """How large each head's matrix is: its Frobenius norm."""
    if not isinstance(cell, MLSTM):
        return {}
    heads = walk.states["c"].unflatten(-1, (cell.heads, -1))
    return {"‖C‖": put(heads.norm(dim=-1))}


def _array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).contiguous().numpy()


def _tensor(value: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value))[None].to(like)
