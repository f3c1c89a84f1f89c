"""The gradient of a program, as another program that runs through the steps the other way.

Products are not repeated: forward hands their results out, and backward is given them. What the gradient of a weight is made
of, (gradient of the product, what it multiplied), is handed out at each step, and one large product makes it afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from recurra.kernels.programs.builder import Builder
from recurra.kernels.programs.program import Instruction, Operand, Program, parse


@lru_cache(maxsize=256)
def recorded(text: str) -> str:
    """The program that also hands out what its gradient needs: the state that each step was given, and every product."""
    program = parse(text)
    builder = Builder(program)
    places = _repeat(builder, program)
    states = range(program.first_state, program.first_state + len(program.states))
    emitted = [places[value] for value in (*program.emitted, *states, *program.products)]
    return builder.finish(emitted, [places[value] for value in program.after], program.resettable).text()


@dataclass(frozen=True)
class Part:
    """Where the gradient of a weight comes from: emitted value `of_product`, times an emitted value or a given one.

    `given` counts the values of the program itself, and is None where `multiplied` is a number of an emitted value.
    """

    weight: int
    transposed: bool
    of_product: int
    multiplied: int | None
    given: int | None


@dataclass(frozen=True)
class Gradient:
    """The backward program and how to read it.

    It is given at each step: the inputs, the given states, the products, and the gradients of the emitted values that have
    one. Its states are the gradient of the states, and sums for fixed and shared values. It emits the gradients of the
    inputs, then what `parts` speak of.
    """

    text: str
    parts: tuple[Part, ...]


@lru_cache(maxsize=256)
def gradient(text: str, have: tuple[bool, ...]) -> Gradient:
    """The gradient of a program whose emitted values have a gradient where `have` says so."""
    program = parse(text)
    products, count = program.products, len(program.states)
    came = tuple(program.width(value) for value, there in zip(program.emitted, have, strict=True) if there)
    inputs = (*program.inputs, *program.states, *(program.width(value) for value in products), *came)
    states = (*program.states, *program.fixed, *program.shared)
    # the way back meets a reset on the other side of its step
    start = Program(inputs, program.fixed, states, program.shared, program.weights)
    builder = Builder(replace(start, reset_after=not program.reset_after))
    fixed, sums = len(inputs), len(inputs) + len(program.fixed)
    shared = sums + len(states)
    begins = [
        *range(len(program.inputs)),
        *range(fixed, fixed + len(program.fixed)),
        *range(len(program.inputs), len(program.inputs) + count),
        *range(shared, shared + len(program.shared)),
    ]
    after_states = len(program.inputs) + count
    known = {value: after_states + at for at, value in enumerate(products)}
    places = _repeat(builder, program, begins, known)
    adjoints = _Adjoints(builder)
    arrived = after_states + len(products)
    for value, there in zip(program.emitted, have, strict=True):
        if there:
            adjoints.add(value, arrived)
            arrived += 1
    for at, value in enumerate(program.after):
        adjoints.add(value, sums + at)
    parts: list[tuple[int, int, Operand, int]] = []
    for value in reversed(range(program.first_result, program.first_result + len(program.instructions))):
        one = program.instructions[value - program.first_result]
        arriving = adjoints.take(value, one.width)
        if isinstance(arriving, float) and arriving == 0.0:
            continue
        if one.operation == "product":
            arriving = builder.spread(arriving, one.width)
            source = one.operands[0]
            assert isinstance(source, int)
            parts.append((one.attribute // 2, one.attribute % 2, arriving, source))
            width = program.width(source)
            back = builder.emit("product", arriving, width=width, attribute=one.attribute ^ 1)
            adjoints.add(source, back)
        else:
            _pass_on(builder, adjoints, program, one, arriving, places, value)
    return _finish(builder, program, adjoints, parts, places, sums)


def _finish(
    builder: Builder,
    program: Program,
    adjoints: _Adjoints,
    parts: Sequence[tuple[int, int, Operand, int]],
    places: dict[int, int],
    sums: int,
) -> Gradient:
    def found(value: int, width: int) -> int:
        return builder.spread(adjoints.take(value, width), width)

    emitted = [found(at, width) for at, width in enumerate(program.inputs)]

    def handed_out(value: int) -> int:
        # (sums of inputs and a product have one gradient: it is written once)
        if value not in emitted:
            emitted.append(value)
        return emitted.index(value)

    told: list[Part] = []
    for weight, transposed, arriving, source in parts:
        assert isinstance(arriving, int)
        of_product = handed_out(arriving)
        if source < program.first_state + len(program.states):
            told.append(Part(weight, bool(transposed), of_product, None, source))
        else:
            multiplied = handed_out(builder.spread(places[source], program.width(source)))
            told.append(Part(weight, bool(transposed), of_product, multiplied, None))
    first, count = program.first_state, len(program.states)
    after = [found(first + at, width) for at, width in enumerate(program.states)]
    others = [*enumerate(program.fixed, len(program.inputs)), *enumerate(program.shared, first + count)]
    for at, (value, width) in enumerate(others, sums + count):
        after.append(builder.spread(builder.add(at, adjoints.take(value, width)), width))
    resettable = count if program.resettable < 0 else program.resettable
    return Gradient(builder.finish(emitted, after, resettable).text(), tuple(told))


def _repeat(
    builder: Builder, program: Program, start: Sequence[int] | None = None, known: dict[int, int] | None = None
) -> dict[int, int]:
    """Write the program's instructions again; gives where its values are now. `known` values are there already."""
    places: dict[int, int] = dict(enumerate(range(program.first_result) if start is None else start))
    for value, one in enumerate(program.instructions, program.first_result):
        if known and value in known:
            places[value] = known[value]
        else:
            operands = [v if isinstance(v, float) else places[v] for v in one.operands]
            places[value] = builder.emit(one.operation, *operands, width=one.width, attribute=one.attribute)
    return places


class _Adjoints:
    """What arrives at each value of the program: gradients of all of it, and of some of its columns."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._pieces: dict[int, list[tuple[int, int | None, Operand]]] = {}

    def add(self, value: int, arriving: Operand, first: int = 0, width: int | None = None) -> None:
        self._pieces.setdefault(value, []).append((first, width, arriving))

    def take(self, value: int, width: int) -> Operand:
        """The sum of what arrived, 0.0 where nothing did."""
        builder, total = self._builder, 0.0
        columns: dict[tuple[int, int], Operand] = {}
        for first, here, arriving in self._pieces.get(value, []):
            if here is None:
                total = builder.add(total, arriving)
            else:
                columns[first, here] = builder.add(columns.get((first, here), 0.0), arriving)
        row: list[Operand] = []
        end = 0
        for (first, here), arriving in sorted(columns.items()):
            if first < end:  # overlaps what stands in the row already: a row of its own
                total = builder.add(total, self._row(row, end, width))
                row, end = [], 0
            row += [builder.spread(0.0, first - end)] if first > end else []
            row.append(builder.spread(arriving, here))
            end = first + here
        return builder.add(total, self._row(row, end, width)) if row else total

    def _row(self, row: list[Operand], end: int, width: int) -> Operand:
        return self._builder.cat([*row, self._builder.spread(0.0, width - end)] if end < width else row)


_Rule = Callable[[Builder, Operand, list[Operand], Operand], list[Operand]]
"""(builder, what arrives, operands, result) -> what goes to each operand."""


def _half_where_equal(greater: str) -> _Rule:
    # as torch has it: where both are equal, each gets half
    def rule(b: Builder, g: Operand, x: list[Operand], y: Operand) -> list[Operand]:
        equal = b.mul(b.emit("eq", x[0], x[1]), 0.5)
        return [
            b.mul(g, b.add(b.emit(greater, x[0], x[1]), equal)),
            b.mul(g, b.add(b.emit(greater, x[1], x[0]), equal)),
        ]

    return rule


_RULES: dict[str, _Rule] = {
    "neg": lambda b, g, x, y: [b.neg(g)],
    "abs": lambda b, g, x, y: [b.mul(g, b.emit("sign", x[0]))],
    "exp": lambda b, g, x, y: [b.mul(g, y)],
    "expm1": lambda b, g, x, y: [b.mul(g, b.add(y, 1.0))],
    "log": lambda b, g, x, y: [b.emit("div", g, x[0])],
    "log1p": lambda b, g, x, y: [b.emit("div", g, b.add(x[0], 1.0))],
    "sqrt": lambda b, g, x, y: [b.emit("div", b.mul(g, 0.5), y)],
    "rsqrt": lambda b, g, x, y: [b.mul(b.mul(g, -0.5), b.mul(y, b.mul(y, y)))],
    "reciprocal": lambda b, g, x, y: [b.neg(b.mul(g, b.mul(y, y)))],
    "sigmoid": lambda b, g, x, y: [b.mul(g, b.mul(y, b.sub(1.0, y)))],
    "tanh": lambda b, g, x, y: [b.mul(g, b.sub(1.0, b.mul(y, y)))],
    "sin": lambda b, g, x, y: [b.mul(g, b.emit("cos", x[0]))],
    "cos": lambda b, g, x, y: [b.neg(b.mul(g, b.emit("sin", x[0])))],
    "erf": lambda b, g, x, y: [b.mul(g, b.mul(2 / math.sqrt(math.pi), b.emit("exp", b.neg(b.mul(x[0], x[0])))))],
    "add": lambda b, g, x, y: [g, g],
    "sub": lambda b, g, x, y: [g, b.neg(g)],
    "mul": lambda b, g, x, y: [b.mul(g, x[1]), b.mul(g, x[0])],
    "div": lambda b, g, x, y: [b.emit("div", g, x[1]), b.neg(b.emit("div", b.mul(g, y), x[1]))],
    "maximum": _half_where_equal("gt"),
    "minimum": _half_where_equal("lt"),
    "where": lambda b, g, x, y: [0.0, b.emit("where", x[0], g, 0.0), b.emit("where", x[0], 0.0, g)],
    "rowsum": lambda b, g, x, y: [g],
    "spread": lambda b, g, x, y: [g],
}
"""The gradient of each operation. Those that are not here (comparisons, signs, a row's maximum, a stop) have none."""


def _pass_on(
    builder: Builder,
    adjoints: _Adjoints,
    program: Program,
    one: Instruction,
    arriving: Operand,
    places: dict[int, int],
    value: int,
) -> None:
    if one.operation == "slice":
        (source,) = one.operands
        assert isinstance(source, int)
        adjoints.add(source, arriving, one.attribute, one.width)
        return
    if one.operation == "cat":
        first = 0
        spread = builder.spread(arriving, one.width)
        for source in one.operands:
            width = program.width(source)
            if not isinstance(source, float):
                adjoints.add(source, builder.slice(spread, first, width))
            first += width
        return
    rule = _RULES.get(one.operation)
    if rule is None:
        return
    operands = [v if isinstance(v, float) else places[v] for v in one.operands]
    wide = one.width if one.operation == "rowsum" else max(one.width, builder.width(arriving))
    for source, back in zip(one.operands, rule(builder, arriving, operands, places[value]), strict=True):
        if isinstance(source, float) or (isinstance(back, float) and back == 0.0):
            continue
        if program.width(source) == 1 and wide > 1:
            back = builder.emit("rowsum", builder.spread(back, wide), width=1)
        adjoints.add(source, back)
