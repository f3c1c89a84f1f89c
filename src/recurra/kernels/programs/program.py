"""Programs: one step of a recurrence as a list of instructions over rows, which a native loop runs without Python.

A value is [B, width]. The first values are what a step is given, in this order: the `inputs` of this step, `fixed` (the
same at every step), the `states`, and `shared` (the same for every row; [width]). Each instruction makes one more value.
An operand is the number of a value, or a plain number. Width 1 spreads over any width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Operand = int | float
"""The number of a value (int), or a plain number (float)."""


def _select(condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(condition != 0, one, other)


def _truth(compare: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: compare(a, b).to(a.dtype)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "stop": torch.detach,
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": torch.sign,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "gt": _truth(torch.gt),
    "ge": _truth(torch.ge),
    "lt": _truth(torch.lt),
    "le": _truth(torch.le),
    "eq": _truth(torch.eq),
    "ne": _truth(torch.ne),
    "where": _select,
}
"""Pointwise operations. Comparisons give 1 or 0, and `where` takes what is not 0 for true."""

ROW_OPERATIONS = ("rowsum", "rowmax")
"""Operations over the width: the result has width 1."""


@dataclass(frozen=True)
class Instruction:
    """One value. `attribute`: where a slice starts; for a product, twice the number of its weight, plus 1 where transposed.

    product: v[B, K] W[M, K]^T, or v[B, M] W[M, K] where transposed.
    """

    operation: str
    operands: tuple[Operand, ...]
    width: int
    attribute: int = 0


@dataclass(frozen=True)
class Program:
    """One step. Widths of what it is given, shapes of the weights, instructions, and which values it hands out."""

    inputs: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()
    weights: tuple[tuple[int, int], ...] = ()
    instructions: tuple[Instruction, ...] = ()
    emitted: tuple[int, ...] = ()
    """Values kept at every step."""
    after: tuple[int, ...] = ()
    """The next state."""
    resettable: int = field(default=-1)
    """How many of the states a reset makes zero, the first ones; all of them if negative."""
    reset_after: bool = False
    """Whether a reset makes the next state zero, after the step, and not the given one before it."""

    @property
    def given(self) -> tuple[int, ...]:
        """The widths of the first values."""
        return self.inputs + self.fixed + self.states + self.shared

    def width(self, value: Operand) -> int:
        """The width of an operand."""
        if isinstance(value, float):
            return 1
        given = self.given
        return given[value] if value < len(given) else self.instructions[value - len(given)].width

    @property
    def first_state(self) -> int:
        """The number of the first state's value."""
        return len(self.inputs) + len(self.fixed)

    @property
    def first_result(self) -> int:
        """The number of the first instruction's value."""
        return len(self.given)

    @property
    def products(self) -> list[int]:
        """The values that are products, in order."""
        return [self.first_result + at for at, one in enumerate(self.instructions) if one.operation == "product"]

    def text(self) -> str:
        """The program as one line of JSON: what an operation of torch is given."""
        return json.dumps(asdict(self), separators=(",", ":"))


@lru_cache(maxsize=256)
def parse(text: str) -> Program:
    """The program of a text that `Program.text` wrote."""
    parts = json.loads(text)
    instructions = tuple(
        Instruction(one["operation"], tuple(one["operands"]), one["width"], one["attribute"])
        for one in parts.pop("instructions")
    )
    weights = tuple((rows, columns) for rows, columns in parts.pop("weights"))
    resets = {name: parts.pop(name) for name in ("resettable", "reset_after")}
    widths = {name: tuple(values) for name, values in parts.items()}
    return Program(**widths, weights=weights, instructions=instructions, **resets)


def evaluate(
    program: Program,
    inputs: Sequence[Tensor],
    fixed: Sequence[Tensor],
    states: Sequence[Tensor],
    shared: Sequence[Tensor],
    weights: Sequence[Tensor],
    linear: Callable[[Tensor, Tensor], Tensor] = F.linear,
) -> list[Tensor]:
    """Every value of one step, by torch: what the native loop must give, and differentiable. Any leading axes."""
    values = [*inputs, *fixed, *states, *shared]
    like = values[0]

    def operand(value: Operand) -> Tensor:
        return like.new_full((1,), value) if isinstance(value, float) else values[value]

    for one in program.instructions:
        operands = [operand(value) for value in one.operands]
        values.append(_evaluate(one, operands, weights, linear))
    return values


def _evaluate(
    one: Instruction, operands: list[Tensor], weights: Sequence[Tensor], linear: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    first = operands[0]
    if one.operation == "slice":
        return first[..., one.attribute : one.attribute + one.width]
    if one.operation == "cat":
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in operands))
        return torch.cat([part.expand(*shape, part.shape[-1]) for part in operands], dim=-1)
    if one.operation == "spread":
        return first.expand(*first.shape[:-1], one.width)
    if one.operation == "product":
        weight = weights[one.attribute // 2]
        return linear(first, weight if one.attribute % 2 == 0 else weight.T)
    if one.operation == "rowsum":
        return first.sum(dim=-1, keepdim=True)
    if one.operation == "rowmax":
        return first.amax(dim=-1, keepdim=True).detach()
    return OPERATIONS[one.operation](*operands)
