"""The formula of a cell that a person wrote: read off the program that its step was traced to.

Products with parameters are terms with the names of these, the person's inner values and what is read more than once are
lines of their own, and each line's text is what the program does. A step that is no program is shown without a way to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recurra.cells import Cell, OwnCell
from recurra.errors import UsageError
from recurra.kernels.programs import Traced, evaluate
from recurra.kernels.programs.program import OPERATIONS, Instruction, Operand, Program, parse
from recurra.look.formulas import FORMULAS, Formula, Line, Values

_BETWEEN = {"add": " + ", "sub": " - ", "mul": " ⊙ ", "div": " / ", "gt": " > ", "ge": " ≥ ", "lt": " < ", "le": " ≤ "}
_SUMS = ("add", "sub", "gt", "ge", "lt", "le")
_CALLED = {"sigmoid": "σ", "rowsum": "Σ", "rowmax": "max"}


def formula_of(cell: Cell) -> Formula:
    """What a cell computes, line by line. Raises `UsageError` for a cell of a class that nothing is known of."""
    if type(cell) in FORMULAS:
        return FORMULAS[type(cell)](cell)
    if isinstance(cell, OwnCell):
        traced = cell.programs[True]
        return _as_it_stands(cell) if isinstance(traced, str) else _Reading(cell, traced).formula()
    raise UsageError(
        f"There is no formula of the cell {type(cell).__name__}", expected=", ".join(kind.__name__ for kind in FORMULAS)
    )


def _results(cell: OwnCell) -> list[str]:
    """What a step hands out, by name: the fields of the state, the output, the inner values."""
    return [*cell.widths, "output", *cell._step.inner]


def _state(cell: OwnCell) -> dict[str, str]:
    return {name: name for name in cell.widths}


def _as_it_stands(cell: OwnCell) -> Formula:
    def products(x: Tensor, before: Values) -> dict[str, Tensor]:
        rows = {name: value.reshape(-1, value.shape[-1]) for name, value in before.items()}
        given = {name: value.detach() for name, value in cell._given().items()}
        after, emitted = cell._step(x.reshape(-1, x.shape[-1]), tuple(rows[name] for name in cell.widths), given)
        found = dict(zip(_results(cell), (*after, *emitted), strict=True))
        return {f"step {name}": value.reshape(*x.shape[:-1], -1) for name, value in found.items()}

    lines = tuple(
        Line(name, f"{name}_t = what the step gives", partial(_given, f"step {name}"), (f"step {name}",))
        for name in _results(cell)
    )
    return Formula(lines, _state(cell), "output", products)


def _given(name: str, values: Values) -> Tensor:
    return values[name]


class _Reading:
    """One traced step, its values with names."""

    def __init__(self, cell: OwnCell, traced: Traced) -> None:
        self._cell, self._traced = cell, traced
        self._before = traced.hoisted.before
        self._program = parse(traced.hoisted.text)
        weights, shared = self._parameter_names()
        self._weights = weights
        self._names: dict[int, str] = {}
        program = self._program
        kept = len(traced.hoisted.kept)
        self._names |= dict.fromkeys(range(kept), "x_t")
        if self._before is not None:
            first = _Texts(self._before, {0: "x_t"} | _shared(self._before, shared), weights)
            for place, value in enumerate(self._before.emitted):
                self._names[kept + place] = first.of(value)
        start = program.first_state
        self._names |= {start + place: f"{name}[t-1]" for place, name in enumerate(cell.widths)}
        self._names |= _shared(program, shared)
        self._inputs = set(self._names)

    def _parameter_names(self) -> tuple[list[str], list[str]]:
        """Names of the weights and of the shared values; of those that are made of parameters, numbers."""
        traced = self._traced
        count = traced.weights
        if traced.once is not None or traced.order is None:
            program = parse(traced.hoisted.text)
            made = [f"W{1 + place}" for place in range(count)]
            return made, [f"p{1 + place}" for place in range(len(program.shared))]
        names = [self._cell.names[place] for place in traced.order]
        return names[:count], names[count:]

    def formula(self) -> Formula:
        program, cell = self._program, self._cell
        results: dict[str, int] = dict(zip(_results(cell), (*program.after, *program.emitted), strict=True))
        inner = {name: results[name] for name in cell._step.inner}
        # the person's own names first, then what is read twice; products are terms
        names = dict(self._names)
        for name, value in {
            **inner,
            **{name: results[name] for name in cell.widths},
            "output": results["output"],
        }.items():
            # one that is a product is called by what it is, as terms are
            if value not in program.products:
                names.setdefault(value, name)
        for place, value in enumerate(_read_twice(program, names), start=1):
            names[value] = f"v{place}"
        spoken = {value: _spoken(name, name in results) for value, name in names.items()}
        texts = _Texts(program, spoken, self._weights)
        for value in program.products:
            if value not in names:
                names[value] = texts.of(value, anew=True)
        lines = []
        for value in sorted(names):
            if value in self._inputs or value in program.products:
                continue
            lines.append(self._line(names[value], value, names, texts))
        known = {line.name for line in lines}
        for name, value in results.items():
            if name not in known:
                same = names[value]
                text = f"{name}_t = {_spoken(same, same in results)}"
                lines.append(Line(name, text, partial(_given, same), (same,)))
        return Formula(tuple(lines), _state(cell), "output", partial(self._products, names))

    def _line(self, name: str, value: int, names: dict[int, str], texts: _Texts) -> Line:
        of = tuple(dict.fromkeys(names[one] for one in _reads(self._program, value, names)))
        compute = partial(_computed, self._program, value, names)
        result = name in _results(self._cell)
        text = f"{_spoken(name, result)} = {texts.of(value, anew=True)}"
        return Line(name, text, compute, of, aside=not result)

    def _products(self, names: dict[int, str], x: Tensor, before: Values) -> dict[str, Tensor]:
        """Products, inputs and parameters by name, for steps of any number of axes."""
        given = self._cell._given()
        weights, shared = self._traced.arguments([value.detach() for value in given.values()], x.dtype)
        inputs = [x for _ in self._traced.hoisted.kept]
        if self._before is not None:
            values = evaluate(self._before, [x], [], [], shared, weights)
            inputs += [values[value] for value in self._before.emitted]
        states = [before[name] for name in self._cell.widths]
        values = evaluate(self._program, inputs, [], states, shared, weights)
        wanted = [*range(self._program.first_state), *self._program.products]
        wanted += range(self._program.first_state + len(states), self._program.first_result)
        return {names[value]: values[value].expand(*x.shape[:-1], -1) for value in wanted if names[value] not in before}


def _shared(program: Program, names: list[str]) -> dict[int, str]:
    first = program.first_state + len(program.states)
    return {first + place: name for place, name in enumerate(names[: len(program.shared)])}


def _spoken(name: str, result: bool) -> str:
    """A value's name in a formula."""
    if name.endswith("[t-1]"):
        return name.replace("[t-1]", "_t₋₁")
    return f"{name}_t" if result else name


def _operands(one: Instruction) -> list[int]:
    return [value for value in one.operands if not isinstance(value, float)]


def _read_twice(program: Program, names: dict[int, str]) -> list[int]:
    reads: Counter[int] = Counter()
    parts = ("slice", "spread")
    for one in program.instructions:
        if one.operation not in parts:
            reads.update(_whole(program, value, parts) for value in _operands(one))
    return [
        value
        for value, one in enumerate(program.instructions, program.first_result)
        if reads[value] > 1 and value not in names and one.operation not in ("product", *parts)
    ]


def _whole(program: Program, value: int, parts: tuple[str, ...]) -> int:
    """What a value is a part of, as it stands."""
    while value >= program.first_result:
        one = program.instructions[value - program.first_result]
        if one.operation not in parts or not _operands(one):
            break
        value = _operands(one)[0]
    return value


def _reads(program: Program, value: int, names: dict[int, str]) -> list[int]:
    """The named values that one is made of."""
    found: list[int] = []
    for operand in _operands(program.instructions[value - program.first_result]):
        found += [operand] if operand in names else _reads(program, operand, names)
    return found


def _computed(program: Program, value: int, names: dict[int, str], values: Values) -> Tensor:
    """One value from those that have names."""
    one = program.instructions[value - program.first_result]
    like = next(iter(values.values()))

    def operand(given: Operand) -> Tensor:
        if isinstance(given, float):
            return like.new_full((1,), given)
        return values[names[given]] if given in names else _computed(program, given, names, values)

    parts = [operand(given) for given in one.operands]
    simple: dict[str, Callable[[], Any]] = {
        "slice": lambda: parts[0][..., one.attribute : one.attribute + one.width],
        "spread": lambda: parts[0].expand(*parts[0].shape[:-1], one.width),
        "rowsum": lambda: parts[0].sum(-1, keepdim=True),
        "rowmax": lambda: parts[0].amax(-1, keepdim=True),
        "cat": lambda: _joined(parts),
    }
    return simple[one.operation]() if one.operation in simple else OPERATIONS[one.operation](*parts)


def _joined(parts: list[Tensor]) -> Tensor:
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, part.shape[-1]) for part in parts], dim=-1)


class _Texts:
    """What a program's values are, as a person would write it."""

    def __init__(self, program: Program, names: dict[int, str], weights: list[str]) -> None:
        self._program, self._names, self._weights = program, names, weights

    def of(self, value: Operand, *, anew: bool = False) -> str:
        """A value by its name, or (`anew`, or where it has none) by what it is made of."""
        return self._told(value, anew)[0]

    def _told(self, value: Operand, anew: bool = False) -> tuple[str, bool]:
        """(the text, whether it is a sum, which stands in brackets inside a product)."""
        if isinstance(value, float):
            return f"{value:g}", value < 0
        if value in self._names and not anew:
            return self._names[value], False
        one = self._program.instructions[value - self._program.first_result]
        name = one.operation
        if name == "spread":
            return self._told(one.operands[0])
        if name in _BETWEEN:
            tight = name not in _SUMS
            left, right = (
                self._part(operand, tight or (name == "sub" and at == 1)) for at, operand in enumerate(one.operands)
            )
            return f"{left}{_BETWEEN[name]}{right}", not tight
        if name == "neg":
            return f"-{self._part(one.operands[0], True)}", True
        if name == "product":
            transposed = "ᵀ" if one.attribute % 2 else ""
            return f"{self._weights[one.attribute // 2]}{transposed} {self._product_of(one.operands[0])}", False
        parts = ", ".join(self.of(operand) for operand in one.operands)
        if name == "slice":
            return f"{self._part(one.operands[0], True)}[{one.attribute}:{one.attribute + one.width}]", False
        if name == "cat":
            return f"[{parts}]", False
        return f"{_CALLED.get(name, name)}({parts})", False

    def _part(self, value: Operand, tight: bool) -> str:
        text, is_sum = self._told(value)
        return f"({text})" if tight and is_sum else text

    def _product_of(self, value: Operand) -> str:
        text = self.of(value)
        return text if " " not in text else f"({text})"
