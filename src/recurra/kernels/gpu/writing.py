"""Programs written as Triton kernels: the step of any recurrence in a loop over all steps.

A kernel has the shape of `layer_kernels.py`: a block of rows, whose columns are shared out among parts. What a step computes
is cut into stages, and the parts meet after each:

- A pointwise value is computed where it is needed, column by column, and never stored on the way. A slice is another column,
  and where values lie side by side the columns are cut there, so that each piece reads one of them.
- A product needs its operand's whole row. One that is cheap to compute from what lies in memory is computed on the spot; any
  other is stored in one stage and multiplied in the next.
- A sum or maximum of a row is computed by each part for itself, from what lies in memory.
- What is needed again in a later stage (a product, a sum) is stored; a pointwise value is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from recurra.kernels.gpu.expressions import TEXTS, number
from recurra.kernels.programs.program import ROW_OPERATIONS, Instruction, Operand, Program

_CHEAP = frozenset({"mul", "add", "sub", "neg", "slice"})
_COST = 4
"""Cheap operations that an operand of a product may be made of, to be computed on the spot."""

_PIECES = 8
"""Pieces of one value in one loop, at most."""

_LOADS = {"input": "i{0} + at * {1} + {2}", "fixed": "f{0} + rows * {1} + {2}", "state": "s{0} + old * {1} + {2}"}


@dataclass(frozen=True)
class Written:
    """The text of a kernel, `step_kernel`, and what it wants to be given."""

    text: str
    stages: int
    scratch: tuple[int, ...]
    """Widths of what is stored between stages, [B, width] each."""
    longest: int
    """Columns of its longest loop."""
    deepest: int
    """Columns of the longest operand of a product."""
    alone: bool
    """Whether no part reads what another one wrote, so that they need not meet."""


@dataclass(frozen=True)
class _Sink:
    """Something that is stored: columns `first` to `first + length` of a value."""

    value: int
    first: int
    length: int
    target: str
    """What precedes the column in the address."""
    state: int | None = None


@dataclass
class _Block:
    """Lines inside of one loop, each value computed once, and the products (value, first column) that they use."""

    lines: list[str] = field(default_factory=list)
    known: dict[tuple[int, int, str], str] = field(default_factory=dict)
    products: dict[tuple[int, int], str] = field(default_factory=dict)

    def let(self, key: tuple[int, int, str], text: str) -> str:
        name = f"v{key[0]}_{key[1]}_{key[2]}"
        self.lines.append(f"{name} = {text}")
        self.known[key] = name
        return name


def write(program: Program, reset_after: bool) -> Written:
    """The kernel of a program. With `reset_after` a reset acts on the next state instead of the given one."""
    stored: set[int] = set()
    while True:
        # what a later stage turns out to need is stored the next time
        writer = _Writer(program, reset_after, stored)
        written = writer.write()
        if writer.missed <= stored:
            return written
        stored |= writer.missed


class _Writer:
    def __init__(self, program: Program, reset_after: bool, stored: set[int]) -> None:
        self.program, self.reset_after = program, reset_after
        self.stored, self.missed = set(stored), set[int]()
        self.resettable = len(program.states) if program.resettable < 0 else program.resettable
        self.column: dict[int, int] = dict.fromkeys(range(program.first_result), 0)
        self.row = dict(self.column)
        self.home = dict(self.column)
        self.direct: dict[int, bool] = {}
        for value, one in enumerate(program.instructions, program.first_result):
            self._level(value, one)
        self.places: dict[int, str] = {}
        self.scratch: list[int] = []
        self.stage = 0
        # (a column belongs to the same part in every loop)
        self.alone = not program.products and not any(one.operation in ROW_OPERATIONS for one in program.instructions)

    # ---- when a value can be had: one of its columns, the whole row of it

    def _level(self, value: int, one: Instruction) -> None:
        given = [operand for operand in one.operands if isinstance(operand, int)]
        column, row = (max((levels[v] for v in given), default=0) for levels in (self.column, self.row))
        if one.operation == "product":
            self.direct[value] = self._cost(given[0]) <= _COST and not self._cuts(given[0])
            if not self.direct[value] and given[0] >= self.program.first_result:
                self.stored.add(given[0])
            self.home[value] = row if self.direct[value] else column + 1
            self.row[value] = self.home[value] + 1
            # one column alone is read back, since a product makes many
            self.column[value] = self.home[value] + (one.width == 1)
        elif one.operation in ROW_OPERATIONS:
            self.home[value] = self.column[value] = self.row[value] = row
        else:
            alone = one.operation == "slice" and one.width == 1
            self.home[value] = self.column[value] = row if alone else column
            self.row[value] = row

    def _instruction(self, value: int) -> Instruction | None:
        at = value - self.program.first_result
        return self.program.instructions[at] if at >= 0 else None

    def _cost(self, value: Operand) -> int:
        one = None if isinstance(value, float) else self._instruction(value)
        if one is None or one.operation == "product" or one.operation in ROW_OPERATIONS:
            return 0
        return 1 + sum(map(self._cost, one.operands)) if one.operation in _CHEAP else _COST + 1

    def _cuts(self, value: Operand) -> set[int]:
        """The columns where a value begins to be made of another one."""
        one = None if isinstance(value, float) else self._instruction(value)
        if one is None or one.operation in ("product", *ROW_OPERATIONS) or one.width == 1:
            return set()
        if one.operation == "slice":
            found = {cut - one.attribute for cut in self._cuts(one.operands[0])}
        elif one.operation == "cat":
            found, first = set[int](), 0
            for part in one.operands:
                found |= {first} | {first + cut for cut in self._cuts(part)}
                first += self.program.width(part)
        else:
            found = {cut for operand in one.operands for cut in self._cuts(operand)}
        return {cut for cut in found if 0 < cut < one.width}

    def _pieces(self, value: int) -> Iterable[tuple[int, int]]:
        edges = [0, *sorted(self._cuts(value)), self.program.width(value)]
        return [(first, end - first) for first, end in pairwise(edges)]

    # ---- values as text

    def _value(self, block: _Block, value: Operand, first: int, context: str) -> str:
        """The name of columns `first` + j (k, i) of a value in a block, written there if it is not yet."""
        if isinstance(value, float):
            return number(value)
        width = self.program.width(value)
        if width == 1:
            first, context = 0, "one"
        key = (value, first, context)
        if key in block.known:
            return block.known[key]
        one = self._instruction(value)
        if one is None:
            return block.let(key, self._given(value, first, context))
        operation, operands = one.operation, one.operands
        if value in self.places and self.stage > self.home[value]:
            return block.let(key, self._load(f"{self.places[value]} + ", first, context, "alive"))
        if operation in ROW_OPERATIONS:
            if self.stage > self.home[value]:
                self.missed.add(value)
            return f"r{value}"
        if operation == "product":
            if context == "j" and self.stage == self.home[value]:
                return block.products.setdefault((value, first), f"a{value}_{first}")
            self.missed.add(value)
            return f"a{value}_{first}"
        if operation == "slice":
            return self._value(block, operands[0], first + one.attribute, context)
        if operation == "cat":
            for part in operands:
                if first < self.program.width(part):
                    return self._value(block, part, first, context)
                first -= self.program.width(part)
        if operation == "spread":
            return self._value(block, operands[0], first, context)
        names = [self._value(block, operand, first, context) for operand in operands]
        return block.let(key, TEXTS[operation].format(*names))

    def _given(self, value: int, first: int, context: str) -> str:
        program, width = self.program, self.program.width(value)
        groups = (("input", program.inputs), ("fixed", program.fixed), ("state", program.states))
        at = value
        for name, widths in groups:
            if at < len(widths):
                address = _LOADS[name].format(at, width, "")
                back = name != "state" or self.reset_after or at >= self.resettable
                if name == "state" and (context != "j" or first):
                    self.alone = False
                return self._load(address, first, context, "alive" if back else "goes_on")
            at -= len(widths)
        return self._load(f"h{at} + ", first, context, None)

    def _load(self, address: str, first: int, context: str, rows: str | None) -> str:
        column = str(first) if context == "one" else f"{context} + {first}"
        masks = [*([rows] if rows else []), *([f"{context}m"] if context != "one" else [])]
        mask = f", mask={' & '.join(masks)}, other=0.0" if masks else ""
        fresh = ', cache_modifier=".cg"' if address[0] in "ems" else ""
        return f"tl.load({address}{column}{mask}{fresh}).to(ACC)"

    # ---- stages

    def write(self) -> Written:
        program = self.program
        for value in sorted(self.stored):
            if value in program.emitted:
                at = program.emitted.index(value)
                self.places[value] = f"e{at} + at * {program.width(value)}"
            else:
                self.places[value] = f"m{len(self.scratch)} + rows * {program.width(value)}"
                self.scratch.append(program.width(value))
        sinks = self._sinks()
        rows = [
            value
            for value, one in enumerate(program.instructions, program.first_result)
            if one.operation in ROW_OPERATIONS
        ]
        last = max([0, *sinks, *(self.home[value] for value in rows)])
        body: list[str] = []
        for stage in range(last + 1):
            self.stage = stage
            lines = self._row_operations([value for value in rows if self.home[value] == stage])
            here = sinks.get(stage, [])
            for length, together in _aligned(here).items():
                lines += self._loop(length, together)
            body += [f"if PHASE == 0 or PHASE == {stage + 1}:", *_indented(lines or ["pass"])]
            body.append(f"meet(counters, s * {last + 1} + {stage + 1}, PARTS, MEET)")
        lengths = [sink.length for each in sinks.values() for sink in each]
        depths = [program.width(program.instructions[v - program.first_result].operands[0]) for v in program.products]
        longest, deepest = max(lengths, default=1), max(depths, default=1)
        return Written(self._text(body), last + 1, tuple(self.scratch), longest, deepest, self.alone)

    def _sinks(self) -> dict[int, list[_Sink]]:
        """What is stored in each stage."""
        program, found = self.program, dict[int, list[_Sink]]()

        def store(value: int, target: str, stage: int, state: int | None = None) -> None:
            pieces = [(0, 1)] if program.width(value) == 1 else self._pieces(value)
            for first, length in pieces:
                found.setdefault(stage, []).append(_Sink(value, first, length, target, state))

        for value, place in self.places.items():
            one = self._instruction(value)
            if one is None or one.operation not in ROW_OPERATIONS:
                store(value, place, self.home[value])
        for at, value in enumerate(program.emitted):
            target = f"e{at} + at * {program.width(value)}"
            if self.places.get(value) != target:
                store(value, target, self.column[value])
        for at, value in enumerate(program.after):
            store(value, f"s{at} + new * {program.states[at]}", self.column[value], at)
        return found

    def _row_operations(self, values: list[int]) -> list[str]:
        """Sums and maxima of rows, each in a register of each part: those of one level in loops that they share."""
        by_level: dict[int, list[int]] = {}
        for value in values:
            by_level.setdefault(self._row_level(value, {}), []).append(value)
        return [line for level in sorted(by_level) for line in self._row_loops(by_level[level])]

    def _row_level(self, value: Operand, known: dict[int, int]) -> int:
        """How many sums of this stage, one needing the other, a value is made of; for a sum, itself included."""
        one = None if isinstance(value, float) else self._instruction(value)
        if one is None or isinstance(value, float) or one.operation == "product":
            return 0
        if self.home[value] < self.stage and (value in self.places or one.operation in ROW_OPERATIONS):
            return 0
        if value not in known:
            deepest = max((self._row_level(operand, known) for operand in one.operands), default=0)
            known[value] = deepest + (one.operation in ROW_OPERATIONS)
        return known[value]

    def _row_loops(self, values: list[int]) -> list[str]:
        """Sums that do not need one another: a loop for each length of their pieces, in which nothing is computed twice."""
        lines, ends = list[str](), list[str]()
        by_length: dict[int, list[tuple[int, int]]] = {}
        for value in values:
            one = self._instruction(value)
            assert one is not None and isinstance(one.operands[0], int)
            total = one.operation == "rowsum"
            lines.append(f"x{value} = tl.full((R, W), {_neutral(total)}, ACC)")
            for first, length in self._pieces(one.operands[0]):
                by_length.setdefault(length, []).append((value, first))
            joined = f"tl.sum(x{value}, axis=1" if total else f"tl.reduce(x{value}, 1, largest"
            ends.append(f"r{value} = {joined}, keep_dims=True)")
            if value in self.places:
                ends.append(f"tl.store({self.places[value]}, tl.where(alive, r{value}, 0.0), mask=mine)")
        for length, pieces in by_length.items():
            block = _Block()
            for value, first in pieces:
                one = self._instruction(value)
                assert one is not None
                total = one.operation == "rowsum"
                masked = f"tl.where(im, {self._value(block, one.operands[0], first, 'i')}, {_neutral(total)})"
                joined = f"x{value} + {masked}" if total else f"largest(x{value}, {masked})"
                block.lines.append(f"x{value} = {joined}")
            inner = ["i = (begin + wide)[None, :]", f"im = i < {length}", *block.lines]
            lines += [f"for begin in range(0, {length}, W):", *_indented(inner)]
        return lines + ends

    def _loop(self, length: int, sinks: list[_Sink]) -> list[str]:
        """All that is stored of this length, column by column."""
        block, stores = _Block(), list[str]()
        for sink in sinks:
            one = self._instruction(sink.value)
            if one is not None and one.operation == "product" and self.stage == self.home[sink.value]:
                name = block.products.setdefault((sink.value, sink.first), f"a{sink.value}_{sink.first}")
            else:
                name = self._value(block, sink.value, sink.first, "j")
            address = f"{sink.target} + {sink.first} + j"
            if sink.state is None:
                stores.append(f"tl.store({address}, tl.where(alive & jm, {name}, 0.0), mask=there & jm)")
                continue
            self.alone = self.alone and sink.first == 0
            was = f"s{sink.state} + old * {self.program.states[sink.state]} + {sink.first} + j"
            resets = self.reset_after and sink.state < self.resettable
            stores += [
                f'was = tl.load({was}, mask=there & jm, other=0.0, cache_modifier=".cg")',
                f"became = tl.where(goes_on, {name}, 0.0)" if resets else f"became = {name}",
                f"tl.store({address}, tl.where(alive, became, was), mask=there & jm)",
            ]
        head = ["j = (j0 + unit)[None, :]", f"jm = j < {length}"]
        inner = [*head, *self._products(block), *block.lines, *stores]
        return [f"for j0 in range(first, {length}, PARTS * U):", *_indented(inner)]

    def _products(self, block: _Block) -> list[str]:
        """The products that a block uses, those of one operand in one loop."""
        lines: list[str] = []
        by_source: dict[int, list[tuple[int, int, str]]] = {}
        for (value, first), name in block.products.items():
            one = self._instruction(value)
            assert one is not None and isinstance(one.operands[0], int)
            by_source.setdefault(one.operands[0], []).append((value, first, name))
        for source, products in by_source.items():
            depth, inner = self.program.width(source), _Block()
            row = self._value(inner, source, 0, "k")
            lines += [f"{name} = tl.zeros((R, U), dtype=ACC)" for _, _, name in products]
            steps = ["k = (k0 + depth)[None, :]", f"km = k < {depth}", *inner.lines]
            steps.append(f"row = tl.where(alive & km, {row}, 0.0)")
            for value, first, name in products:
                one = self._instruction(value)
                assert one is not None
                number, (height, width) = one.attribute // 2, self.program.weights[one.attribute // 2]
                across, along = f"{first} + j", "(k0 + depth)[:, None]"
                where = f"{along}, {across}" if one.attribute % 2 else f"{across}, {along}"
                weight = f"tile(w{number}, 0, {where}, {height}, {width}, TO)"
                steps.append(f"{name} = add_product({name}, row, {weight}, PRECISION, ACC)")
            lines += [f"for k0 in range(0, {depth}, K):", *_indented(steps)]
        return lines

    def _text(self, body: list[str]) -> str:
        program = self.program
        names = [
            f"{letter}{at}"
            for letter, group in (
                ("i", program.inputs), ("f", program.fixed), ("s", program.states), ("h", program.shared),
                ("w", program.weights), ("e", program.emitted), ("l", program.states), ("m", self.scratch),
            )
            for at in range(len(group))
        ]  # fmt: skip
        constants = ("PHASE", "MEET", "REVERSE", "R", "U", "K", "W", "PRECISION", "ACC", "TO")
        arguments = [*names, "lengths", "resets", "order", "counters", "start", "stop", "T", "B", "PARTS"]
        lines = [
            "rows, there = rows_of(order, B, R)",
            "steps = steps_of(lengths, rows, there, T)",
            "unit, depth, wide = tl.arange(0, U), tl.arange(0, K), tl.arange(0, W)",
            "first = tl.program_id(1) * U",
            "mine = there & (rows * 0 + tl.program_id(1) == 0)",
            "for s in range(start, tl.minimum(stop, steps)):",
            *_indented(["t = steps - 1 - s if REVERSE else s", "at, old, new = place(rows, s, t, B)"]),
            *_indented(["alive, goes_on = takes_part(lengths, resets, rows, there, t, at)", *body]),
            "if stop == T:",
            *(
                f"    hand_out(s{at}, l{at}, steps, rows, there, first, B, {width}, PARTS, U)"
                for at, width in enumerate(program.states)
            ),
            *(() if program.states else ("    pass",)),
        ]
        typed = ", ".join([*arguments, *(f"{name}: tl.constexpr" for name in constants)])
        return "\n".join([f"def step_kernel({typed}):", *_indented(lines), ""])


def _neutral(total: bool) -> str:
    """What a sum or, else, a maximum begins with."""
    return "0.0" if total else 'float("-inf")'


def _aligned(sinks: list[_Sink]) -> dict[int, list[_Sink]]:
    """By length: all in pieces of the shortest one where that goes, so that one loop computes what they share once."""
    shortest = min((sink.length for sink in sinks if sink.length > 1), default=1)
    found: dict[int, list[_Sink]] = {}
    for sink in sinks:
        pieces = sink.length // shortest
        length = shortest if sink.length % shortest == 0 and pieces <= _PIECES else sink.length
        for first in range(sink.first, sink.first + sink.length, length):
            found.setdefault(length, []).append(replace(sink, first=first, length=length))
    return found


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
